"""The arithmetic of tt-metal's 2D depthwise branch, program `depthwise`.

For each kernel position ELWMUL over the fidelity's phases into an empty Dst, packed to
bf16; GAPOOL with 1.0 over 16 positions at a time; the bias by ELWADD onto Dst; the
activation; the packer.

Source: tt-metal compute_pool_2d.cpp @002a3f41; tests/golden/core_kernels.npz.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32

from jaxdw.arch.arch import Arch
from jaxdw.machine.core import Windows, finish
from jaxdw.numerics import fpu, fpu_float
from jaxdw.plan.config import ComputeConfig
from jaxdw.xla import computed_once

_split_weights = jax.jit(fpu_float.split_weights, static_argnames="mantissa_bits")


def read_bits(compute: ComputeConfig, **_: str) -> tuple[int, int]:
    """Returns the mantissa bits of windows and weights that the phases read."""
    phases = fpu.PHASES[compute.math_fidelity]
    of_a, of_b = (fpu_float.SOURCE_BITS[source] for source in "ab")
    return of_a[phases > 1], of_b[phases > 2]


def _fpu_dst(
    tap: Windows,
    weights: fpu.ByTap,
    bias: Float32[Array, " channels"] | None,
    mantissa_bits: tuple[int, int],
    compute: ComputeConfig,
    arch: Arch,
    form: fpu.Form,
) -> Float32[Array, "sticks channels"]:
    fp32_dest = compute.fp32_dest_acc
    multiply_reduce = fpu.multiply_reduce
    operand = weights
    if form == "float":
        multiply_reduce = functools.partial(
            fpu_float.multiply_reduce, mantissa_bits=mantissa_bits
        )
        if isinstance(weights, jax.Array):
            split = _split_weights(weights, mantissa_bits=mantissa_bits[1])
            operand = computed_once(split) if split.low is not None else split
    dst = multiply_reduce(
        tap,
        operand,
        phases=fpu.PHASES[compute.math_fidelity],
        fp32_dest=fp32_dest,
        arch=arch,
    )
    if bias is None:
        return dst
    added = jnp.broadcast_to(bias[None], dst.shape)
    return fpu.elwadd(
        jnp.zeros_like(dst), added, dst, accumulate=True, fp32_dest=fp32_dest, arch=arch
    )


def compute_sticks(
    tap: Windows,
    weights: fpu.ByTap,
    bias: Float32[Array, " channels"] | None,
    *,
    activation: str | None,
    output_dtype: str,
    dtype: str,
    weights_dtype: str,
    compute: ComputeConfig,
    arch: Arch,
    form: fpu.Form,
    cut_to: tuple[int, int] | None = None,
) -> Float32[Array, "sticks channels"]:
    """Multiplies windows with weights, reduces, adds the bias, activates, packs.

    Args:
      tap: gives the window elements of one kernel position.
      weights: of each kernel position, broadcast to its window elements.
      dtype: whose values the window elements are.
      form: `float` takes ordinary operands only (`fpu_float.is_ordinary`).
      cut_to: mantissa bits that windows and weights are cut to already, if they are.
    """
    mantissa_bits = fpu_float.mantissa_bits_of(dtype, weights_dtype)
    if cut_to is not None:
        (own, other), (own_most, other_most) = mantissa_bits, cut_to
        mantissa_bits = min(own, own_most), min(other, other_most)
    dst = _fpu_dst(tap, weights, bias, mantissa_bits, compute, arch, form)
    return finish(
        dst, activation=activation, output_dtype=output_dtype, compute=compute
    )
