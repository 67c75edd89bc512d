"""`jaxdw certify`: layouts proved by enumeration, and a lockfile of their maps."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, get_args

from jaxdw.cli.options import (
    add_layer_options,
    announce,
    file_to_read,
    file_to_write,
    planned,
)
from jaxdw.errors import ConfigError
from jaxdw.plan.config import Scheme

if TYPE_CHECKING:
    from jaxdw.plan.plan import Plan

HOLDS, FAILS = 0, 1


def add(commands) -> None:
    """Adds the command to a parser's commands."""
    parser = commands.add_parser(
        "certify",
        help="prove a layout right by enumeration, or those of whole models",
        description="Follows every weight, window element and output of a layer (or "
        "of every distinct layer of --models, in three schemes on the chips named) "
        "through the index maps and compares with the definition. Exit status 0 if all "
        "certificates hold, 1 otherwise or if a lockfile differs, 2 refused.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_layer_options(parser, required=False)
    parser.add_argument("--models", help="names joined by commas, or all")
    parser.add_argument(
        "--arches", default="wormhole_b0,blackhole", help="chips, for --models"
    )
    parser.add_argument(
        "--lock", type=file_to_write, metavar="FILE", help="write the maps' digests"
    )
    parser.add_argument(
        "--check", type=file_to_read, metavar="FILE", help="compare with a lockfile"
    )
    parser.add_argument(
        "--schedule", action="store_true",
        help="judge the readers' protocol too: races, deadlocks, stray writes",
    )  # fmt: skip
    parser.add_argument(
        "--json", action="store_true", help="one JSON object to a layout"
    )
    parser.set_defaults(command=_certify)


def _certify(args: argparse.Namespace) -> int:
    from jaxdw.layouts.certificate import certify
    from jaxdw.layouts.lock import check_lock, write_lock
    from jaxdw.report.facts import program_facts
    from jaxdw.schedule.verdict import judge_schedule

    plans = _plans(args)
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
                json.dumps(
                    record | {"digest": certificate.digest, "problems": problems}
                )
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
        elif sys.stderr.isatty():
            print(f"\r{number} of {len(plans)}", end="", file=sys.stderr)
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
    if args.program != "depthwise":
        raise ConfigError(
            f"`--program` (={args.program!r}) must be depthwise with --models; name a "
            "layer by --channels and --size"
        )
    from jaxdw.layouts.certificate import layout_plans
    from jaxdw.models import zoo

    names = zoo.MODELS if args.models == "all" else args.models.split(",")
    convs = dict.fromkeys(layer.conv for name in names for layer in zoo.layers(name))
    return list(layout_plans(convs, get_args(Scheme), args.arches.split(",")).values())
