"""`jaxdw diff`: prepared weights, one's own or another plan's, against a plan."""

import argparse
import dataclasses
from typing import TYPE_CHECKING

from jaxdw.cli.options import (
    add_layer_options,
    announce,
    core_number,
    planned,
    refuse_void,
)
from jaxdw.cli.parser import take
from jaxdw.errors import ConfigError
from jaxdw.escapes import json_text

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
    )
    own = parser.add_argument_group("your own weights")
    take(own, "--prepared")
    take(own, "--w", was="--weights")
    take(own, "--kind", "--core")
    other = parser.add_argument_group("another plan that reads them")
    take(other, "--read-scheme", "--read-grid")
    take(parser, "--json")
    add_layer_options(parser)
    parser.set_defaults(command=_diff)


def _diff(args: argparse.Namespace) -> int:
    if args.prepared is None:
        refuse_void(args, ("--w", "--kind", "--core"), "--prepared")
    if args.read_scheme is None:
        refuse_void(args, ("--read-grid",), "--read-scheme")
    if args.prepared is not None and args.read_scheme is not None:
        raise ConfigError(
            f"`--read-scheme` (={args.read_scheme}) must be left out with --prepared, "
            "which is compared with this plan; ask one question at a time"
        )
    if args.kind != "l1":
        refuse_void(args, ("--core",), "--kind l1")
    if args.prepared is not None or args.read_scheme is not None:
        plan = planned(args)
        if not args.json:
            announce(plan)
        return (_identify if args.prepared is not None else _misread)(plan, args)
    raise ConfigError(
        "--prepared (with --weights) or --read-scheme must be given; try "
        "--read-scheme width"
    )


def _identify(plan: "Plan", args: argparse.Namespace) -> int:
    from jaxdw.arrays.axes import as_weights
    from jaxdw.arrays.read import read_array
    from jaxdw.layouts.identify import identify, load_dump

    if args.w is None:
        raise ConfigError(
            "`--prepared` must come with the weights it was made of, [C, 1, kh, kw]; "
            "add --w FILE"
        )
    dtype = plan.conv.weights_dtype
    try:
        data = load_dump(args.prepared, dtype, name="--prepared")
    except ConfigError as error:
        way_out = str(error).replace("give the dtype", "give by --weights-dtype that")
        raise ConfigError(way_out) from error
    taken = as_weights(plan.conv, read_array(args.w, name="--w").values, name="--w")
    core = core_number(args, plan)
    found = identify(plan, data, taken.values, args.kind, core)
    if args.json:
        print(json_text({"note": taken.note, **dataclasses.asdict(found)}))
        return SAME if found.matches else DIFFERENT
    if taken.note:
        print(taken.note)
    print(found.verdict)
    if found.differing:
        print(f"{found.differing} elements differ")
    if found.first is not None:
        print(f"first: {found.first}")
    if found.indistinguishable:
        print(f"could not show: {', '.join(found.indistinguishable)}")
    return SAME if found.matches else DIFFERENT


def _misread(plan: "Plan", args: argparse.Namespace) -> int:
    from jaxdw.layouts.misread import misread
    from jaxdw.plan.planner import make_plan

    shard = dataclasses.replace(
        plan.shard, scheme=args.read_scheme, grid=args.read_grid, cores=None
    )
    try:
        reader = make_plan(
            plan.conv,
            shard,
            plan.compute,
            plan.arch,
            program=plan.program,
            must_fit=False,
        )
    except ConfigError as error:
        told = str(error)
        for field in ("scheme", "grid"):
            told = told.replace(f"`{field}`", f"`--read-{field}`")
        raise ConfigError(told) from error
    found = misread(plan, reader)
    if args.json:
        told = {"verdict": found.verdict, "matches": found.reads_right}
        print(json_text(told | {"places": found.places}))
        return SAME if found.reads_right else DIFFERENT
    print(found.verdict)
    print(*(f"  {place}" for place in found.places), sep="\n")
    return SAME if found.reads_right else DIFFERENT
