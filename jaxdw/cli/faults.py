"""`jaxdw faults` and `jaxdw diagnose`: what mistakes do, and which one was made."""

import argparse
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator

from jaxdw.cli.arrays import TENSORS, read_own
from jaxdw.cli.of_model import WITH_WEIGHTS, layer_weights
from jaxdw.cli.options import (
    add_layer_options,
    announce,
    configs,
    planned,
    refuse_pallas,
)
from jaxdw.cli.parser import take
from jaxdw.cli.screen import make_console, show_rows
from jaxdw.escapes import json_text
from jaxdw.launch.cache import check_platform

OK, FAULTY = 0, 1
_PATIENCE = 2.0  # seconds without a word
_CHECKS = {
    "pcc_0_99": ".99",
    "pcc_0_985": ".985",
    "allclose": "close",
    "ulp": "ulp",
    "pattern": "pattern",
    "witness": "witness",
}


def add(commands) -> None:
    """Adds both commands to a parser's commands."""
    faults = commands.add_parser(
        "faults",
        help="make every mistake of the catalogue and see which check notices",
        description="Injects each fault that applies to a layer into its data path and "
        "prints what it does to the result and which check notices it.",
    )
    take(faults, "--seed", "--json")
    add_layer_options(faults)
    faults.set_defaults(command=_faults)
    diagnose = commands.add_parser(
        "diagnose",
        help="say where an output is wrong, and which mistake gives it",
        description="Says where and how an output [N, Ho, Wo, C] differs from the "
        "emulation, then makes every mistake of the catalogue on the same tensors and "
        "names the one that gives the output, if any does. Without files for them, "
        "and but for the weights of an .onnx file, tensors are drawn as `jaxdw run "
        "--seed` does. Exit status 0 if the output is right bit for bit, 1 otherwise, "
        "2 refused.",
    )
    take(diagnose, "--output", required=True)
    take(diagnose, *TENSORS, "--json")
    take(diagnose, "--models", text=WITH_WEIGHTS)
    add_layer_options(diagnose)
    diagnose.set_defaults(command=_diagnose)


def _faults(args: argparse.Namespace) -> int:
    refuse_pallas("faults")
    check_platform()
    from jaxdw.faults.catalogue import CATALOGUE
    from jaxdw.faults.laboratory import laboratory

    plan = planned(args)
    rows = laboratory(*configs(args), args.arch, args.seed, program=plan.program)
    if args.json:
        for row in rows:
            print(json_text(dataclasses.asdict(row)))
        return OK
    announce(plan)
    table: list[dict[str, object]] = [
        {
            "fault": row.fault,
            "pcc": f"{row.pcc:.4f}",
            "wrong": f"{row.wrong:.0%}",
            **{s: "x" if getattr(row, name) else "" for name, s in _CHECKS.items()},
        }
        for row in rows
    ]
    show_rows("Which check notices", table)
    missed = sum(not row.pcc_0_99 for row in rows)
    print(
        "x: notices. .99 and .985: PCC; close: allclose; ulp: at most 1;\n"
        "pattern and witness: equal with such values\n"
        f"{len(rows)} of {len(CATALOGUE)} faults apply to this layer; PCC above 0.99 "
        f"misses {missed} of them"
    )
    return OK


def _diagnose(args: argparse.Namespace) -> int:
    refuse_pallas("diagnose")
    check_platform()
    from jaxdw.faults.diagnose import diagnose
    from jaxdw.judge.draws import draw

    plan = planned(args)
    if not args.json:
        announce(plan)
    layer = layer_weights(args)
    own = read_own(args, plan, "--output", layer)
    x, w, bias = own.operands or draw(plan.conv, "random", args.seed, layer)
    assert own.output is not None
    with shown_late("trying") as show:
        found = diagnose(plan, x, w, bias, own.output, progress=show)
    if args.json:
        print(json_text({"notes": own.notes, **found.to_json()}))
    else:
        print(*own.notes, *found.lines(), sep="\n")
    return OK if found.is_right else FAULTY


@contextlib.contextmanager
def shown_late(what: str) -> Iterator[Callable[[str], None]]:
    """Shows what is being done on a terminal, from the third second on."""
    console, begun = make_console(stderr=True), time.monotonic()
    status = console.status(what)

    def show(step: str) -> None:
        if console.is_terminal and time.monotonic() - begun > _PATIENCE:
            status.update(f"{what} {step}")
            status.start()

    try:
        yield show
    finally:
        status.stop()
