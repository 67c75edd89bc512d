"""How many plans a second: what sweeps of whole models live on."""

import argparse
import contextlib
import dataclasses
import functools
import statistics
import time
from collections.abc import Callable
from typing import get_args

from rich.table import Table

from bench.harness import console, environment, write_lines
from jaxdw.errors import UnsupportedError
from jaxdw.maps.maps import make_maps
from jaxdw.models import zoo
from jaxdw.plan.config import ConvConfig, Scheme, ShardConfig
from jaxdw.plan.l1 import L1OutOfMemory
from jaxdw.plan.plan import Plan
from jaxdw.plan.planner import PROGRAMS, TTNN, make_plan, rank_plans

LEAST_PER_SECOND = {
    "depthwise": {"plan": 3000, "plan and maps": 200},
    "ttnn": {"plan": 2000},
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--program",
        choices=(*PROGRAMS, TTNN),
        default="depthwise",
        help="device program that layers are planned for",
    )


def plan_only(conv: ConvConfig, shard: ShardConfig, program: str = "depthwise") -> Plan:
    """Plans a layer with its L1, cycle bounds and findings."""
    plan = make_plan(conv, shard, program=program, must_fit=False)
    if not (plan.l1.used_bytes and plan.cycles.total and plan.findings is not None):
        raise AssertionError(f"an empty plan of {conv}")
    return plan


def plan_and_maps(
    conv: ConvConfig, shard: ShardConfig, program: str = "depthwise"
) -> None:
    """Plans a layer and builds its index maps on the host, if it has any."""
    with contextlib.suppress(UnsupportedError):
        make_maps(make_plan(conv, shard, program=program, must_fit=False))


def ranking(conv: ConvConfig, shard: ShardConfig, program: str = "depthwise") -> None:
    """Ranks every plan of a layer; that none fits is an answer, too."""
    with contextlib.suppress(L1OutOfMemory):
        rank_plans(conv, dataclasses.replace(shard, scheme="auto"), program=program)


def per_second(
    work: Callable[[ConvConfig, ShardConfig], object],
    cases: list[tuple[ConvConfig, ShardConfig]],
    runs: int,
) -> float:
    """Returns cases per second, the median of `runs` passes over all of them.

    A pass before them fills the caches of index maps.
    """
    rates = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        for conv, shard in cases:
            work(conv, shard)
        rates.append(len(cases) / (time.perf_counter() - start))
    return statistics.median(rates[1:])


def main(args: argparse.Namespace) -> None:
    """Prints rates over the zoo's distinct layers in three schemes, one process."""
    convs = list({conv: None for model in zoo.MODELS for conv in zoo.distinct(model)})
    cases = [
        (conv, ShardConfig(scheme=scheme))
        for conv in convs
        for scheme in get_args(Scheme)
    ]
    few = cases[:: max(1, len(cases) // 60)]
    works = {
        "plan": (plan_only, cases),
        "plan and maps": (plan_and_maps, few),
        "ranking of all plans": (ranking, few[:: max(1, len(few) // 12)]),
    }
    table = Table(
        title=f"Every so many of {len(convs)} distinct layers of the zoo in three "
        f"schemes, program {args.program}, one process",
        caption=f"medians of {args.runs} passes, the first left out",
    )
    for column in ("work", "layers", "per second", "at least"):
        table.add_column(column, justify="right")
    records = []
    for name, (work, own) in works.items():
        rate = per_second(functools.partial(work, program=args.program), own, args.runs)
        least = LEAST_PER_SECOND.get(args.program, {}).get(name)
        cells = (f"{len(own):,}", f"{rate:,.0f}")
        table.add_row(name, *cells, "" if least is None else f"{least:,}")
        record = {"bench": "plans", "work": name, "program": args.program}
        record |= {"per_second": rate}
        record |= {"cases": len(own), "runs": args.runs}
        records.append(record | environment())
    write_lines(records, args.json)
    console().print(table)
