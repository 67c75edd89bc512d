"""The core grid: one core's program mapped over NHW shards and channel shards."""

import dataclasses
import functools
import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int32

from jaxdw.arch.arch import Arch
from jaxdw.machine.core import bias_stream, core_program, weight_stream
from jaxdw.maps.indexmap import HostOrDevice
from jaxdw.plan.config import ComputeConfig
from jaxdw.plan.plan import Plan

# Outputs that the matrix unit's exact form computes together, over all cores: it holds
# some 25 int32 for each. The float32 forms hold none: XLA runs all their steps as one.
EXACT_OUTPUTS = 2**16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """What fixes shapes or chooses code; all else of a plan travels as arrays."""

    num_channel_shards: int
    channels_per_core: int  # padded
    output_shape: tuple[int, ...]  # [N, Ho, Wo, C]
    dtype: str
    weights_dtype: str
    output_dtype: str
    activation: str | None
    compute: ComputeConfig
    arch: Arch
    pallas: bool = False  # the grid as a Pallas kernel

    @property
    def channels(self) -> int:
        return self.output_shape[-1]


def program_of(plan: Plan) -> Program:
    """Returns the static part of a plan.

    `JAXDW_PALLAS=1` in the environment has `run` on one device without `keep` compute
    the float32 forms in a Pallas kernel.
    """
    conv = plan.conv
    return Program(
        num_channel_shards=plan.num_channel_shards,
        channels_per_core=plan.input_shard.channels,
        output_shape=plan.output_shape,
        dtype=conv.dtype,
        weights_dtype=conv.weights_dtype,
        output_dtype=conv.output_dtype,
        activation=conv.activation,
        compute=plan.compute,
        arch=plan.arch,
        pallas=os.environ.get("JAXDW_PALLAS") == "1",
    )


def streams(
    weight_tiles: Float32[Array, "*weight_grid tiles 1024"],
    bias_tiles: Float32[Array, "*bias_grid bias_tiles 1024"] | None,
    taps: int,
    program: Program,
) -> tuple[
    Float32[Array, "*weight_nhw taps channels"],
    Float32[Array, "*bias_nhw channels"] | None,
]:
    """Returns the weights and biases that cores read, channel shards side by side."""
    stream = functools.partial(
        weight_stream, taps=taps, channels=program.channels_per_core
    )
    weights = _of_row(weight_tiles, stream)
    return weights, None if bias_tiles is None else _of_row(bias_tiles, bias_stream)


def _of_row(
    held: Float32[Array, "..."],
    stream: Callable[[Array], Float32[Array, "..."]],
) -> Float32[Array, "..."]:
    if held.ndim == 4:  # each NHW shard has its own
        return jax.vmap(lambda row: _of_row(row, stream))(held)
    of_cores = jax.vmap(stream, out_axes=-2)(held)
    return of_cores.reshape(*of_cores.shape[:-2], -1)


def map_grid(
    l1: Float[Array, "*l1_nhw rows channels"],
    sticks: Int32[HostOrDevice, "nhw taps outputs"],
    weights: Float32[Array, "*weight_nhw taps channels"],
    bias: Float32[Array, "*bias_nhw channels"] | None,
    channels_written: Bool[HostOrDevice, "*written_nhw channels"] | None,
    windows_written: Bool[HostOrDevice, "nhw outputs"] | None,
    program: Program,
    *,
    exact: bool,
) -> Float32[Array, "nhw outputs channels"]:
    """Maps one core's program over the grid.

    The cores of one NHW shard read the same sticks and differ in their channels: their
    programs run side by side, along the channels of all of them (as an axis of its own,
    channel shards take XLA twice as long). NHW shards are mapped with `jax.vmap`.

    Args:
      l1: rows of all channel shards, for each NHW shard or the same for all, as are
        weights, bias and `channels_written`.
      channels_written, windows_written: as for `poisoned`.
      exact: as for `core.compute_sticks`.
    """
    num_shards, _, num_sticks = sticks.shape
    at_once = num_sticks
    if exact:
        most = EXACT_OUTPUTS // (num_shards * l1.shape[-1])
        even = (n for n in range(1, num_sticks + 1) if num_sticks % n == 0)
        at_once = max((n for n in even if n <= most), default=1)
    core = functools.partial(
        core_program,
        weights_dtype=program.weights_dtype,
        activation=program.activation,
        output_dtype=program.output_dtype,
        compute=program.compute,
        arch=program.arch,
        exact=exact,
        sticks_at_once=at_once,
    )
    arguments = (l1, sticks, weights, bias)
    shared_ndims = (2, None, 2, 1)
    in_axes = tuple(
        None if values is None or values.ndim == ndim else 0
        for values, ndim in zip(arguments, shared_ndims, strict=True)
    )
    result = jax.vmap(core, in_axes)(*arguments)
    return poisoned(result, channels_written, windows_written)


def poisoned(
    result: Float32[Array, "nhw outputs channels"],
    channels_written: Bool[HostOrDevice, "*written_nhw channels"] | None,
    windows_written: Bool[HostOrDevice, "nhw outputs"] | None,
) -> Float32[Array, "nhw outputs channels"]:
    """Returns NaN for outputs of which a weight or a window element is poison.

    Args:
      channels_written, windows_written: whether all weights and all window elements of
        an output were ever written; None for all.
    """
    if channels_written is not None:
        written = channels_written.reshape(-1, 1, result.shape[-1])
        result = jnp.where(written, result, jnp.nan)
    if windows_written is not None:
        result = jnp.where(windows_written[:, :, None], result, jnp.nan)
    return result
