"""Answers a question of a network, task by task, into a folder of rows."""

import concurrent.futures
import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor

import numpy as np

from jaxdw.errors import ConfigError
from jaxdw.launch.cache import cache_directory, enable_cache
from jaxdw.networks.measure import (
    Question,
    Sample,
    Task,
    answer,
    network,
    tasks_of,
)
from jaxdw.networks.rows import Row, RowStore
from jaxdw.networks.settings import settings_of
from jaxdw.sweep.rows import Inputs
from jaxdw.sweep.workers import lost, worker_pool


def shapes_of(samples: Sequence[Sample]) -> Inputs:
    """Returns the shapes of a network's inputs, which all samples must share.

    Raises:
      ConfigError: samples of several shapes.
    """
    shapes = {
        sample.name: tuple((n, np.shape(v)) for n, v in sample.load().items())
        for sample in samples
    }
    first, *others = shapes.items()
    for name, found in others:
        if dict(found) != dict(first[1]):
            raise ConfigError(
                f"sample {name!r} (={dict(found)}) must have the shapes of "
                f"{first[0]!r} (={dict(first[1])}), by which layers are planned; ask "
                "of each shape in a run of its own"
            )
    return first[1]


def question_of(
    path: str,
    samples: Sequence[Sample],
    axes: dict,
    *,
    seed: int = 0,
    metric: str = "",
) -> Question:
    """Returns what is asked of a file: each combination of axes, on each sample.

    Raises:
      ConfigError: as `Network`, `settings_of` and `shapes_of`.
    """
    inputs = shapes_of(samples)
    layers = network(path, inputs).layers
    return Question(
        path=path,
        inputs=inputs,
        samples=tuple(samples),
        settings=settings_of(path, inputs, layers, axes),
        seed=seed,
        metric=metric,
    )


def ask(
    question: Question,
    store: RowStore,
    *,
    blame: bool = False,
    executor: Executor | None = None,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Does what the folder does not hold yet; returns the rows of all tasks.

    Args:
      executor: any `concurrent.futures.Executor`, a Dask client's for one; None for
        `processes` of this machine, 1 of them being this one.
      progress: called with the tasks done, and all.

    Raises:
      ConfigError: a network that the cuts change in float32; workers that were lost.
    """
    if processes < 1:
        raise ConfigError(f"`processes` (={processes}) must be at least 1; try 1")
    num_layers = len(network(question.path, question.inputs).layers)
    tasks = tasks_of(question, num_layers, blame)
    keys = {task: task.key(question) for task in tasks}
    todo = [task for task in tasks if store.held(keys[task]) is None]
    done = len(tasks) - len(todo)
    for task, rows in _answers(question, todo, executor, processes):
        store.append(keys[task], rows)
        done += 1
        if progress is not None:
            progress(done, len(tasks))
    return [row for task in tasks for row in store.held(keys[task]) or ()]


def _answers(
    question: Question, todo: list[Task], executor: Executor | None, processes: int
) -> Iterator[tuple[Task, list[Row]]]:
    cache = str(cache_directory())
    controls = [task for task in todo if task.kind == "control"]
    others = [task for task in todo if task.kind != "control"]
    for task in controls:  # they refuse the question before anything is spent
        yield task, work(question, task, cache)
    if executor is None and processes == 1:
        for task in sorted(others, key=lambda task: task.sample):
            yield task, work(question, task, cache)
        return
    with _pool(executor, min(processes, max(1, len(others)))) as pool:
        futures = {pool.submit(work, question, t, cache): t for t in others}
        try:
            for future in concurrent.futures.as_completed(futures):
                yield futures[future], future.result()
        except (
            concurrent.futures.BrokenExecutor,
            concurrent.futures.CancelledError,
        ) as error:
            raise lost(error) from error
        finally:
            for future in futures:
                future.cancel()


def _pool(
    executor: Executor | None, processes: int
) -> contextlib.AbstractContextManager[Executor]:
    """Returns an executor of one's own to close, or the one given to leave open."""
    if executor is not None:
        return contextlib.nullcontext(executor)
    return worker_pool(processes)


def work(question: Question, task: Task, cache: str) -> list[Row]:
    """Does a task in a process of jaxdw's own, which keeps what it compiles."""
    _use_cache(cache)
    return answer(question, task)


_use_cache = functools.cache(enable_cache)
