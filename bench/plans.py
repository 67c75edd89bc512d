"""How many plans a second: what sweeps of whole models live on."""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import get_args

from rich.table import Table

from bench.harness import console, environment, write_lines
from jaxdw.maps.maps import make_maps
from jaxdw.models import zoo
from jaxdw.plan.config import ConvConfig, Scheme, ShardConfig
from jaxdw.plan.plan import Plan
from jaxdw.plan.planner import make_plan, rank_plans

LEAST_PER_SECOND = {"plan": 3000, "plan and maps": 200}


def plan_only(conv: ConvConfig, shard: ShardConfig) -> Plan:
    """Plans a layer with its L1, cycle bounds and findings."""
    plan = make_plan(conv, shard, must_fit=False)
    if not (plan.l1.used_bytes and plan.cycles.total and plan.findings is not None):
        raise AssertionError(f"an empty plan of {conv}")
    return plan


def plan_and_maps(conv: ConvConfig, shard: ShardConfig) -> None:
    """Plans a layer and builds its index maps on the host."""
    make_maps(make_plan(conv, shard, must_fit=False))


def per_second(
    work: Callable[[ConvConfig, ShardConfig], object],
    cases: list[tuple[ConvConfig, ShardConfig]],
    runs: int,
) -> float:
    """Returns cases per second, the median of `runs` passes over all of them."""
    rates = []
    for _ in range(runs):
        start = time.perf_counter()
        for conv, shard in cases:
            work(conv, shard)
        rates.append(len(cases) / (time.perf_counter() - start))
    return statistics.median(rates)


def main(args: argparse.Namespace) -> None:
    """Prints rates over the zoo's distinct layers in three schemes, one process."""
    convs = list({conv: None for model in zoo.MODELS for conv in zoo.distinct(model)})
    cases = [
        (conv, ShardConfig(scheme=scheme))
        for conv in convs
        for scheme in get_args(Scheme)
    ]
    few = cases[:: max(1, len(cases) // 60)]
    rates = {
        "plan": per_second(plan_only, cases, args.runs),
        "plan and maps": per_second(plan_and_maps, few, args.runs),
        "ranking of all plans": per_second(
            lambda conv, _: rank_plans(conv, ShardConfig(scheme="auto")),
            few[:: max(1, len(few) // 12)],
            7,
        ),
    }
    table = Table(title=f"{len(convs)} distinct layers of the zoo, one process")
    for column in ("work", "per second", "at least"):
        table.add_column(column, justify="right")
    records = []
    for name, rate in rates.items():
        least = LEAST_PER_SECOND.get(name)
        table.add_row(name, f"{rate:,.0f}", "" if least is None else f"{least:,}")
        record = {"bench": "plans", "work": name, "per_second": rate}
        records.append(record | environment())
    write_lines(records, args.json)
    console().print(table)
