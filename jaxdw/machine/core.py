"""ONE core's program: unpack, gather each window tap by tap, compute."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int32

from jaxdw.maps.indexmap import HostOrDevice
from jaxdw.numerics import formats, sfpu
from jaxdw.plan.config import ComputeConfig
from jaxdw.plan.layout import FACE
from jaxdw.plan.plan import TILE_ELEMS

Tap = Callable[[int], Float32[Array, "sticks channels"]]


def weight_stream(
    tiles: Float32[Array, "tiles 1024"], taps: int, channels: int
) -> Float32[Array, "taps channels"]:
    """Returns the weights of each kernel position: tiles in memory order are linear.

    Source: the reader lays window sticks out the same way, tt-metal reader_pool_2d.cpp
    @ff6ab496; the pairing was checked on the library's own kernels.
    """
    return tiles.reshape(-1)[: taps * channels].reshape(taps, channels)


def bias_stream(tiles: Float32[Array, "tiles 1024"]) -> Float32[Array, " channels"]:
    """Returns row 0 of bias tiles: the first rows of faces 0 and 1."""
    faces = tiles.reshape(-1, TILE_ELEMS // FACE**2, FACE, FACE)
    return faces[:, :2, 0, :].reshape(-1)


def accumulate(
    tap: Tap,
    weights: Float32[Array, "taps sticks_or_1 channels"],
    bias: Float32[Array, " channels"] | None,
    *,
    activation: str | None,
    compute: ComputeConfig,
) -> Float32[Array, "sticks channels"]:
    """Multiplies windows with weights, reduces, adds the bias, activates.

    Args:
      tap: gives the window elements of one kernel position.
    """
    total = jnp.zeros((), jnp.float32)
    for k in range(len(weights)):
        total = total + tap(k) * weights[k]
    if bias is not None:
        total = total + bias[None]
    return sfpu.activate(total, activation)


def core_program(
    l1: Float[Array, "rows channels"],
    sticks: Int32[HostOrDevice, "taps outputs"],
    weight_tiles: Float32[Array, "tiles 1024"],
    bias_tiles: Float32[Array, "bias_tiles 1024"] | None,
    channels_written: Bool[HostOrDevice, " channels"] | None,
    windows_written: Bool[HostOrDevice, " outputs"] | None,
    *,
    activation: str | None,
    output_dtype: str,
    compute: ComputeConfig,
) -> Float32[Array, "outputs channels"]:
    """Computes one core's output shard.

    Args:
      l1: rows that hold sticks; a row of `sticks` past them reads zeros.
      sticks: the row of each window element, one column for each output stick.
      weight_tiles: those that compute multiplies, unpacked, in memory order.
      channels_written, windows_written: whether all weights and all window elements of
        an output were ever written; one that was not is poison. None for all.
    """
    taps, channels = len(sticks), l1.shape[1]

    def tap(k: int) -> Float32[Array, "outputs channels"]:
        found = l1.at[sticks[k]].get(mode="fill", fill_value=0)
        return found.astype(jnp.float32)

    weights = weight_stream(weight_tiles, taps, channels)
    bias = None if bias_tiles is None else bias_stream(bias_tiles)
    total = accumulate(
        tap, weights[:, None], bias, activation=activation, compute=compute
    )
    result = formats.round_to(total, output_dtype)
    if channels_written is not None:
        result = jnp.where(channels_written[None], result, jnp.nan)
    if windows_written is not None:
        result = jnp.where(windows_written[:, None], result, jnp.nan)
    return result
