"""Activations of the vector unit."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32


def activate(
    values: Float32[Array, "*shape"], activation: str | None
) -> Float32[Array, "*shape"]:
    """Applies the true activation function in float32; None changes nothing."""
    match activation:
        case "relu":
            return jnp.maximum(values, 0)
        case "relu6":
            return jnp.clip(values, 0, 6)
        case "silu":
            return jax.nn.silu(values)
        case "gelu":
            return jax.nn.gelu(values, approximate=False)
        case _:
            return values
