"""ONE core's program: unpack, gather each window tap by tap, compute, pack."""

import functools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int32, Shaped

from jaxdw.arch.arch import Arch, load_arch
from jaxdw.errors import refuse
from jaxdw.maps.indexmap import HostOrDevice
from jaxdw.numerics import formats, fpu, fpu_fast, sfpu
from jaxdw.plan.config import ComputeConfig, OutputDtype, output_problems
from jaxdw.plan.units import FACE, TILE_ELEMS

Windows = Callable[[fpu.Tap], Float32[Array, "sticks channels"]]


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


def _float32_dst(
    tap: Windows,
    weights: fpu.ByTap,
    bias: Float32[Array, " channels"] | None,
) -> Float32[Array, "sticks channels"]:
    total = jnp.zeros((), jnp.float32)
    for k in range(len(weights)):
        total = total + tap(k) * weights[k]
    return total if bias is None else total + bias[None]


def _fpu_dst(
    tap: Windows,
    weights: fpu.ByTap,
    bias: Float32[Array, " channels"] | None,
    mantissa_bits: tuple[int, int],
    compute: ComputeConfig,
    arch: Arch,
    exact: bool,
) -> Float32[Array, "sticks channels"]:
    fp32_dest = compute.fp32_dest_acc
    multiply_reduce = fpu.multiply_reduce
    if not exact:
        multiply_reduce = functools.partial(
            fpu_fast.multiply_reduce, mantissa_bits=mantissa_bits
        )
    dst = multiply_reduce(
        tap,
        weights,
        phases=fpu.PHASES[compute.math_fidelity],
        fp32_dest=fp32_dest,
        arch=arch,
    )
    if bias is None:
        return dst
    added = jnp.broadcast_to(bias[None], dst.shape)
    return fpu.elwadd(
        jnp.zeros_like(dst), added, dst, accumulate=True, fp32_dest=fp32_dest, arch=arch
    )


def compute_sticks(
    tap: Windows,
    weights: fpu.ByTap,
    bias: Float32[Array, " channels"] | None,
    mantissa_bits: tuple[int, int] = (11, 11),
    *,
    activation: str | None,
    output_dtype: str,
    compute: ComputeConfig,
    arch: Arch,
    exact: bool,
) -> Float32[Array, "sticks channels"]:
    """Multiplies windows with weights, reduces, adds the bias, activates, packs.

    Args:
      tap: gives the window elements of one kernel position.
      mantissa_bits: those that windows and weights can have, hidden bit counted.
      exact: use the matrix unit's integer form, which takes any operands, and not its
        float32 form, which takes ordinary ones (`fpu_fast.is_ordinary`) and gives the
        same bits. `by_operands` chooses.
    """
    if compute.arithmetic == "float32":
        dst = _float32_dst(tap, weights, bias)
    else:
        dst = _fpu_dst(tap, weights, bias, mantissa_bits, compute, arch, exact)
    return finish(
        dst, activation=activation, output_dtype=output_dtype, compute=compute
    )


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


def by_operands(
    ordinary: Bool[Array, ""] | None, way: Callable[[bool], Float32[Array, "*shape"]]
) -> Float32[Array, "*shape"]:
    """Computes `way(exact)` in the form that the operands allow.

    Args:
      ordinary: whether all operands are ordinary; None if that is known, in which case
        the exact form is not even compiled.
    """
    if ordinary is None:
        return way(False)
    forms = (functools.partial(way, exact) for exact in (False, True))
    return jax.lax.cond(ordinary, *forms)


def are_ordinary(
    *operands: Float[Array, "..."], compute: ComputeConfig
) -> Bool[Array, ""] | None:
    """Whether all operands are ordinary, as `by_operands` takes it."""
    if compute.arithmetic != "fpu":
        return None
    return functools.reduce(jnp.logical_and, map(fpu_fast.is_ordinary, operands))


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
    program = functools.partial(
        compute_sticks,
        activation=activation,
        output_dtype=output_dtype,
        compute=compute,
        arch=load_arch(arch),
    )
    return _ready_sticks(
        jnp.asarray(windows).astype(jnp.float32),
        jnp.asarray(weights).astype(jnp.float32),
        None if bias is None else jnp.asarray(bias).astype(jnp.float32),
        program,
    )


def _through(windows, weights, bias, program):
    taps = weights.swapaxes(0, 1)
    return by_operands(
        are_ordinary(windows, weights, compute=program.keywords["compute"]),
        lambda exact: program(lambda k: windows[:, k], taps, bias, exact=exact),
    )


_ready_sticks = jax.custom_jvp(_through, nondiff_argnums=(3,))


@_ready_sticks.defjvp
def _ready_sticks_jvp(program, primals, tangents):
    smooth = functools.partial(
        program, output_dtype="float32", compute=ComputeConfig(arithmetic="float32")
    )
    _, tangent = jax.jvp(lambda x, w, b: _through(x, w, b, smooth), primals, tangents)
    return _ready_sticks(*primals, program), tangent


def core_program(
    l1: Float[Array, "rows channels"],
    sticks: Int32[HostOrDevice, "taps outputs"],
    weights: Float32[Array, "taps channels"],
    bias: Float32[Array, " channels"] | None,
    *,
    weights_dtype: str,
    activation: str | None,
    output_dtype: str,
    compute: ComputeConfig,
    arch: Arch,
    exact: bool,
    sticks_at_once: int,
) -> Float32[Array, "outputs channels"]:
    """Computes one core's output shard.

    Args:
      l1: rows that hold sticks; a row of `sticks` past them reads zeros.
      sticks: the row of each window element, one column for each output stick.
      weights, bias: the streams of the core's tiles (`weight_stream`, `bias_stream`).
      exact: as for `compute_sticks`.
      sticks_at_once: output sticks computed together, one such part after the other; a
        divisor of their number.
    """
    channels = weights.shape[1]
    mantissa_bits = fpu_fast.mantissa_bits_of(l1.dtype.name, weights_dtype)
    if is_bf16 := l1.dtype == jnp.bfloat16:  # moved as bits
        l1 = jax.lax.bitcast_convert_type(l1, jnp.uint16)

    def part(
        sticks: Int32[HostOrDevice, "taps part"],
    ) -> Float32[Array, "part channels"]:
        def tap(k: fpu.Tap) -> Float32[Array, "part channels"]:
            found = l1.at[sticks[k]].get(mode="fill", fill_value=0)
            if is_bf16:
                return fpu.floats_of(found.astype(jnp.int32) << 16)
            return found.astype(jnp.float32)

        return compute_sticks(
            tap,
            weights[:, None],
            bias,
            mantissa_bits,
            activation=activation,
            output_dtype=output_dtype,
            compute=compute,
            arch=arch,
            exact=exact,
        )

    num_sticks = sticks.shape[1]
    if sticks_at_once == num_sticks:
        return part(sticks)

    def add_part(n, done: Float32[Array, "outputs channels"]):
        first = n * sticks_at_once
        own = jax.lax.dynamic_slice_in_dim(sticks, first, sticks_at_once, axis=1)
        return jax.lax.dynamic_update_slice_in_dim(done, part(own), first, axis=0)

    none_done = jnp.zeros((num_sticks, channels), jnp.float32)
    return jax.lax.fori_loop(0, num_sticks // sticks_at_once, add_part, none_done)
