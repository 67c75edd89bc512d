"""Slow oracle of the matrix unit and the packers on whole arrays, in int64 NumPy.

Every value is a float32 bit pattern, 0 .. 2**32 - 1; a bf16 value has its low 16 bits
zero. The rules are those of oracles_fpu.py, one array operation for each scalar one:
MVMUL in full, that is with the sums over all 16 lanes, takes too long one by one.

Source: tenstorrent/ttsim @56694c8a src/tensix.cpp, mvmul, elwmul, elwadd,
fpu_accum_normalize_encode, pack_l1_acc; tt-llk of ttnn 0.81.1,
llk_math_matmul.h, llk_math_eltwise_binary.h.
"""

from typing import NamedTuple

import numpy as np
import oracles_fpu
from numpy.typing import ArrayLike

GROUP_LANES = 8
BLOCK_ELEMS = 16
TF32_MASK = 0xFFFFE000
INF = 0x7F800000


class Compute(NamedTuple):
    """How a program computes.

    fidelity: LoFi, HiFi2, HiFi3 or HiFi4.
    fp32_dest: whether Dst is 32 bits wide, not 16.
    arch: wormhole or blackhole.
    dtype: of the output: bfloat16, float32 or bfloat8_b.
    packer_l1_acc: whether partial sums of blocks of K shall be added in L1.
    """

    fidelity: str
    fp32_dest: bool
    arch: str = "wormhole"
    dtype: str = "bfloat16"
    packer_l1_acc: bool = False

    @property
    def phases(self) -> tuple[int, ...]:
        """Fidelity phases in order."""
        return oracles_fpu.FIDELITY_PHASES[self.fidelity]


class Numbers(NamedTuple):
    """Sign (0 or 1), biased exponent and magnitude, int64 arrays of one shape."""

    sign: np.ndarray
    exponent: np.ndarray
    mantissa: np.ndarray


# --- Bit patterns --------------------------------------------------------------------


def patterns(stored: np.ndarray) -> np.ndarray:
    """Returns float32 patterns of stored bf16 (uint16) or float32 (uint32) bits."""
    wide = stored.astype(np.int64)
    return wide << 16 if stored.dtype == np.uint16 else wide


def of_values(values: ArrayLike) -> np.ndarray:
    """Returns the float32 patterns of numbers."""
    return np.asarray(values, np.float32).view(np.uint32).astype(np.int64)


def numbers(bits: np.ndarray) -> np.ndarray:
    """Returns the numbers of float32 patterns."""
    return bits.astype(np.uint32).view(np.float32)


# --- Operands and rounding -----------------------------------------------------------


def read_source(bits: np.ndarray) -> Numbers:
    """Reads SrcA or SrcB: 11-bit mantissa, 0 if the exponent is 0; float32 as TF32."""
    exponent = (bits >> 23) & 0xFF
    mantissa = np.where(exponent == 0, 0, 0x400 | (bits >> 13) & 0x3FF)
    return Numbers(bits >> 31, exponent, mantissa)


def read_dst(bits: np.ndarray) -> Numbers:
    """Reads Dst: 24-bit mantissa, +0 if the exponent is 0."""
    exponent = (bits >> 23) & 0xFF
    zero = exponent == 0
    mantissa = np.where(zero, 0, 0x800000 | bits & 0x7FFFFF)
    return Numbers(np.where(zero, 0, bits >> 31), exponent, mantissa)


def shift_right(
    mantissa: np.ndarray, shift: np.ndarray | int, below: np.ndarray | int = 0
) -> np.ndarray:
    """Shifts magnitudes right by 0 .. 31, rounding half up; `below` 1 rounds a tie
    down."""
    shift = np.asarray(shift)
    half = np.where(shift > 0, (1 << np.maximum(shift - 1, 0)) - below, 0)
    return (mantissa + half) >> shift


# --- Accumulation --------------------------------------------------------------------


def accumulate(
    terms: list[Numbers], dst: np.ndarray, fp32_dest: bool, arch: str
) -> np.ndarray:
    """Adds terms, in units of 2**-23 of their exponents, to Dst and rounds the sum.

    A tie among the terms goes toward +infinity, in Dst away from zero.
    """
    old = read_dst(dst)
    exponent = old.exponent
    for term in terms:
        exponent = np.maximum(exponent, term.exponent)
    total = np.zeros_like(exponent)
    for number, is_term in [(old, False), *((term, True) for term in terms)]:
        below = number.sign if is_term else 0
        shift = np.minimum(exponent - number.exponent, 31)
        aligned = shift_right(number.mantissa, shift, below)
        if not fp32_dest:
            aligned = shift_right(aligned, 13, below) << 13
        total = total + np.where(number.sign == 1, -aligned, aligned)
    result = normalise(total, exponent, fp32_dest)
    if arch == "wormhole" and fp32_dest:
        one_unit_below_zero = encode(1, exponent + 4, 0)
        result = np.where(total == -1, one_unit_below_zero, result)
    return np.where(exponent <= 0, 0, result)


def normalise(total: np.ndarray, exponent: np.ndarray, fp32_dest: bool) -> np.ndarray:
    """Rounds a signed sum to 24 bits (32-bit Dst) or 8, half away from zero."""
    magnitude = np.abs(total)
    length = np.frexp(magnitude.astype(np.float64))[1].astype(np.int64)
    kept_bits = 24 if fp32_dest else 8
    drop = length - kept_bits
    mantissa = shift_right(magnitude, np.maximum(drop, 0)) << np.maximum(-drop, 0)
    carry = mantissa >> kept_bits
    mantissa = mantissa >> carry
    exponent = exponent + length - 24 + carry
    fraction = (mantissa << (24 - kept_bits)) & 0x7FFFFF
    sign = (total < 0).astype(np.int64)
    return np.where(total == 0, 0, encode(sign, exponent, fraction))


def encode(
    sign: np.ndarray | int, exponent: np.ndarray, fraction: np.ndarray | int
) -> np.ndarray:
    """Joins the fields; underflow is +0, overflow infinity."""
    finite = sign << 31 | np.clip(exponent, 0, 254) << 23 | fraction
    return np.where(
        exponent <= 0, 0, np.where(exponent >= 255, sign << 31 | INF, finite)
    )


# --- Instructions --------------------------------------------------------------------


def products(a: np.ndarray, b: np.ndarray, phase: int) -> Numbers:
    """Multiplies the mantissa parts of one phase; a zero operand gives +0.

    The SrcA operand `a` gives 5 bits to every phase, the SrcB operand `b` 7 (4 in
    phases 2 and 3).
    """
    of_a, of_b = read_source(a), read_source(b)
    odd, late = phase % 2 == 1, phase >= 2
    a_part = (of_a.mantissa >> 1) & 31 if odd else of_a.mantissa >> 6
    b_part = (of_b.mantissa & 15) << 3 if late else of_b.mantissa >> 4
    exponent = of_a.exponent + of_b.exponent - 127 - 5 * odd - 7 * late
    zero = (of_a.exponent == 0) | (of_b.exponent == 0)
    return Numbers(
        np.where(zero, 0, of_a.sign ^ of_b.sign),
        np.where(zero, 0, exponent),
        a_part * b_part,
    )


def group_sum(lanes: Numbers) -> Numbers:
    """Adds the 8 lanes of the last axis at their largest exponent."""
    exponent = lanes.exponent.max(axis=-1)
    shift = np.minimum(exponent[..., None] - lanes.exponent, 30)
    aligned = (2 * lanes.mantissa + (1 << shift)) >> (shift + 1)
    total = np.where(lanes.sign == 1, -aligned, aligned).sum(axis=-1)
    total = np.where(exponent <= 0, 0, total)
    sign = (total < 0).astype(np.int64)
    return Numbers(sign, exponent, np.abs(total) << 13)


def mvmul(
    a: np.ndarray,
    b: np.ndarray,
    dst: np.ndarray,
    phase: int,
    fp32_dest: bool,
    arch: str,
) -> np.ndarray:
    """Returns Dst + the sum over the 16 lanes of the last axis of a * b, one phase.

    `a` (SrcA, the weights of a matmul) and `b` (SrcB, its activations) broadcast
    against each other; `dst` has their shape without the lanes.
    """
    lanes = products(a, b, phase)
    first = Numbers(*(field[..., :GROUP_LANES] for field in lanes))
    second = Numbers(*(field[..., GROUP_LANES:] for field in lanes))
    return accumulate([group_sum(first), group_sum(second)], dst, fp32_dest, arch)


def elwmul(
    a: np.ndarray,
    b: np.ndarray,
    dst: np.ndarray,
    phase: int,
    fp32_dest: bool,
    arch: str,
) -> np.ndarray:
    """Returns Dst + a * b, one phase, element by element."""
    sign, exponent, magnitude = products(a, b, phase)
    lost = exponent <= 0
    term = Numbers(
        np.where(lost, 0, sign),
        np.where(lost, 0, exponent),
        np.where(lost, 0, magnitude << 13),
    )
    return accumulate([term], dst, fp32_dest, arch)


def elwadd(a: np.ndarray, b: np.ndarray, fp32_dest: bool, arch: str) -> np.ndarray:
    """Returns a + b, rounded to the width of Dst; nothing was in Dst."""
    both = [np.asarray(bits) for bits in np.broadcast_arrays(a, b)]
    swap = (both[1] & 0x7FFFE000) > (both[0] & 0x7FFFE000)
    large = read_source(np.where(swap, both[1], both[0]))
    small = read_source(np.where(swap, both[0], both[1]))
    shift = large.exponent - small.exponent
    addend = shift_right(small.mantissa, np.minimum(shift, 12))
    addend = np.where(shift < 12, addend, 0)
    addend = np.where(small.sign == large.sign, addend, -addend)
    term = Numbers(large.sign, large.exponent, (large.mantissa + addend) << 13)
    return accumulate([term], np.zeros_like(both[0]), fp32_dest, arch)


# --- Packers -------------------------------------------------------------------------


def pack_bfp8_kernel(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Packs [..., 16 k] as a kernel does whose packer's source format is bfp8.

    Each element is first rounded half away to 7 significant bits of its own exponent,
    then truncated to the largest exponent of its 16, then rounded half up to 7 bits.

    Returns:
      Shared exponents [..., k] and sign-magnitude codes [..., 16 k].
    Source: ttnn 0.81.1, conv_bmm_tilize.cpp and compute_depthwise_conv1d.cpp run on
    ttsim @56694c8a.
    """
    exponents, codes = [], []
    for block in values.reshape(-1, BLOCK_ELEMS).tolist():
        numbers = [
            oracles_fpu.round_to_7_bits(oracles_fpu.read_packer(bits)) for bits in block
        ]
        shared = max(number.exponent for number in numbers)
        exponents.append(shared)
        for number in numbers:
            aligned = (number.mantissa << 1) >> (shared - number.exponent)
            magnitude = oracles_fpu.shift_half_up(aligned, 1)
            codes.append(number.sign << 7 | magnitude if magnitude else 0)
    shape = (*values.shape[:-1], values.shape[-1] // BLOCK_ELEMS)
    return np.array(exponents).reshape(shape), np.array(codes).reshape(values.shape)


def pack_bfp8_bf16(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Packs [..., 16 k] as a packer does whose source format is bf16: one rounding."""
    blocks = [
        oracles_fpu.device_bfp8_block(block)
        for block in values.reshape(-1, BLOCK_ELEMS).tolist()
    ]
    shape = (*values.shape[:-1], values.shape[-1] // BLOCK_ELEMS)
    exponents = np.array([shared for shared, _ in blocks]).reshape(shape)
    return exponents, np.array([codes for _, codes in blocks]).reshape(values.shape)


def unpack_bfp8(exponents: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Returns the float32 patterns of block floats."""
    shared = np.repeat(exponents, BLOCK_ELEMS, axis=-1).ravel().tolist()
    values = [
        oracles_fpu.unpack_code(code, exponent, 7)
        for exponent, code in zip(shared, codes.ravel().tolist(), strict=True)
    ]
    return np.array(values, np.int64).reshape(codes.shape)


def pack(dst: np.ndarray, dtype: str, fp32_dest: bool) -> np.ndarray:
    """Returns what a buffer of `dtype` holds of Dst [..., channels]."""
    if dtype == "bfloat8_b":
        return unpack_bfp8(*pack_bfp8_kernel(dst))
    if dtype == "bfloat16" and fp32_dest:
        values = [oracles_fpu.dst_to_bf16(bits) for bits in dst.ravel().tolist()]
        return np.array(values, np.int64).reshape(dst.shape)
    return dst


def reload(partial: np.ndarray) -> np.ndarray:
    """Copies partials back to Dst through SrcA: a float32 loses 13 bits."""
    return partial & TF32_MASK


def add_in_l1(old: np.ndarray, packed: np.ndarray, dtype: str) -> np.ndarray:
    """Adds what is packed to what L1 holds, rounding to nearest even.

    Denormals among operands and float32 results are 0.
    """
    flushed = [np.where((bits >> 23) & 0xFF, bits, 0) for bits in (old, packed)]
    with np.errstate(over="ignore", invalid="ignore"):
        total = of_values(numbers(flushed[0]) + numbers(flushed[1]))
    if dtype == "bfloat16":
        values = [oracles_fpu.round_bf16_even(bits) for bits in total.ravel().tolist()]
        return np.array(values, np.int64).reshape(total.shape)
    return np.where((total >> 23) & 0xFF, total, 0)
