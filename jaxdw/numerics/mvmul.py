"""Products added to Dst step by step: what MVMUL and ELWMUL make of a channel's taps.

One step of the matrix unit adds, in one fidelity phase, the products of a few taps to
Dst: ELWMUL one, MVMUL up to two that are not zero, if no group of 8 lanes holds more
than one. Both then do the same: every product is brought to the largest exponent and
rounded, they are added, and Dst is rounded to its format. A step without a product
leaves Dst as it is.

The unit has two forms that give the same bits. `IntegerUnit` takes any operands.
`FloatUnit` takes ordinary ones (`fpu_float.is_ordinary`) that bf16 holds, into a 16-bit
Dst: every quantity fits float32, and a sum is rounded to a unit by adding a number so
large that float32 keeps no smaller one.

Source: tenstorrent/ttsim @56694c8a tensix.cpp (mvmul, elwmul, elwadd).
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32

from jaxdw.arch.arch import Arch
from jaxdw.numerics import fpu
from jaxdw.numerics.fpu import PHASE_STEP, Dst, Tap, bits_of, floats_of
from jaxdw.numerics.fpu_float import (
    BF16,
    EXPONENT,
    SOURCE_BITS,
    cut,
    effective_phases,
    round_half_away,
)
from jaxdw.xla import computed_once

Form = Literal["integer", "float"]
Step = tuple[int, tuple[int, ...]]  # phase, and the taps whose products it adds

# Steps compiled as one piece, and those of a piece in a loop: on CPU more take longer
# to compile, and to run as well.
STEPS_AT_ONCE, STEPS_IN_LOOP = 36, 8

# The unit of a 16-bit Dst is 2**-10 of an exponent's power of two. 1.5 * 2**23 units,
# added to a number, round it to the unit: that power 13 places up, and half of it.
_PLACES, _HALF = 13, 1 << 22
# Smaller than any place of a product or of Dst, 2**-13 of a power of two: it decides
# where ties go.
_TIE, _TIE_BIT = 2.0**-13, 1 << 10


@runtime_checkable
class Unit(Protocol):
    """The matrix unit in one of its forms, whose terms are pytrees of its own."""

    def products(
        self, a: Float32[Array, "..."], b: Float32[Array, "..."], phases: Sequence[int]
    ) -> dict[int, Any]:
        """Returns SrcA times SrcB of each phase, as terms."""
        ...

    def add(self, terms: Sequence[Any], dst: Dst) -> Dst:
        """Adds terms to Dst, as the unit keeps it between steps; 0 is an empty one."""
        ...

    def finish(self, dst: Dst) -> Dst:
        """Returns Dst as it is after the last step."""
        ...

    def elwadd(self, a: Float32[Array, "..."], b: Float32[Array, "..."]) -> Dst:
        """Returns a + b in an empty Dst."""
        ...

    def phases(self, fidelity: str, mantissa_bits: tuple[int, int]) -> tuple[int, ...]:
        """Returns the phases to run where those of a product follow each other."""
        ...


@dataclasses.dataclass(frozen=True)
class IntegerUnit:
    """Any operands, both widths of Dst."""

    fp32_dest: bool
    arch: Arch

    def products(
        self, a: Float32[Array, "..."], b: Float32[Array, "..."], phases: Sequence[int]
    ) -> dict[int, fpu.Term]:
        own, other = fpu.read_source(a), fpu.read_source(b)
        return {phase: fpu.elwmul_term(own, other, phase) for phase in phases}

    def add(self, terms: Sequence[fpu.Term], dst: Dst) -> Dst:
        fixed = {"fp32_dest": self.fp32_dest, "arch": self.arch}
        return floats_of(fpu.add_to_dst(terms, bits_of(dst), **fixed))

    def finish(self, dst: Dst) -> Dst:
        return dst

    def elwadd(self, a: Float32[Array, "..."], b: Float32[Array, "..."]) -> Dst:
        return fpu.elwadd(
            a,
            b,
            jnp.zeros_like(a),
            accumulate=False,
            fp32_dest=self.fp32_dest,
            arch=self.arch,
        )

    def phases(self, fidelity: str, mantissa_bits: tuple[int, int]) -> tuple[int, ...]:
        return tuple(range(fpu.PHASES[fidelity]))


class _Addend(NamedTuple):
    """A value that is rounded to a unit without ties, and the bits of what rounds it to
    the unit of its own exponent."""

    value: Float32[Array, "..."]
    rounder: Int32[Array, "..."]


class Operand(NamedTuple):
    """SrcA or SrcB as the only phase reads it.

    Attributes:
      high: the upper bits of mantissas.
      rounder, tie: what a product's rounder and tie take of its exponent.
    """

    high: Float32[Array, "..."]
    rounder: Float32[Array, "..."]
    tie: Float32[Array, "..."]


@dataclasses.dataclass(frozen=True)
class FloatUnit:
    """Ordinary operands of at most 8 mantissa bits, 16-bit Dst.

    Between steps Dst is kept as the sum before its last rounding, which the next step
    does: so a step waits for one operation less.

    Attributes:
      short: the sources, of `a` and `b`, that have no bits but those of phase 0.
    """

    short: str = ""

    def read(self, values: Float32[Array, "..."], source: str) -> Operand:
        """Reads SrcA (`a`) or SrcB (`b`), for phase 0."""
        size = _size(values)
        rounder, tie = size * (1.5 * 2.0**_PLACES), size * _TIE
        return Operand(self._high(values, source), rounder, tie)

    def _high(self, values: Float32[Array, "*n"], source: str) -> Float32[Array, "*n"]:
        return values if source in self.short else cut(values, SOURCE_BITS[source][0])

    def products(
        self,
        a: Float32[Array, "..."] | Operand,
        b: Float32[Array, "..."] | Operand,
        phases: Sequence[int],
    ) -> dict[int, _Addend]:
        """Multiplies as `Unit` says; for phase 0 alone, one may be read before.

        A product's exponent is the sum of its operands', whichever bits a phase reads,
        and that of zero is 0. It has 12 bits, so that it is rounded once at any
        distance; its ties go toward +infinity.
        """
        if isinstance(a, Operand):
            assert not isinstance(b, Operand)
            return {0: _product(a, self._high(b, "b"), b)}
        if isinstance(b, Operand):
            return {0: _product(b, self._high(a, "a"), a)}
        size = _size(a) * _size(b)
        a_high, b_high = self._high(a, "a"), self._high(b, "b")
        terms = {}
        for phase in phases:
            of_a = a - a_high if phase % 2 else a_high
            of_b = b - b_high if phase >= 2 else b_high
            own = 2.0 ** PHASE_STEP[phase]
            rounder = size * (1.5 * 2.0**_PLACES * own)
            terms[phase] = _Addend(of_a * of_b + size * (own * _TIE), bits_of(rounder))
        return terms

    def add(self, terms: Sequence[_Addend], dst: Dst) -> Dst:
        return _sum_in_units([_ties_away(dst), *terms])

    def finish(self, dst: Dst) -> Dst:
        return round_half_away(dst)

    def elwadd(self, a: Float32[Array, "..."], b: Float32[Array, "..."]) -> Dst:
        """Adds as `Unit` says: the smaller is rounded, ties away from zero."""
        return self.finish(_sum_in_units([_ties_away(a), _ties_away(b)]))

    def phases(self, fidelity: str, mantissa_bits: tuple[int, int]) -> tuple[int, ...]:
        """Leaves out phases that read no bits of operands as short as these.

        Dst is then a multiple of the unit already, and stays what it is.
        """
        return tuple(effective_phases(fpu.PHASES[fidelity], True, mantissa_bits))


def _size(values: Float32[Array, "*n"]) -> Float32[Array, "*n"]:
    """Returns the power of two of each exponent, 0 for zero."""
    return floats_of(bits_of(values) & EXPONENT)


def _product(
    weight: Operand, high: Float32[Array, "..."], other: Float32[Array, "..."]
) -> _Addend:
    size = _size(other)
    value = weight.high * high + weight.tie * size
    return _Addend(value, bits_of(weight.rounder * size))


def _ties_away(values: Float32[Array, "..."]) -> _Addend:
    """Rounds to bf16, ties away from zero; returns addends whose ties go away too."""
    rounded = bits_of(values) + 0x8000
    power = (rounded + (_PLACES << 23)) & EXPONENT
    return _Addend(floats_of(rounded & BF16 | _TIE_BIT), power | _HALF)


def _sum_in_units(addends: Sequence[_Addend]) -> Float32[Array, "..."]:
    """Rounds addends to the unit of the largest exponent, and adds them.

    A sum of zero is +0.
    """
    rounders = [addend.rounder for addend in addends]
    rounder = floats_of(functools.reduce(jnp.maximum, rounders))
    first, *rest = (addend.value for addend in addends)
    # two sums side by side, of which float32 rounds each to the unit
    return (first + rounder) + functools.reduce(jnp.add, rest, -rounder)


def unit_of(form: Form, *, fp32_dest: bool, arch: Arch, short: str = "") -> Unit:
    """Returns the unit in a form; a 32-bit Dst has the integer one only.

    Args:
      short: as in `FloatUnit`.
    """
    if form == "float" and not fp32_dest:
        return FloatUnit(short)
    return IntegerUnit(fp32_dest, arch)


def weights_of(
    unit: Unit, weights: fpu.ByTap, source: str, phases: Sequence[int]
) -> Callable[[Tap], Any]:
    """Returns what `add_steps` takes as the weights of a tap.

    Where phase 0 runs alone, an array is read once for all sticks: others gain nothing.

    Args:
      source: `a` or `b`.
    """
    is_read = isinstance(unit, FloatUnit) and tuple(phases) == (0,)
    if not is_read or not isinstance(weights, jax.Array):
        return lambda tap: weights[tap]
    operand = computed_once(_read(weights, unit, source))
    return lambda tap: jax.tree.map(lambda own: own[tap], operand)


@functools.partial(jax.jit, static_argnames=("unit", "source"))
def _read(weights: Float32[Array, "taps ..."], unit: FloatUnit, source: str) -> Operand:
    return unit.read(weights, source)


def in_tap_order(taps: int, phases: Sequence[int]) -> tuple[Step, ...]:
    """Returns the steps of all phases of a tap before the next tap."""
    return tuple((phase, (tap,)) for tap in range(taps) for phase in phases)


def add_steps(
    unit: Unit,
    steps: Sequence[Sequence[Step]],
    a: Sequence[Any],
    b: Sequence[Any],
    dst: Dst,
    choose: Callable[..., Array] = lambda own: own,
) -> Dst:
    """Adds products to Dst, step after step.

    Args:
      steps: for each kind of channel; all kinds have as many products in each step.
      a, b: SrcA and SrcB of each tap; one of them as `weights_of` gives it.
      choose: takes an array for each kind and returns of each its own channels.
    """
    phases = sorted({phase for phase, _ in steps[0]})
    terms = [unit.products(*pair, phases) for pair in zip(a, b, strict=True)]
    for kinds in zip(*steps, strict=True):
        found = [[terms[tap][phase] for tap in taps] for phase, taps in kinds]
        own = found[0]
        if len(set(kinds)) > 1:
            assert choose is not None
            own = jax.tree.map(choose, *found)
        dst = unit.add(own, dst)
    return unit.finish(dst)


def empty_dst(tap: Callable[[Tap], Float32[Array, "..."]], weights: fpu.ByTap) -> Dst:
    """Returns an empty Dst of the shape of a tap's products."""
    windows = jax.eval_shape(lambda: tap(0))
    shape = jnp.broadcast_shapes(windows.shape, weights[0].shape)
    return jnp.zeros(shape, jnp.float32)


def over_taps(
    add: Callable[[Tap, int, Dst], Dst],
    taps: int,
    steps: int,
    dst: Dst,
    *,
    multiple: int = 1,
) -> Dst:
    """Adds taps to Dst, `add(first tap, taps, Dst)`, in order; many in a loop.

    Args:
      steps: that a tap takes.
      multiple: of which every first tap is.
    """
    most = max(STEPS_IN_LOOP // steps // multiple, 1) * multiple
    whole, rest = divmod(taps, most)
    if whole < 2 or taps * steps <= STEPS_AT_ONCE:
        return add(0, taps, dst)
    dst = jax.lax.fori_loop(0, whole, lambda n, dst: add(n * most, most, dst), dst)
    return add(taps - rest, rest, dst) if rest else dst
