"""Times work, not dispatch: checked first, compiled apart, medians of blocked runs."""

import dataclasses
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of one compiled function; `spread` is the middle half of its runs."""

    compile: float
    median: float
    spread: float
    runs: int


def measure(function: Callable[..., Any], *arrays: Any, runs: int = 9) -> Timing:
    """Compiles a jitted function for these arrays and times it, blocked, `runs` times.

    The first run after compiling is left out.
    """
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*arrays).compile()
    compile_seconds = time.perf_counter() - start
    jax.block_until_ready(compiled(*arrays))
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arrays))
        seconds.append(time.perf_counter() - start)
    quarters = statistics.quantiles(seconds, n=4)
    return Timing(
        compile=compile_seconds,
        median=statistics.median(seconds),
        spread=quarters[2] - quarters[0],
        runs=runs,
    )


def environment() -> dict[str, object]:
    """Returns what a figure depends on: device, cores, versions."""
    device = jax.devices()[0]
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "cpu_cores": len(os.sched_getaffinity(0)),
        "jax": jax.__version__,
        "numpy": np.__version__,
    }
