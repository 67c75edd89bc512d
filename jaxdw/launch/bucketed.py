"""Runs plans of many shapes through a few compiled computations.

The same maps and the same cores as `emulator.run`, and the same bits, but the work is
cut into pieces of two sizes: channels into slices of 128 where they can be computed
apart, output sticks into chunks, which get the input sticks that their windows reach.
What only moves is moved on the host. One computation is compiled for each number of
kernel positions, size of piece and way of computing, however many layers, schemes,
grids and weight formats are run. The matrix unit's integer form is compiled only for
operands that its float form refuses.
"""

import dataclasses
import functools

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int32, Shaped

from jaxdw.launch import kept
from jaxdw.launch.host import (
    bias_in_lanes,
    collected,
    padded,
    weights_in_lanes,
)
from jaxdw.launch.slices import ONE_BY_ONE
from jaxdw.machine.cores import (
    AskedForm,
    Static,
    channels_part,
    of_slice,
    run_cores,
    static_of,
)
from jaxdw.machine.memory import poisoned
from jaxdw.maps.identity import check_plan
from jaxdw.maps.maps import Maps
from jaxdw.numerics import fpu_float
from jaxdw.numerics.formats import cast
from jaxdw.plan.names import Backend
from jaxdw.plan.plan import Plan

SLICE = 128  # channels
MOST_STICKS = 1024  # output sticks of one piece
_SMALL_ROWS, _LARGE_ROWS = 256, 8192  # input sticks of one piece
_ELEMS_AT_ONCE = 2**16  # that are rounded


def bucket_rows(rows: int) -> int:
    """Returns the size that `rows` are padded to: 256, 8,192, or that times 4, 16, ...

    Few computations are compiled, at the price of some padding that is moved, too.
    """
    bucket = _SMALL_ROWS if rows <= _SMALL_ROWS else _LARGE_ROWS
    while bucket < rows:
        bucket *= 4
    return bucket


def _least_rows(plan: Plan) -> int:
    return bucket_rows(min(plan.window.num_inputs, _LARGE_ROWS))


def compiled_key(plan: Plan) -> tuple:
    """Returns what two plans must share to run through the same computation.

    All but images of thousands of columns do, whose windows reach further.
    """
    static = _piece_static(plan, "xla")
    return _least_rows(plan), plan.conv.taps, plan.conv.bias, static


def output_key(plan: Plan, maps: Maps) -> tuple | None:
    """Returns what the bits of an output depend on beside the operands.

    Schemes and grids that read the same windows and meet them with the same weights
    compute the same: it is their maps that say so. None where cores read windows that
    are no slices of the image; slices are those of the layer.

    Raises:
      ConfigError: maps of another plan.
    """
    check_plan(plan, maps)
    strided = maps.strided_on_host
    if strided is None:
        return None
    static, channels = static_of(plan), plan.conv.channels
    # blocks lie inside a shard, and a dense program's steps follow its width
    width = static.channels_per_core
    if static.program == "depthwise" and static.output_dtype != "bfloat8_b":
        width = 0
    weights = np.asarray(strided.weights.index)[0, :, :channels]
    blocks, bias, written = strided.blocks, strided.bias, strided.channels_written
    return (
        static.program,
        static.figures,
        width,
        plan.conv,
        plan.compute,
        plan.arch,
        weights.tobytes(),
        None if blocks is None else (blocks.index.shape, blocks.index.tobytes()),
        None if bias is None else bias.index.reshape(-1)[:channels].tobytes(),
        None if written is None else written[:channels].tobytes(),
    )


def _piece_static(plan: Plan, backend: Backend) -> Static:
    """Returns the static part of a piece: nothing of the plan's own sizes."""
    static = static_of(plan, backend)
    weights_dtype = plan.conv.weights_dtype
    if weights_dtype != "float32":
        weights_dtype = "bfloat16"  # holds every value of a block format
    if channels_part(static):
        static, size = of_slice(static, SLICE)
    else:
        size = static.num_channel_shards * static.channels_per_core
    return dataclasses.replace(
        static,
        num_channel_shards=1,
        num_output_shards=1,
        channels_per_core=size,
        output_shape=(),
        weights_dtype=weights_dtype,
    )


@functools.partial(jax.jit, static_argnames=("static", "form"))
def _run_piece(
    l1: Float[Array, "rows slice"],
    sticks: Int32[Array, "taps outputs"],
    weights: Float32[Array, "taps slice"],
    bias: Float32[Array, " slice"] | None,
    static: Static,
    form: AskedForm,
) -> Float32[Array, "outputs slice"]:
    return run_cores(l1, sticks[None], weights, bias, static, form=form)[0]


@functools.partial(jax.jit, static_argnames="dtype")
def _sent_piece(
    values: Float32[Array, " elements"], dtype: str
) -> tuple[Float[Array, " elements"], Bool[Array, ""]]:
    sent = cast(values, dtype)
    return sent, fpu_float.is_ordinary(sent)


def _sent(
    values: Float32[np.ndarray, "*shape"], dtype: str
) -> tuple[Float[np.ndarray, "*shape"], bool]:
    """Returns values as the host sends them, and whether all of them are ordinary."""
    flat = values.reshape(-1)
    sent, ordinary = [], True
    for first in range(0, flat.size, _ELEMS_AT_ONCE):
        piece = flat[first : first + _ELEMS_AT_ONCE]
        whole = padded(piece, (_ELEMS_AT_ONCE,))
        cut, is_ordinary = kept.call(_sent_piece, whole, dtype=dtype)
        sent.append(np.asarray(cut)[: piece.size])
        ordinary &= bool(is_ordinary)
    return np.concatenate(sent).reshape(values.shape), ordinary


def _slices(
    values: Float32[np.ndarray, "*rows channels"], size: int
) -> Float32[np.ndarray, "slices *rows slice"]:
    """Cuts channels into slices of `size`, the last one filled up with zeros."""
    *rows, channels = values.shape
    cut = np.zeros((-(-channels // size), *rows, size), values.dtype)
    for n, own in enumerate(cut):
        part = values[..., n * size : (n + 1) * size]
        own[..., : part.shape[-1]] = part
    return cut


def _near(
    windows: Int32[np.ndarray, "taps outputs"],
    inputs: Float[np.ndarray, "slices sticks slice"],
    least: int,
) -> tuple[Float[np.ndarray, "slices rows slice"], Int32[np.ndarray, "taps outputs"]]:
    """Returns the sticks that windows reach, at `least` rows, and the windows there.

    Padding and what nobody wrote lie past the last row.
    """
    is_stick = windows < inputs.shape[1]
    reached = windows[is_stick]
    low = int(reached.min(initial=inputs.shape[1]))
    past = int(reached.max(initial=low - 1)) + 1
    rows = max(least, bucket_rows(past - low))
    near = np.zeros((len(inputs), rows, inputs.shape[2]), inputs.dtype)
    near[:, : past - low] = inputs[:, low:past]
    return near, np.where(is_stick, windows - low, rows).astype(np.int32)


def run_bucketed(
    plan: Plan,
    maps: Maps,
    x: Shaped[np.ndarray, "..."],
    w: Shaped[np.ndarray, "..."],
    bias: Shaped[np.ndarray, "..."] | None = None,
    *,
    backend: Backend = "xla",
) -> Float32[np.ndarray, "..."]:
    """Emulates one launch and returns its output, the bits of `emulator.run`.

    Args:
      x: `[N, H, W, C]`; w: `[C, 1, kh, kw]`; bias: `[C]` if planned. Host arrays.
      backend: as for `emulator.run`.

    Returns:
      `[N, Ho, Wo, C]` float32, values of the output's dtype.

    Raises:
      ConfigError: maps of another plan, an index that its map does not have.
      UnsupportedError: a plan of several launches, weights as `check_dense` refuses.
    """
    plan.refuse_slices("run_bucketed", ONE_BY_ONE)
    check_plan(plan, maps)
    composed = maps.on_host
    dtype, static = plan.conv.weights_dtype, _piece_static(plan, backend)
    size = static.channels_per_core
    weights = weights_in_lanes(composed, np.asarray(w, np.float32), dtype)
    host_bias = None if bias is None else np.asarray(bias, np.float32)
    biases = bias_in_lanes(composed, host_bias, dtype)
    sticks = np.asarray(x, np.float32).reshape(-1, plan.conv.channels)
    sticks = _slices(padded(sticks, (weights.shape[-1],)), size)
    inputs, is_ordinary = _sent(sticks, plan.conv.dtype)
    is_ordinary &= _sent(weights, "float32")[1]
    form: AskedForm = "by operands"
    if is_ordinary or plan.compute.arithmetic != "fpu":
        form = "float"
    index = np.asarray(composed.sticks.index)
    num_shards, taps, num_sticks = index.shape
    output = np.empty((num_shards, num_sticks, weights.shape[-1]), np.float32)
    least = _least_rows(plan)
    chunk = min(MOST_STICKS, least)
    for shards in _alike(num_shards, weights, biases):
        weight_slices = _slices(_of(weights, shards, 3), size)
        bias_slices = None if biases is None else _slices(_of(biases, shards, 2), size)
        windows = index[shards].swapaxes(0, 1).reshape(taps, -1)
        found = np.empty((windows.shape[1], len(inputs) * size), np.float32)
        for first in range(0, windows.shape[1], chunk):
            piece = windows[:, first : first + chunk]
            near, places = _near(piece, inputs, least)
            results = [
                kept.call(
                    _run_piece,
                    l1,
                    padded(places, (chunk,), len(l1)),
                    weight_slices[n],
                    None if bias_slices is None else bias_slices[n],
                    static=static,
                    form=form,
                )
                for n, l1 in enumerate(near)
            ]
            for n, result in enumerate(results):
                place = found[first : first + chunk, n * size : (n + 1) * size]
                place[:] = np.asarray(result)[: piece.shape[1]]
        output[shards] = found[:, : output.shape[2]].reshape(-1, *output.shape[1:])
    output = poisoned(output, composed.channels_written, composed.windows_written)
    return collected(output, composed.collect, plan.output_shape)


def _alike(num_shards: int, weights, biases) -> list[slice]:
    """Returns runs of NHW shards that compute with the same weights and bias."""
    per_shard = weights.ndim == 3 or (biases is not None and biases.ndim == 2)
    if not per_shard:
        return [slice(0, num_shards)]
    return [slice(n, n + 1) for n in range(num_shards)]


def _of(values: Float32[np.ndarray, "..."], shards: slice, of_nhw: int):
    return values[shards.start] if values.ndim == of_nhw else values
