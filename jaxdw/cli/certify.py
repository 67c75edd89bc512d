"""`jaxdw certify`: layouts proved by enumeration, and a lockfile of their maps."""

import argparse
import sys
from typing import TYPE_CHECKING, get_args

from jaxdw.cli.of_model import skipped_layers
from jaxdw.cli.options import (
    add_layer_options,
    announce,
    planned,
    refuse_beside,
)
from jaxdw.cli.parser import take
from jaxdw.cli.paste import say
from jaxdw.cli.vocabulary import LAYER, MODELS
from jaxdw.errors import ConfigError, refuse
from jaxdw.escapes import beneath, json_text
from jaxdw.plan.config import Scheme
from jaxdw.plan.problems import choice_problem

if TYPE_CHECKING:
    from jaxdw.plan.plan import Plan

HOLDS, FAILS = 0, 1
# the first two may be lists then
_WITH_MODELS = ("--scheme", "--arch", "--models", "--input")


def add(commands) -> None:
    """Adds the command to a parser's commands."""
    parser = commands.add_parser(
        "certify",
        help="prove a layout right by enumeration, or those of whole models",
        description="Follows every weight, window element and output of a layer (or "
        "of every distinct layer of --models, in three schemes on two chips, or in "
        "those that --scheme and --arch list, joined by commas) through the index maps "
        "and compares with the definition. Exit status 0 if all certificates hold, 1 "
        "otherwise or if a lockfile differs, 2 refused.",
    )
    take(parser, "--json", "--schedule", "--lock", "--check", MODELS)
    add_layer_options(parser, required=False)
    parser.set_defaults(command=_certify)


def _certify(args: argparse.Namespace) -> int:
    from jaxdw.layouts.certificate import certify
    from jaxdw.layouts.lock import check_lock, write_lock
    from jaxdw.report.facts import program_facts
    from jaxdw.schedule.verdict import judge_schedule

    plans = _plans(args)
    if args.check is not None:
        _read_lock(args.check)
    if args.models is None and not args.json:
        announce(plans[0])
    locked, failed = {}, 0
    for number, plan in enumerate(plans, 1):
        certificate = certify(plan)
        locked[certificate.key] = certificate.digests
        problems = [str(failure) for failure in certificate.failures]
        if args.schedule:
            problems += map(str, judge_schedule(plan).problems)
        failed += bool(problems)
        if args.json:
            record = {"key": certificate.key, "holds": certificate.holds}
            record |= program_facts(plan)
            record |= {"facts": certificate.facts, "counts": certificate.counts}
            print(
                json_text(record | {"digest": certificate.digest, "problems": problems})
            )
            continue
        if problems or args.models is None:
            print(f"{'FAILS' if problems else 'HOLDS'} {certificate.key}")
            print(*(f"  {problem}" for problem in problems), sep="\n", end="")
        if problems and failed == 1:
            print(f"\n{_smallest(plan, args.schedule)}")
        if args.models is None:
            for name, count in certificate.counts.items():
                print(f"  {count:,} {name.replace('_', ' ')}")
            print(f"  digest {certificate.digest}")
            if args.schedule and not problems:
                print("  readers' protocol: no race, no hang, no stray write")
        elif sys.stderr.isatty():
            print(f"\r{number} of {len(plans)}", end="", file=beneath(sys.stderr))
    if not args.json:
        print(f"{len(plans)} layouts, {len(plans) - failed} hold, {failed} fail")
    changes = []
    if args.check is not None:
        changes = check_lock(args.check, locked)
        print(*changes, sep="\n")
        print(f"{len(changes)} differences from {args.check}")
    if args.lock is not None:
        write_lock(args.lock, locked)
    return FAILS if failed or changes else HOLDS


def _read_lock(path: str) -> None:
    """Refuses, before the work, a file that is no lockfile."""
    from jaxdw.layouts.lock import check_lock

    try:
        check_lock(path, {})
    except ConfigError as error:
        raise ConfigError(str(error).replace("`path`", "`--check`")) from error


def _smallest(plan: "Plan", schedule: bool) -> str:
    """Returns the smallest layer found that fails as well, as ttnn takes it."""
    from jaxdw.errors import UnsupportedError
    from jaxdw.exports.ttnn import ttnn_call
    from jaxdw.layouts.certificate import certify
    from jaxdw.plan.shrink import shrunk
    from jaxdw.schedule.verdict import judge_schedule

    layout_fails = bool(certify(plan).failures)

    def fails(other: "Plan") -> bool:
        try:
            if layout_fails:
                return bool(certify(other).failures)
            return schedule and bool(judge_schedule(other).problems)
        except UnsupportedError:
            return False

    smallest = ttnn_call(shrunk(plan, fails))
    return f"The smallest layer found that fails as well:\n{smallest}"


def _plans(args: argparse.Namespace) -> "list[Plan]":
    if args.models is None:
        if args.channels is None or args.size is None:
            raise ConfigError(
                "a layer (--channels, --size) or --models must be given; try "
                "--models mobilenet_v2"
            )
        return [planned(args)]
    given = getattr(args, "given", ())
    own = {option.name for group in LAYER.values() for option in group}
    what = (
        "--models, whose layers are certified as they are; name one layer by "
        "--channels and --size"
    )
    refuse_beside(args, own.difference(_WITH_MODELS), what)
    from jaxdw.inputs.names import is_function_name
    from jaxdw.layouts.certificate import layout_plans
    from jaxdw.sweep.axes import AXES, is_onnx
    from jaxdw.sweep.layers import inputs_of, layers_of

    names = AXES[0].read(args.models)
    if args.input and not any(
        is_onnx(name) or is_function_name(name) for name in names
    ):
        raise ConfigError(
            "`--input` must come with an .onnx file or module:function in `--models`; "
            "leave it out"
        )
    inputs = tuple(args.input)
    with skipped_layers() as skipped:
        convs = dict.fromkeys(
            layer.conv
            for name in names
            for layer in layers_of(name, inputs_of(name, inputs))
        )
    for line in skipped:
        say("--models", f"not read: {line}")
    schemes, chips = get_args(Scheme), ("wormhole_b0", "blackhole")
    if "--scheme" in given and args.scheme != "all":
        schemes = args.scheme.split(",")
        for scheme in schemes:
            refuse(choice_problem("scheme", scheme, (*get_args(Scheme), "all")))
    if "--arch" in given:
        chips = args.arch.split(",")
    return list(layout_plans(convs, schemes, chips).values())
