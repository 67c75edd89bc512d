"""The core grid as one GPU kernel: what `grid.map_grid` does, on Pallas.

Triton's exponential and division are approximate, it has no erf, and its maximum drops
a NaN. Activations made of these are left to XLA, after the kernel.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Float, Float32, Int32, Shaped

from jaxdw.errors import UnsupportedError
from jaxdw.machine.core import Arithmetic, finish
from jaxdw.maps.indexmap import HostOrDevice
from jaxdw.numerics import formats, fpu
from jaxdw.plan.config import ComputeConfig

# Outputs of one invocation, how many channels at most, and the warps it has: each of
# its threads computes 4 outputs. Assumed: not tuned on a device. All are powers of two.
BLOCK_OUTPUTS, BLOCK_CHANNELS, NUM_WARPS = 512, 64, 4


def _kernel(l1, sticks, weights, bias, out, *, arithmetic: Arithmetic):
    """Computes a block of sticks by a block of channels of one NHW shard.

    Args:
      l1, sticks: references to the shard's.
      weights: `[taps, 1, channels]` of this block; bias: `[channels]`, or None.
      out: all outputs, flat, so that a write past a row or a shard is seen on any
        device.
    """
    (num_rows, num_channels), num_outputs = l1.shape, sticks.shape[1]
    channel_block = weights.shape[-1]
    stick_block = BLOCK_OUTPUTS // channel_block
    outputs = pl.program_id(0) * stick_block + jnp.arange(stick_block)
    channels = pl.program_id(1) * channel_block + jnp.arange(channel_block)
    is_output = outputs < num_outputs
    is_channel = (channels < num_channels)[None]

    def tap(k: fpu.Tap) -> Float32[Array, "sticks channels"]:
        rows = plgpu.load(sticks.at[k, outputs], mask=is_output, other=num_rows)
        held = (rows < num_rows)[:, None] & is_channel
        found = plgpu.load(l1.at[rows[:, None], channels[None]], mask=held, other=0.0)
        return found.astype(jnp.float32)

    result = arithmetic(tap, weights, None if bias is None else bias[...])
    rows = pl.program_id(2) * num_outputs + outputs
    here = (rows * num_channels)[:, None] + channels[None]
    plgpu.store(out.at[here], result, mask=is_output[:, None] & is_channel)


def _activates(activation: str | None, compute: ComputeConfig) -> bool:
    """Whether the kernel gives the activation's very bits."""
    exact = ("relu", "relu6") if compute.arithmetic == "fpu" else ()
    return activation is None or activation in exact


def channel_block(channels: int) -> int:
    """Returns the channels of one invocation."""
    power_of_two = 1 << (channels - 1).bit_length()
    return min(BLOCK_CHANNELS, max(formats.BLOCK, power_of_two))


def _whole_blocks(
    values: Float32[Array, "*lead channels"], block: int
) -> Float32[Array, "*lead padded"]:
    past = (0, -values.shape[-1] % block)
    return jnp.pad(values, [(0, 0)] * (values.ndim - 1) + [past])


def _block(
    values: Shaped[HostOrDevice, "..."], *block: int, over_channels: bool = False
) -> pl.BlockSpec:
    """Says which part of an array an invocation sees: all channels, or its own."""
    shared = values.ndim == len(block)

    def index(stick_block, channel_block, nhw):
        own = (0,) * (len(block) - 1) + (channel_block if over_channels else 0,)
        return own if shared else (nhw, *own)

    return pl.BlockSpec(block if shared else (None, *block), index)


def pallas_grid(
    l1: Float[Array, "*l1_nhw rows channels"],
    sticks: Int32[HostOrDevice, "nhw taps outputs"],
    weights: Float32[Array, "*weight_nhw taps channels"],
    bias: Float32[Array, "*bias_nhw channels"] | None,
    arithmetic: Arithmetic,
    *,
    activation: str | None,
    output_dtype: str,
    compute: ComputeConfig,
    interpret: bool,
) -> Float32[Array, "nhw outputs channels"]:
    """Runs every core, as `map_grid` does in the float form.

    Args:
      activation, output_dtype, compute: as bound in `arithmetic`.
      interpret: run the kernel as XLA operations, on any device.

    Raises:
      UnsupportedError: 2**31 outputs or elements of L1, or more.
    """
    num_shards, taps, outputs = sticks.shape
    rows, channels = l1.shape[-2:]
    block = channel_block(channels)
    weights = _whole_blocks(weights, block)[..., None, :]
    bias = None if bias is None else _whole_blocks(bias, block)
    grid = (
        pl.cdiv(outputs, BLOCK_OUTPUTS // block),
        pl.cdiv(channels, block),
        num_shards,
    )
    num_outputs = num_shards * outputs * channels
    if max(num_outputs, l1.size) >= 2**31:
        raise UnsupportedError(
            f"the Pallas kernel counts in int32: {num_outputs} outputs of {l1.size} "
            "inputs must be below 2**31 each; use backend='xla', or split the batch"
        )
    activates = _activates(activation, compute)
    if not activates:
        arithmetic = functools.partial(
            arithmetic, activation=None, output_dtype="float32"
        )
    kernel = pl.pallas_call(
        functools.partial(_kernel, arithmetic=arithmetic),
        out_shape=jax.ShapeDtypeStruct((num_outputs,), jnp.float32),
        grid=grid,
        in_specs=[
            _block(l1, rows, channels),
            _block(sticks, taps, outputs),
            _block(weights, taps, 1, block, over_channels=True),
            None if bias is None else _block(bias, block, over_channels=True),
        ],
        compiler_params=plgpu.CompilerParams(num_warps=NUM_WARPS, num_stages=1),
        interpret=interpret,
    )
    result = kernel(l1, sticks, weights, bias).reshape(-1, channels)
    if not activates:
        result = finish(
            result, activation=activation, output_dtype=output_dtype, compute=compute
        )
    return result.reshape(num_shards, outputs, channels)
