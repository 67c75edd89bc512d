"""The whole chip without its memories: maps of consecutive stages are run together."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer, eval_context
from jaxtyping import Array, Bool, Float, Float32, Int32, Shaped

from jaxdw.launch import kept
from jaxdw.launch.host import (
    bias_in_lanes,
    collected,
    host_sticks,
    padded_image,
    weights_in_lanes,
)
from jaxdw.launch.memory import MOST, SOME, keep_memory
from jaxdw.machine.cores import (
    AskedForm,
    Static,
    are_ordinary,
    read_bits,
    run_cores,
    takes,
)
from jaxdw.maps.lanes import LaneMaps
from jaxdw.maps.maps import ComposedMaps, Maps, StridedMaps
from jaxdw.numerics.fpu import Form
from jaxdw.numerics.fpu_float import cut
from jaxdw.plan.config import ComputeConfig
from jaxdw.xla import (
    compiler_options,
    computed_once,
    in_callers_thread,
    may_run_in_caller,
)

# 8 MB, that a caller waits for where it need not.
_MOST_SMALL_OUTPUTS = 2**21


class Lanes(NamedTuple):
    """Weights and bias as `run_cores` takes them, what window elements meet.

    Of weights, the mantissa bits that their program reads.

    Attributes:
      are_ordinary: whether the float form takes the weights; None if nobody looked, or
        if arithmetic takes any.
    """

    weights: Float32[Array, "*weight_nhw taps channels"]
    bias: Float32[Array, "*bias_nhw channels"] | None
    are_ordinary: Bool[Array, ""] | None = None


@functools.partial(jax.jit, static_argnames=("static", "look"))
def load_weights(
    maps: LaneMaps,
    w: Float[Array, "c one kh kw"],
    bias: Float[Array, " c"] | None,
    static: Static,
    *,
    look: bool = False,
) -> Lanes:
    """Packs weights and bias, deals them and returns those that cores read.

    Args:
      look: whether weights are ordinary, rather than at each call.
    """
    dtype, bits = static.weights_dtype, read_bits(static)
    weights = weights_in_lanes(maps, w, dtype)
    if bits is not None:
        weights = cut(weights, bits[1])
    ordinary = are_ordinary(weights, compute=static.compute) if look else None
    return Lanes(weights, bias_in_lanes(maps, bias, dtype), ordinary)


@functools.partial(jax.jit, static_argnames="static")
def load_sticks(
    maps: ComposedMaps | StridedMaps, x: Float[Array, "..."], static: Static
) -> Shaped[Array, "..."]:
    """Returns the input's sticks as the host sends them; slices are of its image."""
    if isinstance(maps, StridedMaps):
        return padded_image(x, maps.windows, static)
    return host_sticks(x, static)


def run_loaded(
    maps: ComposedMaps | StridedMaps,
    x: Float[Array, "..."],
    lanes: Lanes,
    static: Static,
    form: AskedForm,
) -> tuple[Float32[Array, "n ho wo c"], Bool[Array, ""] | None]:
    """Does the host's part for the input and then the chip's.

    No copy of a shard is made: cores read the host's sticks through composed maps.

    Returns:
      The output, and whether its operands are such as the float form takes.
    """
    sticks = computed_once(load_sticks(maps, x, static))
    strided = isinstance(maps, StridedMaps)
    collect = None if strided else maps.collect
    output = run_cores(
        sticks,
        maps.windows if strided else maps.sticks.index,
        lanes.weights,
        lanes.bias,
        static,
        channels_written=maps.channels_written,
        windows_written=None if strided else maps.windows_written,
        form=form,
        then=lambda rows: collected(rows, collect, static.output_shape),
    )
    if lanes.are_ordinary is None:
        return output, are_ordinary(sticks, lanes.weights, compute=static.compute)
    ordinary = are_ordinary(sticks, compute=static.compute)
    assert ordinary is not None
    return output, ordinary & lanes.are_ordinary


def load_and_run(
    maps: ComposedMaps | StridedMaps,
    x: Float[Array, "..."],
    w: Float[Array, "c one kh kw"],
    bias: Float[Array, " c"] | None,
    static: Static,
    form: AskedForm,
) -> tuple[Float32[Array, "n ho wo c"], Bool[Array, ""] | None]:
    """Does the host's part and then the chip's, as `run_loaded`."""
    lanes = computed_once(load_weights(maps, w, bias, static))
    return run_loaded(maps, x, lanes, static, form)


@functools.cache
def compiled(
    way: Callable[..., tuple],
    backend: str,
    in_caller: bool = False,
    one_thread: bool = False,
):
    """Returns the whole chip as one compiled computation.

    It tells by a number whether the operands are ordinary: JAX takes 7 us to read the
    truth of an array, and 1 us to read an integer.

    Args:
      way: `load_and_run` or `run_loaded`.
      in_caller: whether it is to run in the thread that calls; one_thread: in no other.
    """

    def told(*operands, static: Static, form: Form):
        output, ordinary = way(*operands, static, form)
        return output, None if ordinary is None else ordinary.astype(jnp.int32)

    told.__qualname__ = way.__qualname__  # by which it is kept
    return jax.jit(
        in_callers_thread(told) if in_caller else told,
        static_argnames=("static", "form"),
        compiler_options=compiler_options(backend, one_thread=one_thread),
    )


def run_composed(
    maps: Maps,
    x: Float[Array, "..."],
    w: Float[Array, "c one kh kw"],
    bias: Float[Array, " c"] | None,
    static: Static,
) -> Float32[Array, "n ho wo c"]:
    """Runs the chip on arrays at hand."""
    return _run(load_and_run, maps, (x, w, bias), static)


def run_resident(
    maps: Maps, x: Float[Array, "..."], lanes: Lanes, static: Static
) -> Float32[Array, "n ho wo c"]:
    """Runs the chip on an array at hand, weights and bias loaded before."""
    return _run(run_loaded, maps, (x, lanes), static)


def _run(
    way: Callable[..., tuple], maps: Maps, operands: tuple, static: Static
) -> Float32[Array, "n ho wo c"]:
    output, ordinary = _whole_chip(way, maps, operands, static, "float")
    if takes(ordinary):
        return output
    return _whole_chip(way, maps, operands, static, "integer")[0]


def _whole_chip(
    way: Callable[..., tuple], maps: Maps, operands: tuple, static: Static, form: Form
) -> tuple[Float32[Array, "n ho wo c"], Int32[Array, ""] | None]:
    taken, in_caller, one_thread = None, False, False
    if form == "float":
        taken = maps.strided if static.backend == "xla" else None
        is_small = static.outputs <= _MOST_SMALL_OUTPUTS
        is_kept = keep_memory(SOME if is_small else MOST)
        # of large arrays, those are kept that the caller's thread allocates
        waits = is_small or is_kept or static.compute.arithmetic == "fpu"
        in_caller = waits and may_run_in_caller()
        one_thread = static.fits_one_thread
    run = compiled(way, jax.default_backend(), in_caller, one_thread)
    operands = (taken or maps.composed, *operands)
    chosen = {"one_thread": one_thread, "static": static, "form": form}
    try:
        found = kept.call(run, *operands, **chosen)
    except ValueError:  # within an outer jit no compiler takes options
        found = None
    if found is None or isinstance(found[0], Tracer):
        # the outer jit takes arrays at hand as constants; entered always, the context
        # has JAX look a jitted function up anew, 8 us of a call
        with eval_context():
            return kept.call(run, *operands, **chosen)
    return found


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
        return load_and_run(maps, x, w, bias, static, "by operands")[0]

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
