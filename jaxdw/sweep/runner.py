"""Runs the points of a space, few compilations and many processes, into a folder."""

import concurrent.futures
import functools
import importlib.metadata
import multiprocessing
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

from jaxdw.errors import ConfigError, UnsupportedError
from jaxdw.plan.l1 import L1OutOfMemory
from jaxdw.plan.plan import Plan
from jaxdw.plan.planner import make_plan
from jaxdw.sweep.results import SCHEMA, ResultStore, Row
from jaxdw.sweep.space import Point, is_onnx, onnx_layers

Tensors = tuple[Any, Any, Any]  # x, w, bias or None

TASK_POINTS = 24  # of one compiled program, handed out together
_PLAN_TASK_POINTS = 500


def evaluate(point: Point, *, plan_only: bool = False, seed: int = 0) -> Row:
    """Plans, runs and judges one point; whatever goes wrong becomes its row."""
    row = _config_row(point)
    started = time.perf_counter()
    clock = _CompileClock()
    try:
        plan = make_plan(
            point.conv, point.shard, point.compute, point.arch, must_fit=False
        )
        row |= _plan_row(plan)
        if not plan.l1.fits:
            raise L1OutOfMemory(plan.l1.problems(), plan.l1, None)
        row["status"] = "planned"
        if not plan_only:
            with clock:
                row |= _run_row(plan, _tensors(point, plan, seed))
    except (ConfigError, UnsupportedError) as error:
        row |= {"status": "refused", "error": _said(error)}
    except Exception as error:
        row |= {"status": "error", "error": _said(error)}
    row["seconds_compile"] = round(clock.seconds, 6)
    row["compilations"] = clock.compilations
    row["seconds_run"] = round(time.perf_counter() - started - clock.seconds, 6)
    return row


def _said(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _x(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def _config_row(point: Point) -> Row:
    conv, grid = point.conv, point.shard.grid
    return {
        "schema": SCHEMA,
        "key": point.key,
        "model": point.model,
        "layer": point.layer,
        "times": point.times,
        "batch": conv.batch,
        "channels": conv.channels,
        "height": conv.height,
        "width": conv.width,
        "kernel": _x(conv.kernel),
        "stride": _x(conv.stride),
        "padding": _x(conv.padding),
        "bias": conv.bias,
        "activation": conv.activation,
        "weights_dtype": conv.weights_dtype,
        "arch": point.arch,
        "scheme": point.shard.scheme,
        "grid_limit": None if grid is None else _x(grid),
        "arithmetic": point.compute.arithmetic,
        "fidelity": point.compute.math_fidelity,
        "fp32_dest_acc": point.compute.fp32_dest_acc,
        **_versions(),
    }


@functools.cache
def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("jaxdw", "jax")}


def _plan_row(plan: Plan) -> Row:
    conv, cycles, l1 = plan.conv, plan.cycles, plan.l1
    computed = plan.num_cores * plan.output_shard.rows * plan.output_shard.channels
    sends = bool(plan.core_grid.broadcasts())
    weights = next(b for b in l1.buffers if b.name == "weight")
    return {
        "planned_scheme": plan.scheme,
        "grid": _x(plan.grid),
        "cores": plan.num_cores,
        "nhw_shards": plan.num_nhw_shards,
        "channel_shards": plan.num_channel_shards,
        "halo_shard": _x(tuple(plan.halo_shard)),
        "out_shard": _x(tuple(plan.output_shard)),
        "padding_waste": round(
            1 - plan.window.num_outputs * conv.channels / computed, 6
        ),
        "l1_static_bytes": l1.static_bytes,
        "l1_buffer_bytes": l1.buffer_bytes,
        "l1_free_bytes": l1.free_bytes,
        "fits": l1.fits,
        "weight_tiles": plan.weight_tiles_per_core,
        "tiles_per_bank": max(plan.tiles_per_bank),
        "multicast_bytes": weights.num_bytes * sends,
        "cycles": cycles.total,
        "cycles_binding": cycles.binding,
        "cycles_halo": cycles.halo,
        "cycles_dram": cycles.dram,
        "cycles_multicast": cycles.multicast,
        "cycles_l1_reads": cycles.l1_reads,
        "cycles_matrix_unit": cycles.matrix_unit,
        "findings": " ".join(finding.code for finding in plan.findings),
    }


def _run_row(plan: Plan, tensors: Tensors) -> Row:
    from jaxdw.machine.bucketed import run_bucketed
    from jaxdw.maps.maps import make_maps
    from jaxdw.verify.compare import pcc_threshold

    output = run_bucketed(plan, make_maps(plan), *tensors)
    verdict = _judged(plan, tensors, output)
    return {
        "status": "pass" if verdict.passed else "fail",
        "outputs": verdict.outputs,
        "exact": verdict.exact,
        "max_ulp": verdict.max_ulp,
        "mean_ulp": verdict.mean_ulp,
        "pcc": verdict.pcc,
        "pcc_needed": pcc_threshold(plan.conv, plan.compute),
    }


def _tensors(point: Point, plan: Plan, seed: int) -> Tensors:
    """Returns the input and a file's own weights, or drawn ones.

    Drawn are values that bf16 holds, the same for every format and sharding. A file's
    are rounded to bf16 where the host sends them so, as the verdict is on the chip.
    """
    import ml_dtypes

    rng = np.random.default_rng(seed)

    def bf16(values):
        return values.astype(ml_dtypes.bfloat16).astype(np.float32)

    def normal(*shape: int):
        return bf16(rng.standard_normal(shape, np.float32))

    conv = plan.conv
    x, w = normal(*conv.input_shape), normal(*conv.weight_shape)
    if is_onnx(point.model):
        layers = onnx_layers(point.model, point.inputs)
        layer = next(layer for layer in layers if layer.name == point.layer)
        w, bias = layer.weights, layer.bias
        if conv.weights_dtype == "bfloat16":
            w, bias = bf16(w), None if bias is None else bf16(bias)
        return x, w, bias
    return x, w, normal(conv.channels) if conv.bias else None


_LAST: dict[str, Any] = {}


def _judged(plan: Plan, tensors: Tensors, output):
    """Judges an output, or returns the verdict of the last one if it is the same.

    Schemes and grids must agree bit for bit, so that most outputs of a layer are.
    """
    from jaxdw.verify.compare import judge, reference

    layer = (
        plan.conv.input_shape,
        plan.conv.kernel,
        plan.conv.stride,
        plan.conv.padding,
        plan.conv.dilation,
        plan.conv.bias,
        plan.conv.activation,
        *(None if values is None else values.tobytes() for values in tensors[1:]),
    )
    if _LAST.get("layer") != layer:
        _LAST.clear()
        _LAST["layer"] = layer
        _LAST["want"] = reference(plan.conv, *tensors)
    asked = (plan.conv, plan.compute)
    same = _LAST.get("asked") == asked and np.array_equal(_LAST["output"], output)
    if not same:
        _LAST["verdict"] = judge(output, _LAST["want"], plan.conv, plan.compute)
        _LAST["asked"], _LAST["output"] = asked, output
    return _LAST["verdict"]


class _CompileClock:
    """Counts what XLA compiles inside its block, and the seconds of it."""

    _active: "_CompileClock | None" = None
    _listening = False

    def __init__(self):
        self.seconds = 0.0
        self.compilations = 0

    def __enter__(self):
        cls = type(self)
        if not cls._listening:
            from jax import monitoring

            monitoring.register_event_duration_secs_listener(cls._on_duration)
            monitoring.register_event_listener(cls._on_event)
            cls._listening = True
        cls._active = self
        return self

    def __exit__(self, *_):
        type(self)._active = None

    @classmethod
    def _on_duration(cls, event: str, duration_secs: float, **_):
        if cls._active is None:
            return
        if event.startswith("/jax/core/compile/"):
            cls._active.seconds += duration_secs
        if event == "/jax/core/compile/backend_compile_duration":
            cls._active.compilations += 1

    @classmethod
    def _on_event(cls, event: str, **_):
        if cls._active is not None and event == "/jax/compilation_cache/cache_hits":
            cls._active.compilations -= 1


def run_points(
    points: Sequence[Point], plan_only: bool, seed: int, cache: str | None
) -> list[Row]:
    """Evaluates points one after the other; what a worker process runs."""
    if not plan_only and cache is not None:
        _use_cache(cache)
    return [evaluate(point, plan_only=plan_only, seed=seed) for point in points]


@functools.cache
def _use_cache(cache: str) -> None:
    import jax

    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def cache_directory() -> Path:
    """Returns where compiled programs are kept between runs: `$JAXDW_CACHE`, or
    `jaxdw` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("JAXDW_CACHE") or Path(base) / "jaxdw")


def tasks_of(points: Sequence[Point], plan_only: bool) -> list[list[Point]]:
    """Groups points by compiled program, the longest to compile first.

    Inside a task the points of one layer, format and fidelity follow each other.
    """
    if plan_only:
        size = _PLAN_TASK_POINTS
        return [list(points[i : i + size]) for i in range(0, len(points), size)]
    groups = defaultdict(list)
    for point in points:
        groups[_program_of(point)].append(point)
    tasks = []
    for group in groups.values():
        group.sort(key=_alike)
        tasks += [group[i : i + TASK_POINTS] for i in range(0, len(group), TASK_POINTS)]
    return sorted(tasks, key=_work, reverse=True)


def _alike(point: Point) -> tuple:
    conv = point.conv
    return (
        conv.input_shape, conv.kernel, conv.stride, conv.padding,
        conv.activation or "", conv.weights_dtype, point.compute.math_fidelity,
    )  # fmt: skip


def _work(task: list[Point]) -> tuple[str, int]:
    return task[0].compute.math_fidelity, sum(
        p.conv.taps * int(np.prod(p.conv.input_shape)) for p in task
    )


def _program_of(point: Point) -> tuple | str:
    from jaxdw.machine.bucketed import compiled_key

    try:
        plan = make_plan(
            point.conv, point.shard, point.compute, point.arch, must_fit=False
        )
        return compiled_key(plan)
    except ConfigError:
        return "refused"


def run_sweep(
    points: Sequence[Point],
    directory: str | Path,
    *,
    executor: Executor | None = None,
    processes: int | None = None,
    plan_only: bool = False,
    seed: int = 0,
    cache: str | None = None,
    progress: Callable[[list[Row]], None] | None = None,
) -> list[Row]:
    """Runs the points that the folder does not hold yet; returns the rows of all.

    Args:
      executor: any `concurrent.futures.Executor`, a Dask client's for one; None for
        `processes` of this machine (all its cores; 1 stays in this process).
      cache: a folder for compiled programs; `cache_directory()` if None.
      progress: called with each batch of new rows.

    Raises:
      ConfigError: from `ResultStore`; rows appended before stay.
    """
    with ResultStore(directory) as store:
        todo = [point for point in points if point.key not in store.rows]
        cache = str(cache_directory()) if cache is None else cache
        for rows in _results(todo, executor, processes, plan_only, seed, cache):
            store.append(rows)
            if progress is not None:
                progress(rows)
        store.export()
        return [store.rows[point.key] for point in points]


def _results(
    todo: list[Point],
    executor: Executor | None,
    processes: int | None,
    plan_only: bool,
    seed: int,
    cache: str,
) -> Iterator[list[Row]]:
    tasks = tasks_of(todo, plan_only)
    count = processes or len(os.sched_getaffinity(0))
    if executor is None and (count == 1 or len(tasks) <= 1):
        for task in tasks:
            for point in task:
                yield run_points([point], plan_only, seed, cache)
        return
    if executor is not None:
        yield from _shared(executor, tasks, (plan_only, seed, cache))
        return
    # a point that kills its worker takes the whole pool with it: go on with single
    # points, then with a process for each
    for size in (count, count, None):
        lost = []
        for batch in [[task] for task in tasks] if size is None else [tasks]:
            pool = concurrent.futures.ProcessPoolExecutor(
                size or 1, multiprocessing.get_context("spawn")
            )
            try:
                yield from _shared(pool, batch, (plan_only, seed, cache), lost)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
        tasks = [[point] for task in lost for point in task]
        if not tasks:
            return
    for (point,) in tasks:
        yield [_lost_row(point, "the worker process died")]


def _shared(
    pool: Executor,
    tasks: list[list[Point]],
    options: tuple[bool, int, str],
    lost: list[list[Point]] | None = None,
) -> Iterator[list[Row]]:
    """Yields the rows of each task as it ends; tasks of a broken pool go to `lost`."""
    futures = {pool.submit(run_points, task, *options): task for task in tasks}
    for future in concurrent.futures.as_completed(futures):
        try:
            yield future.result()
        except concurrent.futures.BrokenExecutor as error:
            if lost is None:
                yield [_lost_row(p, _said(error)) for p in futures[future]]
            else:
                lost.append(futures[future])
        except Exception as error:
            yield [_lost_row(point, _said(error)) for point in futures[future]]


def _lost_row(point: Point, why: str) -> Row:
    row = _config_row(point) | {"status": "error", "error": why}
    return row | {"compilations": 0, "seconds_compile": 0.0, "seconds_run": 0.0}
