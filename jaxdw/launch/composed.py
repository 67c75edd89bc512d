"""The whole chip without its memories: maps of consecutive stages are run together."""

import dataclasses
import functools
from typing import NamedTuple

import jax
from jaxtyping import Array, Float, Float32

from jaxdw.launch.host import (
    bias_in_lanes,
    collected,
    computed_once,
    host_sticks,
    weights_in_lanes,
)
from jaxdw.machine.cores import AskedForm, Static, run_cores
from jaxdw.maps.maps import ComposedMaps
from jaxdw.plan.config import ComputeConfig


class Loaded(NamedTuple):
    """What lies ready before the cores compute.

    Attributes:
      sticks: the input as the host sends it, in the activations' dtype.
      weights, bias: what window elements meet, as `run_cores` takes them.
    """

    sticks: Float[Array, "sticks channels"]
    weights: Float32[Array, "*weight_nhw taps channels"]
    bias: Float32[Array, "*bias_nhw channels"] | None


@functools.partial(jax.jit, static_argnames="static")
def load_weights(
    maps: ComposedMaps,
    w: Float[Array, "c one kh kw"],
    bias: Float[Array, " c"] | None,
    static: Static,
) -> tuple[
    Float32[Array, "*weight_nhw taps channels"],
    Float32[Array, "*bias_nhw channels"] | None,
]:
    """Packs weights and bias, deals them and returns those that cores read."""
    dtype = static.weights_dtype
    return weights_in_lanes(maps, w, dtype), bias_in_lanes(maps, bias, dtype)


@functools.partial(jax.jit, static_argnames="static")
def load(
    maps: ComposedMaps,
    x: Float[Array, "..."],
    w: Float[Array, "c one kh kw"],
    bias: Float[Array, " c"] | None,
    static: Static,
) -> Loaded:
    """Does the host's part, weights and input."""
    return Loaded(host_sticks(x, static), *load_weights(maps, w, bias, static))


def load_and_run(
    maps: ComposedMaps,
    x: Float[Array, "..."],
    w: Float[Array, "c one kh kw"],
    bias: Float[Array, " c"] | None,
    static: Static,
    form: AskedForm,
) -> Float32[Array, "n ho wo c"]:
    """Does the host's part and then the chip's.

    No copy of a shard is made: cores read the host's sticks through composed maps.
    """
    loaded = computed_once(load(maps, x, w, bias, static))
    return run_cores(
        loaded.sticks,
        maps.sticks.index,
        loaded.weights,
        loaded.bias,
        static,
        channels_written=maps.channels_written,
        windows_written=maps.windows_written,
        form=form,
        then=lambda rows: collected(rows, maps.collect, static.output_shape),
    )


def compiler_options(backend: str) -> dict[str, str] | None:
    """Returns what XLA is told of the chip's computations.

    On a CPU with 512-bit vectors they use their full width (measured: 1.5 times faster
    than the 256 bits that XLA chooses itself).
    """
    return {"xla_cpu_prefer_vector_width": "512"} if backend == "cpu" else None


@functools.cache
def compiled(backend: str):
    """Returns the whole chip as one compiled computation."""
    return jax.jit(
        load_and_run,
        static_argnames=("static", "form"),
        compiler_options=compiler_options(backend),
    )


def run_composed(
    maps: ComposedMaps,
    x: Float[Array, "..."],
    w: Float[Array, "c one kh kw"],
    bias: Float[Array, " c"] | None,
    static: Static,
    form: AskedForm = "by operands",
) -> Float32[Array, "n ho wo c"]:
    """Runs the chip on arrays at hand."""
    return compiled(jax.default_backend())(maps, x, w, bias, static, form)


@functools.partial(jax.jit, static_argnames="static")
def trace_composed(
    maps: ComposedMaps,
    x: Float[Array, "..."],
    w: Float[Array, "c one kh kw"],
    bias: Float[Array, " c"] | None,
    static: Static,
) -> Float32[Array, "n ho wo c"]:
    """Does the same inside a transformation of JAX.

    Derivatives go straight through roundings; XLA computes them on either backend.
    """
    smooth = dataclasses.replace(
        static,
        dtype="float32",
        weights_dtype="float32",
        output_dtype="float32",
        compute=ComputeConfig(arithmetic="float32"),
        backend="xla",
    )
    leaves, structure = jax.tree.flatten(maps)

    def chip(leaves, x, w, bias, static: Static):
        maps = structure.unflatten(leaves)
        return load_and_run(maps, x, w, bias, static, "by operands")

    @jax.custom_jvp
    def rounded(leaves, x, w, bias):
        return chip(leaves, x, w, bias, static)

    @rounded.defjvp
    def rounded_jvp(primals, tangents):
        def smoothly(x, w, bias):
            return chip(primals[0], x, w, bias, smooth)

        tangent = jax.jvp(smoothly, primals[1:], tangents[1:])[1]
        return rounded(*primals), tangent

    return rounded(leaves, x, w, bias)
