"""Products added to Dst step by step: what MVMUL and ELWMUL make of a channel's taps.

One step of the matrix unit adds, in one fidelity phase, the products of a few taps to
Dst: ELWMUL one, MVMUL up to two that are not zero, if no group of 8 lanes holds more
than one. Both then do the same: every product is brought to the largest exponent and
rounded, they are added, and Dst is rounded to its format. A step without a product
leaves Dst as it is.

The unit has two forms that give the same bits. `IntegerUnit` takes any operands.
`FloatUnit` takes ordinary ones (`fpu_fast.is_ordinary`) that bf16 holds, into a 16-bit
Dst: every quantity fits float32, and a sum is rounded to a unit by adding a number so
large that float32 keeps no smaller one.

Source: tenstorrent/ttsim @56694c8a tensix.cpp (mvmul, elwmul, elwadd).
"""

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import jax.numpy as jnp
from jaxtyping import Array, Float32

from jaxdw.arch.arch import Arch
from jaxdw.numerics import fpu
from jaxdw.numerics.fpu import PHASE_STEP, Dst, bits_of, floats_of
from jaxdw.numerics.fpu_fast import effective_phases

Form = Literal["integer", "float"]
Step = tuple[
    int, tuple[int, ...]
]  # fidelity phase, and the taps whose products it adds

_EXPONENT = 0x7F800000
# 2**-10 of an exponent is the unit of a 16-bit Dst: 1.5 * 2**23 of them.
_ROUNDER = 1.5 * 2.0**13
# Smaller than any place of a product or of Dst: decides where a tie goes.
_TIE = 2.0**-13


class Unit(Protocol):
    """The matrix unit in one of its forms; operands are what its readers return."""

    def read_a(self, values: Float32[Array, "..."]) -> Any:
        """Returns values as SrcA, of which phases read 5 bits each."""
        ...

    def read_b(self, values: Float32[Array, "..."]) -> Any:
        """Returns values as SrcB, of which phases read 7 and 4 bits."""
        ...

    def add(
        self, products: Sequence[tuple[Any, Any]], phase: int, dst: Dst | None
    ) -> Dst:
        """Adds products of one phase, (SrcA, SrcB), to Dst; None is an empty one."""
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

    def read_a(self, values: Float32[Array, "..."]) -> fpu.Source:
        return fpu.read_source(values)

    read_b = read_a

    def add(
        self,
        products: Sequence[tuple[fpu.Source, fpu.Source]],
        phase: int,
        dst: Dst | None,
    ) -> Dst:
        terms = [fpu.elwmul_term(a, b, phase) for a, b in products]
        bits = jnp.zeros((), jnp.int32) if dst is None else bits_of(dst)
        added = fpu.add_to_dst(terms, bits, fp32_dest=self.fp32_dest, arch=self.arch)
        return floats_of(added)

    def elwadd(self, a: Float32[Array, "..."], b: Float32[Array, "..."]) -> Dst:
        empty = jnp.zeros_like(a)
        fixed = {"fp32_dest": self.fp32_dest, "arch": self.arch}
        return fpu.elwadd(a, b, empty, accumulate=False, **fixed)

    def phases(self, fidelity: str, mantissa_bits: tuple[int, int]) -> tuple[int, ...]:
        return tuple(range(fpu.PHASES[fidelity]))


class _Parts(NamedTuple):
    """The bits that even and odd phases read of SrcA (low and high of SrcB), exponent.

    `size` is the power of two of the exponent, 0 for zero.
    """

    high: Float32[Array, "..."]
    low: Float32[Array, "..."]
    size: Float32[Array, "..."]


def _size(values: Float32[Array, "..."]) -> Float32[Array, "..."]:
    return floats_of(bits_of(values) & _EXPONENT)


def _parts(values: Float32[Array, "..."], high_bits: int) -> _Parts:
    high = floats_of(bits_of(values) & -(1 << (24 - high_bits)))
    return _Parts(high, values - high, _size(values))


@dataclasses.dataclass(frozen=True)
class FloatUnit:
    """Ordinary operands of at most 8 mantissa bits, 16-bit Dst."""

    def read_a(self, values: Float32[Array, "..."]) -> _Parts:
        return _parts(values, 5)

    def read_b(self, values: Float32[Array, "..."]) -> _Parts:
        return _parts(values, 7)

    def add(
        self, products: Sequence[tuple[_Parts, _Parts]], phase: int, dst: Dst | None
    ) -> Dst:
        """Adds as `Unit` says.

        A product's exponent is the sum of its operands', whichever bits the phase
        reads. It has 12 bits, so that it is rounded once at any distance; its ties go
        toward +infinity, those of Dst away from zero.
        """
        sizes, addends = [], []
        for a, b in products:
            size = a.size * b.size * 2.0 ** PHASE_STEP[phase]
            product = (a.low if phase % 2 else a.high) * (
                b.low if phase > 1 else b.high
            )
            sizes.append(size)
            addends.append(product + size * _TIE)
        if dst is not None:
            sizes.append(_size(dst))
            addends.append(dst * (1 + _TIE))
        return _rounded_sum(sizes, addends)

    def elwadd(self, a: Float32[Array, "..."], b: Float32[Array, "..."]) -> Dst:
        """Adds as `Unit` says: the smaller is rounded, ties away from zero."""
        return _rounded_sum([_size(a), _size(b)], [a * (1 + _TIE), b * (1 + _TIE)])

    def phases(self, fidelity: str, mantissa_bits: tuple[int, int]) -> tuple[int, ...]:
        """Leaves out phases that read no bits of operands as short as these.

        Dst is then a multiple of the unit already, and stays what it is.
        """
        return tuple(effective_phases(fpu.PHASES[fidelity], True, mantissa_bits))


def _rounded_sum(
    sizes: Sequence[Float32[Array, "..."]], addends: Iterable[Float32[Array, "..."]]
) -> Dst:
    """Rounds addends to the unit of the largest size, adds them, rounds to bf16.

    A sum of zero is +0. The last rounding takes ties away from zero.
    """
    rounder = functools.reduce(jnp.maximum, sizes) * _ROUNDER
    total = functools.reduce(jnp.add, addends, rounder) - rounder
    return floats_of((bits_of(total) + 0x8000) & -0x10000)


def unit_of(form: Form, *, fp32_dest: bool, arch: Arch) -> Unit:
    """Returns the unit in a form; a 32-bit Dst has the integer one only."""
    if form == "float" and not fp32_dest:
        return FloatUnit()
    return IntegerUnit(fp32_dest, arch)


def add_steps(
    unit: Unit,
    steps: Sequence[Step],
    a: Sequence[Float32[Array, "..."]],
    b: Sequence[Float32[Array, "..."]],
    dst: Dst | None,
) -> Dst:
    """Adds products to Dst, step after step; `a` and `b` hold operands of each tap."""
    pairs = [
        (unit.read_a(own), unit.read_b(other)) for own, other in zip(a, b, strict=True)
    ]
    for phase, taps in steps:
        dst = unit.add([pairs[tap] for tap in taps], phase, dst)
    assert dst is not None
    return dst
