"""Times work, not dispatch: checked first, compiled apart, medians of blocked runs."""

import argparse
import concurrent.futures
import dataclasses
import importlib.metadata
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
from rich.console import Console

from jaxdw.files import whole_file
from jaxdw.xla import compiler_options

T = TypeVar("T")
Record = dict[str, Any]  # one JSON line

FEWEST_RUNS = 7
LEAST_SECONDS = 0.1  # short calls are run more often than asked, for so long
WARM_UPS = 10  # so many calls can pass until freed memory is used again
DISTURBED = 3  # times the fastest run: a median that says nothing
BUSY = 0.5  # load of the last minute
_CACHE = Path("/sys/devices/system/cpu/cpu0/cache")
_ASSUMED_CACHE_BYTES = 32 * 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of one function; `spread` is the middle half of its runs.

    `tenth` is the 10th percentile: what it takes when nothing else runs. `cpu` are the
    seconds of processors, all threads, that a run took on average.

    `first` are those of compiling it, or of a first call that did so; a library that
    compiles nothing makes ready there what it keeps.
    """

    first: float
    median: float
    tenth: float
    spread: float
    fastest: float
    cpu: float
    runs: int

    @property
    def disturbed(self) -> bool:
        """Whether most runs waited for something else, other work on the cores say."""
        return self.median > DISTURBED * self.fastest


def _in_turns(
    calls: Sequence[Callable[[], Any]],
    first_seconds: Sequence[float],
    runs: int,
    least_seconds: float,
) -> list[Timing]:
    """Times calls round by round until each had its runs and its seconds."""
    seconds = [[] for _ in calls]
    processors = [0.0 for _ in calls]
    while any(len(own) < runs or sum(own) < least_seconds for own in seconds):
        for n, call in enumerate(calls):
            before = time.process_time()
            seconds[n].append(timed(call)[1])
            processors[n] += time.process_time() - before
    return list(map(_timing, first_seconds, seconds, processors))


def _timing(first: float, seconds: Sequence[float], processors: float) -> Timing:
    quarters = statistics.quantiles(seconds, n=4)
    return Timing(
        first=first,
        median=statistics.median(seconds),
        tenth=statistics.quantiles(seconds, n=10, method="inclusive")[0],
        spread=quarters[2] - quarters[0],
        fastest=min(seconds),
        cpu=processors / len(seconds),
        runs=len(seconds),
    )


def measure(
    function: Callable[..., Any],
    *arrays: Any,
    runs: int = 9,
    least_seconds: float = 0.0,
) -> Timing:
    """Compiles a function for these arrays as `run` is compiled and times it, blocked.

    It runs `runs` times, or more often until `least_seconds` have passed. The first run
    after compiling is left out.
    """
    options = compiler_options(jax.default_backend())
    jitted = jax.jit(function, compiler_options=options)
    compiled, compile_seconds = timed(lambda: jitted.lower(*arrays).compile())

    def call() -> None:
        jax.block_until_ready(compiled(*arrays))

    call()
    (timing,) = _in_turns([call], [compile_seconds], runs, least_seconds)
    return timing


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """Returns what one call gives, and its seconds."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def measure_calls(
    calls: Sequence[Callable[[], Any]], first_seconds: Sequence[float], *, runs: int = 9
) -> list[Timing]:
    """Times calls that wait for their results, in turns.

    Each is made at least `runs` times, and for `LEAST_SECONDS`, after as long alone.

    Args:
      first_seconds: of the very first calls, made and checked before.
    """
    for call in calls:  # sleeping threads and clocks take their time to wake
        _in_turns([call], [0.0], WARM_UPS, LEAST_SECONDS)
    return _in_turns(calls, first_seconds, runs, LEAST_SECONDS)


def cpu_cores() -> int:
    return len(os.sched_getaffinity(0))


def environment(*libraries: str) -> Record:
    """Returns what a figure depends on: device, cores, load, versions."""
    device = jax.devices()[0]
    distributions = ("jaxdw", "jax", "jaxlib", "numpy", *libraries)
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "processor": _processor(),
        "cpu_cores": cpu_cores(),
        "load": os.getloadavg()[0],
        "malloc": {k: v for k, v in os.environ.items() if k.startswith("MALLOC_")},
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in distributions},
    }


def _lines_of(path: Path, key: str) -> list[str]:
    """Returns the values of the lines `key: value` of a file, none if it is missing."""
    if not path.exists():
        return []
    pairs = (line.partition(":") for line in path.read_text().splitlines())
    return [value.strip() for name, _, value in pairs if name.strip() == key]


def _processor() -> str:
    found = _lines_of(Path("/proc/cpuinfo"), "model name")
    return found[0] if found else platform.machine()


def cache_bytes() -> tuple[int, str]:
    """Returns the size of the last-level cache, and how it is known."""
    sizes = [
        int(path.read_text().strip().removesuffix("K")) * 2**10
        for path in _CACHE.glob("index*/size")
    ]
    return (max(sizes), "sysfs") if sizes else (_ASSUMED_CACHE_BYTES, "assumed")


def peak_bytes() -> int:
    """Returns the most memory that this process ever had resident.

    Linux starts a process's `ru_maxrss` with that of the one that started it, so its
    own high-water mark is read where there is one.
    """
    marks = _lines_of(Path("/proc/self/status"), "VmHWM")
    if marks:
        return int(marks[0].split()[0]) * 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 2**10


def fresh_process() -> concurrent.futures.Executor:
    """Returns a process that shares nothing with this one, to submit functions to."""
    context = multiprocessing.get_context("spawn")
    return concurrent.futures.ProcessPoolExecutor(1, context)


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Returns what a function of a module returns in a process of its own."""
    with fresh_process() as process:
        return process.submit(function, *arguments).result()


def write_lines(records: Iterable[Record], path: str | None) -> None:
    """Writes JSON lines to a file, or to stdout if None."""
    lines = "".join(f"{json.dumps(record)}\n" for record in records)
    if path is None:
        print(lines, end="")
        return
    with whole_file(path) as draft:
        draft.write_text(lines)


def warn_of_load() -> None:
    """Says that other work runs here: threads that wait for each other suffer most."""
    load = os.getloadavg()[0]
    if load > BUSY:
        print(
            f"load {load:.1f} on {cpu_cores()} cores before the start", file=sys.stderr
        )


def console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def enough_runs(text: str) -> int:
    """Returns a number of runs whose median says something."""
    if not text.isdigit() or int(text) < FEWEST_RUNS:
        raise argparse.ArgumentTypeError(f"(={text}) must be at least {FEWEST_RUNS}")
    return int(text)
