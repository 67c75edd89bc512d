"""`jaxdw sweep`: whole models through schemes, grids, formats and fidelities."""

import argparse
import dataclasses
import importlib
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxdw.cli import exports, paste
from jaxdw.cli.of_model import skipped_layers
from jaxdw.cli.options import interruptible, refuse_beside, refuse_pallas
from jaxdw.cli.overwriting import refuse_weights
from jaxdw.cli.parser import take
from jaxdw.cli.screen import make_console, show
from jaxdw.cli.vocabulary import AXIS_OPTIONS, OPTIONS
from jaxdw.errors import ConfigError, needing
from jaxdw.escapes import json_text, visible
from jaxdw.files import refuse_to_replace, whole_file
from jaxdw.inputs.names import is_function_name
from jaxdw.launch.cache import check_platform
from jaxdw.models import zoo
from jaxdw.sweep.axes import AXES, is_onnx
from jaxdw.sweep.rows import Row, name_of_row, why_of_row
from jaxdw.sweep.workers import Terminated

if TYPE_CHECKING:
    from jaxdw.sweep.rows import Point
    from jaxdw.sweep.space import Space

OK, FAILED, INTERRUPTED, TERMINATED = 0, 1, 130, 143


_NOT_PASTED = ("--models", "--space", "--jax", "--input", "--annotate")
_ANSWERS_S = 10  # that a scheduler may take to answer


def status_of(why: KeyboardInterrupt) -> int:
    """Returns the exit status of a process that was interrupted, or told to end."""
    return TERMINATED if isinstance(why, Terminated) else INTERRUPTED


def add(commands) -> None:
    """Adds the command to a parser's commands."""
    parser = commands.add_parser(
        "sweep",
        help="depthwise layers of whole models, many ways, into a table and a file",
        description="Plans and emulates every depthwise layer of the models named in "
        "every way named. Rows are appended to OUT/rows.jsonl as they come; the same "
        "command again goes on where it stopped. Exit status 0, 1 if a row failed or "
        "broke, 2 refused.",
    )
    take(parser, "--out", required=True)
    take(parser, "--plan-only", "--processes", "--dask")
    page = dataclasses.replace(
        OPTIONS["--html"], parse=str
    )  # the sweep makes its folder
    take(parser, page, was="--report")
    take(parser, "--json", "--visualizer", "--annotate")
    axes = parser.add_argument_group(
        "space, each a list joined by commas",
        "a TOML file has the same names, in the plural",
    )
    pasted = "pasted layers in place of networks, each as it is but for the axes given"
    take(axes, "--from", text=pasted)
    take(axes, "--space", "--input", "--jax", *AXIS_OPTIONS)
    take(axes, "--filter", "--sample", "--seed")
    parser.set_defaults(command=_sweep)


def _space(args: argparse.Namespace) -> "Space":
    from jaxdw.sweep.space import Space, load_space, read_axes

    space = Space() if args.space is None else load_space(args.space)
    asked = vars(args) | {"inputs": tuple(args.input) or None}
    given: dict[str, Any] = {
        field.name: asked[field.name]
        for field in dataclasses.fields(Space)
        if asked[field.name] is not None
    }
    if args.jax:
        given["models"] = (*given.get("models", ()), *args.jax)
    return dataclasses.replace(space, **given | read_axes(given))


def _points(args: argparse.Namespace, space: "Space") -> "tuple[Point, ...]":
    """Returns the points of networks, or of what is pasted."""
    source = getattr(args, "from")
    if source is None:
        with skipped_layers():  # the rows say it, and so does what is shown of them
            return space.points()
    from jaxdw.inputs.paste import read_paste

    layers = read_paste(paste.text_of(source)).layers
    if not layers:
        raise ConfigError(
            f"`{paste.OPTION}` holds an L1 message and no layer; `jaxdw plan` compares "
            "it"
        )
    varied = [axis.plural for axis in AXES if vars(args)[axis.plural] is not None]
    model = source if paste.file_of(source) else "paste"
    points = space.points_of_pasted(layers, model, varied)
    plain = tuple(paste.without_unknown_options(point, varied) for point in points)
    if plain != points:
        paste.say(paste.OPTION, "options of ttnn are left out of program depthwise")
    return plain


def _check_page(args: argparse.Namespace) -> None:
    """Refuses, before the work, a page that could not be made or written."""
    folder, out = Path(args.html).absolute().parent, Path(args.out).absolute()
    if not folder.is_dir() and not out.is_relative_to(folder):
        raise ConfigError(
            f"`--html` (in {str(folder)!r}) must lie in a folder that exists or in "
            "that of `--out`; make it or name another"
        )
    if Path(args.html).is_dir():
        raise ConfigError(f"`--html` (={args.html!r}) must be a file, not a folder")
    with needing("html", "matplotlib", "jinja2"):
        importlib.import_module("matplotlib")
        importlib.import_module("jinja2")


def _sweep(args: argparse.Namespace) -> int:
    from jaxdw.sweep.runner import run_sweep

    if not args.plan_only:
        refuse_pallas("sweep")
        check_platform()
    if getattr(args, "from") is not None:
        what = f"`{paste.OPTION}`, which has the layers; sweep one after the other"
        refuse_beside(args, _NOT_PASTED, what)
    elif args.models is None and args.space is None and not args.jax:
        raise ConfigError(
            "`--models` must be given, a --space or --from; try --models "
            f"{zoo.MODELS[1]}, or all for {len(zoo.MODELS)} networks"
        )
    space = _space(args)
    if args.html is not None:
        _check_page(args)
    read = {f"the file {name}": name for name in (*space.models, *space.arches)}
    for option in ("--html", "--annotate"):  # a space may name files, too
        path = getattr(args, OPTIONS[option].dest)
        if path is not None:
            refuse_to_replace(option, path, read)
            for model in filter(is_onnx, space.models):
                refuse_weights(option, Path(path), Path(model))
    if args.input and not any(is_onnx(m) or is_function_name(m) for m in space.models):
        raise ConfigError(
            "`--input` must come with an .onnx file or module:function in --models, or "
            "--jax; add it"
        )
    points = _points(args, space)
    if args.annotate is not None:
        exports.check_annotate(args.annotate, space.models)
    console = make_console(stderr=True)
    console.print(
        f"{len(points)} points: {_extent(points)}", markup=False, soft_wrap=True
    )
    done = Counter()
    with (
        interruptible(),
        _executor(args) as executor,
        _progress(console, len(points)) as advance,
    ):

        def progress(rows: list[Row]) -> None:
            done.update(row["status"] for row in rows)
            advance(rows)

        try:
            rows = run_sweep(
                points,
                args.out,
                executor=executor,
                processes=args.processes,
                plan_only=args.plan_only,
                seed=space.seed,
                progress=progress,
            )
        except KeyboardInterrupt as why:
            console.print(
                f"interrupted: {done.total()} new rows are safe in {args.out}; the "
                "same command goes on"
            )
            return status_of(why)
    if args.html is not None:
        _write_page(args.html, rows)
    if args.json:
        print(json_text(_report(args, rows)))
    else:
        _summarise(rows)
        if args.html is not None:
            print(f"page: {args.html}")
    if args.annotate is not None:
        exports.annotate(args.annotate, space.models, rows)
    if args.visualizer is not None:
        exports.write_visualizer(args, exports.labelled(points), str(args.out))
    return FAILED if any(row["status"] in ("fail", "error") for row in rows) else OK


def _extent(points: "tuple[Point, ...]") -> str:
    """Returns what a sweep goes over, so that nobody starts hours of work unawares."""
    counts = {
        "models": len({point.model for point in points}),
        "layers": len({(point.model, point.layer) for point in points}),
        "chips": len({point.arch for point in points}),
        "programs": len({point.program for point in points}),
        "schemes": len({point.shard.scheme for point in points}),
        "formats": len({point.conv.weights_dtype for point in points}),
        "fidelities": len({point.compute.math_fidelity for point in points}),
    }
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _report(args: argparse.Namespace, rows: list[Row]) -> dict[str, Any]:
    """Returns what a sweep found, as JSON has it; `jaxdw.cli.schemas` describes it."""
    from jaxdw.report.sweep_table import best_row, grouped, not_read

    best = [best_row(by_scheme) for by_scheme in grouped(rows).values()]
    found = {
        "out": args.out,
        "points": len(rows),
        "statuses": dict(Counter(row["status"] for row in rows)),
        "compilations": sum(row["compilations"] or 0 for row in rows),
        "seconds": sum(row["seconds_compile"] or 0 for row in rows),
        "best": [row for row in best if row is not None],
        "not_read": not_read(rows),
    }
    return found if args.html is None else found | {"page": args.html}


def _write_page(path: str, rows: list[Row]) -> None:
    from jaxdw.report.sweep_page import sweep_page

    page = sweep_page(rows)
    with whole_file(path) as draft:
        draft.write_text(page, "utf-8")


def _executor(args: argparse.Namespace):
    import contextlib

    if args.dask is None:
        return contextlib.nullcontext()
    if "--processes" in args.given:
        raise ConfigError(
            f"`--processes` (={args.processes}) must be left out with `--dask`, whose "
            "workers do the work"
        )
    return _dask(args.dask)


def _dask(address: str):
    import contextlib

    with needing("cluster", "distributed"):
        from distributed import Client
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # we tell it

    @contextlib.contextmanager
    def connected():
        try:
            client = _within(
                _ANSWERS_S, lambda: Client(address, timeout=f"{_ANSWERS_S}s")
            )
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"`--dask` (={address!r}) does not answer: {error}; start one with "
                "`dask scheduler`"
            ) from error
        with client:
            yield client.get_executor(pure=False)

    return connected()


def _within(seconds: float, call: Callable[[], Any]) -> Any:
    """Returns what a call gives, which may wait for ever, in a thread of its own.

    Raises:
      TimeoutError: nothing in time. Whatever the call raises passes.
    """
    import concurrent.futures
    import threading

    result = concurrent.futures.Future()

    def run() -> None:
        try:
            result.set_result(call())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return result.result(seconds)
    except TimeoutError as error:
        raise TimeoutError(str(error) or f"nothing in {seconds} s") from error


def _progress(console, total: int):
    import contextlib

    from rich import progress

    @contextlib.contextmanager
    def shown():
        columns = (
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TimeRemainingColumn(),
        )
        with progress.Progress(*columns, console=console) as bar:
            task = bar.add_task("points", total=total, rate="")

            def advance(rows) -> None:
                bar.advance(task, len(rows))
                speed = bar.tasks[0].speed
                bar.update(task, rate="" if speed is None else f"{speed:.1f}/s")

            yield advance
            bar.update(task, completed=total)  # with what was done before

    return shown()


def _summarise(rows: list[Row]) -> None:
    from jaxdw.report.facts import BOUNDS_MISLEAD
    from jaxdw.report.sweep_table import not_read, summary_table

    console = make_console()
    show(console, summary_table(rows))
    if len({row["planned_program"] for row in rows} - {None}) > 1:
        console.print(BOUNDS_MISLEAD)
    statuses = Counter(row["status"] for row in rows)
    compiled = sum(row["compilations"] for row in rows)
    seconds = sum(row["seconds_compile"] for row in rows)
    console.print(
        f"{len(rows)} points: "
        + ", ".join(f"{count} {status}" for status, count in statuses.items())
        + f"; {compiled} compilations; {seconds:.1f} s making or loading programs"
    )
    for model, lines in not_read(rows).items():
        for line in lines:
            console.print(f"NOT READ {visible(f'{model}: {line}')}", markup=False)
    for row in rows:
        if row["status"] in ("fail", "error"):
            console.print(
                f"{row['status'].upper()} {name_of_row(row)}: {why_of_row(row)}",
            )
            if row["repeat"]:
                console.print(f"  {row['repeat']}", soft_wrap=True)
