"""Activations of the vector unit, on Dst values.

Lanes are float32. Storing into a 16-bit Dst cuts the low 16 bits off (toward zero) and
flushes denormals, unless the kernel rounds first; a 32-bit Dst keeps float32.
Source: tt-isa-documentation SFPSTORE @39304719.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32

from jaxdw.numerics import formats

# Chebyshev form, highest power first. Source: tt-metal ckernel_sfpu_gelu.h (2025).
_GELU_POLYNOMIAL = (
    -1.81205228163e-09, -4.59055119276e-08, -3.74540617693e-07, -2.29754133825e-07,
    1.19076782913e-05, 4.25116466215e-05, -1.38391838381e-04, -8.62052441087e-04,
    7.68340223025e-04, 9.2074331601e-03, -2.08478037614e-03, -6.56369476513e-02,
    2.44542739174e-03, 0.398579460781, 0.499174645395, 2.98325768482e-05,
)  # fmt: skip

# |x| below, slope, intercept: the fp16 words of the lookup table as they decode.
# Source: tt-llk @36b092e8 ckernel_sfpu_gelu.h (0x37E7322B, 0x38E138F3, 0x38003852;
# 0xB12286D8, 0xB437B479, 0x7C00AFA4; 0x7C00 stands for no intercept).
_GELU_SEGMENTS = (
    (0.5, 0x322B, 0x86D8),
    (1.0, 0x37E7, 0xB122),
    (1.5, 0x38F3, 0xB479),
    (2.0, 0x38E1, 0xB437),
    (3.0, 0x3852, 0xAFA4),
    (float("inf"), 0x3800, 0x0000),
)


def true_activation(
    values: Float32[Array, "*shape"], activation: str | None
) -> Float32[Array, "*shape"]:
    """Applies the true function in float32, whatever form the chip has of it."""
    match activation:
        case "relu":
            return jnp.maximum(values, 0)
        case "relu6":
            return jnp.clip(values, 0, 6)
        case "silu":
            return jax.nn.silu(values)
        case "gelu" | "gelu_approx":
            return jax.nn.gelu(values, approximate=False)
        case _:
            return values


def _silu(values: Float32[Array, "*shape"]) -> Float32[Array, "*shape"]:
    """x * sigmoid(x), rounded to nearest before it is stored.

    The chip's exponential and reciprocal are not pinned down by what is published;
    this is the true sigmoid in float32. Assumed: within 1 bf16 ULP of the chip.
    """
    return values * jax.nn.sigmoid(values)


Halves = tuple[Float32[Array, "..."], Float32[Array, "..."]]


def _halves(values: Float32[Array, "*shape"]) -> Halves:
    """Returns the first 12 bits of each mantissa, and what is left: 12 bits, too."""
    bits = jax.lax.bitcast_convert_type(values, jnp.int32) & ~0xFFF
    high = jax.lax.bitcast_convert_type(bits, jnp.float32)
    return high, values - high


def multiply_add(
    a: Float32[Array, "*shape"], b: Halves, addend: Float32[Array, "..."]
) -> Float32[Array, "*shape"]:
    """Returns a * b + addend, rounded once, as SFPMAD does but for rare cases.

    Every product here is exact, so that the bits are the same whether a compiler fuses
    it with the addition after it or not. Source: tt-isa-documentation SFPMAD @39304719:
    the product is kept in more bits than float32, one rounding follows. Assumed: in as
    many as matter.

    Args:
      b: as `_halves` gives it.
    """
    (high, low), (b_high, b_low) = _halves(a), b
    product = high * b_high
    total = product + addend
    kept = total - product
    lost = (product - (total - kept)) + (addend - kept)
    return total + (lost + ((high * b_low + low * b_high) + low * b_low))


@jax.jit
def _gelu(values: Float32[Array, "*shape"]) -> Float32[Array, "*shape"]:
    """The accurate form: 0 below -5.5, x from 3 up, a polynomial between.

    The polynomial's own error is absolute, up to about 3e-5: near 0 and in the negative
    tail it is many ULPs off the true function, as the chip is. The order of Horner's
    multiply-adds is that of the kernel.
    """
    inside = _halves(jnp.clip(values, -5.5, 3.0))
    total = jnp.full_like(values, _GELU_POLYNOMIAL[0])
    for coefficient in _GELU_POLYNOMIAL[1:]:
        total = multiply_add(total, inside, jnp.float32(coefficient))
    signed = jnp.copysign(jnp.abs(total), values)
    between = jnp.where(values < -5.5, 0.0, signed)
    result = jnp.where(values >= 3, values, between)
    return jnp.where(values == 0, 0.0, result)


@jax.jit
def _gelu_approx(values: Float32[Array, "*shape"]) -> Float32[Array, "*shape"]:
    """The lookup form: 0.5 x plus a piecewise linear function of |x|."""
    size = jnp.abs(values)
    table = jnp.zeros_like(values)
    for limit, slope, intercept in reversed(_GELU_SEGMENTS):
        parts = jnp.float32(_half_word(slope)), jnp.float32(0)
        line = multiply_add(size, parts, jnp.float32(_half_word(intercept)))
        table = jnp.where(size < limit, line, table)
    return 0.5 * values + table


def _half_word(word: int) -> float:
    sign, exponent, fraction = word >> 15, (word >> 10) & 31, word & 1023
    if exponent == 0:
        return (-1) ** sign * fraction * 2.0**-24
    return (-1) ** sign * (1 + fraction / 1024) * 2.0 ** (exponent - 15)


_EXACT: dict[str, Callable] = {
    "relu": lambda values: jnp.maximum(values, 0),
    "relu6": lambda values: jnp.clip(values, 0, 6),
}
_ROUNDED_FIRST: dict[str, Callable] = {"silu": _silu}
_CUT: dict[str, Callable] = {"gelu": _gelu, "gelu_approx": _gelu_approx}


def activate(
    values: Float32[Array, "*shape"], activation: str | None, *, fp32_dest: bool
) -> Float32[Array, "*shape"]:
    """Applies the chip's form of an activation to Dst and stores it there.

    `relu` and `relu6` are exact. `silu` is rounded to bf16, `gelu` (accurate) and
    `gelu_approx` (lookup table) are cut to bf16; a 32-bit Dst keeps float32. Which gelu
    a bare `GELU` selects on the depthwise branch is not established. Assumed: the
    accurate one, in the Chebyshev form of the 2025 tree.
    """
    if activation is None:
        return values
    if activation in _EXACT:
        return _EXACT[activation](values)
    if activation in _ROUNDED_FIRST:
        result = _ROUNDED_FIRST[activation](values)
        return result if fp32_dest else formats.round_to(result, "bfloat16")
    result = _CUT[activation](values)
    return result if fp32_dest else formats.cut_to_bf16(result)
