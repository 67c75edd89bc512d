"""`jaxdw accuracy`: what the chip's numerics do to a trained network."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxdw.cli.of_model import skipped_layers
from jaxdw.cli.options import interruptible, refuse_pallas
from jaxdw.cli.parser import take
from jaxdw.cli.screen import make_console
from jaxdw.cli.vocabulary import AXIS_OPTIONS, OPTIONS, Option
from jaxdw.errors import ConfigError, needing
from jaxdw.escapes import json_text
from jaxdw.files import whole_file
from jaxdw.sweep.axes import AXES

if TYPE_CHECKING:
    from jaxdw.networks.measure import Question, Sample
    from jaxdw.networks.recommend import Recommendation
    from jaxdw.networks.rows import Row
OK, MISSED = 0, 1
_OWN = ("model", "batch", "activation")  # the network's, no axes of this command


def _named_file(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not equals or not name or not path:
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME=FILE; try x=x.npy")
    return name, path


_INPUT = Option(
    "--input", "NAME=FILE", _named_file, "a .npy of one sample; may be repeated", None,
    "x=x.npy", repeat=True,
)  # fmt: skip
_ASKED = (
    "--samples",
    "--metric",
    "--target",
    "--compensate",
    "--calibration",
    "--blame",
    "--fold",
)


def add(commands) -> None:
    """Adds the command to a parser's commands."""
    parser = commands.add_parser(
        "accuracy",
        help="what the chip's numerics do to a trained network's outputs",
        description="Emulates every depthwise convolution of an ONNX file bit by bit, "
        "on real activations; what lies between runs in float32 by onnxruntime, in "
        "this process: give it files that you trust. Compares the network's outputs "
        "with those in float32. Exit status 0, 1 if a target is missed or no setting "
        "runs, 2 refused.",
    )
    parser.add_argument("model", metavar="MODEL.onnx")
    take(parser, _INPUT, *_ASKED)
    take(parser, "--out", "--dask", "--html", "--json", "--seed")
    processes = dataclasses.replace(
        OPTIONS["--processes"], text="of this machine", default="1"
    )
    take(parser, processes)
    axes = parser.add_argument_group(
        "settings compared, each a list joined by commas", "as for `jaxdw sweep`"
    )
    own = [axis.option for axis in AXES if axis.column in _OWN]
    take(axes, *(option for option in AXIS_OPTIONS if option.name not in own))
    parser.set_defaults(command=_accuracy)


def _accuracy(args: argparse.Namespace) -> int:
    refuse_pallas("accuracy")
    _check(args)

    from rich.progress import Progress

    from jaxdw.cli.sweep import _executor, status_of
    from jaxdw.networks import measure, runner
    from jaxdw.networks.figures import load_metric
    from jaxdw.networks.recommend import Target, recommend
    from jaxdw.networks.rows import RowStore

    target = None if args.target is None else Target.read(args.target)
    if target is not None and target.figure == "metric" and not args.metric:
        raise ConfigError("`--target` (=metric) must come with `--metric`; add it")
    if args.metric is not None:
        sys.path.insert(0, "")
        load_metric(args.metric)
    names = input_names(args.model)
    samples = calibration = measure.samples_of(args.input, args.samples, names)
    if args.calibration is not None:
        calibration = measure.samples_of((), args.calibration, names, "--calibration")
    axes = {
        axis.plural: getattr(args, axis.plural)
        for axis in AXES
        if axis.column not in _OWN and getattr(args, axis.plural) is not None
    }
    store = RowStore(args.out)
    with skipped_layers() as skipped:
        question = runner.question_of(
            args.model, samples, axes, seed=args.seed, metric=args.metric or ""
        )
    console = make_console(stderr=True)
    try:
        with (
            interruptible(),
            _executor(args) as executor,
            Progress(console=console) as bar,
        ):
            shown = bar.add_task("tasks", total=None)
            rows = runner.ask(
                question,
                store,
                blame=args.blame,
                executor=executor,
                processes=args.processes,
                progress=lambda done, of: bar.update(shown, completed=done, total=of),
            )
    except KeyboardInterrupt as why:
        kept = "no --out, so that no row is kept"
        if args.out is not None:
            kept = f"rows are safe in {args.out}; the same command goes on"
        console.print(f"interrupted: {kept}")
        return status_of(why)
    rows += _remedies(args, question, calibration)
    found = None if target is None else recommend(question, target, rows)
    if found is not None and args.out is not None:
        _write_advice(args.out, found)
    _show(args, rows, skipped, found)
    runs = any(row["kind"] == "output" and row["error"] is None for row in rows)
    return OK if runs and (found is None or found.kept) else MISSED


def _check(args: argparse.Namespace) -> None:
    """Refuses what does not go together before anything is read."""
    for option in ("fold", "compensate"):
        if getattr(args, option) and args.out is None:
            raise ConfigError(
                f"`--{option}` must come with `--out`, where its file is written; add "
                "--out DIR"
            )
    if args.calibration is not None and not args.compensate:
        raise ConfigError("`--calibration` must come with `--compensate gain`; add it")
    if args.html is not None and not Path(args.html).absolute().parent.is_dir():
        raise ConfigError(
            f"`--html` (={args.html!r}) must lie in a folder that exists; make it"
        )


def input_names(path: str) -> list[str]:
    """Returns the names of a network's inputs."""
    from jaxdw.models.onnx.shapes import graph_inputs
    from jaxdw.networks.network import loaded

    return [value.name for value in graph_inputs(loaded(path).graph)]


def _remedies(
    args: argparse.Namespace, question: "Question", calibration: "Sequence[Sample]"
) -> "list[Row]":
    if not args.fold and not args.compensate:
        return []
    from jaxdw.networks.verify import remedies

    return remedies(
        question,
        Path(args.out),
        folds=args.fold,
        compensates=args.compensate is not None,
        calibration=calibration,
    )


def _write_advice(out: str, found: "Recommendation") -> None:
    from jaxdw.networks.advice import as_toml, as_ttnn

    for name, text in (
        ("recommended.toml", as_toml(found)),
        ("recommended_ttnn.py", as_ttnn(found)),
    ):
        with whole_file(Path(out) / name) as draft:
            draft.write_text(text, "utf-8")


def _show(
    args: argparse.Namespace,
    rows: "list[Row]",
    skipped: list[str],
    found: "Recommendation | None",
) -> None:

    from jaxdw.report import accuracy, text

    if args.html is not None:
        with needing("html", "matplotlib"):
            page = accuracy.accuracy_page(rows, skipped, found=found)
        with whole_file(args.html) as draft:
            draft.write_text(page, "utf-8")
    if args.json:
        for row in rows:
            print(json_text(row))
        if found is not None:
            facts: dict[str, Any] = accuracy.recommended_facts(found)
            print(json_text(facts | {"layers": accuracy.recommended_lines(found)}))
        return
    console = make_console()
    lines = accuracy.output_lines(rows)
    console.print(text.rows_table("Outputs against float32, the worst sample", lines))
    if accuracy.all_alike(rows):
        console.print(f"all of them: {accuracy.all_alike(rows)}", markup=False)
    layers = accuracy.layer_lines(rows)
    if layers:
        shown = [
            {n: line[n] for n in ("layer", "setting", "pcc", "random_pcc", "gain",
                                  "random_gain", "snr_db", "random_snr_db", "zeroed",
                                  "said")}
            for line in layers
        ]  # fmt: skip
        console.print(text.rows_table("Layers: real activations, and random", shown))
        console.print(accuracy.misled(rows))
    blame = accuracy.blame_lines(rows)
    if blame:
        console.print(text.rows_table("One layer alone, and all but it", blame))
    for line in skipped:
        console.print(f"left in float32: {line}", markup=False)
    if found is not None:
        facts = accuracy.recommended_facts(found)
        console.print(text.facts_table("Recommendation", facts))
        console.print(text.rows_table("by layer", accuracy.recommended_lines(found)))
