"""How near an output comes: of a layer, and of a network."""

import sys
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from jaxdw.errors import ConfigError
from jaxdw.judge.compare import gain, judge, pcc, snr_db
from jaxdw.networks.cut import Tensors
from jaxdw.networks.rows import digest
from jaxdw.plan.config import ComputeConfig, ConvConfig

Metric = Callable[[Tensors, Tensors], float]


def layer_figures(
    output: np.ndarray, want: np.ndarray, conv: ConvConfig, compute: ComputeConfig
) -> dict[str, Any]:
    """Returns the verdict on one layer's output `[N, H, W, C]`, and its worst channel.

    The worst channel is the one with the lowest SNR, zeros left out.
    """
    verdict = judge(output, want, conv, compute)
    axes = tuple(range(want.ndim - 1))
    noise = ((np.asarray(output, np.float64) - want) ** 2).sum(axes)
    power = (want**2).sum(axes)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(power > 0, power / noise, np.inf)
    worst = int(np.argmin(np.where(np.isnan(ratio), 0, ratio)))
    least = float(ratio[worst])
    return {
        "pcc": verdict.pcc,
        "gain": verdict.gain,
        "snr_db": verdict.snr_db,
        "outputs": verdict.outputs,
        "exact": verdict.exact,
        "max_ulp": verdict.max_ulp,
        "mean_ulp": verdict.mean_ulp,
        "passed": verdict.passed,
        "worst_channel": worst,
        "worst_snr_db": 10 * float(np.log10(least)) if 0 < least < np.inf else None,
    }


def output_figures(want: np.ndarray, got: np.ndarray) -> dict[str, Any]:
    """Returns PCC, gain, SNR and how often the largest element is the same."""
    if want.dtype.kind not in "fV":
        agree = float(np.mean(want == got)) if want.shape == got.shape else 0.0
        return {"pcc": None, "gain": None, "snr_db": None, "argmax": agree}
    if want.shape != got.shape:
        return {"pcc": 0.0, "gain": None, "snr_db": None, "argmax": 0.0}
    return {
        "pcc": pcc(want, got),
        "gain": gain(want, got),
        "snr_db": snr_db(want, got),
        "argmax": argmax_agreement(want, got),
    }


def argmax_agreement(want: np.ndarray, got: np.ndarray) -> float | None:
    """Returns the share of positions whose largest class is the same.

    Classes are the last axis, of four and more axes the second. None where there is
    one class.
    """
    axis = 1 if want.ndim >= 4 else -1
    if not want.ndim or want.shape[axis] < 2:
        return None
    return float(np.mean(want.argmax(axis) == got.argmax(axis)))


def load_metric(name: str) -> Metric:
    """Returns a function of Python by `module:function`.

    It is called with the outputs and with those in float32, arrays by name, and
    returns a number.

    Raises:
      ConfigError: no such function.
    """
    import importlib

    module, colon, function = name.partition(":")
    try:
        if not colon:
            raise ImportError("no colon")
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"`--metric` (={name!r}) must be module:function that Python can import "
            f"({error}); set PYTHONPATH to the folder of the module"
        ) from None
    if not callable(found):
        raise ConfigError(f"`--metric` (={name!r}) must be a function; name another")
    return cast(Metric, found)


def metric_facts(name: str) -> list[str]:
    """Returns what tells a metric from others: its name, and its file's contents."""
    if not name:
        return [name]
    load_metric(name)
    source = getattr(sys.modules[name.partition(":")[0]], "__file__", None)
    return [name, digest(source)] if source else [name]


def measured(name: str, got: Tensors, want: Tensors) -> float:
    """Returns what the function of `load_metric` gives.

    Raises:
      ConfigError: it raises, or gives no number.
    """
    metric = load_metric(name)
    try:
        return float(metric(got, want))
    except Exception as error:
        raise ConfigError(
            f"`--metric` (={name!r}) must give a number for the outputs and those in "
            f"float32 ({type(error).__name__}: {error}); mend the function"
        ) from error
