"""What ONE core does: gathers each window tap by tap, and computes output sticks."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int32, Shaped

from jaxdw.maps.indexmap import HostOrDevice
from jaxdw.numerics import formats, fpu, sfpu
from jaxdw.plan.config import ComputeConfig

Windows = Callable[[fpu.Tap], Float32[Array, "sticks channels"]]

# A device program's `compute_sticks`, all bound but windows, weights and bias; what is
# bound may be bound again.
Arithmetic = Callable[..., Float32[Array, "sticks channels"]]


def finish(
    dst: Float32[Array, "sticks channels"],
    *,
    activation: str | None,
    output_dtype: str,
    compute: ComputeConfig,
) -> Float32[Array, "sticks channels"]:
    """Activates and packs Dst. No activation and `float32` leave it as it is."""
    if compute.arithmetic == "float32":
        return formats.round_to(sfpu.true_activation(dst, activation), output_dtype)
    dst = sfpu.activate(dst, activation, fp32_dest=compute.fp32_dest_acc)
    return formats.pack_output(dst, output_dtype, fp32_dest=compute.fp32_dest_acc)


def float32_sticks(
    tap: Windows,
    weights: fpu.ByTap,
    bias: Float32[Array, " channels"] | None,
    *,
    activation: str | None,
    output_dtype: str,
    compute: ComputeConfig,
    dtype: str = "bfloat16",
    weights_dtype: str = "bfloat16",
    **_,
) -> Float32[Array, "sticks channels"]:
    """Accumulates in float32 in kernel-position order and rounds once.

    Products of float32 tensors are rounded, too; others are exact.
    """
    rounds = "float32" in (dtype, weights_dtype)
    total = jnp.zeros((), jnp.float32)
    for k in range(len(weights)):
        product = tap(k) * weights[k]
        total = total + (formats.rounded(product) if rounds else product)
    total = total if bias is None else total + bias[None]
    return finish(
        total, activation=activation, output_dtype=output_dtype, compute=compute
    )


def as_float32(values: Shaped[Array, "*shape"]) -> Float32[Array, "*shape"]:
    """Returns window elements, bits of bf16 among them, as float32."""
    if values.dtype == jnp.uint16:
        return fpu.floats_of(values.astype(jnp.int32) << 16)
    return values.astype(jnp.float32)


def run_core(
    l1: Float[Array, "rows channels"],
    sticks: Int32[HostOrDevice, "taps outputs"],
    weights: Float32[Array, "taps channels"],
    bias: Float32[Array, " channels"] | None,
    *,
    arithmetic: Arithmetic,
    sticks_at_once: int,
) -> Float32[Array, "outputs channels"]:
    """Computes one core's output shard.

    Args:
      l1: rows that hold sticks; a row of `sticks` past them reads zeros.
      sticks: the row of each window element, one column for each output stick.
      weights: what each window element meets; bias: of each channel.
      sticks_at_once: output sticks computed together, one such part after the other; a
        divisor of their number.
    """
    channels = weights.shape[1]
    if l1.dtype == jnp.bfloat16:  # moved as bits
        l1 = jax.lax.bitcast_convert_type(l1, jnp.uint16)

    def part(
        sticks: Int32[HostOrDevice, "taps part"],
    ) -> Float32[Array, "part channels"]:
        def tap(k: fpu.Tap) -> Float32[Array, "part channels"]:
            return as_float32(l1.at[sticks[k]].get(mode="fill", fill_value=0))

        return arithmetic(tap, weights[:, None], bias)

    num_sticks = sticks.shape[1]
    if sticks_at_once == num_sticks:
        return part(sticks)

    def add_part(n, done: Float32[Array, "outputs channels"]):
        first = n * sticks_at_once
        own = jax.lax.dynamic_slice_in_dim(sticks, first, sticks_at_once, axis=1)
        return jax.lax.dynamic_update_slice_in_dim(done, part(own), first, axis=0)

    none_done = jnp.zeros((num_sticks, channels), jnp.float32)
    return jax.lax.fori_loop(0, num_sticks // sticks_at_once, add_part, none_done)
