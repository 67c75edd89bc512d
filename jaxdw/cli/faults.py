"""`jaxdw faults` and `jaxdw diagnose`: what mistakes do, and which one was made."""

import argparse
import dataclasses

from jaxdw.cli.options import (
    add_layer_options,
    announce,
    configs,
    load_array,
    planned,
    refuse_other_programs,
    refuse_pallas,
    seed,
)
from jaxdw.escapes import json_text
from jaxdw.launch.cache import check_platform

OK, FAULTY = 0, 1
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
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_layer_options(faults)
    faults.add_argument("--seed", type=seed, default=0)
    faults.add_argument(
        "--json", action="store_true", help="one JSON object to a fault"
    )
    faults.set_defaults(command=_faults)
    diagnose = commands.add_parser(
        "diagnose",
        help="name the mistake behind a wrong output",
        description="Compares an output [N, Ho, Wo, C] with what every fault of the "
        "catalogue would give on the same tensors. Without files for them, tensors are "
        "drawn as `jaxdw run --seed` does. Exit status 0 if the output is right, 1 "
        "otherwise, 2 refused.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_layer_options(diagnose)
    diagnose.add_argument("--output", metavar="FILE", required=True, help=".npy")
    diagnose.add_argument("--x", metavar="FILE", help=".npy, [N, H, W, C]")
    diagnose.add_argument("--w", metavar="FILE", help=".npy, [C, 1, kh, kw]")
    diagnose.add_argument("--bias-values", metavar="FILE", help=".npy, [C]")
    diagnose.add_argument("--seed", type=seed, default=0)
    diagnose.add_argument("--most", type=int, default=5, help="explanations shown")
    diagnose.set_defaults(command=_diagnose)


def _faults(args: argparse.Namespace) -> int:
    refuse_pallas("faults")
    check_platform()
    from jaxdw.faults.catalogue import CATALOGUE
    from jaxdw.faults.laboratory import laboratory
    from jaxdw.report.terminal import terminal
    from jaxdw.report.text import rows_table

    plan = planned(args)
    refuse_other_programs(plan, "faults")
    rows = laboratory(*configs(args), args.arch, args.seed)
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
    console = terminal()
    console.print(rows_table("Which check notices", table))
    missed = sum(not row.pcc_0_99 for row in rows)
    console.print(
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
    refuse_other_programs(plan, "diagnose")
    announce(plan)
    x, w, bias = draw(plan.conv, "random", args.seed)
    x = x if args.x is None else load_array("--x", args.x)
    w = w if args.w is None else load_array("--w", args.w)
    if args.bias_values is not None:
        bias = load_array("--bias-values", args.bias_values)
    found = diagnose(plan, x, w, bias, load_array("--output", args.output))
    for rank, diagnosis in enumerate(found[: args.most], 1):
        print(f"{rank}. {diagnosis.text}")
    best = found[0]
    return OK if best.intact and best.match == "exact" else FAULTY
