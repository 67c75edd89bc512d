"""Arithmetic of the matrix unit, bit by bit: ELWMUL, GAPOOL, ELWADD.

The general functions work in int32 on bit patterns and are exact for every operand.
`fast_product` and `fast_groups` say the same in float32 for operands whose exponents
are `is_ordinary`; everything after a group's sum is shared.

Source: tenstorrent/ttsim @56694c8a (tensix.cpp), checked against its ELWMUL, GAPOOL and
ELWADD (tests/golden/fpu.npz), against the library's own low-level kernels
(tests/golden/core_kernels.npz) and against outputs recorded on a Wormhole chip
(tests/golden/recorded_height.npz).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int32

from jaxdw.arch.arch import Arch, load_arch
from jaxdw.numerics import formats

LANES = 16  # products that one GAPOOL adds
GROUP_LANES = 8  # of them, those added at one exponent

# Exponent steps of a fidelity phase: SrcA gives its lower bits in odd phases, SrcB in
# the upper two.
_PHASE_STEP = (0, -5, -7, -12)
PHASES = {"LoFi": 1, "HiFi2": 2, "HiFi3": 3, "HiFi4": 4}

_ORDINARY_LEAST, _ORDINARY_BEYOND = 84, 164  # biased exponents of operands


class Term(NamedTuple):
    """Signed magnitudes in units of 2**-23 of their biased exponent; all int32."""

    negative: Int32[Array, "..."]
    exponent: Int32[Array, "..."]
    magnitude: Int32[Array, "..."]


class _Source(NamedTuple):
    """A SrcA or SrcB operand: 11-bit mantissa with its hidden bit, 0 for zero."""

    negative: Int32[Array, "..."]
    exponent: Int32[Array, "..."]
    mantissa: Int32[Array, "..."]


def _bits(values: Float[Array, "..."]) -> Int32[Array, "..."]:
    return jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.int32)


def _floats(bits: Int32[Array, "..."]) -> Float32[Array, "..."]:
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


def _read_source(values: Float[Array, "..."]) -> _Source:
    """Reads TF32: float32 loses 13 bits, denormals are zero, exponent 255 is one."""
    bits = _bits(values)
    exponent = (bits >> 23) & 0xFF
    mantissa = jnp.where(exponent == 0, 0, (bits >> 13) & 0x3FF | 0x400)
    return _Source((bits >> 31) & 1, exponent, mantissa)


def _half(shift: Int32[Array, "..."] | int) -> Int32[Array, "..."]:
    """Returns half of the last place that a right shift keeps; 0 for no shift."""
    return jnp.left_shift(1, jnp.asarray(shift, jnp.int32)) >> 1


def _product(a: _Source, b: _Source, phase: int) -> Term:
    """Multiplies the mantissa parts of one fidelity phase; 1.0 * 1.0 gives 1024."""
    a_part = (a.mantissa >> 1) & 31 if phase % 2 else a.mantissa >> 6
    b_part = (b.mantissa & 15) << 3 if phase >= 2 else b.mantissa >> 4
    is_zero = (a.mantissa == 0) | (b.mantissa == 0)
    exponent = a.exponent + b.exponent - 127 + _PHASE_STEP[phase]
    return Term(
        jnp.where(is_zero, 0, a.negative ^ b.negative),
        jnp.where(is_zero, 0, exponent),
        jnp.where(is_zero, 0, a_part * b_part),
    )


def _align(
    term: Term, exponent: Int32[Array, "..."], fp32_dest: bool, tie: Array | int
):
    """Brings a term to a common exponent; `tie` is 1 where ties go down."""
    shift = exponent - term.exponent
    within = jnp.minimum(shift, 30)
    rounding = jnp.where(shift > 0, _half(within) - tie, 0)
    magnitude = jnp.where(shift > 30, 0, (term.magnitude + rounding) >> within)
    if not fp32_dest:
        magnitude = (magnitude + 4096 - tie) >> 13 << 13
    return jnp.where(term.negative == 1, -magnitude, magnitude)


def accumulate(
    terms: Sequence[Term], dst: Int32[Array, "..."], *, fp32_dest: bool, arch: Arch
) -> Int32[Array, "..."]:
    """Adds terms to Dst and rounds to its format; Dst in and out as float32 bits.

    Ties of a term go toward +infinity, ties of Dst and of the result away from zero.
    Underflow is +0, overflow infinity.
    """
    exponent = (dst >> 23) & 0xFF
    mantissa = jnp.where(exponent == 0, 0, dst & 0x7FFFFF | 0x800000)
    old = Term((dst >> 31) & 1, exponent, mantissa)
    for term in terms:
        exponent = jnp.maximum(exponent, term.exponent)
    total = _align(old, exponent, fp32_dest, 0)
    for term in terms:
        total = total + _align(term, exponent, fp32_dest, term.negative)

    negative = (total < 0).astype(jnp.int32)
    magnitude = jnp.abs(total)
    length = 32 - jax.lax.clz(magnitude)
    kept_bits = 24 if fp32_dest else 8
    drop = length - kept_bits
    down = jnp.maximum(drop, 0)
    rounded = (magnitude + _half(down)) >> down << jnp.maximum(-drop, 0)
    carried = rounded >> kept_bits
    fraction = (rounded >> carried) << (24 - kept_bits) & 0x7FFFFF
    result_exponent = exponent + length - 24 + carried
    if fp32_dest:
        quirk = total == -1
        step = arch.minus_one_unit_exponent_step
        result_exponent = jnp.where(quirk, exponent + step, result_exponent)
    overflows = result_exponent >= 255
    result_exponent = jnp.minimum(result_exponent, 255)
    fraction = jnp.where(overflows, 0, fraction)
    result = negative << 31 | result_exponent << 23 | fraction
    vanishes = (total == 0) | (exponent <= 0) | (result_exponent <= 0)
    return jnp.where(vanishes, 0, result)


def _elwmul_term(a: _Source, b: _Source, phase: int) -> Term:
    negative, exponent, magnitude = _product(a, b, phase)
    flushed = exponent <= 0
    return Term(
        jnp.where(flushed, 0, negative),
        jnp.where(flushed, 0, exponent),
        jnp.where(flushed, 0, magnitude << 13),
    )


def elwmul(
    a: Float[Array, "*shape"],
    b: Float[Array, "*shape"],
    dst: Float[Array, "*shape"],
    *,
    phase: int,
    fp32_dest: bool,
    arch: str | Path | Arch = "wormhole_b0",
) -> Float32[Array, "*shape"]:
    """Returns Dst + a * b, one fidelity phase of ELWMUL.

    Args:
      a: SrcA, b: SrcB; bf16 values, or float32, of which TF32 is read.
      dst: bf16 values for a 16-bit Dst, float32 for a 32-bit one.
      phase: 0 to 3. LoFi is phase 0, HiFi4 all four in order.
    """
    term = _elwmul_term(_read_source(a), _read_source(b), phase)
    chip = load_arch(arch)
    return _floats(accumulate([term], _bits(dst), fp32_dest=fp32_dest, arch=chip))


def _group_term(lanes: Term) -> Term:
    """Adds 8 products, the leading axis, at the largest exponent among them."""
    exponent = lanes.exponent.max(axis=0)
    shift = jnp.minimum(exponent[None] - lanes.exponent, 30)
    aligned = (2 * lanes.magnitude + jnp.left_shift(1, shift)) >> (shift + 1)
    total = jnp.where(lanes.negative == 1, -aligned, aligned).sum(axis=0)
    return _signed_term(jnp.where(exponent <= 0, 0, total), jnp.maximum(exponent, 0))


def _signed_term(total: Int32[Array, "..."], exponent: Int32[Array, "..."]) -> Term:
    return Term((total < 0).astype(jnp.int32), exponent, jnp.abs(total) << 13)


def _gapool_terms(a: _Source, b: _Source, phase: int) -> list[Term]:
    """Returns the group terms of products on the leading axis, up to 16."""
    lanes = _product(a, b, phase)
    return [
        _group_term(Term(*(field[first : first + GROUP_LANES] for field in lanes)))
        for first in range(0, len(lanes.exponent), GROUP_LANES)
    ]


def gapool(
    a: Float[Array, "*shape 16"],
    b: Float[Array, "*shape 16"],
    dst: Float[Array, "*shape"],
    *,
    phase: int,
    fp32_dest: bool,
    arch: str | Path | Arch = "wormhole_b0",
) -> Float32[Array, "*shape"]:
    """Returns Dst + the sum of 16 products, one fidelity phase of GAPOOL.

    Lanes 0 to 7 and 8 to 15 are each added at the largest exponent among them.

    Args:
      a: one column of SrcA; b: the row of SrcB; 1.0 throughout in a pool's reduce.
      dst, phase: as for `elwmul`.
    """
    columns, rows = jnp.moveaxis(a, -1, 0), jnp.moveaxis(b, -1, 0)
    terms = _gapool_terms(_read_source(columns), _read_source(rows), phase)
    chip = load_arch(arch)
    return _floats(accumulate(terms, _bits(dst), fp32_dest=fp32_dest, arch=chip))


def elwadd(
    a: Float[Array, "*shape"],
    b: Float[Array, "*shape"],
    dst: Float[Array, "*shape"],
    *,
    accumulate: bool,
    fp32_dest: bool,
    arch: str | Path | Arch = "wormhole_b0",
) -> Float32[Array, "*shape"]:
    """Returns a + b, plus Dst when accumulating; ELWADD has one phase only."""
    x, y = _read_source(a), _read_source(b)
    swap = (y.exponent << 11 | y.mantissa) > (x.exponent << 11 | x.mantissa)
    large = _Source(*(jnp.where(swap, q, p) for p, q in zip(x, y, strict=True)))
    small = _Source(*(jnp.where(swap, p, q) for p, q in zip(x, y, strict=True)))
    shift = large.exponent - small.exponent
    within = jnp.minimum(shift, 12)
    addend = jnp.where(shift < 12, (small.mantissa + _half(within)) >> within, 0)
    addend = jnp.where(large.negative == small.negative, addend, -addend)
    term = Term(large.negative, large.exponent, (large.mantissa + addend) << 13)
    old = _bits(dst) if accumulate else jnp.zeros_like(_bits(dst))
    return _floats(_accumulate([term], old, fp32_dest=fp32_dest, arch=load_arch(arch)))


_accumulate = accumulate  # `elwadd` has an argument of that name


# The float32 forms. In a product exponent is that of SrcA plus that of SrcB less 127.


def is_ordinary(values: Float[Array, "..."]) -> Bool[Array, ""]:
    """Whether every value is zero or lies in 2**-43 <= |value| < 2**37.

    Products of such operands neither flush nor overflow, nor leave the range of the
    float32 forms' scale factors: their biased exponents lie in 41 to 200.
    """
    if values.dtype == jnp.bfloat16:
        bits = jax.lax.bitcast_convert_type(values, jnp.uint16)
        fraction_bits = 7
    else:
        bits = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.uint32)
        fraction_bits = 23
    least, beyond = (
        jnp.asarray(exponent << fraction_bits, bits.dtype)
        for exponent in (_ORDINARY_LEAST, _ORDINARY_BEYOND)
    )
    size = (bits << 1) >> 1
    return ~((size != 0) & ((size < least) | (size >= beyond))).any()


def _cut(values: Float32[Array, "..."], bits: int) -> Float32[Array, "..."]:
    """Keeps the upper `bits` of the 11-bit mantissa, hidden bit counted."""
    return _floats(_bits(values) & ~((1 << (24 - bits)) - 1))


def _round_half_away(values: Float32[Array, "..."]) -> Float32[Array, "..."]:
    """Rounds to 8 bits of mantissa."""
    return _floats((_bits(values) + 0x8000) & ~0xFFFF)


def fast_product(
    a: Float32[Array, "..."], b: Float32[Array, "..."], *, phases: int, fp32_dest: bool
) -> Float32[Array, "..."]:
    """Returns what ELWMUL leaves in an empty Dst, packed to bf16, if `is_ordinary`.

    A 32-bit Dst holds the sum of all phases exactly, so that one rounding remains. A
    16-bit one starts as phase 0 rounded; each further term is rounded to 2**-10 of
    Dst's exponent (ties toward +infinity), added, and the sum rounded.
    """
    a_high, b_high = _cut(a, 5), _cut(b, 7)
    a_low, b_low = _cut(a, 10) - a_high, _cut(b, 11) - b_high
    parts = [(a_high, b_high), (a_low, b_high), (a_high, b_low), (a_low, b_low)]
    if fp32_dest:
        total = a_high * b_high
        for a_part, b_part in parts[1:phases]:
            total = total + a_part * b_part
        return _round_half_away(total)
    dst = _round_half_away(a_high * b_high)
    for a_part, b_part in parts[1:phases]:
        units, unit = _unit_scale(_bits(dst) & 0x7F800000)
        term = jnp.floor(a_part * b_part * units + 0.5) * unit
        dst = _round_half_away(dst + term)
    return dst


def _unit_scale(
    exponent_bits: Int32[Array, "..."],
) -> tuple[Float32[Array, "..."], Float32[Array, "..."]]:
    """Returns 2**10 over the power of two of that exponent, and its inverse."""
    exponent_bits = jnp.maximum(exponent_bits, 20 << 23)
    one, step = 127 << 23, 10 << 23
    return _floats(one - exponent_bits + one + step), _floats(exponent_bits - step)


def fast_groups(
    products: Sequence[Float32[Array, "..."]], *, phases: int
) -> list[list[Term]]:
    """Returns the group terms of each phase of GAPOOL with 1.0, if `is_ordinary`.

    The lower bits of 1.0 are zero, so that phases 2 and 3 add nothing; their exponents
    still count, and may cost Dst bits.

    Args:
      products: up to 16 lanes, bf16 values.
    """
    by_phase = [[] for _ in range(phases)]
    for first in range(0, len(products), GROUP_LANES):
        lanes = products[first : first + GROUP_LANES]
        largest = jnp.zeros_like(_bits(lanes[0]))
        for lane in lanes:
            largest = jnp.maximum(largest, _bits(lane) & 0x7F800000)
        units, _ = _unit_scale(largest)
        exponent = largest >> 23
        for phase in range(phases):
            total = jnp.zeros_like(exponent)
            if phase < 2:
                for lane in lanes:
                    high = _cut(lane, 5)
                    scaled = (_cut(lane, 10) - high if phase else high) * units
                    if phase:  # its parts count in units of its own, lower exponent
                        scaled = scaled * 32
                    away = _floats(_bits(lane) & ~0x7FFFFFFF | 0x3F000000)
                    total = total + (scaled + away).astype(jnp.int32)
            step = jnp.maximum(exponent + _PHASE_STEP[phase], 0)
            empty = exponent == 0
            by_phase[phase].append(_signed_term(total, jnp.where(empty, 0, step)))
    return by_phase


def _fast_block(
    a: Sequence[Float32[Array, "..."]],
    b: Sequence[Float32[Array, "..."]],
    *,
    phases: int,
    fp32_dest: bool,
) -> list[list[Term]]:
    products = [
        fast_product(x, y, phases=phases, fp32_dest=fp32_dest)
        for x, y in zip(a, b, strict=True)
    ]
    return fast_groups(products, phases=phases)


def _general_block(
    a: Sequence[Float32[Array, "..."]],
    b: Sequence[Float32[Array, "..."]],
    *,
    phases: int,
    fp32_dest: bool,
    arch: Arch,
) -> list[list[Term]]:
    x, y = _read_source(jnp.stack(a)), _read_source(jnp.stack(b))
    dst = jnp.zeros(jnp.broadcast_shapes(x.mantissa.shape, y.mantissa.shape), jnp.int32)
    for phase in range(phases):
        term = _elwmul_term(x, y, phase)
        dst = accumulate([term], dst, fp32_dest=fp32_dest, arch=arch)
    products = _floats(dst)
    if fp32_dest:
        products = formats.dst_to_bf16(products)
    lanes, ones = _read_source(products), _read_source(jnp.ones_like(products))
    return [_gapool_terms(lanes, ones, phase) for phase in range(phases)]


def multiply_reduce(
    a: Callable[[int], Float32[Array, "..."]],
    b: Sequence[Float32[Array, "..."]],
    *,
    phases: int,
    fp32_dest: bool,
    arch: Arch,
    fast: bool,
) -> Float32[Array, "..."]:
    """Multiplies each tap into an empty Dst, packs it to bf16, and adds all taps.

    GAPOOL with 1.0 adds 16 taps at a time; all its phases of one block come before the
    next block.

    Args:
      a: gives the window elements of a tap; b: the weights of each tap.
      fast: take the float32 forms; for ordinary operands only.

    Returns:
      Dst.
    """
    dst = jnp.zeros((), jnp.int32)
    for first in range(0, len(b), LANES):
        weights = b[first : first + LANES]
        windows = [a(first + lane) for lane in range(len(weights))]
        if fast:
            by_phase = _fast_block(windows, weights, phases=phases, fp32_dest=fp32_dest)
        else:
            by_phase = _general_block(
                windows, weights, phases=phases, fp32_dest=fp32_dest, arch=arch
            )
        for terms in by_phase:
            dst = accumulate(terms, dst, fp32_dest=fp32_dest, arch=arch)
    return _floats(dst)
