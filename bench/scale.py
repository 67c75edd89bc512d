"""How time and memory grow: with batch, channels, cores, kernel and model.

Exponents are slopes of least squares in log-log. Of batch and channels only points
whose input and output would not fit two last-level caches count, and these are timed in
turns. Peak memory is that of a process which runs one layer, less what it held after a
tiny one.
"""

import argparse
import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from rich.table import Table

from bench import plots
from bench.contenders import Contender, contend, jaxdw
from bench.harness import (
    Record,
    cache_bytes,
    console,
    cpu_cores,
    environment,
    in_fresh_process,
    names,
    peak_bytes,
    write_lines,
)
from bench.layers import (
    bare_layers,
    layer_name,
    layer_of,
    multiplications,
    name_of,
    tensor_bytes,
    ways_of,
)
from jaxdw.errors import ConfigError, refuse
from jaxdw.judge.draws import draw
from jaxdw.launch.emulator import run
from jaxdw.maps.maps import make_maps
from jaxdw.models import zoo
from jaxdw.plan.config import ComputeConfig, ConvConfig, ShardConfig
from jaxdw.plan.planner import make_plan

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CHANNELS = (32, 64, 128, 256, 512, 768, 1024, 1536, 2048, 4096)
MEMORY_BATCH = 64
BEYOND = 2  # caches that an input and output must not fit, to be beyond them
CORES = (1, 2, 4, 8, 13, 26, 52, 78, 104, 130)
KERNELS = (3, 4, 5, 6, 7)
MODELS = ("mobilenet_v3_small", "mobilenet_v2", "mobilenet_v1", "efficientnet_b0")
MANY_CORES = "blackhole"  # 13x10

LAYER = layer_of("144x56x56")
WIDE = layer_of("32x112x112")
TINY = layer_of("32x8x8")
LARGE_MODEL, LARGE_BATCH, LARGE_LAYERS = "efficientnet_b7", 8, 3

KEPT_MEMORY = {  # of glibc: never map a buffer of its own, never give memory back
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**62),
    "MALLOC_ARENA_MAX": "1",  # other arenas than the first cannot hold large buffers
}
ASKED = {"batch": (0.9, 1.1), "channels": (0.9, 1.1)}
ASKED_PEAK_RATIO = 4  # over input plus output
ASKED_PEAK_BYTES = 8 * 10**9  # of the process, for the largest layers


@dataclasses.dataclass(frozen=True)
class Point:
    """A layer to time at `size` along an axis; a model has many, and counts."""

    size: int
    label: str
    layers: Mapping[ConvConfig, int]
    shard: ShardConfig = dataclasses.field(default_factory=ShardConfig)
    arch: str = "wormhole_b0"

    @property
    def num_bytes(self) -> int:
        return max(map(tensor_bytes, self.layers))


def one(size: int, conv: ConvConfig, **where: Any) -> Point:
    return Point(size, str(size), {conv: 1}, **where)


def batch_points() -> list[Point]:
    return [one(n, dataclasses.replace(LAYER, batch=n)) for n in BATCHES]


def channel_points() -> list[Point]:
    return [one(n, dataclasses.replace(WIDE, channels=n)) for n in CHANNELS]


def core_points() -> list[Point]:
    return [one(n, LAYER, shard=ShardConfig(cores=n), arch=MANY_CORES) for n in CORES]


def kernel_points() -> list[Point]:
    text = layer_name(LAYER).partition("k")[0]
    return [one(n, layer_of(f"{text}k{n}")) for n in KERNELS]


def model_points() -> list[Point]:
    """Returns models at their number of multiplications."""
    found = []
    for model in MODELS:
        layers = bare_layers(model)
        size = sum(multiplications(conv) * n for conv, n in layers.items())
        found.append(Point(size, model, layers))
    return sorted(found, key=lambda point: point.size)


AXES: dict[str, Callable[[], list[Point]]] = {
    "batch": batch_points,
    "channels": channel_points,
    "cores": core_points,
    "kernel": kernel_points,
    "model": model_points,
}


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Returns the slope of least squares of log time over log size."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def beyond(axis: str, points: Sequence[Point], cache: int) -> list[Point]:
    """Returns the points that an exponent is fitted to."""
    if axis not in ASKED:
        return list(points)
    return [point for point in points if point.num_bytes > BEYOND * cache]


def measure_axis(
    axis: str, points: Sequence[Point], compute: ComputeConfig, runs: int, cache: int
) -> list[Record]:
    """Checks and times each point, all in this process.

    Those that an asked exponent is fitted to take turns; no cache would hold them.
    """
    large = beyond(axis, points, cache) if axis in ASKED else []
    small = [point for point in points if point not in large]
    records = []
    for group in (small, large):
        entries, fixed = [], []
        for point in group:
            contender = _contender(point, compute)
            entries += [(contender, conv) for conv in point.layers]
            own = {"axis": axis, "size": point.size, "label": point.label}
            fixed += [{"bench": "scale"} | own] * len(point.layers)
        found = contend(entries, runs, in_turns=group is large) if entries else []
        records += [own | line for own, line in zip(fixed, found, strict=True)]
    return records


def _contender(point: Point, compute: ComputeConfig) -> Contender:
    name = name_of(compute)
    prepare = functools.partial(
        jaxdw, compute=compute, shard=point.shard, arch=point.arch
    )
    return Contender(name=name, process=name, prepare=prepare, compute=compute)


def seconds_of(points: Sequence[Point], records: Sequence[Record]) -> list[float]:
    """Returns each point's median, of a model the sum over its layers."""
    medians = {(r["size"], ConvConfig(**r["layer"])): r["median"] for r in records}
    return [
        sum(medians[point.size, conv] * n for conv, n in point.layers.items())
        for point in points
    ]


def fit(
    axis: str, points: Sequence[Point], seconds: Sequence[float], cache: int
) -> Record:
    """Returns the exponent and the points it was fitted to; None with fewer than 2."""
    fitted = beyond(axis, points, cache)
    times = [s for point, s in zip(points, seconds, strict=True) if point in fitted]
    sizes = [point.size for point in fitted]
    return {
        "exponent": exponent(sizes, times) if len(fitted) > 1 else None,
        "fitted": sizes,
        "cache_bytes": cache,
        "asked": ASKED.get(axis),
    }


def footprint(conv: ConvConfig, compute: ComputeConfig) -> Record:
    """Runs one layer once and returns the memory that this process came to hold."""
    _run_once(TINY, compute)
    start = peak_bytes()
    _run_once(conv, compute)
    peak = peak_bytes()
    return environment() | {
        "bench": "scale",
        "axis": "memory",
        "contender": name_of(compute),
        "layer": dataclasses.asdict(conv),
        "threads": cpu_cores(),
        "tensor_bytes": tensor_bytes(conv),
        "start_bytes": start,
        "peak_bytes": peak,
        "ratio": (peak - start) / tensor_bytes(conv),
    }


def _run_once(conv: ConvConfig, compute: ComputeConfig) -> None:
    plan = make_plan(conv, ShardConfig(), compute, must_fit=False)
    maps = make_maps(plan)
    x, w, bias = draw(conv, "random", 0)
    jax.block_until_ready(run(plan, maps, x, w, bias).output)


def large_layers() -> list[ConvConfig]:
    """Returns the largest layers of the largest model, as that model has them."""
    convs = sorted(zoo.distinct(LARGE_MODEL), key=tensor_bytes, reverse=True)
    return [
        dataclasses.replace(conv, batch=LARGE_BATCH) for conv in convs[:LARGE_LAYERS]
    ]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--axes", type=names, default=(*AXES, "memory"))
    parser.add_argument("--ways", type=ways_of, default="float32,LoFi")
    parser.add_argument(
        "--most", type=int, help="leave out larger batches, channels, cores, kernels"
    )
    parser.add_argument(
        "--keep-memory",
        action="store_true",
        help="have glibc keep what is freed: else buffers past 32 MB are mapped anew "
        "at each call, page by page, whatever library makes them",
    )
    parser.add_argument(
        "--cache-mb",
        type=int,
        help="last-level cache, where the system names that of a whole host",
    )
    plots.add_option(parser)


def main(args: argparse.Namespace) -> None:
    """Prints growth and memory; writes the records."""
    legal = (*AXES, "memory")
    refuse(
        [
            f"`--axes` (={axis}) must be among {', '.join(legal)}"
            for axis in args.axes
            if axis not in legal
        ]
    )
    if args.keep_memory:
        os.environ.update(KEPT_MEMORY)  # read by new processes
    cache, known = cache_bytes()
    if args.cache_mb is not None:
        cache, known = args.cache_mb * 10**6, "given"
    here = in_fresh_process(environment)
    records, lines = [], {}
    for axis in (axis for axis in args.axes if axis in AXES):
        points = [
            point
            for point in AXES[axis]()
            if args.most is None or axis == "model" or point.size <= args.most
        ]
        if not points:
            raise ConfigError(
                f"`--most` (={args.most}) must leave a point of {axis}; take at least "
                f"{AXES[axis]()[0].size}"
            )
        columns, fits = {}, {}
        for compute in args.ways:
            found = in_fresh_process(
                measure_axis, axis, points, compute, args.runs, cache
            )
            way = name_of(compute)
            columns[way] = seconds_of(points, found)
            fits[way] = fit(axis, points, columns[way], cache)
            fixed = {"bench": "scale", "axis": axis, "contender": way}
            records += [*found, here | fixed | fits[way]]
            lines[f"{axis}, {way}"] = ([point.size for point in points], columns[way])
        console().print(_axis_table(axis, points, columns, fits, known))
    if "memory" in args.axes:
        memory = measure_memory(args.ways, args.most)
        records += memory
        console().print(_memory_table(memory))
    write_lines(records, args.json)
    if args.plot:
        sizes = {k: v for k, v in lines.items() if not k.startswith("model")}
        plots.draw_lines(
            args.plot,
            sizes,
            across="batch, channels, cores or kernel",
            title="Growth of time",
            log_across=True,
        )


def measure_memory(ways: Sequence[ComputeConfig], most: int | None) -> list[Record]:
    """Returns the footprints of the largest batch and of the largest layers."""
    batch = min(MEMORY_BATCH, most or MEMORY_BATCH)
    convs = [dataclasses.replace(LAYER, batch=batch)]
    if most is None:
        convs += large_layers()
    return [
        in_fresh_process(footprint, conv, compute) for conv in convs for compute in ways
    ]


def _axis_table(
    axis: str,
    points: Sequence[Point],
    columns: Mapping[str, Sequence[float]],
    fits: Mapping[str, Record],
    known: str,
) -> Table:
    some = next(iter(fits.values()))
    caption = f"fitted to {', '.join(map(str, some['fitted'])) or 'no points'}"
    if axis in ASKED:
        cache = some["cache_bytes"] / 1e6
        caption += (
            f": input and output over {BEYOND} caches of {cache:.0f} MB ({known})"
        )
    layers = {layer_name(conv) for point in points for conv in point.layers}
    of = layers.pop() if len(layers) == 1 else layer_name(next(iter(points[0].layers)))
    title = "models" if axis == "model" else f"{axis}, from {of}"
    table = Table(title=f"{title}, {cpu_cores()} threads", caption=caption)
    table.add_column("multiplications" if axis == "model" else axis, justify="right")
    for head in ("MB in and out", *(f"{way}, ms" for way in columns)):
        table.add_column(head, justify="right")
    for n, point in enumerate(points):
        size = point.label if axis != "model" else f"{point.label} {point.size:,}"
        cells = [f"{seconds[n] * 1e3:.3f}" for seconds in columns.values()]
        table.add_row(size, f"{point.num_bytes / 1e6:.1f}", *cells)
    table.add_section()
    slopes = [f["exponent"] for f in fits.values()]
    cells = ["none" if slope is None else f"{slope:.2f}" for slope in slopes]
    asked = "" if axis not in ASKED else "asked {} to {}".format(*ASKED[axis])
    table.add_row("exponent", asked, *cells)
    return table


def _memory_table(records: Sequence[Record]) -> Table:
    table = Table(
        title="Peak memory of a process that runs one layer once",
        caption=f"asked: over input and output at most {ASKED_PEAK_RATIO}; "
        f"{LARGE_MODEL}'s largest at batch {LARGE_BATCH} within "
        f"{ASKED_PEAK_BYTES / 1e9:.0f} GB",
    )
    table.add_column("layer")
    heads = ("way", "MB in and out", "MB more than after a tiny layer")
    for head in (*heads, "over in and out", "peak GB in all"):
        table.add_column(head, justify="right")
    for record in records:
        table.add_row(
            layer_name(ConvConfig(**record["layer"])),
            record["contender"],
            f"{record['tensor_bytes'] / 1e6:.0f}",
            f"{(record['peak_bytes'] - record['start_bytes']) / 1e6:.0f}",
            f"{record['ratio']:.2f}",
            f"{record['peak_bytes'] / 1e9:.2f}",
        )
    return table
