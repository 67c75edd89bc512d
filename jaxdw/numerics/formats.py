"""Tensor formats: rounding on the host, raw tiles, and back to float32."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, BFloat16, Float, Float32, UInt8

Packer = Literal["host", "device"]

BF16_NAN = 0x7FC0


def to_bf16(values: Float[Array, "*shape"]) -> BFloat16[Array, "*shape"]:
    """Rounds to bfloat16 as the host does: nearest even, every NaN 0x7fc0.

    Denormals are kept. Source: tests/golden/fp32_to_bf16.npz (ttnn 0.81.1, host).
    """
    if values.dtype == jnp.bfloat16:
        values = values.astype(jnp.float32)
    bits = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.uint32)
    even = (bits >> 16) & jnp.uint32(1)
    rounded = ((bits + jnp.uint32(0x7FFF) + even) >> 16).astype(jnp.uint16)
    is_nan = (bits & jnp.uint32(0x7FFFFFFF)) > jnp.uint32(0x7F800000)
    rounded = jnp.where(is_nan, jnp.uint16(BF16_NAN), rounded)
    return jax.lax.bitcast_convert_type(rounded, jnp.bfloat16)


def cast(values: Float[Array, "*shape"], dtype: str) -> Float[Array, "*shape"]:
    """Rounds values to `bfloat16` or `float32`, as an array of that dtype."""
    if dtype == "bfloat16":
        return to_bf16(values)
    return values.astype(jnp.float32)


def round_to(values: Float[Array, "*shape"], dtype: str) -> Float32[Array, "*shape"]:
    """Rounds values to a format and returns them in float32."""
    return cast(values, dtype).astype(jnp.float32)


def pack(
    tiles: Float[Array, "tiles 1024"], dtype: str, packer: Packer = "host"
) -> UInt8[Array, "tiles page_bytes"]:
    """Packs tiles in memory order into raw bytes, little endian.

    Args:
      dtype: `bfloat16` (2,048 bytes to a tile) or `float32` (4,096).
      packer: whose rounding rule; only block formats differ.
    """
    raw = jax.lax.bitcast_convert_type(cast(tiles, dtype), jnp.uint8)
    return raw.reshape(len(tiles), -1)


def unpack(
    packed: UInt8[Array, "tiles page_bytes"], dtype: str
) -> Float32[Array, "tiles 1024"]:
    """Returns the values of packed tiles."""
    target = jnp.bfloat16 if dtype == "bfloat16" else jnp.float32
    raw = packed.reshape(len(packed), -1, target.dtype.itemsize)
    return jax.lax.bitcast_convert_type(raw, target).astype(jnp.float32)
