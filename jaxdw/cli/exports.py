"""Options that write plans for other tools: `--visualizer`, `--npe`."""

import argparse
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from jaxdw.errors import ConfigError, UnsupportedError

if TYPE_CHECKING:
    from jaxdw.plan.plan import Plan


def write_npe(args: argparse.Namespace, plan: "Plan") -> None:
    """Writes what `--npe` asks for, and says which files."""
    from jaxdw.exports.npe import write_npe

    files = write_npe(plan, args.npe)
    print(f"jaxdw: --npe: wrote {', '.join(map(str, files))}", file=sys.stderr)


def planned_for_report(args: argparse.Namespace) -> "list[tuple[str, Plan]]":
    """Returns the plans of a layer's options, one that does not fit too.

    With --program all, one of every program that takes the layer.
    """
    from jaxdw.cli.options import configs
    from jaxdw.plan.planner import PROGRAMS, make_plan

    programs = tuple(PROGRAMS) if args.program == "all" else (args.program,)
    found, refused = [], []
    for program in programs:
        try:
            plan = make_plan(*configs(args), args.arch, program=program, must_fit=False)
        except (ConfigError, UnsupportedError) as error:
            refused.append(error)
            continue
        if len(programs) == 1 or plan.upstream_program == program:
            found.append((f"{plan.scheme} by {plan.program}", plan))
    if not found:
        raise refused[0]
    return found


def write_visualizer(
    args: argparse.Namespace, plans: "Iterable[tuple[str, Plan]]", name: str
) -> None:
    """Writes the report that `--visualizer` asks for; weights lie where `plan` says."""
    from jaxdw.cli.options import base_address
    from jaxdw.exports.visualizer.report import write_report

    found = list(plans)
    given = argparse.Namespace(base_address=getattr(args, "base_address", None))
    address = base_address(given, *(plan.arch for _, plan in found)) if found else 0
    write_report(found, args.visualizer, name=name, weight_address=address)


def labelled(points: Iterable[Any]) -> "list[tuple[str, Plan]]":
    """Returns the plans of a sweep's points, each labelled by what tells it apart.

    What no device could run has no plan and is left out; its row says why.
    """
    from jaxdw.sweep.axes import SETTINGS

    points = list(points)
    varied = [
        setting
        for setting in SETTINGS
        if setting.column in _TELLING
        and len({setting.cell(point) for point in points}) > 1
    ]
    found = []
    for point in points:
        try:
            plan = point.plan()
        except (ConfigError, UnsupportedError):
            continue
        told = [str(setting.cell(point)) for setting in varied]
        found.append((" ".join([plan.scheme, point.layer, *told]), plan))
    return found


_TELLING = (
    "model",
    "program",
    "arch",
    "grid_limit",
    "weights_dtype",
    "fidelity",
    "batch",
)


def check_annotate(target: str, models: Iterable[str]) -> None:
    """Refuses, before the work, a copy that could not be written.

    Raises:
      ConfigError: not just one ONNX file among the models.
    """
    from jaxdw.sweep.axes import is_onnx

    files = [model for model in models if is_onnx(model)]
    if len(files) != 1:
        raise ConfigError(
            f"`--annotate` (={target!r}) must come with one .onnx file in --models, "
            f"not {len(files)}; name it"
        )


def annotate(
    target: str, models: Iterable[str], rows: "Iterable[dict[str, Any]]"
) -> None:
    """Writes the annotated copy, and says what stands in it."""
    from jaxdw.exports.onnx_notes import annotate as write
    from jaxdw.sweep.axes import is_onnx

    (source,) = (model for model in models if is_onnx(model))
    count, absent = write(source, target, rows)
    said = f"; not in the main graph: {', '.join(absent)}" if absent else ""
    print(f"jaxdw: --annotate: {count} nodes in {target}{said}", file=sys.stderr)
