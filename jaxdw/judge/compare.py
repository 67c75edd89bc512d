"""PCC, ULP, gain, SNR, and the verdict over one output."""

import dataclasses
import math
from collections.abc import Iterator

import ml_dtypes
import numpy as np
from jaxtyping import Float, Float64, Int, Int64
from numpy.typing import ArrayLike

from jaxdw.errors import refuse
from jaxdw.judge.pair import pair
from jaxdw.plan.config import ComputeConfig, ConvConfig
from jaxdw.plan.names import PccRevision, name_problem
from jaxdw.shown import Shown

_SMALL_OUTPUT = 0.01  # of the largest output: below, ULPs measure cancellation
_SMALL_ERROR = 1e-6  # of the largest output, allowed below that


def pcc(
    golden: ArrayLike, calculated: ArrayLike, *, revision: PccRevision = "ttnn-0.81"
) -> float:
    """Returns the Pearson correlation as tt-metal's `comp_pcc` defines it.

    `calculated` is cast to the dtype of `golden` first; NaN and infinity count as 0.
    Equal tensors, or two of NaN only, give 1.

    Args:
      revision: `ttnn-0.81` centres and multiplies in float32 and sums in float64, and
        where a tensor is constant gives 1 or 0 for close or not (absolute 1e-4,
        relative 1e-5, in bf16 4 epsilon). `branch` is that of the depthwise branch,
        with which its figures were recorded: float64 throughout, 0 where one tensor is
        all zeros, otherwise 1 where one is constant.

    Raises:
      ConfigError: tensors of different shapes, or of no real numbers, an unknown
        revision.

    Source: ttnn 0.81.1, comparison module (tests/golden/comp_pcc.npz); tt-metal
    models/common/utility_functions.py @002a3f41.
    """
    refuse(name_problem("revision", revision))
    want, got = pair(golden, calculated, ("golden", "calculated"))
    bf16 = ml_dtypes.bfloat16 in (want.dtype, got.dtype)
    got = got.astype(want.dtype)
    if want.dtype != np.float64:
        want, got = want.astype(np.float32), got.astype(np.float32)
    want_nan, got_nan = np.isnan(want).all(), np.isnan(got).all()
    if want_nan or got_nan:
        return float(want_nan and got_nan)
    one_is_zero = want.any() != got.any()
    want = np.where(np.isfinite(want), want, 0).ravel()
    got = np.where(np.isfinite(got), got, 0).ravel()
    if np.array_equal(want, got):
        return 1.0
    constant = one_is_zero or np.ptp(want) == 0 or np.ptp(got) == 0
    if constant and revision == "branch":
        return float(not one_is_zero)
    if constant:
        rtol = 4 * float(ml_dtypes.finfo(ml_dtypes.bfloat16).eps) if bf16 else 1e-5
        close = np.abs(want - got) <= 1e-4 + rtol * np.abs(got)
        return float(close.all())
    if revision == "branch":
        want, got = want.astype(np.float64), got.astype(np.float64)
    want -= want.mean(dtype=np.float64).astype(want.dtype)
    got -= got.mean(dtype=np.float64).astype(want.dtype)
    with np.errstate(over="ignore"):
        sums = _product_sums(want, got)
    if not np.isfinite(sums).all():
        sums = _product_sums(want.astype(np.float64), got.astype(np.float64))
    covariance, variance, got_variance = sums
    return float(covariance / np.sqrt(variance * got_variance))


def _product_sums(
    a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]
) -> Float64[np.ndarray, " 3"]:
    return np.array([p.sum(dtype=np.float64) for p in (a * b, a * a, b * b)])


def ulp_distance(
    a: ArrayLike, b: ArrayLike, dtype: str = "bfloat16"
) -> Int64[np.ndarray, "*shape"]:
    """Returns how many values of `dtype` lie from each `a` to its `b`.

    0 and -0 are one value. Both are rounded to `dtype` first. NaN against NaN is 0,
    against a number the largest distance there is.

    Args:
      dtype: `bfloat16` or `float32`.

    Raises:
      ConfigError: arrays of different shapes, or of no real numbers; another dtype.
    """
    refuse(name_problem("dtype", dtype, "ULPs' dtype"))
    a, b = pair(a, b, ("a", "b"))
    return _distance(_ordered(a, dtype), _ordered(b, dtype), dtype).astype(np.int64)


def _distance(
    a: Int[np.ndarray, "*shape"], b: Int[np.ndarray, "*shape"], dtype: str
) -> Int[np.ndarray, "*shape"]:
    """Returns `ulp_distance` of values that are numbered already."""
    distance = np.asarray(np.abs(a - b))
    target, bits = _ULP_TYPES[dtype]
    infinity = np.asarray(np.inf, target).view(bits).astype(a.dtype)
    nan_a, nan_b = (np.abs(v) > infinity for v in (a, b))
    if nan_a.any() or nan_b.any():
        most = a.dtype.type(1) << (8 * np.dtype(bits).itemsize)
        distance[nan_a ^ nan_b] = most
        distance[nan_a & nan_b] = 0
    return distance


def signed_ulp(
    want: ArrayLike, got: ArrayLike, dtype: str = "bfloat16"
) -> Int64[np.ndarray, "*shape"]:
    """Returns how many values of `dtype` further from zero `got` is than `want`.

    Negative towards zero and past it; NaN is no number here.
    """
    place = _ordered(want, dtype).astype(np.int64)
    change = _ordered(got, dtype) - place
    return np.where(place == 0, np.abs(change), np.where(place < 0, -change, change))


def _ordered(values: ArrayLike, dtype: str) -> Int[np.ndarray, "*shape"]:
    """Numbers the values of `dtype` in order; 0 and -0 are number 0.

    Returns:
      int32 for bf16, whose numbers and their distances it holds, else int64.
    """
    target, bits = _ULP_TYPES[dtype]
    pattern = np.asarray(values).astype(target, copy=False).view(bits)
    pattern = pattern.astype(np.int32 if bits is np.int16 else np.int64)
    sign = -(pattern < 0).astype(pattern.dtype)  # all ones, or none
    return np.asarray(((pattern & np.iinfo(bits).max) ^ sign) - sign)


def output_ulp_type(conv: ConvConfig) -> str:
    """Returns the dtype in whose ULPs a layer's output is judged."""
    return "float32" if conv.output_dtype == "float32" else "bfloat16"


_ULP_TYPES = {
    "bfloat16": (ml_dtypes.bfloat16, np.int16),
    "float32": (np.float32, np.int32),
}


def gain(golden: ArrayLike, calculated: ArrayLike) -> float | None:
    """Returns by how much an output is scaled, in least squares; PCC cannot see it.

    gain = sum(golden * calculated) / sum(golden^2), in float64: the factor g for which
    g * golden comes closest to `calculated`. Multiplying by 1/gain mends a scale that
    is the same everywhere.

    Returns:
      None if `golden` is all zeros, or if one of them holds NaN or infinity.

    Raises:
      ConfigError: tensors of different sizes.
    """
    power = product = 0.0
    for want, got in _doubles(golden, calculated):
        power += float((want * want).sum())
        product += float((want * got).sum())
    if not power or not np.isfinite([power, product]).all():
        return None
    return product / power


def snr_db(golden: ArrayLike, calculated: ArrayLike) -> float | None:
    """Returns the signal-to-noise ratio in decibels; every error counts, scale too.

    snr_db = 10 log10(sum(golden^2) / sum((calculated - golden)^2)), in float64. 20 dB
    is an error of a tenth of the output's root mean square, 40 dB of a hundredth.

    Returns:
      None if both are equal, if `golden` is all zeros, or if one of them holds NaN or
      infinity.

    Raises:
      ConfigError: tensors of different sizes.
    """
    signal = noise = 0.0
    for want, got in _doubles(golden, calculated):
        with np.errstate(invalid="ignore"):
            error = got - want
        signal += float((want * want).sum())
        noise += float((error * error).sum())
    if not signal or not noise or not np.isfinite([signal, noise]).all():
        return None
    return 10 * math.log10(signal / noise)


_PIECE = 2**13  # elements compared at once: memory that stays in the cache, not new


def _pieces(*arrays: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields arrays of one size flat, piece by piece."""
    flat = [array.reshape(-1) for array in arrays]
    for first in range(0, flat[0].size, _PIECE):
        yield tuple(array[first : first + _PIECE] for array in flat)


def _doubles(
    golden: ArrayLike, calculated: ArrayLike
) -> Iterator[tuple[np.ndarray, ...]]:
    want, got = pair(golden, calculated, ("golden", "calculated"))
    for pieces in _pieces(want, got):
        yield tuple(piece.astype(np.float64, copy=False) for piece in pieces)


SCALED = 0.01  # from which a gain is told in words


def scale_in_words(found: float | None) -> str:
    """Returns what PCC cannot see of an output, in words; "" below a hundredth."""
    if found is None or abs(found - 1) < SCALED:
        return ""
    how = "small" if found < 1 else "large"
    return f"outputs are {abs(1 - found):.1%} too {how}, which PCC cannot see"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict(Shown):
    """How one output compares with the float64 reference rounded to its dtype.

    Attributes:
      exact: outputs equal bit for bit, of `outputs`.
      max_ulp, mean_ulp: over outputs above 1 % of the largest.
      small_error: the largest error of the others that are not within 1 ULP, as a
        share of the largest output.
      gain, snr_db: as the functions, against float64 before rounding.
      rule: what `passed` asks for.
    """

    outputs: int
    exact: int
    max_ulp: int
    mean_ulp: float
    small_error: float
    pcc: float
    gain: float | None
    snr_db: float | None
    rule: str
    passed: bool


def pcc_threshold(conv: ConvConfig, compute: ComputeConfig) -> float:
    """Returns the PCC that tt-metal's own depthwise test asks for.

    Source: tests/ttnn/nightly/unit_tests/operations/conv/test_conv2d.py @002a3f41,
    run_conv.
    """
    if not compute.fp32_dest_acc:
        return 0.97 if conv.channels * conv.taps > 10000 else 0.985
    lofi_bfp8 = compute.math_fidelity == "LoFi" and conv.output_dtype == "bfloat8_b"
    return 0.996 if lofi_bfp8 else 0.997


@np.errstate(over="ignore", invalid="ignore")  # infinities are judged, too
def judge(
    output: ArrayLike,
    want: Float64[np.ndarray, "..."],
    conv: ConvConfig,
    compute: ComputeConfig,
) -> Verdict:
    """Compares an output with its float64 reference.

    `arithmetic="float32"` must come within an ULP; the matrix unit and block formats
    must pass the threshold of tt-metal's own test and leave no output unwritten.

    Raises:
      ConfigError: an output and a reference of different shapes.
    """
    want, output = pair(want, output, ("want", "output"))
    output_dtype = output_ulp_type(conv)
    target, _ = _ULP_TYPES[output_dtype]
    got, rounded = np.asarray(output).astype(target), want.astype(target)
    largest = float(np.abs(rounded).max())
    exact = above = max_ulp = sum_ulp = 0
    small_error = 0.0
    has_nan = False
    for one, other in _pieces(got, rounded):
        places = [_ordered(values, output_dtype) for values in (one, other)]
        ulp = _distance(places[0], places[1], output_dtype)
        large = np.abs(other.astype(np.float64)) > _SMALL_OUTPUT * largest
        exact += int(np.count_nonzero(ulp == 0))
        above += int(np.count_nonzero(large))
        at_large = ulp * large
        max_ulp = max(max_ulp, int(at_large.max(initial=0)))
        sum_ulp += int(at_large.sum(dtype=np.int64))
        odd = np.flatnonzero((ulp > 1) & ~large)
        error = np.abs(one[odd].astype(np.float64) - other[odd].astype(np.float64))
        error = np.where(np.isnan(error), np.inf, error)
        small_error = max(small_error, float(error.max(initial=0)))
        has_nan |= bool(np.isnan(one).any())
    small_error /= largest or 1.0
    correlation = pcc(got, rounded)
    exact_formats = {conv.dtype, conv.weights_dtype} <= {"bfloat16", "float32"}
    if compute.arithmetic == "float32" and exact_formats:
        rule = (
            "at most 1 ULP above 1 % of the largest output, elsewhere 1 ULP or 1e-6 of "
            "the largest"
        )
        passed = max_ulp <= 1 and small_error <= _SMALL_ERROR
    else:
        threshold = pcc_threshold(conv, compute)
        rule = f"PCC at least {threshold}, as tt-metal's own test; no output unwritten"
        passed = correlation >= threshold and not has_nan
    return Verdict(
        outputs=got.size,
        exact=exact,
        max_ulp=max_ulp,
        mean_ulp=sum_ulp / above if above else 0.0,
        small_error=small_error,
        pcc=correlation,
        gain=gain(want, got),
        snr_db=snr_db(want, got),
        rule=rule,
        passed=passed,
    )
