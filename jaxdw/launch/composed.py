"""The whole chip without its memories: maps of consecutive stages are run together."""

import dataclasses
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32

from jaxdw.machine.core import are_ordinary, by_operands
from jaxdw.machine.grid import Program, map_grid, streams
from jaxdw.machine.memory import made
from jaxdw.maps.indexmap import IndexMap, gather
from jaxdw.maps.maps import ComposedMaps
from jaxdw.numerics import formats
from jaxdw.plan.config import ComputeConfig


class Operands(NamedTuple):
    """What lies ready before the cores compute.

    Attributes:
      sticks: the input as the host sends it, in the activations' dtype.
      weights, bias: the cores' streams, as `grid.map_grid` takes them.
    """

    sticks: Float[Array, "sticks channels"]
    weights: Float32[Array, "*weight_nhw taps channels"]
    bias: Float32[Array, "*bias_nhw channels"] | None


def host_tensor(
    values: Float[Array, "..."], program: Program
) -> Float[Array, " elements"]:
    """Returns weights or bias, flat, in the dtype that preparation works on.

    Source: tt-metal prepare_conv2d_weights.cpp @002a3f41: bf16 tensors stay bf16, all
    others are float32 until they are packed.
    """
    host_dtype = "bfloat16" if program.weights_dtype == "bfloat16" else "float32"
    return formats.cast(values.reshape(-1), host_dtype)


def host_sticks(
    x: Float[Array, "..."], program: Program
) -> Float[Array, "sticks padded"]:
    """Returns the input padded to whole channel shards, in the activations' dtype."""
    padded = program.num_channel_shards * program.channels_per_core
    sticks = x.reshape(-1, program.channels)
    sticks = jnp.pad(sticks, [(0, 0), (0, padded - program.channels)])
    return formats.cast(sticks, program.dtype)


@functools.partial(jax.jit, static_argnames="program")
def load_weights(
    maps: ComposedMaps,
    w: Float[Array, "c one kh kw"],
    bias: Float[Array, " c"] | None,
    program: Program,
) -> tuple[
    Float32[Array, "*weight_nhw taps channels"],
    Float32[Array, "*bias_nhw channels"] | None,
]:
    """Packs weights and bias, deals them and returns the streams that cores read."""

    def tiles(host: Float[Array, "..."], index_map: IndexMap) -> Float32[Array, "..."]:
        found = gather(host_tensor(host, program), index_map)
        held = formats.hold(found.reshape(-1, found.shape[-1]), program.weights_dtype)
        return held.reshape(found.shape)

    bias_tiles = None
    if bias is not None and maps.bias is not None:
        bias_tiles = tiles(bias, maps.bias)
    taps = maps.sticks.index.shape[1]
    return streams(tiles(w, maps.weights), bias_tiles, taps, program)


@functools.partial(jax.jit, static_argnames="program")
def load(
    maps: ComposedMaps,
    x: Float[Array, "..."],
    w: Float[Array, "c one kh kw"],
    bias: Float[Array, " c"] | None,
    program: Program,
) -> Operands:
    """Does the host's part, weights and input."""
    return Operands(host_sticks(x, program), *load_weights(maps, w, bias, program))


def compute(
    maps: ComposedMaps,
    operands: Operands,
    ordinary: Bool[Array, ""] | None,
    program: Program,
) -> Float32[Array, "n ho wo c"]:
    """Does the chip's part: halo, windows and arithmetic of every core, and the output.

    No copy of a shard is made: cores read the host's sticks through composed maps.

    Args:
      ordinary: as for `core.by_operands`.
    """

    def way(exact: bool) -> Float32[Array, "n ho wo c"]:
        run_grid = functools.partial(map_grid, exact=exact)
        if program.pallas and not exact:
            # Pallas takes a tenth of a second to import
            from jaxdw.machine.pallas_core import pallas_grid

            interpret = jax.default_backend() == "cpu"
            run_grid = functools.partial(pallas_grid, interpret=interpret)
        shards = run_grid(
            operands.sticks,
            maps.sticks.index,
            operands.weights,
            operands.bias,
            maps.channels_written,
            maps.windows_written,
            program,
        )
        return collected(shards, maps.collect, program)

    return by_operands(ordinary, way)


def collected(
    shards: Float32[Array, "nhw outputs channels"],
    collect: IndexMap | None,
    program: Program,
) -> Float32[Array, "n ho wo c"]:
    """Returns the output that the user sees from the rows of all shards.

    Args:
      collect: as in `ComposedMaps`. Rows past its `size` are of shards that only fill
        a mesh.
    """
    rows = shards.reshape(-1, shards.shape[-1])
    if collect is not None:
        rows = gather(rows[: collect.size], collect)
    *image, channels = program.output_shape
    return rows[: math.prod(image), :channels].reshape(program.output_shape)


def whole(
    maps: ComposedMaps,
    x: Float[Array, "..."],
    w: Float[Array, "c one kh kw"],
    bias: Float[Array, " c"] | None,
    program: Program,
    known_ordinary: bool,
) -> Float32[Array, "n ho wo c"]:
    """Does the host's part and then the chip's.

    Args:
      known_ordinary: that the matrix unit's float32 form holds is known beforehand.
    """
    operands = made(load(maps, x, w, bias, program))
    ordinary = None
    if not known_ordinary:
        ordinary = are_ordinary(
            operands.sticks, operands.weights, compute=program.compute
        )
    return compute(maps, operands, ordinary, program)


def compiler_options(backend: str) -> dict[str, str] | None:
    """Returns what XLA is told of the chip's programs.

    On a CPU with 512-bit vectors they use their full width (measured: 1.5 times faster
    than the 256 bits that XLA chooses itself).
    """
    return {"xla_cpu_prefer_vector_width": "512"} if backend == "cpu" else None


@functools.cache
def compiled(backend: str):
    """Returns the whole chip as one compiled program."""
    return jax.jit(
        whole,
        static_argnames=("program", "known_ordinary"),
        compiler_options=compiler_options(backend),
    )


def run_composed(
    maps: ComposedMaps,
    x: Float[Array, "..."],
    w: Float[Array, "c one kh kw"],
    bias: Float[Array, " c"] | None,
    program: Program,
    known_ordinary: bool = False,
) -> Float32[Array, "n ho wo c"]:
    """Runs the chip on arrays at hand."""
    run = compiled(jax.default_backend())
    return run(maps, x, w, bias, program, known_ordinary)


@functools.partial(jax.jit, static_argnames="program")
def trace_composed(
    maps: ComposedMaps,
    x: Float[Array, "..."],
    w: Float[Array, "c one kh kw"],
    bias: Float[Array, " c"] | None,
    program: Program,
) -> Float32[Array, "n ho wo c"]:
    """Does the same inside a transformation of JAX.

    Derivatives go straight through roundings.
    """
    smooth = dataclasses.replace(
        program,
        dtype="float32",
        weights_dtype="float32",
        output_dtype="float32",
        compute=ComputeConfig(arithmetic="float32"),
        pallas=False,
    )
    leaves, structure = jax.tree.flatten(maps)

    @jax.custom_jvp
    def rounded(leaves, x, w, bias):
        return whole(structure.unflatten(leaves), x, w, bias, program, False)

    @rounded.defjvp
    def rounded_jvp(primals, tangents):
        def smoothly(x, w, bias):
            return whole(structure.unflatten(primals[0]), x, w, bias, smooth, False)

        tangent = jax.jvp(smoothly, primals[1:], tangents[1:])[1]
        return rounded(*primals), tangent

    return rounded(leaves, x, w, bias)
