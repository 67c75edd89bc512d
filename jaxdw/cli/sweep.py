"""`jaxdw sweep`: whole models through schemes, grids, formats and fidelities."""

import argparse
import dataclasses
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from jaxdw.cli.options import named_sizes, refuse_pallas, seed
from jaxdw.errors import ConfigError, needing
from jaxdw.files import whole_file
from jaxdw.sweep.axes import AXES
from jaxdw.sweep.rows import Row, name_of_row, why_of_row

if TYPE_CHECKING:
    from jaxdw.sweep.space import Space

OK, FAILED, INTERRUPTED = 0, 1, 130


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


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
    axes = parser.add_argument_group(
        "space, each a list joined by commas", "a TOML file has the same names"
    )
    axes.add_argument("--space", help="TOML file; options given here win")
    axes.add_argument(
        "--input", dest="inputs", type=named_sizes, action="append",
        metavar="NAME=1x3x8x8",
        help="shape of an ONNX file's input, FILE:NAME= that of one of several; may "
        "be repeated",
    )  # fmt: skip
    for axis in AXES:
        axes.add_argument(axis.option, type=_words, help=axis.choices)
    axes.add_argument("--filter", help="such as 'channels >= 256 and kernel == 5'")
    axes.add_argument("--sample", type=int, help="so many points, drawn by --seed")
    axes.add_argument("--seed", type=seed)
    parser.add_argument("--out", required=True, help="folder for the rows")
    parser.add_argument("--plan-only", action="store_true", help="no emulation")
    parser.add_argument("--processes", type=int, help="of this machine; default: all")
    parser.add_argument(
        "--report",
        metavar="FILE",
        help="write a page, one HTML file that opens offline",
    )
    parser.add_argument(
        "--dask", metavar="ADDRESS", help="of a Dask scheduler: run on its workers"
    )
    parser.set_defaults(command=_sweep)


def _space(args: argparse.Namespace) -> "Space":
    from jaxdw.sweep.space import Space, load_space, read_axes

    space = Space() if args.space is None else load_space(args.space)
    given = {
        field.name: getattr(args, field.name)
        for field in dataclasses.fields(Space)
        if getattr(args, field.name) is not None
    }
    if "inputs" in given:
        given["inputs"] = tuple(given["inputs"])
    return dataclasses.replace(space, **given | read_axes(given))


def _check_report(folder: Path, out: Path) -> None:
    """Refuses a page in a folder that neither exists nor is made for the rows."""
    if not folder.is_dir() and not out.is_relative_to(folder):
        raise ConfigError(
            f"`--report` (in {str(folder)!r}) must lie in a folder that exists or in "
            "that of `--out`; make it or name another"
        )


def _sweep(args: argparse.Namespace) -> int:
    from rich.console import Console

    from jaxdw.sweep.runner import run_sweep

    if not args.plan_only:
        refuse_pallas("sweep")
    space = _space(args)
    if args.report is not None:
        _check_report(Path(args.report).absolute().parent, Path(args.out).absolute())
    points = space.points()
    console = Console(stderr=True)
    done = Counter()
    with _executor(args.dask) as executor, _progress(console, len(points)) as advance:

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
        except KeyboardInterrupt:
            console.print(
                f"interrupted: {done.total()} new rows are safe in {args.out}; the "
                "same command goes on"
            )
            return INTERRUPTED
    _summarise(rows)
    if args.report is not None:
        _write_page(args.report, rows)
    return FAILED if any(row["status"] in ("fail", "error") for row in rows) else OK


def _write_page(path: str, rows: list[Row]) -> None:
    with needing("html", "matplotlib"):
        from jaxdw.report import sweep_page
    page = sweep_page.sweep_page(rows)
    with whole_file(path) as draft:
        draft.write_text(page, "utf-8")


def _executor(address: str | None):
    import contextlib

    if address is None:
        return contextlib.nullcontext()
    return _dask(address)


def _dask(address: str):
    import contextlib

    with needing("cluster", "distributed"):
        from distributed import Client

    @contextlib.contextmanager
    def connected():
        try:
            client = Client(address, timeout="10s")
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"`--dask` (={address!r}) does not answer: {error}; start one with "
                "`dask scheduler`"
            ) from error
        with client:
            yield client.get_executor(pure=False)

    return connected()


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

    return shown()


def _summarise(rows: list[Row]) -> None:
    from rich.console import Console

    from jaxdw.report.facts import BOUNDS_MISLEAD
    from jaxdw.report.sweep_table import summary_table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    console.print(summary_table(rows))
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
    for row in rows:
        if row["status"] in ("fail", "error"):
            console.print(
                f"{row['status'].upper()} {name_of_row(row)}: {why_of_row(row)}",
                markup=False,
            )
            if row["repeat"]:
                console.print(f"  {row['repeat']}", markup=False, soft_wrap=True)
