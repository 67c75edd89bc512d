"""Arithmetic of the matrix unit, bit by bit: ELWMUL, GAPOOL, ELWADD.

This is the integer form: int32 on bit patterns, right for every operand. `fpu_float` is
the float form of the same, for operands of ordinary size.

Source: tenstorrent/ttsim @56694c8a (tensix.cpp), checked against its ELWMUL, GAPOOL and
ELWADD (tests/golden/fpu.npz), against the library's own low-level kernels
(tests/golden/core_kernels.npz) and against outputs recorded on a Wormhole chip
(tests/golden/recorded_height.npz).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int32

from jaxdw.arch.arch import Arch, load_arch
from jaxdw.numerics import formats

LANES = 16  # products that one GAPOOL adds
GROUP_LANES = 8  # of them, those added at one exponent

# Exponent steps of a fidelity phase: SrcA gives its lower bits in odd phases, SrcB in
# the upper two.
PHASE_STEP = (0, -5, -7, -12)
PHASES = {"LoFi": 1, "HiFi2": 2, "HiFi3": 3, "HiFi4": 4}

Form = Literal["integer", "float"]  # of the matrix unit's arithmetic: the same bits
Tap = int | Int32[Array, ""]
Dst = Float32[Array, "..."]


@runtime_checkable
class ByTap(Protocol):
    """What has an entry for each tap: an array, or a kernel's reference to one."""

    def __len__(self) -> int: ...
    def __getitem__(self, k: Tap, /) -> Float32[Array, "..."]: ...


class Term(NamedTuple):
    """Signed magnitudes in units of 2**-23 of their biased exponent; all int32."""

    negative: Int32[Array, "..."]
    exponent: Int32[Array, "..."]
    magnitude: Int32[Array, "..."]


class Source(NamedTuple):
    """A SrcA or SrcB operand: 11-bit mantissa with its hidden bit, 0 for zero."""

    negative: Int32[Array, "..."]
    exponent: Int32[Array, "..."]
    mantissa: Int32[Array, "..."]


def bits_of(values: Float[Array, "..."]) -> Int32[Array, "..."]:
    return jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.int32)


def floats_of(bits: Int32[Array, "..."]) -> Float32[Array, "..."]:
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


def read_source(values: Float[Array, "..."]) -> Source:
    """Reads TF32: float32 loses 13 bits, denormals are zero, exponent 255 is one."""
    bits = bits_of(values)
    exponent = (bits >> 23) & 0xFF
    mantissa = jnp.where(exponent == 0, 0, (bits >> 13) & 0x3FF | 0x400)
    return Source((bits >> 31) & 1, exponent, mantissa)


def _half(shift: Int32[Array, "..."] | int) -> Int32[Array, "..."]:
    """Returns half of the last place that a right shift keeps; 0 for no shift."""
    return jnp.left_shift(1, jnp.asarray(shift, jnp.int32)) >> 1


def _product(a: Source, b: Source, phase: int) -> Term:
    """Multiplies the mantissa parts of one fidelity phase; 1.0 * 1.0 gives 1024."""
    a_part = (a.mantissa >> 1) & 31 if phase % 2 else a.mantissa >> 6
    b_part = (b.mantissa & 15) << 3 if phase >= 2 else b.mantissa >> 4
    is_zero = (a.mantissa == 0) | (b.mantissa == 0)
    exponent = a.exponent + b.exponent - 127 + PHASE_STEP[phase]
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


def add_to_dst(
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


def elwmul_term(a: Source, b: Source, phase: int) -> Term:
    """Returns the product of one fidelity phase as a term of Dst; underflow is zero."""
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
    term = elwmul_term(read_source(a), read_source(b), phase)
    chip = load_arch(arch)
    return floats_of(add_to_dst([term], bits_of(dst), fp32_dest=fp32_dest, arch=chip))


def _group_term(lanes: Term) -> Term:
    """Adds 8 products, the leading axis, at the largest exponent among them."""
    exponent = lanes.exponent.max(axis=0)
    shift = jnp.minimum(exponent[None] - lanes.exponent, 30)
    aligned = (2 * lanes.magnitude + jnp.left_shift(1, shift)) >> (shift + 1)
    total = jnp.where(lanes.negative == 1, -aligned, aligned).sum(
        axis=0, dtype=jnp.int32
    )
    return _signed_term(jnp.where(exponent <= 0, 0, total), jnp.maximum(exponent, 0))


def _signed_term(total: Int32[Array, "..."], exponent: Int32[Array, "..."]) -> Term:
    return Term((total < 0).astype(jnp.int32), exponent, jnp.abs(total) << 13)


def _gapool_terms(a: Source, b: Source, phase: int) -> list[Term]:
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
    terms = _gapool_terms(read_source(columns), read_source(rows), phase)
    chip = load_arch(arch)
    return floats_of(add_to_dst(terms, bits_of(dst), fp32_dest=fp32_dest, arch=chip))


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
    x, y = read_source(a), read_source(b)
    swap = (y.exponent << 11 | y.mantissa) > (x.exponent << 11 | x.mantissa)
    large = Source(*(jnp.where(swap, q, p) for p, q in zip(x, y, strict=True)))
    small = Source(*(jnp.where(swap, p, q) for p, q in zip(x, y, strict=True)))
    shift = large.exponent - small.exponent
    within = jnp.minimum(shift, 12)
    addend = jnp.where(shift < 12, (small.mantissa + _half(within)) >> within, 0)
    addend = jnp.where(large.negative == small.negative, addend, -addend)
    term = Term(large.negative, large.exponent, (large.mantissa + addend) << 13)
    old = bits_of(dst) if accumulate else jnp.zeros_like(bits_of(dst))
    return floats_of(add_to_dst([term], old, fp32_dest=fp32_dest, arch=load_arch(arch)))


def multiply_reduce(
    a: Callable[[Tap], Float32[Array, "..."]],
    b: ByTap,
    *,
    phases: int,
    fp32_dest: bool,
    arch: Arch,
) -> Float32[Array, "..."]:
    """Multiplies each tap into an empty Dst, packs it to bf16, and adds all taps.

    GAPOOL with 1.0 adds 16 taps at a time; all its phases of one block come before the
    next block.

    Args:
      a: gives the window elements of a tap; b: the weights of each tap.

    Returns:
      Dst.
    """

    def add_block(first: Tap, lanes: int, dst: Dst | None) -> Dst:
        windows = jnp.stack([a(first + lane) for lane in range(lanes)])
        weights = jnp.stack([b[first + lane] for lane in range(lanes)])
        products = read_source(_products(windows, weights, phases, fp32_dest, arch))
        ones = read_source(jnp.ones((), jnp.float32))
        bits = jnp.zeros((), jnp.int32) if dst is None else bits_of(dst)
        for phase in range(phases):
            terms = _gapool_terms(products, ones, phase)
            bits = add_to_dst(terms, bits, fp32_dest=fp32_dest, arch=arch)
        return floats_of(bits)

    return over_blocks(add_block, len(b))


def over_blocks(add_block: Callable[[Tap, int, Dst | None], Dst], taps: int) -> Dst:
    """Adds blocks of 16 taps to Dst, `add_block(first tap, taps, Dst)`, in order.

    Whole blocks after the first are a loop, so that many taps take little compiling.
    """
    whole, rest = divmod(taps, LANES)
    dst = add_block(0, min(taps, LANES), None)
    if whole > 1:
        dst = jax.lax.fori_loop(
            1, whole, lambda n, dst: add_block(n * LANES, LANES, dst), dst
        )
    return add_block(whole * LANES, rest, dst) if whole and rest else dst


def _products(
    a: Float32[Array, "taps ..."],
    b: Float32[Array, "taps ..."],
    phases: int,
    fp32_dest: bool,
    arch: Arch,
) -> Float32[Array, "taps ..."]:
    x, y = read_source(a), read_source(b)
    dst = jnp.zeros((), jnp.int32)
    for phase in range(phases):
        term = elwmul_term(x, y, phase)
        dst = add_to_dst([term], dst, fp32_dest=fp32_dest, arch=arch)
    products = floats_of(dst)
    return formats.dst_to_bf16(products) if fp32_dest else products
