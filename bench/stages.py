"""Where the time of one layer goes: each stage of the data path, alone.

Each stage is a jitted function of the plan's own maps, on what the stage before left.
Together they are what `run` does when it keeps memories; without `keep` it runs maps of
consecutive stages as one. Bytes count every array that a stage takes or makes once, as
if nothing were read twice. Two ceilings are measured, of an array far beyond the
cache: reading and writing it in place, and writing what is read to new memory, whose
pages the system must first provide. A stage whose arrays fit the cache can pass both.
"""

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from bench import plots
from bench.contenders import check
from bench.harness import (
    LEAST_SECONDS,
    Record,
    cache_bytes,
    console,
    cpu_cores,
    environment,
    in_fresh_process,
    measure,
    measure_calls,
    timed,
    write_lines,
)
from bench.layers import DEFAULT_LAYER, layer_name, layer_of, name_of, way_of
from jaxdw.errors import ConfigError
from jaxdw.judge.draws import draw
from jaxdw.judge.reference import reference
from jaxdw.launch.emulator import run
from jaxdw.launch.host import collected, host_sticks, host_tensor
from jaxdw.launch.staged import l1_tiles, weights_met
from jaxdw.machine import noc
from jaxdw.machine.cores import Static, run_cores, static_of
from jaxdw.machine.memory import Memory
from jaxdw.maps.indexmap import IndexMap, gather
from jaxdw.maps.maps import Maps, make_maps, window_map
from jaxdw.maps.tiles import tilize_rows
from jaxdw.numerics import formats
from jaxdw.plan.config import ComputeConfig, ConvConfig, ShardConfig
from jaxdw.plan.plan import Plan
from jaxdw.plan.planner import make_plan

CEILING_CACHES = 8  # the array that is copied, in sizes of the last-level cache


class Stage(NamedTuple):
    """A stage on its arguments; `result` is what it made of them."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    result: Any

    @property
    def num_bytes(self) -> int:
        arrays = jax.tree.leaves((self.arguments, self.result))
        return sum(array.nbytes for array in arrays)


def stages_of(plan: Plan, maps: Maps, x: jax.Array, w: jax.Array) -> list[Stage]:
    """Runs the stages one by one; the last one's result is the output.

    The plan has no bias: its tiles go the way of the weights.
    """
    static = static_of(plan)
    maps = jax.tree.map(jnp.asarray, maps)
    found = []

    def stage(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        result = jax.jit(function)(*arguments)
        found.append(Stage(name, function, arguments, result))
        return result

    dtype = static.weights_dtype
    way = maps.weights
    matrix = stage(
        "prepare", lambda w, m: gather(host_tensor(w, static), m), w, way.prepare
    )
    tiles = stage("tilize", tilize_rows, matrix, way.tilize)
    packed = stage("pack", lambda tiles: formats.pack(tiles, dtype), tiles)
    dram = stage("bank write", lambda p, m: Memory.full(p).move(m), packed, way.deal)
    read = stage("bank read", Memory.move, dram, way.read)
    l1 = stage("multicast", lambda m, a: noc.multicast(m, a)[0], read, maps.multicast)
    weights = stage("unpack", _unpack(maps, static), l1)
    sticks = stage("round", lambda x: host_sticks(x, static), x)
    shards = stage("shard", lambda s, m: Memory.full(s).move(m), sticks, maps.shard)
    haloed = stage("halo", Memory.move, shards, maps.halo)
    starts = (maps.top_left, maps.taps)
    outputs = stage("core", _core(static), haloed.data, *starts, weights)
    stage(
        "gather", lambda o, m: collected(o, m, plan.output_shape), outputs, maps.collect
    )
    return found


def _unpack(maps: Maps, static: Static) -> Callable[[Memory], jax.Array]:
    """Returns what makes what windows meet of the tiles in the cores' L1."""

    def unpack(l1: Memory) -> jax.Array:
        tiles = l1_tiles(l1, static.weights_dtype)
        grid = (len(maps.shard.index), static.num_channel_shards)
        return weights_met(tiles.reshape(*grid, *tiles.shape[1:]), maps.pairing)

    return unpack


def _core(static: Static) -> Callable[..., jax.Array]:
    def core(
        l1: jax.Array, top_left: IndexMap, taps: jax.Array, weights: jax.Array
    ) -> jax.Array:
        index = window_map(top_left, taps).index
        return run_cores(l1, index, weights, None, static)

    return core


def ceilings(num_bytes: int, runs: int) -> dict[str, float]:
    """Returns bytes a second, read and written, for an array of that size."""
    count = num_bytes // 4

    def step(array: jax.Array) -> jax.Array:
        return array + 1

    new = measure(step, jnp.zeros(count, jnp.float32), runs=runs)
    in_place = jax.jit(step, donate_argnums=0)
    held = jnp.zeros(count, jnp.float32)

    def call() -> None:
        nonlocal held
        held = jax.block_until_ready(in_place(held))

    (own,) = measure_calls([call], [timed(call)[1]], runs=runs)
    moved = 2 * 4 * count
    return {"in place": moved / own.median, "new memory": moved / new.median}


def measure_stages(
    conv: ConvConfig, shard: ShardConfig, compute: ComputeConfig, runs: int
) -> list[Record]:
    """Checks the stages' output and times each, then all of them as `run` does.

    Raises:
      AssertionError: the output is not that of float64, as `check` allows.
    """
    plan = make_plan(conv, shard, compute, must_fit=False)
    maps = make_maps(plan)
    host_x, host_w, _ = draw(conv, "random", 0)
    x, w = jnp.asarray(host_x), jnp.asarray(host_w)
    stages = stages_of(plan, maps, x, w)
    want = reference(conv, host_x, host_w)
    check("stages", conv, compute, np.asarray(stages[-1].result), want)
    records = []
    for stage in stages:
        timing = measure(
            stage.function, *stage.arguments, runs=runs, least_seconds=LEAST_SECONDS
        )
        line = {"stage": stage.name, "bytes": stage.num_bytes}
        records.append(line | dataclasses.asdict(timing))
    total = sum(record["median"] for record in records)
    for record in records:
        record["share"] = record["median"] / total
    for name, keep in (("run, keep", ("output_shards",)), ("run", ())):

        def call(keep: tuple[str, ...] = keep) -> jax.Array:
            return jax.block_until_ready(run(plan, maps, x, w, keep=keep).output)

        output, first = timed(call)
        check(name, conv, compute, np.asarray(output), want)
        (timing,) = measure_calls([call], [first], runs=runs)
        line = {"whole": name, "bytes": x.nbytes + w.nbytes + output.nbytes}
        records.append(line | dataclasses.asdict(timing))
    fixed = {
        "bench": "stages",
        "layer": dataclasses.asdict(conv),
        "way": name_of(compute),
        "scheme": plan.scheme,
        "grid": plan.grid,
        "threads": cpu_cores(),
    }
    here = environment()
    return [here | fixed | record for record in records]


def measure_ceilings(num_bytes: int, runs: int) -> Record:
    return environment() | {
        "bench": "stages",
        "ceiling_bytes": num_bytes,
        "threads": cpu_cores(),
        **ceilings(num_bytes, runs),
    }


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--layer", type=layer_of, default=DEFAULT_LAYER)
    parser.add_argument("--scheme", default="height")
    parser.add_argument("--way", type=way_of, default="LoFi", help="float32, LoFi, ...")
    parser.add_argument("--ceiling-mb", type=int, help="size of the array copied")
    plots.add_option(parser)


def main(args: argparse.Namespace) -> None:
    """Prints the stages with their distance to the ceilings; writes the records."""
    cache, known = cache_bytes()
    copied = args.ceiling_mb * 10**6 if args.ceiling_mb else CEILING_CACHES * cache
    if copied <= 2 * cache:
        raise ConfigError(
            f"`--ceiling-mb` (={args.ceiling_mb}) must be far beyond the cache (="
            f"{cache} bytes); try {CEILING_CACHES * cache // 10**6}"
        )
    shard = ShardConfig(scheme=args.scheme)
    ceiling = in_fresh_process(measure_ceilings, copied, args.runs)
    ceiling |= {"cache_bytes": cache, "cache_known_from": known}
    records = in_fresh_process(measure_stages, args.layer, shard, args.way, args.runs)
    for record in records:
        rate = record["bytes"] / record["median"]
        for name in ("in place", "new memory"):
            record[f"share of {name}"] = rate / ceiling[name]
    write_lines([ceiling, *records], args.json)
    console().print(_table(args.layer, records, ceiling))
    if args.plot:
        plots.draw_bars(
            args.plot,
            {r["stage"]: 1e3 * r["median"] for r in records if "stage" in r},
            across="ms, median",
            title=f"Stages of {layer_name(args.layer)}, {name_of(args.way)}",
        )


def _table(conv: ConvConfig, records: list[Record], ceiling: Record) -> Table:
    first = records[0]
    table = Table(
        title=f"{layer_name(conv)}, {first['scheme']} on {first['grid']}, "
        f"{first['way']}, {first['threads']} threads",
        caption=f"ceilings: an array of {ceiling['ceiling_bytes'] / 1e6:.0f} MB, read "
        f"and written {ceiling['in place'] / 1e9:.1f} GB/s in place, "
        f"{ceiling['new memory'] / 1e9:.1f} GB/s to new memory; last-level cache "
        f"{ceiling['cache_bytes'] / 1e6:.0f} MB ({ceiling['cache_known_from']})",
    )
    table.add_column("stage")
    for head in ("ms", "MB", "share", "GB/s", "of in place", "of new memory"):
        table.add_column(head, justify="right")
    stages = [record for record in records if "stage" in record]
    for record in stages:
        table.add_row(*_cells(record["stage"], record))
    table.add_section()
    total = sum(record["median"] for record in stages)
    table.add_row("sum", f"{total * 1e3:.3f}")
    for record in records[len(stages) :]:
        table.add_row(*_cells(record["whole"], record | {"share": None}))
    return table


def _cells(name: str, record: Record) -> list[str]:
    share = record["share"]
    return [
        name,
        f"{record['median'] * 1e3:.3f}",
        f"{record['bytes'] / 1e6:.3f}",
        "" if share is None else f"{share:.1%}",
        f"{record['bytes'] / record['median'] / 1e9:.2f}",
        f"{record['share of in place']:.0%}",
        f"{record['share of new memory']:.0%}",
    ]
