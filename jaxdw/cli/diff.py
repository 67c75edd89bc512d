"""`jaxdw diff`: prepared weights, one's own or another plan's, against a plan."""

import argparse
from typing import TYPE_CHECKING

from jaxdw.arrays.axes import as_weights
from jaxdw.arrays.read import read_array
from jaxdw.cli.options import (
    add_layer_options,
    announce,
    planned,
    sizes,
)
from jaxdw.errors import ConfigError

if TYPE_CHECKING:
    from jaxdw.plan.plan import Plan

SAME, DIFFERENT = 0, 1


def add(commands) -> None:
    """Adds the command to a parser's commands."""
    parser = commands.add_parser(
        "diff",
        help="say what prepared weights are, if not the plan's",
        description="Compares a prepared weight matrix, a dump of DRAM tiles or of one "
        "core's L1 (.npy values, .npy or .bin raw tiles) with the plan, and says what "
        "it is instead. With --read-scheme: what weights prepared for this plan are "
        "taken for by the cores of another. Exit status 0 if nothing is amiss, 1 "
        "otherwise, 2 refused.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_layer_options(parser)
    own = parser.add_argument_group("your own weights")
    own.add_argument("--prepared", metavar="FILE", help=".npy or .bin")
    own.add_argument(
        "--weights", metavar="FILE", help=".npy, the original [C, 1, kh, kw]"
    )
    own.add_argument("--kind", default="matrix", help="matrix, tiles or l1")
    own.add_argument("--core", type=int, help="whose L1 it is")
    other = parser.add_argument_group("another plan that reads them")
    other.add_argument("--read-scheme", help="height, width or block")
    other.add_argument("--read-grid", type=sizes, help="XxY")
    parser.set_defaults(command=_diff)


def _diff(args: argparse.Namespace) -> int:
    if args.prepared is not None or args.read_scheme is not None:
        plan = planned(args)
        announce(plan)
        return (_identify if args.prepared is not None else _misread)(plan, args)
    raise ConfigError(
        "--prepared (with --weights) or --read-scheme must be given; try "
        "--read-scheme width"
    )


def _identify(plan: "Plan", args: argparse.Namespace) -> int:
    from jaxdw.layouts.identify import identify, load_dump

    if args.weights is None:
        raise ConfigError("--prepared needs --weights, the original [C, 1, kh, kw]")
    data = load_dump(args.prepared, plan.conv.weights_dtype, name="--prepared")
    weights = read_array(args.weights, name="--weights").values
    taken = as_weights(plan.conv, weights, name="--weights")
    if taken.note:
        print(taken.note)
    found = identify(plan, data, taken.values, args.kind, args.core)
    print(found.verdict)
    if found.differing:
        print(f"{found.differing} elements differ")
    if found.first is not None:
        print(f"first: {found.first}")
    if found.indistinguishable:
        print(f"could not show: {', '.join(found.indistinguishable)}")
    return SAME if found.matches else DIFFERENT


def _misread(plan: "Plan", args: argparse.Namespace) -> int:
    import dataclasses

    from jaxdw.layouts.misread import misread
    from jaxdw.plan.planner import make_plan

    shard = dataclasses.replace(
        plan.shard, scheme=args.read_scheme, grid=args.read_grid, cores=None
    )
    reader = make_plan(
        plan.conv,
        shard,
        plan.compute,
        plan.arch,
        program=plan.program,
        must_fit=False,
    )
    found = misread(plan, reader)
    print(found.verdict)
    print(*(f"  {place}" for place in found.places), sep="\n")
    return SAME if found.reads_right else DIFFERENT
