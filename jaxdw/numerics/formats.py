"""Tensor formats: rounding, raw tiles, and back to float32.

A block format stores 16 consecutive elements of a face row as signed magnitudes of 7
(bfloat8_b) or 3 (bfloat4_b) bits with one shared exponent. Its raw tile holds 64
exponent bytes, face by face, then the codes in memory order; bfloat4_b two to a byte,
the first in the low nibble. A magnitude's leading bit is explicit.

Source: tt-metal blockfloat_common.cpp @034fc8c7, compared with ttnn 0.81.1
(tests/golden/bfp_host.npz, fp32_to_bf16.npz); the chip's packer with the library's
kernels (tests/golden/device_pack.npz), and as its kernels set it up
(tests/golden/run_bfp8_out.npz).
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, BFloat16, Float, Float32, Int32, Shaped, UInt8

from jaxdw.errors import ConfigError
from jaxdw.maps.indexmap import HostOrDevice

Packer = Literal["host", "device", "kernel"]

BF16_NAN = 0x7FC0
BLOCK = 16  # elements that share an exponent
MAGNITUDE_BITS = {"bfloat8_b": 7, "bfloat4_b": 3}


def to_bf16(values: Float[Array, "*shape"]) -> BFloat16[Array, "*shape"]:
    """Rounds to bfloat16 as the host does: nearest even, every NaN 0x7fc0.

    Denormals are kept.
    """
    bits = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.uint32)
    even = (bits >> 16) & jnp.uint32(1)
    rounded = ((bits + jnp.uint32(0x7FFF) + even) >> 16).astype(jnp.uint16)
    is_nan = (bits & jnp.uint32(0x7FFFFFFF)) > jnp.uint32(0x7F800000)
    rounded = jnp.where(is_nan, jnp.uint16(BF16_NAN), rounded)
    return jax.lax.bitcast_convert_type(rounded, jnp.bfloat16)


def cut_to_bf16(values: Float32[Array, "*shape"]) -> Float32[Array, "*shape"]:
    """Drops the low 16 bits and flushes denormals, as SFPSTORE to a 16-bit Dst."""
    bits = jax.lax.bitcast_convert_type(values, jnp.int32) & ~0xFFFF
    bits = jnp.where(bits & 0x7F800000 == 0, 0, bits)
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


def truncated(values: np.ndarray) -> Float32[np.ndarray, "..."]:
    """Drops the low 16 bits on the host, as tt-metal's bfloat16::truncate."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


def dst_to_bf16(dst: Float32[Array, "*shape"]) -> Float32[Array, "*shape"]:
    """Packs a 32-bit Dst to bf16: ties away from zero, NaN to infinity, denormals +0.

    Source: tt-isa-documentation Packers/FormatConversion @39304719; the library's
    kernels (tests/golden/core_kernels.npz).
    """
    bits = jax.lax.bitcast_convert_type(dst, jnp.int32)
    rounded = (bits + 0x8000) & ~0xFFFF
    infinite = bits & ~0x7FFFFFFF | 0x7F800000
    bits = jnp.where(bits & 0x7F800000 == 0, 0, bits)
    rounded = jnp.where(bits & 0x7F800000 == 0x7F800000, infinite, rounded)
    rounded = jnp.where(bits == 0, 0, rounded)
    return jax.lax.bitcast_convert_type(rounded, jnp.float32)


def cast(values: Float[Array, "*shape channels"], dtype: str) -> Float[Array, "..."]:
    """Rounds values as the host does, to an array that holds the format's values.

    `bfloat8_b` and `bfloat4_b` take blocks along the last axis (whole blocks of 16) and
    give bf16, which holds them exactly.
    """
    if dtype == "float32":
        return values.astype(jnp.float32)
    if dtype == "bfloat16":
        return to_bf16(values)
    bits = _magnitude_bits(dtype)
    blocks = values.astype(jnp.float32).reshape(-1, BLOCK)
    held = _decode(*_host_codes(blocks, bits), bits)
    return to_bf16(held).reshape(values.shape)


def round_to(values: Float[Array, "*shape"], dtype: str) -> Float32[Array, "*shape"]:
    """Rounds values as the host does and returns them in float32."""
    return cast(values, dtype).astype(jnp.float32)


def pack_output(
    dst: Float32[Array, "sticks channels"], dtype: str, *, fp32_dest: bool
) -> Float32[Array, "sticks channels"]:
    """Returns the values that the packer of a kernel makes of Dst.

    A 16-bit Dst is bf16 already. `bfloat8_b` takes the `kernel` rule: confirmed for
    ttnn 0.81.1's own convolutions (tests/golden/run_bfp8_out.npz), derived for the
    depthwise branch, whose formats the same library code generates.
    """
    if dtype == "float32":
        return dst
    if dtype == "bfloat16":
        return dst_to_bf16(dst) if fp32_dest else dst
    return packed_values(dst, dtype, "kernel")


def packed_values(
    values: Float32[Array, "*shape channels"], dtype: str, packer: str
) -> Float32[Array, "*shape channels"]:
    """Returns what a block format keeps of values.

    Blocks lie along the last axis; a last one that is not whole is filled up with
    zeros.
    """
    bits, rule = _magnitude_bits(dtype), _rule(packer)
    channels = values.shape[-1]
    past = -channels % BLOCK
    if past:
        values = jnp.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, past)])
    held = _decode(*rule(values.reshape(-1, BLOCK), bits), bits).reshape(values.shape)
    return held[..., :channels] if past else held


def _magnitude_bits(dtype: str) -> int:
    """Returns the bits of a block format's magnitudes.

    Raises:
      ConfigError: `dtype` is not a block format.
    """
    if dtype not in MAGNITUDE_BITS:
        raise ConfigError(
            f"`dtype` (={dtype!r}) must be one of bfloat16, float32, bfloat8_b, "
            "bfloat4_b; use one of these"
        )
    return MAGNITUDE_BITS[dtype]


def _fields(values: Float32[Array, "*shape"]) -> tuple[Int32[Array, "*shape"], ...]:
    """Returns sign, biased exponent and fraction (23 bits) of float32 values."""
    bits = jax.lax.bitcast_convert_type(values, jnp.int32)
    return (bits >> 31) & 1, (bits >> 23) & 0xFF, bits & 0x7FFFFF


def _code(
    sign: Int32[Array, "b 16"], magnitude: Int32[Array, "b 16"], magnitude_bits: int
) -> Int32[Array, "b 16"]:
    magnitude = jnp.minimum(magnitude, (1 << magnitude_bits) - 1)
    return jnp.where(magnitude == 0, 0, sign << magnitude_bits | magnitude)


def _host_codes(
    blocks: Float32[Array, "b 16"], magnitude_bits: int
) -> tuple[Int32[Array, "b 1"], Int32[Array, "b 16"]]:
    """Aligns to the largest exponent by truncation, then rounds to nearest even.

    Denormals become 0, as the library's bytes show; infinity and NaN are numbers of
    exponent 255.
    """
    sign, exponent, fraction = _fields(blocks)
    shared = exponent.max(axis=1, keepdims=True)
    mantissa = (fraction | 0x800000) >> jnp.minimum(shared - exponent, 31)
    mantissa = jnp.where(exponent == 0, 0, mantissa)
    drop = 24 - magnitude_bits
    odd = (mantissa >> drop) & 1
    rounded = (mantissa + (1 << (drop - 1)) - 1 + odd) >> drop
    return shared, _code(sign, rounded, magnitude_bits)


def _device_codes(
    blocks: Float32[Array, "b 16"], magnitude_bits: int
) -> tuple[Int32[Array, "b 1"], Int32[Array, "b 16"]]:
    """Packs by the chip's rule for a bf16 source: aligned and rounded in one step.

    Ties go away from zero. bfloat4_b takes two steps whatever the source.
    """
    if magnitude_bits == 3:
        return _kernel_codes(blocks, magnitude_bits)
    sign, exponent, fraction = _fields(blocks)
    mantissa = jnp.where(exponent == 0, 0, fraction >> 16 | 0x80)
    shared = exponent.max(axis=1, keepdims=True)
    shift = jnp.minimum(shared - exponent, 29)
    rounded = (mantissa + jnp.left_shift(1, shift)) >> (shift + 1)
    return shared, _code(sign, rounded, magnitude_bits)


def _kernel_codes(
    blocks: Float32[Array, "b 16"], magnitude_bits: int
) -> tuple[Int32[Array, "b 1"], Int32[Array, "b 16"]]:
    """Packs by the chip's rule for a block-format source, in two steps.

    Each element is rounded to 7 bits, ties away from zero, at its own exponent; aligned
    by truncation with one bit kept; rounded to 7 bits, ties away, and cut to the
    format's. Source: the library's kernels (tests/golden/run_bfp8_out.npz,
    device_pack.npz).
    """
    sign, exponent, fraction = _fields(blocks)
    mantissa = jnp.where(exponent == 0, 0, fraction >> 16 | 0x80)
    mantissa = (mantissa + 1) >> 1
    carried = mantissa >> 7
    mantissa, exponent = mantissa >> carried << 1, exponent + carried
    shared = exponent.max(axis=1, keepdims=True)
    mantissa = mantissa >> jnp.minimum(shared - exponent, 31)
    rounded = jnp.minimum((mantissa + 1) >> 1, 127) >> (7 - magnitude_bits)
    return jnp.minimum(shared, 255), _code(sign, rounded, magnitude_bits)


def _rule(packer: str):
    """Returns a packer's rule, `(blocks, magnitude bits) -> (exponents, codes)`.

    Raises:
      ConfigError: no such packer.
    """
    rules = {"host": _host_codes, "device": _device_codes, "kernel": _kernel_codes}
    if packer not in rules:
        raise ConfigError(
            f"`packer` (={packer!r}) must be one of {', '.join(get_args(Packer))}; "
            "use one of these"
        )
    return rules[packer]


def _decode(
    exponent: Int32[Array, "b 1"], codes: Int32[Array, "b 16"], magnitude_bits: int
) -> Float32[Array, "b 16"]:
    """Returns the values of codes, all of which bf16 holds; underflow is +0.

    A block of exponent 255 keeps its fractions (infinity, NaN); the code of sign alone
    is 0xFF80 in bf16. Source: tt-isa-documentation FloatBitPatterns @39304719.
    """
    sign, magnitude = (
        codes >> magnitude_bits,
        codes & ((1 << magnitude_bits) - 1),
    )
    zeros = magnitude_bits - (32 - jax.lax.clz(magnitude))
    value_exponent = exponent - zeros
    fraction = (magnitude << (24 - magnitude_bits + zeros)) & 0x7FFFFF
    bits = sign << 31 | value_exponent << 23 | fraction
    bits = jnp.where(value_exponent <= 0, 0, bits)
    bits = jnp.where(magnitude == 0, -(sign << 23), bits)
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


def pack(
    tiles: Shaped[HostOrDevice, "tiles 1024"], dtype: str, packer: str = "host"
) -> UInt8[Array, "tiles page_bytes"]:
    """Packs tiles in memory order into raw bytes, little endian.

    Args:
      dtype: `bfloat16` (2,048 bytes to a tile), `float32` (4,096), `bfloat8_b` (1,088)
        or `bfloat4_b` (576).
      packer: whose rule for block formats. `kernel` is the chip's as the library's
        kernels set it up, with the tensor's format as the packer's source; `device` the
        chip's with a bf16 source. Both take bf16 values (float32 loses its low 16 bits)
        and differ for `bfloat8_b` only.

    Raises:
      ConfigError: an unknown format or packer.
    """
    tiles = jnp.asarray(tiles)
    rule = _rule(packer)
    if dtype not in MAGNITUDE_BITS:
        raw = jax.lax.bitcast_convert_type(cast(tiles, dtype), jnp.uint8)
        return raw.reshape(len(tiles), -1)
    bits = MAGNITUDE_BITS[dtype]
    blocks = tiles.astype(jnp.float32).reshape(-1, BLOCK)
    exponent, codes = rule(blocks, bits)
    exponent = exponent.reshape(len(tiles), -1).astype(jnp.uint8)
    codes = codes.reshape(len(tiles), -1).astype(jnp.uint8)
    if dtype == "bfloat4_b":
        codes = codes[:, ::2] | codes[:, 1::2] << 4
    return jnp.concatenate([exponent, codes], axis=1)


def hold(values: Float[Array, "*shape"], dtype: str) -> Float32[Array, "*shape"]:
    """Returns what values are after they were packed by the host.

    Block formats take blocks along the last axis, whole ones of 16.
    """
    if dtype not in MAGNITUDE_BITS:
        return round_to(values, dtype)  # the bytes are the values
    bits = MAGNITUDE_BITS[dtype]
    blocks = values.astype(jnp.float32).reshape(-1, BLOCK)
    return _decode(*_host_codes(blocks, bits), bits).reshape(values.shape)


def unpack(
    packed: UInt8[HostOrDevice, "tiles page_bytes"], dtype: str
) -> Float32[Array, "tiles 1024"]:
    """Returns the values of packed tiles in memory order."""
    packed = jnp.asarray(packed)
    if dtype in ("bfloat16", "float32"):
        target = jnp.dtype(dtype)
        raw = packed.reshape(len(packed), -1, target.itemsize)
        return jax.lax.bitcast_convert_type(raw, target).astype(jnp.float32)
    bits = _magnitude_bits(dtype)
    exponent, codes = packed[:, :64], packed[:, 64:]
    if dtype == "bfloat4_b":
        codes = jnp.stack([codes & 15, codes >> 4], axis=-1)
    values = _decode(
        exponent.reshape(-1, 1).astype(jnp.int32),
        codes.reshape(-1, BLOCK).astype(jnp.int32),
        bits,
    )
    return values.reshape(len(packed), -1)
