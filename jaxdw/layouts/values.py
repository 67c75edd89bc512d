"""Prepared weights in a known layout that hold other values than the plan's."""

import dataclasses
from collections.abc import Callable, Iterator

import ml_dtypes
import numpy as np
from jaxtyping import Float64

from jaxdw.layouts.hypotheses import Evidence, explanations
from jaxdw.layouts.preparations import SourceIndex
from jaxdw.numerics import formats

_MOST_SHARE = 0.1  # of a weight, that its value may be off and still be it


def _of_plan(dtype: str) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the host's own rounding."""
    if dtype != "bfloat16":
        return lambda values: values
    return lambda values: values.astype(ml_dtypes.bfloat16).astype(np.float32)


def _others(dtype: str) -> Iterator[tuple[str, Callable | None, str | None]]:
    """Yields what values may be instead: in words, the host's part, the format."""
    rounded = _of_plan(dtype)
    if dtype != "float32":
        yield "truncated to bfloat16, not rounded", formats.truncated, None
    for packed in ("bfloat16", "bfloat8_b", "bfloat4_b"):
        if packed != dtype:
            yield f"rounded to {packed}", None, packed
    yield "with the other sign", lambda values: -rounded(values), None
    yield "twice as large", lambda values: 2 * rounded(values), None
    yield "half as large", lambda values: rounded(values) / 2, None


def other_values(evidence: Evidence) -> Iterator[str]:
    """Yields what explains the data with other values: the layout, then the values."""
    for text, host, packed in _others(evidence.dtype):
        other = dataclasses.replace(evidence, host=host, packed=packed)
        own = other.own
        if own is not None and other.explained(own):
            yield f"the plan's layout, values {text}"
        else:
            for name in explanations(other):
                yield f"{name}, values {text}"


def rounding(evidence: Evidence, own: SourceIndex) -> str | None:
    """Returns how the values are off if all are the plan's to a tenth; else None."""
    want, found = (v.astype(np.float64) for v in (evidence.values(own), evidence.runs))
    there = (own != evidence.unknown).reshape(want.shape)
    want, found = want[there], found[there]
    size = np.abs(want)
    if not (np.abs(found - want) <= _MOST_SHARE * size).all():
        return None
    change = np.abs(found) - size
    way = "toward zero" if (change <= 0).all() else "both ways"
    way = "away from zero" if (change >= 0).all() else way
    return (
        f"the plan's layout, other values: every weight is off by at most "
        f"{_largest(change, size):.2g} of itself, {way}"
    )


def _largest(change: Float64[np.ndarray, " n"], size: Float64[np.ndarray, " n"]):
    return float(np.max(np.abs(change) / np.where(size > 0, size, 1), initial=0))
