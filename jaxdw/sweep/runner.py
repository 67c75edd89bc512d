"""Runs the points of a space, few compilations and many processes, into a folder."""

import concurrent.futures
import functools
import importlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path

import numpy as np

from jaxdw.errors import ConfigError
from jaxdw.launch.cache import cache_directory, enable_cache, own_folder
from jaxdw.sweep.axes import SETTINGS, is_onnx
from jaxdw.sweep.evaluate import empty_row, evaluate, said
from jaxdw.sweep.results import ResultStore
from jaxdw.sweep.rows import Point, Row
from jaxdw.sweep.workers import lost, worker_pool

TASK_POINTS = 24  # of one computation, handed out together
_PLAN_TASK_POINTS = 500
_PLANS_AT_ONCE = 50  # between two looks at the progress
_FEW_PLANS = 4000  # made before another process has begun


def run_points(
    points: Sequence[Point], plan_only: bool, seed: int, cache: str | None
) -> list[Row]:
    """Evaluates points one after the other; what a worker process runs."""
    if not plan_only and cache is not None:
        _use_cache(cache)
    return [evaluate(point, plan_only=plan_only, seed=seed) for point in points]


_use_cache = functools.cache(enable_cache)


def tasks_of(points: Sequence[Point], plan_only: bool) -> list[list[Point]]:
    """Groups points by compiled computation, the longest to compile first.

    Inside a task the points of one layer, format and fidelity follow each other.
    """
    if plan_only:
        size = _PLAN_TASK_POINTS
        return [list(points[i : i + size]) for i in range(0, len(points), size)]
    groups = defaultdict(list)
    for point in points:
        groups[_computation_of(point)].append(point)
    tasks = []
    for group in groups.values():
        group.sort(key=_alike)
        tasks += [group[i : i + TASK_POINTS] for i in range(0, len(group), TASK_POINTS)]
    return sorted(tasks, key=_work, reverse=True)


def _alike(point: Point) -> tuple[str, ...]:
    """Returns what decides the numbers of a point: layer, format, way of computing."""
    own = (point.model, point.layer) if is_onnx(point.model) else ()
    return *own, *(str(setting.of(point)) for setting in SETTINGS if setting.decides)


def _work(task: list[Point]) -> tuple[str, int]:
    return task[0].compute.math_fidelity, sum(
        p.conv.taps * int(np.prod(p.conv.input_shape)) for p in task
    )


def _computation_of(point: Point) -> tuple | str:
    from jaxdw.launch.bucketed import compiled_key

    try:
        return compiled_key(point.plan())
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

    Points that broke are run again, so are planned ones unless `plan_only`.

    Args:
      executor: any `concurrent.futures.Executor`, a Dask client's for one; None for
        `processes` of this machine (all its cores; 1 stays in this process).
      cache: a folder for compiled computations; `cache_directory()` if None.
      progress: called with each batch of new rows.

    Raises:
      ConfigError: rows of another seed in the folder, no process to run them, an
        executor that cancels its work, or from `ResultStore`; rows appended before
        stay.
    """
    if processes is not None and processes < 1:
        raise ConfigError(
            f"`processes` (={processes}) must be at least 1; leave it out for all cores"
        )
    unfinished = ("error",) if plan_only else ("error", "planned")
    with ResultStore(directory) as store:
        keys = [point.key for point in points]
        held = [store.rows[key] for key in keys if key in store.rows]
        seeds = {row["seed"] for row in held} - {None, seed}
        if seeds and not plan_only:
            raise ConfigError(
                f"`seed` (={seed}) must be that of the rows in {str(directory)!r} "
                f"(={min(seeds)}); use it, or another folder"
            )
        store.drop(row["key"] for row in held if row["status"] in unfinished)
        todo = [p for p, key in zip(points, keys, strict=True) if key not in store.rows]
        cache = str(own_folder(cache_directory() if cache is None else cache))
        for rows in _results(todo, executor, processes, plan_only, seed, cache):
            store.append(rows)
            if progress is not None:
                progress(rows)
        store.export()
        return [store.rows[key] for key in keys]


def _results(
    todo: list[Point],
    executor: Executor | None,
    processes: int | None,
    plan_only: bool,
    seed: int,
    cache: str,
) -> Iterator[list[Row]]:
    options = (plan_only, seed, cache)
    count = min(processes or len(os.sched_getaffinity(0)), max(1, len(todo)))
    most_here = TASK_POINTS
    if plan_only:
        most_here = _FEW_PLANS if processes is None else _PLAN_TASK_POINTS
    if executor is None and count > 1 and len(todo) > most_here:
        yield from _pooled(todo, None, count, options)
        return
    tasks = tasks_of(todo, plan_only)
    if executor is not None:
        yield from _shared(executor, tasks, options)
    elif count > 1 and len(tasks) > 1 and not plan_only:
        yield from _pooled(todo, tasks, count, options)
    else:
        size = _PLANS_AT_ONCE if plan_only else 1
        for task in tasks:
            for i in range(0, len(task), size):
                yield run_points(task[i : i + size], *options)


def _pooled(
    todo: list[Point],
    tasks: list[list[Point]] | None,
    count: int,
    options: tuple[bool, int, str],
) -> Iterator[list[Row]]:
    """Yields the rows of points that several processes of this machine run.

    Args:
      tasks: None for a process of theirs to make: this one then imports no JAX.
    """
    plan_only, seed, _ = options
    broken: list[list[Point]] = []
    with worker_pool(count) as pool:
        try:
            if tasks is None:
                grouped = pool.submit(tasks_of, todo, plan_only)
                for _ in range(count - 1):
                    pool.submit(_make_ready, plan_only)
                tasks = grouped.result()
        except concurrent.futures.BrokenExecutor:
            broken = [todo]
        else:
            yield from _shared(pool, tasks, options, broken)
    # a point that kills its worker takes the whole pool with it: go on with single
    # points, then with a process for each
    for size in (count, None):
        tasks = [[point] for task in broken for point in task]
        if not tasks:
            return
        broken = []
        for batch in [[task] for task in tasks] if size is None else [tasks]:
            with worker_pool(size or 1) as pool:
                yield from _shared(pool, batch, options, broken)
    for (point,) in broken:
        yield [_lost_row(point, "the worker process died", plan_only, seed)]


def _make_ready(plan_only: bool) -> None:
    """Imports what points need, which takes a process as long as dozens of them."""
    modules = ["jaxdw.plan.planner"]
    if not plan_only:
        modules += ["jaxdw.launch.bucketed", "jaxdw.judge.compare"]
        modules += ["jaxdw.judge.draws", "jaxdw.judge.reference"]
    for module in modules:
        importlib.import_module(module)


def _shared(
    pool: Executor,
    tasks: list[list[Point]],
    options: tuple[bool, int, str],
    broken: list[list[Point]] | None = None,
) -> Iterator[list[Row]]:
    """Yields the rows of each task as it ends; those of a broken pool to `broken`."""
    futures = {pool.submit(run_points, task, *options): task for task in tasks}
    for future in concurrent.futures.as_completed(futures):
        try:
            yield future.result()
        except concurrent.futures.CancelledError as error:
            raise lost(error) from error
        except concurrent.futures.BrokenExecutor as error:
            if broken is None:
                yield [_lost_row(p, said(error), *options[:2]) for p in futures[future]]
            else:
                broken.append(futures[future])
        except Exception as error:
            yield [_lost_row(p, said(error), *options[:2]) for p in futures[future]]


def _lost_row(point: Point, why: str, plan_only: bool, seed: int) -> Row:
    row = empty_row(point, None if plan_only else seed)
    row |= {"status": "error", "error": why}
    return row | {"compilations": 0, "seconds_compile": 0.0, "seconds_run": 0.0}
