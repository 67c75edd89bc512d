"""The matrix unit's float form, for ordinary operands: the same bits, faster.

Every quantity of `fpu` fits float32 exactly here: products of mantissa parts have at
most 12 bits, a group's sum 14, and rounding at a power of two is a scaled floor. The
operands' exponents are bounded so that no product, sum or scale factor leaves the range
of float32. Tests hold both forms equal, bit for bit.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32, Shaped

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

# Upper mantissa bits, hidden bit counted, that a source gives half of the phases, and
# that it gives all: SrcA the even ones and the odd, SrcB the first two and the others.
SOURCE_BITS = {"a": (5, 10), "b": (7, 11)}

# Mantissa bits that values of a format can have, hidden bit counted; TF32 for float32.
MANTISSA_BITS = {"float32": 11, "bfloat16": 8, "bfloat8_b": 7, "bfloat4_b": 3}

EXPONENT = 0x7F800000
_SLICES = 16
_ONE, _PLACE = 127 << 23, 1 << 23  # bits of 1.0, and of one step of the exponent
BF16 = -(1 << 16)  # of float32 bits
_INTEGERS = np.float32(1.5 * 2**23)  # added, it rounds to an integer
_LEAST = np.int32(30 * _PLACE)  # below any exponent but that of zero


def mantissa_bits_of(windows_dtype: str, weights_dtype: str) -> tuple[int, int]:
    """Returns the mantissa bits that windows and weights can have."""
    return MANTISSA_BITS[windows_dtype], MANTISSA_BITS[weights_dtype]


class _Group(NamedTuple):
    """Sums of up to 8 lanes, for phases 0 and 1, in steps of 2**-10 of an exponent.

    It is the largest of the lanes, given as float32 bits, `_LEAST` if all are zero;
    steps of phase 1 are 2**-5 as large.
    """

    exponent: Int32[Array, "..."]
    sums: list[Float32[Array, "..."]]


def is_ordinary(values: Shaped[Array, "..."]) -> Bool[Array, ""]:
    """Whether every value is zero or lies in 2**-43 <= |value| < 2**37.

    The biased exponents of products of such operands lie in 41 to 200.

    Args:
      values: floats, or bits of bf16 as uint16.
    """
    if values.dtype == jnp.bfloat16:
        values = jax.lax.bitcast_convert_type(values, jnp.uint16)
    if values.dtype != jnp.uint16:
        values = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.uint32)
    integer = values.dtype.type
    place = values.dtype.itemsize * 8 - 9  # of the exponent
    least, span = (
        integer(exponents << place)
        for exponents in (ORDINARY_LEAST, ORDINARY_BEYOND - ORDINARY_LEAST)
    )

    def above_least(values: Shaped[Array, " part"]) -> Shaped[Array, " part"]:
        size = values & integer((1 << (place + 8)) - 1)
        return jnp.where(size == 0, size, size - least)  # wraps

    # elementwise maxima of a few long slices first: XLA's own reduction is slower
    greatest = _greatest(map(above_least, _slices(values)))
    return _greatest(_slices(greatest)).max() < span


def _greatest(slices: Iterable[Shaped[Array, " part"]]) -> Shaped[Array, " part"]:
    """Returns elementwise maxima."""
    return functools.reduce(jnp.maximum, slices)


def _slices(values: Shaped[Array, "..."]) -> list[Shaped[Array, " part"]]:
    """Cuts values into slices of one length, which may overlap."""
    part = -(-values.size // _SLICES)
    firsts = (min(n * part, values.size - part) for n in range(_SLICES))
    return [values.reshape(-1)[first : first + part] for first in firsts]


def cut(values: Shaped[Array, "*shape"], bits: int) -> Shaped[Array, "*shape"]:
    """Keeps the upper `bits` of mantissas, hidden bit counted.

    Args:
      values: floats, or bits of bf16 as uint16.
    """
    if values.dtype == jnp.uint16:
        return values & np.uint16(2**16 - 2 ** max(MANTISSA_BITS["bfloat16"] - bits, 0))
    return floats_of(bits_of(values) & -(1 << (24 - bits)))


def round_half_away(values: Float32[Array, "..."]) -> Float32[Array, "..."]:
    """Rounds to 8 bits of mantissa."""
    return floats_of((bits_of(values) + 0x8000) & BF16)


def _units(exponent: Int32[Array, "..."], over: int = 0) -> Float32[Array, "..."]:
    """Returns how many 2**-10 of a power of two there are in 1.0.

    Args:
      over: 2**-23 of it that are added.
    """
    return floats_of((2 * _ONE + 10 * _PLACE + over - (1 << 32)) - exponent)


def _unit(exponent: Int32[Array, "..."]) -> Float32[Array, "..."]:
    """Returns 2**-10 of a power of two."""
    return floats_of(exponent - 10 * _PLACE)


def _parts(
    values: Float32[Array, "..."], source: str, own_bits: int
) -> tuple[Float32[Array, "..."], Float32[Array, "..."] | None]:
    """Splits mantissas of SrcA (`a`) or SrcB (`b`) into the bits that phases read.

    Those of no more than the first phase reads have no others.
    """
    high_bits, all_bits = SOURCE_BITS[source]
    if own_bits <= high_bits:
        return values, None
    high = cut(values, high_bits)
    return high, cut(values, all_bits) - high


class Parts(NamedTuple):
    """Weights of each tap, as the bits that phases 0, 1 and phases 2, 3 read.

    `low` is None if they have none of the latter.
    """

    high: Float32[Array, "taps ..."]
    low: Float32[Array, "taps ..."] | None


def split_weights(weights: Float32[Array, "taps ..."], mantissa_bits: int) -> Parts:
    """Returns weights as `multiply_reduce` takes them ready split.

    Args:
      mantissa_bits: that they have, hidden bit counted.
    """
    return Parts(*_parts(weights, "b", mantissa_bits))


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
    if a_bits <= SOURCE_BITS["a"][0]:
        idle |= {1, 3}
    if b_bits <= SOURCE_BITS["b"][0]:
        idle |= {2, 3}
    if b_bits <= 8 and not fp32_dest:
        idle |= {3}
    return [phase for phase in range(phases) if phase not in idle]


@functools.partial(jax.jit, static_argnames=("phases", "fp32_dest", "mantissa_bits"))
def _product(
    window: Float32[Array, "..."],
    weight: tuple[Float32[Array, "..."], Float32[Array, "..."] | None],
    *,
    phases: tuple[int, ...],
    fp32_dest: bool,
    mantissa_bits: tuple[int, int],
) -> Int32[Array, "..."]:
    """Returns what ELWMUL's phases leave in an empty Dst, packed to bf16.

    Jitted, so that it is traced once for all taps.

    A 32-bit Dst holds the sum of all phases exactly, so that one rounding remains. A
    16-bit one starts as phase 0 rounded; each further term is rounded to 2**-10 of
    Dst's exponent (ties toward +infinity), added, and the sum rounded. Dst is a
    multiple of that unit and has the sign of every term, so that both roundings are one
    addition to the sum's bits: half of 2**-10 and half of 2**-7, of which the first is
    one place lower where the sum's exponent has grown.

    Args:
      weight: as `_parts` splits it.
      mantissa_bits: as for `multiply_reduce`.

    Returns:
      Bits of float32 of which the lower 16 are to be dropped.
    """
    a_high, a_low = _parts(window, "a", mantissa_bits[0])
    b_high, b_low = weight
    pairs = [(a_high, b_high), (a_low, b_high), (a_high, b_low), (a_low, b_low)]
    products = [a * b for a, b in (pairs[phase] for phase in phases)]
    if fp32_dest:
        return bits_of(sum(products[1:], start=products[0])) + 0x8000
    ties = bits_of(products[0]) >> 31  # -1 where they go toward zero
    carried = bits_of(products[0]) + 0x8000
    for product in products[1:]:
        dst = carried & BF16
        total = bits_of(floats_of(dst) + product)
        has_grown = ((total ^ dst) & _PLACE) >> 12
        carried = total + (ties + 0x9000) - has_grown
    return carried


def _group(lanes: Sequence[Int32[Array, "..."]], phases: int) -> _Group:
    """Adds up to 8 products, each rounded half away at the largest exponent.

    A phase reads 5 bits of a product, which 2**-12 of it more brings over a tie and to
    no other integer. The lower bits of 1.0 are zero: phases 2 and 3 add nothing.

    Args:
      lanes: as `_product` returns them.
    """
    highs = [floats_of(lane & -(1 << 19)) for lane in lanes]
    parts = [highs]
    if phases > 1:
        wholes = (floats_of(lane & BF16) for lane in lanes)
        lows = [whole - high for whole, high in zip(wholes, highs, strict=True)]
        parts.append(lows)
    exponents = [lane & EXPONENT for lane in lanes]
    exponent = functools.reduce(jnp.maximum, exponents, jnp.asarray(_LEAST))
    if len(lanes) == 1:
        return _Group(exponent, [part[0] for part in parts])
    sums = []
    for phase, part in enumerate(parts):
        step = 5 * phase * _PLACE
        scale = _units(exponent - step, 1 << 11)
        total = functools.reduce(lambda sum, lane: sum + lane * scale, part, _INTEGERS)
        sums.append((total - _INTEGERS) * _unit(exponent - step))
    return _Group(exponent, sums)


def _accumulate(
    groups: Sequence[_Group], dst: Float32[Array, "..."] | None, phase: int
) -> Float32[Array, "..."]:
    """Adds the groups of GAPOOL's phase 0 or 1 to a 16-bit Dst; None for an empty one.

    Both operands are brought to 2**-10 of the largest exponent: a term with ties toward
    +infinity, Dst with ties away from zero. A term 14 places down is rounded at 2**-23
    first, which can carry it over a tie; nearer ones lie 2**-13 or more below a tie,
    further ones do not come near it.
    """
    exponents = [group.exponent + PHASE_STEP[phase] * _PLACE for group in groups]
    if dst is not None:
        exponents.append(bits_of(dst) & EXPONENT)
    largest = functools.reduce(jnp.maximum, exponents, jnp.asarray(_LEAST))
    terms = [group.sums[phase] for group in groups]
    units = _units(largest)
    totals = [jnp.floor(term * units + (0.5 + 2.0**-14)) for term in terms]
    total = functools.reduce(jnp.add, totals)
    if dst is not None:
        # between two sums that XLA would make one
        total = (dst * _units(largest, 1 << 11) + _INTEGERS) + total - _INTEGERS
    return round_half_away(total * _unit(largest))


def _terms(groups: Sequence[_Group], phase: int) -> list[Term]:
    """Returns the groups of one phase as the exact terms of a 32-bit Dst."""
    terms = []
    for group in groups:
        total = jnp.zeros_like(group.exponent)
        if phase < 2:
            scale = _units(group.exponent + PHASE_STEP[phase] * _PLACE)
            total = (group.sums[phase] * scale).astype(jnp.int32)
        exponent = jnp.maximum((group.exponent >> 23) + PHASE_STEP[phase], 0)
        terms.append(
            Term((total < 0).astype(jnp.int32), exponent, jnp.abs(total) << 13)
        )
    return terms


def multiply_reduce(
    a: Callable[[Tap], Float32[Array, "..."]],
    b: ByTap | Parts,
    *,
    phases: int,
    fp32_dest: bool,
    arch: Arch,
    mantissa_bits: tuple[int, int] = (11, 11),
) -> Float32[Array, "..."]:
    """Does what `fpu.multiply_reduce` does, for operands that are all `is_ordinary`.

    For bf16 operands and a 16-bit Dst XLA counts 19 operations to a tap of an output at
    LoFi, 45 at HiFi2, 56 at HiFi4, those on the input included (`tests/test_cost.py`).

    Args:
      b: the weights of each tap, or as `split_weights` gives them: read so, they are
        not split anew for every stick.
      mantissa_bits: of windows and weights, hidden bit counted, that may be other than
        zero; fewer save phases (`MANTISSA_BITS`).
    """
    product_phases = tuple(effective_phases(phases, fp32_dest, mantissa_bits))
    taps = len(b.high if isinstance(b, Parts) else b)

    def weight(k: Tap):
        if isinstance(b, Parts):
            return b.high[k], None if b.low is None else b.low[k]
        return _parts(b[k], "b", mantissa_bits[1])

    def add_block(first: Tap, lanes: int, dst: Dst | None) -> Dst:
        products = [
            _product(
                a(first + lane),
                weight(first + lane),
                phases=product_phases,
                fp32_dest=fp32_dest,
                mantissa_bits=mantissa_bits,
            )
            for lane in range(lanes)
        ]
        groups = [
            _group(products[lane : lane + GROUP_LANES], phases)
            for lane in range(0, lanes, GROUP_LANES)
        ]
        for phase in range(phases if fp32_dest else min(phases, 2)):
            if fp32_dest:
                old = jnp.zeros((), jnp.int32) if dst is None else bits_of(dst)
                terms = _terms(groups, phase)
                dst = floats_of(add_to_dst(terms, old, fp32_dest=True, arch=arch))
            else:
                dst = _accumulate(groups, dst, phase)
        assert dst is not None
        return dst

    return over_blocks(add_block, taps)
