"""What bit-exact arithmetic costs: the matrix unit over float32, core compute only."""

import argparse
import dataclasses

import jax.numpy as jnp
import numpy as np
from rich.table import Table

from bench.harness import console, environment, measure, write_lines
from bench.layers import WAYS, bare_layers, name_of
from jaxdw.machine.cores import run_cores, static_of
from jaxdw.machine.sticks import core_sticks
from jaxdw.maps.maps import make_maps
from jaxdw.plan.config import ComputeConfig, ConvConfig, ShardConfig
from jaxdw.plan.planner import make_plan


def layer(conv: ConvConfig, compute: ComputeConfig, runs: int):
    """Checks and times the grid's compute of one layer: HEIGHT on the chip's grid."""
    plan = make_plan(conv, ShardConfig(), compute, must_fit=False)
    maps = make_maps(plan).composed
    rng = np.random.default_rng(0)
    padded = plan.input_shard.channels
    sticks = jnp.asarray(rng.standard_normal((plan.window.num_inputs, padded)))
    sticks = sticks.astype(jnp.bfloat16)
    weights = rng.standard_normal((conv.taps, padded))
    weights = jnp.asarray(weights).astype(jnp.bfloat16).astype(jnp.float32)
    static = static_of(plan)

    def compute_grid(l1, index, weights):
        return run_cores(l1, index, weights, None, static)

    output = compute_grid(sticks, maps.sticks.index, weights)
    source = np.concatenate([np.asarray(sticks), np.zeros((2, padded))])
    windows = source[np.asarray(maps.sticks.index[-1, :, :8])].swapaxes(0, 1)
    want = core_sticks(windows.astype(np.float32), weights[None], compute=compute)
    np.testing.assert_array_equal(output[-1, :8], want)
    return measure(compute_grid, sticks, maps.sticks.index, weights, runs=runs)


def main(args: argparse.Namespace) -> None:
    """Prints a table, the ratios, and a JSON line for each layer and way."""
    records = []
    layers = bare_layers("mobilenet_v2")
    table = Table(
        title=f"Core compute of {sum(layers.values())} MobileNetV2 layers, ms"
    )
    for column in ("layer", "times", *map(name_of, WAYS)):
        table.add_column(column, justify="right")
    totals = dict.fromkeys(map(name_of, WAYS), 0.0)
    for conv, count in layers.items():
        cells = []
        for compute in WAYS:
            timing = layer(conv, compute, args.runs)
            totals[name_of(compute)] += count * timing.median
            cells.append(f"{timing.median * 1e3:.2f}")
            record = {"bench": "arithmetic", "layer": dataclasses.asdict(conv)}
            record |= {"way": name_of(compute), **dataclasses.asdict(timing)}
            records.append(record | environment())
        size = f"{conv.channels}x{conv.height}x{conv.width} s{conv.stride[0]}"
        table.add_row(size, str(count), *cells)
    table.add_section()
    table.add_row("sum", "", *(f"{v * 1e3:.2f}" for v in totals.values()))
    base = totals["float32"]
    table.add_row("over float32", "", *(f"{v / base:.2f}" for v in totals.values()))
    write_lines(records, args.json)
    console().print(table)
