"""What the host does, for NumPy and JAX arrays: casts, packs, pads and collects."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Shaped

from jaxdw.launch import kept
from jaxdw.machine.cores import Static, image_held, read_bits
from jaxdw.machine.image import held_as
from jaxdw.maps.indexmap import Alike, IndexMap, gather
from jaxdw.maps.lanes import LaneMaps, fitted, side_by_side
from jaxdw.maps.strided import Strided
from jaxdw.numerics import formats
from jaxdw.numerics.fpu_float import cut

_PIECE_ELEMS = 2**16  # that `hold` takes of a host array at a time

cast = jax.jit(formats.cast, static_argnames="dtype")
_hold_piece = jax.jit(formats.hold, static_argnames="dtype")


def host_tensor(
    values: Float[Array, "..."], static: Static
) -> Float[Array, " elements"]:
    """Returns weights or bias, flat, in the dtype that preparation works on.

    Source: tt-metal prepare_conv2d_weights.cpp @002a3f41: bf16 tensors stay bf16, all
    others are float32 until they are packed.
    """
    host_dtype = "bfloat16" if static.weights_dtype == "bfloat16" else "float32"
    return formats.cast(values.reshape(-1), host_dtype)


def padded(
    values: Shaped[Alike, "..."],
    shape: tuple[int, ...],
    fill: float | int | bool = 0,
) -> Shaped[Alike, "..."]:
    """Fills up trailing axes to `shape`."""
    shape = (*values.shape[: values.ndim - len(shape)], *shape)
    if shape == values.shape:
        return values
    past = [(0, to - has) for to, has in zip(shape, values.shape, strict=True)]
    xp: Any = np if isinstance(values, np.ndarray) else jnp
    return xp.pad(values, past, constant_values=fill)


def host_sticks(
    x: Float[Array, "..."], static: Static
) -> Float[Array, "sticks padded"]:
    """Returns the input padded to whole channel shards, in the activations' dtype."""
    channels = static.num_channel_shards * static.channels_per_core
    sticks = padded(x.reshape(-1, static.channels), (channels,))
    return formats.cast(sticks, static.dtype)


def padded_image(
    x: Float[Array, "..."], windows: Strided, static: Static
) -> Shaped[Array, "n h w *sticks"]:
    """Returns the zero-padded image, its channels padded to whole channel shards.

    In the activations' dtype, bf16 as `image_held` says; mantissas are cut to what the
    device program reads (`read_bits`).
    """
    sticks = host_sticks(x, static).reshape(*windows.image, -1)
    if sticks.dtype == jnp.bfloat16:  # XLA on a CPU moves bf16 one by one
        sticks = jax.lax.bitcast_convert_type(sticks, jnp.uint16)
    bits = read_bits(static)
    if bits is not None:
        sticks = cut(sticks, bits[0])
    if sticks.dtype == jnp.uint16:
        sticks = held_as(sticks, image_held(static))
    # an update of zeros: padding as such, XLA decides on at each element
    top, _, left, _ = windows.padding
    others = sticks.shape[3:]
    image = jnp.zeros((*windows.padded_image, *others), sticks.dtype)
    return jax.lax.dynamic_update_slice(
        image, sticks, (0, top, left, *[0] * len(others))
    )


def hold(values: Float[Alike, "*shape"], dtype: str) -> Float32[Alike, "*shape"]:
    """Returns what values of weights or bias are after the host packed them.

    Host arrays are taken in pieces of one size, for which one computation is compiled.
    """
    if not isinstance(values, np.ndarray):
        return formats.hold(values, dtype)
    flat, held = values.reshape(-1), np.empty(values.size, np.float32)
    for first in range(0, len(flat), _PIECE_ELEMS):
        piece = flat[first : first + _PIECE_ELEMS]
        whole = padded(piece, (_PIECE_ELEMS,))
        packed = np.asarray(kept.call(_hold_piece, whole, dtype=dtype))
        held[first : first + len(piece)] = packed[: len(piece)]
    return held.reshape(values.shape)


def weights_in_lanes(
    maps: LaneMaps,
    w: Float[Alike, "c one kh kw"],
    dtype: str,
) -> Float32[Alike, "*nhw taps channels"]:
    """Returns the weight that each window element meets, channel shards in a row."""
    packed = maps.weights if maps.blocks is None else maps.blocks
    found = hold(gather(w.reshape(-1), packed), dtype)
    if maps.blocks is not None:
        found = gather(found.reshape(-1), maps.weights)
    return fitted(side_by_side(found), maps.lanes)


def bias_in_lanes(
    maps: LaneMaps, bias: Float[Alike, " c"] | None, dtype: str
) -> Float32[Alike, "*nhw channels"] | None:
    """Returns the bias that each channel gets, channel shards in a row."""
    if bias is None or maps.bias is None:
        return None
    found = hold(gather(bias, maps.bias), dtype)
    return fitted(found.reshape(*found.shape[:-2], -1), maps.lanes)


def collected(
    shards: Float32[Alike, "nhw outputs channels"],
    collect: IndexMap | None,
    output_shape: tuple[int, ...],
) -> Float32[Alike, "n ho wo c"]:
    """Returns the output that the user sees from the rows of all shards.

    Args:
      collect: as in `ComposedMaps`. Rows past its `size` are of shards that only fill
        a mesh.
    """
    rows = shards.reshape(-1, shards.shape[-1])
    if collect is not None:
        rows = gather(rows[: collect.size], collect)
    *image, channels = output_shape
    return rows[: math.prod(image), :channels].reshape(output_shape)
