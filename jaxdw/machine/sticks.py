"""The arithmetic of one core on ready windows, with its derivative."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Shaped

from jaxdw.arch.arch import Arch, load_arch
from jaxdw.errors import refuse
from jaxdw.machine.core import float32_sticks
from jaxdw.machine.cores import in_form
from jaxdw.machine.depthwise import compute_sticks
from jaxdw.maps.indexmap import HostOrDevice
from jaxdw.plan.config import ComputeConfig, OutputDtype, output_problems


def core_sticks(
    windows: Shaped[HostOrDevice, "sticks taps channels"],
    weights: Shaped[HostOrDevice, "sticks_or_1 taps channels"],
    bias: Shaped[HostOrDevice, " channels"] | None = None,
    *,
    compute: ComputeConfig,
    activation: str | None = None,
    output_dtype: OutputDtype = "bfloat16",
    arch: str | Path | Arch = "wormhole_b0",
) -> Float32[Array, "sticks channels"]:
    """Computes output sticks from ready windows, as one core of the grid does.

    For each tap ELWMUL over the fidelity's phases into an empty Dst, packed to bf16;
    GAPOOL with 1.0 over 16 taps at a time; the bias by ELWADD onto Dst; the activation;
    the packer. Any number of taps and channels.

    Args:
      windows, weights, bias: values as the unpacker reads them: bf16, or float32 of
        which the matrix unit reads TF32.
      output_dtype: `bfloat16`, `float32` (32-bit Dst only) or `bfloat8_b` (channels in
        whole groups of 16, which share an exponent).

    Returns:
      float32, values of `output_dtype`. Derivatives go straight through roundings.

    Raises:
      ConfigError: a compute config or an output that the chip does not have.

    Source: tt-metal compute_pool_2d.cpp @002a3f41; tests/golden/core_kernels.npz.
    """
    refuse(compute.problems() + output_problems(output_dtype, compute))
    arithmetic = functools.partial(
        _sticks,
        activation=activation,
        output_dtype=output_dtype,
        dtype="float32",
        weights_dtype="float32",
        compute=compute,
        arch=load_arch(arch),
    )
    return _ready_sticks(
        jnp.asarray(windows).astype(jnp.float32),
        jnp.asarray(weights).astype(jnp.float32),
        None if bias is None else jnp.asarray(bias).astype(jnp.float32),
        arithmetic,
    )


def _sticks(tap, weights, bias, *, compute: ComputeConfig, **options):
    own = compute_sticks if compute.arithmetic == "fpu" else float32_sticks
    return own(tap, weights, bias, compute=compute, **options)


def _through(windows, weights, bias, arithmetic):
    taps = weights.swapaxes(0, 1)
    return in_form(
        "by operands",
        lambda form: arithmetic(lambda k: windows[:, k], taps, bias, form=form),
        windows,
        weights,
        compute=arithmetic.keywords["compute"],
    )


_ready_sticks = jax.custom_jvp(_through, nondiff_argnums=(3,))


@_ready_sticks.defjvp
def _ready_sticks_jvp(arithmetic, primals, tangents):
    smooth = functools.partial(
        arithmetic, output_dtype="float32", compute=ComputeConfig(arithmetic="float32")
    )
    _, tangent = jax.jvp(lambda x, w, b: _through(x, w, b, smooth), primals, tangents)
    return _ready_sticks(*primals, arithmetic), tangent
