"""The matrix unit's float form, for ordinary operands: the same bits, faster.

Every quantity of `fpu` fits float32 exactly here: products of mantissa parts have at
most 12 bits, a group's sum 14, and rounding at a power of two is a scaled floor. The
operands' exponents are bounded so that no product, sum or scale factor leaves the range
of float32. Tests hold both forms equal, bit for bit.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int32, UInt32

from jaxdw.arch.arch import Arch
from jaxdw.numerics.fpu import (
    GROUP_LANES,
    PHASE_STEP,
    ByTap,
    Dst,
    Tap,
    Term,
    add_to_dst,
    bits_of,
    floats_of,
    over_blocks,
)

ORDINARY_LEAST, ORDINARY_BEYOND = 84, 164  # biased exponents of operands

# Mantissa bits that values of a format can have, hidden bit counted; TF32 for float32.
MANTISSA_BITS = {"float32": 11, "bfloat16": 8, "bfloat8_b": 7, "bfloat4_b": 3}

_EXPONENT = 0x7F800000
_SLICES = 16
_ONE, _PLACE = 127 << 23, 1 << 23  # bits of 1.0, and of one step of the exponent


def mantissa_bits_of(windows_dtype: str, weights_dtype: str) -> tuple[int, int]:
    """Returns the mantissa bits that windows and weights can have."""
    return MANTISSA_BITS[windows_dtype], MANTISSA_BITS[weights_dtype]


class _Group(NamedTuple):
    """Sums of 8 lanes in units of 2**-10 of their largest exponent, for phases 0 and 1.

    The exponent is given as float32 bits, 0 if all lanes are zero; phase 1 counts in
    units 2**-5 as large.
    """

    exponent: Int32[Array, "..."]
    sums: list[Float32[Array, "..."]]


def is_ordinary(values: Float[Array, "..."]) -> Bool[Array, ""]:
    """Whether every value is zero or lies in 2**-43 <= |value| < 2**37.

    The biased exponents of products of such operands lie in 41 to 200.
    """
    flat = values.reshape(-1)
    if values.dtype == jnp.bfloat16:  # two to a word
        flat = jnp.pad(flat, (0, flat.size % 2)).reshape(-1, 2)
        shifts, mask = (0, 16), 0x7FFF0000
    else:
        flat, shifts, mask = flat.astype(jnp.float32), (0,), 0x7FFFFFFF
    words = jax.lax.bitcast_convert_type(flat, jnp.uint32)
    least, span = (
        jnp.uint32(exponents << 23)
        for exponents in (ORDINARY_LEAST, ORDINARY_BEYOND - ORDINARY_LEAST)
    )

    def most_above_least(words: UInt32[Array, " part"]) -> UInt32[Array, " part"]:
        sizes = [(words << shift) & jnp.uint32(mask) for shift in shifts]
        above = [jnp.where(size == 0, size, size - least) for size in sizes]  # wraps
        return functools.reduce(jnp.maximum, above)

    # elementwise maxima of a few long slices first: XLA's own reduction is slower
    part = -(-words.size // _SLICES)
    firsts = [min(n * part, words.size - part) for n in range(_SLICES)]
    slices = [most_above_least(words[first : first + part]) for first in firsts]
    return functools.reduce(jnp.maximum, slices).max() < span


def surely_ordinary(values: object) -> bool:
    """Whether an array in the host's memory is ordinary, however it is rounded.

    False for an array elsewhere: nothing is waited for.
    """
    if not isinstance(values, np.ndarray):
        return False
    with np.errstate(over="ignore"):
        size = np.abs(values.astype(np.float32))
    least = np.float32(2.0**-43)
    return bool(
        size.max(initial=0) < 2.0**36
        and (size.min(initial=1) >= least or ((size == 0) | (size >= least)).all())
    )


def _cut(values: Float32[Array, "..."], bits: int) -> Float32[Array, "..."]:
    """Keeps the upper `bits` of the 11-bit mantissa, hidden bit counted."""
    return floats_of(bits_of(values) & -(1 << (24 - bits)))


def _round_half_away(values: Float32[Array, "..."]) -> Float32[Array, "..."]:
    """Rounds to 8 bits of mantissa."""
    return floats_of((bits_of(values) + 0x8000) & -0x10000)


def _units(exponent: Int32[Array, "..."]) -> Float32[Array, "..."]:
    """Returns how many 2**-10 of a power of two there are in 1.0."""
    return floats_of(_ONE - exponent + _ONE + 10 * _PLACE)


def _unit(exponent: Int32[Array, "..."]) -> Float32[Array, "..."]:
    """Returns 2**-10 of a power of two."""
    return floats_of(exponent - 10 * _PLACE)


def _parts(values: Float32[Array, "..."], high_bits: int, all_bits: int):
    """Splits mantissas into the bits of the two fidelity phases that read them."""
    high = _cut(values, high_bits)
    return high, _cut(values, all_bits) - high


def effective_phases(
    phases: int, fp32_dest: bool, mantissa_bits: tuple[int, int]
) -> list[int]:
    """Returns the phases of a product that can change Dst.

    SrcA's lower part is empty for up to 5 mantissa bits, SrcB's for up to 7. With 8 the
    product of both lower parts is below half of the 2**-10 to which a 16-bit Dst rounds
    a term (2**-4 by 2**-7), so that phase 3 adds nothing to it.
    """
    a_bits, b_bits = mantissa_bits
    idle = set()
    if a_bits <= 5:
        idle |= {1, 3}
    if b_bits <= 7:
        idle |= {2, 3}
    if b_bits <= 8 and not fp32_dest:
        idle |= {3}
    return [phase for phase in range(phases) if phase not in idle]


def _product(a, b, *, phases: list[int], fp32_dest: bool) -> Float32[Array, "..."]:
    """Returns what ELWMUL's phases leave in an empty Dst, packed to bf16.

    A 32-bit Dst holds the sum of all phases exactly, so that one rounding remains. A
    16-bit one starts as phase 0 rounded; each further term is rounded to 2**-10 of
    Dst's exponent (ties toward +infinity), added, and the sum rounded.
    """
    (a_high, a_low), (b_high, b_low) = a, b
    pairs = [(a_high, b_high), (a_low, b_high), (a_high, b_low), (a_low, b_low)]
    products = [pairs[phase][0] * pairs[phase][1] for phase in phases]
    if fp32_dest:
        return _round_half_away(sum(products[1:], start=products[0]))
    dst = _round_half_away(products[0])
    for product in products[1:]:
        exponent = bits_of(dst) & _EXPONENT
        term = jnp.floor(product * _units(exponent) + 0.5) * _unit(exponent)
        dst = _round_half_away(dst + term)
    return dst


def _group(lanes: Sequence[Float32[Array, "..."]], phases: int) -> _Group:
    """Adds up to 8 products, each rounded half away at the largest exponent.

    The lower bits of 1.0 are zero, so that phases 2 and 3 add nothing.
    """
    exponent = bits_of(lanes[0]) & _EXPONENT
    for lane in lanes[1:]:
        exponent = jnp.maximum(exponent, bits_of(lane) & _EXPONENT)
    units = _units(exponent)
    scales = [units, units * 32]
    totals = [jnp.zeros((), jnp.int32)] * min(phases, 2)
    for lane in lanes:
        half = floats_of(bits_of(lane) & -0x80000000 | 0x3F000000)
        high = _cut(lane, 5)
        for phase, part in enumerate([high, lane - high][:phases]):
            rounded = (part * scales[phase] + half).astype(jnp.int32)
            totals[phase] = totals[phase] + rounded
    return _Group(exponent, [total.astype(jnp.float32) for total in totals])


def _accumulate(
    groups: Sequence[_Group], dst: Float32[Array, "..."] | None, phase: int
) -> Float32[Array, "..."]:
    """Adds the groups of one GAPOOL phase to a 16-bit Dst; None for an empty one.

    Both operands are brought to 2**-10 of the largest exponent: a term with ties toward
    +infinity, Dst with ties away from zero. A term 14 places down is rounded at 2**-23
    first, which can carry it over a tie.
    """
    exponents = [group.exponent + PHASE_STEP[phase] * _PLACE for group in groups]
    largest = jnp.asarray(30 * _PLACE, jnp.int32)  # below any that is not zero
    if dst is not None:
        largest = jnp.maximum(largest, bits_of(dst) & _EXPONENT)
    for exponent in exponents:
        largest = jnp.maximum(largest, exponent)
    units = _units(largest)
    total = jnp.zeros((), jnp.float32)
    if dst is not None:
        scaled = dst * units
        size = jnp.floor(jnp.abs(scaled) + 0.5)
        total = jnp.where(scaled < 0, -size, size)
    if phase < 2:
        for group, exponent in zip(groups, exponents, strict=True):
            carry = jnp.where(largest - exponent == 14 * _PLACE, 2.0**-14, 0.0)
            scaled = group.sums[phase] * _unit(exponent) * units
            total = total + jnp.floor(scaled + (0.5 + carry))
    return _round_half_away(total * _unit(largest))


def _terms(groups: Sequence[_Group], phase: int) -> list[Term]:
    """Returns the groups of one phase as the exact terms of a 32-bit Dst."""
    terms = []
    for group in groups:
        total = jnp.zeros_like(group.exponent)
        if phase < 2:
            total = group.sums[phase].astype(jnp.int32)
        exponent = jnp.maximum((group.exponent >> 23) + PHASE_STEP[phase], 0)
        terms.append(
            Term((total < 0).astype(jnp.int32), exponent, jnp.abs(total) << 13)
        )
    return terms


def multiply_reduce(
    a: Callable[[Tap], Float32[Array, "..."]],
    b: ByTap,
    *,
    phases: int,
    fp32_dest: bool,
    arch: Arch,
    mantissa_bits: tuple[int, int] = (11, 11),
) -> Float32[Array, "..."]:
    """Does what `fpu.multiply_reduce` does, for operands that are all `is_ordinary`.

    Args:
      mantissa_bits: of windows and weights, hidden bit counted, that may be other than
        zero; fewer save phases (`MANTISSA_BITS`).
    """
    product_phases = effective_phases(phases, fp32_dest, mantissa_bits)

    def add_block(first: Tap, lanes: int, dst: Dst | None) -> Dst:
        products = [
            _product(
                _parts(a(first + lane), 5, 10),
                _parts(b[first + lane], 7, 11),
                phases=product_phases,
                fp32_dest=fp32_dest,
            )
            for lane in range(lanes)
        ]
        groups = [
            _group(products[lane : lane + GROUP_LANES], phases)
            for lane in range(0, lanes, GROUP_LANES)
        ]
        for phase in range(phases):
            if fp32_dest:
                old = jnp.zeros((), jnp.int32) if dst is None else bits_of(dst)
                terms = _terms(groups, phase)
                dst = floats_of(add_to_dst(terms, old, fp32_dest=True, arch=arch))
            else:
                dst = _accumulate(groups, dst, phase)
        assert dst is not None
        return dst

    return over_blocks(add_block, len(b))
