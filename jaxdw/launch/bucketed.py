"""Runs plans of many shapes through a few compiled programs.

The same maps and the same core program as `emulator.run`, and the same bits, but the
work is cut into pieces of a few sizes: channels into slices of 128, output sticks into
chunks, input sticks padded to a power of 4. What only moves is moved on the host. One
program is compiled for each number of kernel positions, size of input and way of
computing, however many layers, schemes, grids and weight formats are run. The matrix
unit's exact integer form is compiled only for operands that its float32 form refuses.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int32, Shaped

from jaxdw.machine.core import are_ordinary, by_operands
from jaxdw.machine.grid import Program, map_grid, program_of, streams
from jaxdw.maps.indexmap import IndexMap
from jaxdw.maps.maps import ComposedMaps, Maps, compose_maps
from jaxdw.numerics import formats, fpu_fast
from jaxdw.plan.plan import Plan
from jaxdw.plan.units import TILE, TILE_ELEMS, round_up

SLICE = 128  # channels
MOST_STICKS = 4096  # output sticks of one piece
_LEAST_ROWS = 64
_TILES = 64  # weight tiles packed at a time


def bucket_rows(rows: int) -> int:
    """Returns the power of 4, at least 64, that `rows` are padded to."""
    bucket = _LEAST_ROWS
    while bucket < rows:
        bucket *= 4
    return bucket


def compiled_key(plan: Plan) -> tuple:
    """Returns what two plans must share to run through the same compiled program."""
    rows = bucket_rows(plan.window.num_inputs)
    return rows, plan.conv.taps, plan.conv.bias, _piece_program(plan)


def _piece_program(plan: Plan) -> Program:
    """Returns the static part of a piece: nothing of the plan's own sizes."""
    weights_dtype = plan.conv.weights_dtype
    if weights_dtype != "float32":
        weights_dtype = "bfloat16"  # holds every value of a block format
    return dataclasses.replace(
        program_of(plan),
        num_channel_shards=1,
        channels_per_core=SLICE,
        output_shape=(),
        weights_dtype=weights_dtype,
    )


@functools.partial(jax.jit, static_argnames=("program", "known_ordinary"))
def _run_piece(
    l1: Float[Array, "rows slice"],
    sticks: Int32[Array, "taps outputs"],
    weight_tiles: Float32[Array, "tiles 1024"],
    bias_tiles: Float32[Array, "bias_tiles 1024"] | None,
    program: Program,
    known_ordinary: bool,
) -> Float32[Array, "outputs slice"]:
    weights, bias = streams(
        weight_tiles[None],
        None if bias_tiles is None else bias_tiles[None],
        len(sticks),
        program,
    )
    ordinary = None
    if not known_ordinary:
        ordinary = are_ordinary(l1, weights, compute=program.compute)
    result = by_operands(
        ordinary,
        lambda exact: map_grid(
            l1,
            sticks[None],
            weights,
            bias,
            None,
            None,
            program,
            exact=exact,
        ),
    )
    return result[0]


@functools.partial(jax.jit, static_argnames=("host_dtype", "dtype"))
def _hold(
    tiles: Float32[Array, "tiles 1024"], host_dtype: str, dtype: str
) -> Float32[Array, "tiles 1024"]:
    return formats.hold(formats.cast(tiles, host_dtype), dtype).astype(jnp.float32)


@functools.partial(jax.jit, static_argnames="dtype")
def _cast(
    values: Float32[Array, "rows slice"], dtype: str
) -> Float[Array, "rows slice"]:
    return formats.cast(values, dtype)


_is_ordinary = jax.jit(fpu_fast.is_ordinary)


def _held_tiles(
    host: Float32[np.ndarray, "..."], tiles: IndexMap, dtype: str
) -> Float32[np.ndarray, "*grid tiles 1024"]:
    """Gathers tiles of a host tensor and rounds them to what DRAM holds."""
    flat = np.append(host.reshape(-1), np.array([0, np.nan], np.float32))
    found = flat[tiles.index].reshape(-1, TILE_ELEMS)
    host_dtype = "bfloat16" if dtype == "bfloat16" else "float32"
    held = np.empty_like(found)
    for first in range(0, len(found), _TILES):
        piece = found[first : first + _TILES]
        padded = np.zeros((_TILES, TILE_ELEMS), np.float32)
        padded[: len(piece)] = piece
        held[first : first + _TILES] = np.asarray(_hold(padded, host_dtype, dtype))[
            : len(piece)
        ]
    return held.reshape(tiles.index.shape)


def _weight_slices(
    tiles: Float32[np.ndarray, "shards tiles 1024"], taps: int, channels: int
) -> Float32[np.ndarray, "slices slice_tiles 1024"]:
    """Cuts the shards' linear streams into those of slices of channels."""
    stream = tiles.reshape(len(tiles), -1)[:, : taps * channels]
    stream = stream.reshape(-1, taps, channels).swapaxes(0, 1).reshape(taps, -1)
    num_slices = -(-stream.shape[1] // SLICE)
    sliced = np.zeros((num_slices, round_up(taps * SLICE, TILE_ELEMS)), np.float32)
    padded = np.zeros((taps, num_slices * SLICE), np.float32)
    padded[:, : stream.shape[1]] = stream
    by_slice = padded.reshape(taps, num_slices, SLICE).swapaxes(0, 1)
    sliced[:, : taps * SLICE] = by_slice.reshape(num_slices, -1)
    return sliced.reshape(num_slices, -1, TILE_ELEMS)


def _bias_slices(
    tiles: Float32[np.ndarray, "shards tiles 1024"],
) -> Float32[np.ndarray, "slices slice_tiles 1024"]:
    """Deals bias tiles, one for every 32 channels, to slices of channels."""
    tiles = tiles.reshape(-1, TILE_ELEMS)
    per_slice = SLICE // TILE
    padded = np.zeros((round_up(len(tiles), per_slice), TILE_ELEMS), np.float32)
    padded[: len(tiles)] = tiles
    return padded.reshape(-1, per_slice, TILE_ELEMS)


def _input_slices(
    plan: Plan, x: Shaped[np.ndarray, "..."]
) -> Float32[np.ndarray, "slices rows slice"]:
    sticks = np.asarray(x, np.float32).reshape(-1, plan.conv.channels)
    total = round_up(plan.num_channel_shards * plan.input_shard.channels, SLICE)
    padded = np.zeros((bucket_rows(len(sticks)), total), np.float32)
    padded[: len(sticks), : plan.conv.channels] = sticks
    return padded.reshape(len(padded), -1, SLICE).swapaxes(0, 1)


def run_bucketed(
    plan: Plan,
    maps: Maps,
    x: Shaped[np.ndarray, "..."],
    w: Shaped[np.ndarray, "..."],
    bias: Shaped[np.ndarray, "..."] | None = None,
) -> Float32[np.ndarray, "..."]:
    """Emulates one launch and returns its output, the bits of `emulator.run`.

    Args:
      x: `[N, H, W, C]`; w: `[C, 1, kh, kw]`; bias: `[C]` if planned. Host arrays.

    Returns:
      `[N, Ho, Wo, C]` float32, values of the output's dtype.
    """
    composed = compose_maps(maps)
    taps, channels = len(maps.taps), plan.input_shard.channels
    dtype = plan.conv.weights_dtype
    program = _piece_program(plan)
    weights = _held_tiles(np.asarray(w, np.float32), composed.weights, dtype)
    biases = None
    if bias is not None and composed.bias is not None:
        biases = _held_tiles(np.asarray(bias, np.float32), composed.bias, dtype)
    inputs = [_cast(piece, plan.conv.dtype) for piece in _input_slices(plan, x)]
    sticks = composed.sticks.index
    num_shards, _, num_sticks = sticks.shape
    padded = plan.num_channel_shards * channels
    output = np.empty((num_shards, num_sticks, padded), np.float32)
    chunk = min(MOST_STICKS, len(inputs[0]))
    for shards in _alike(num_shards, weights, biases):
        weight_slices = _weight_slices(_of(weights, shards), taps, channels)
        bias_slices = None if biases is None else _bias_slices(_of(biases, shards))
        rows = sticks[shards].swapaxes(0, 1).reshape(taps, -1)
        found = np.empty((rows.shape[1], len(inputs) * SLICE), np.float32)
        ordinary = program.compute.arithmetic != "fpu" or all(
            _is_ordinary(values) for values in (*inputs, *weight_slices)
        )
        for first in range(0, rows.shape[1], chunk):
            piece = rows[:, first : first + chunk]
            index = np.full((taps, chunk), len(inputs[0]), np.int32)
            index[:, : piece.shape[1]] = piece
            results = [
                _run_piece(
                    l1,
                    index,
                    weight_slices[n],
                    None if bias_slices is None else bias_slices[n],
                    program,
                    ordinary,
                )
                for n, l1 in enumerate(inputs)
            ]
            for n, result in enumerate(results):
                place = found[first : first + chunk, n * SLICE : (n + 1) * SLICE]
                place[:] = np.asarray(result)[: piece.shape[1]]
        output[shards] = found[:, :padded].reshape(-1, num_sticks, padded)
    _poison(output, composed)
    collected = output.reshape(-1, padded)
    if composed.collect is not None:
        ends = np.zeros((2, padded), np.float32)
        ends[1] = np.nan
        collected = np.concatenate([collected, ends])[composed.collect.index]
    collected = collected[: plan.window.num_outputs, : plan.conv.channels]
    return collected.reshape(plan.output_shape)


def _alike(num_shards: int, weights, biases) -> list[slice]:
    """Returns runs of NHW shards that compute with the same weights and bias."""
    per_shard = weights.ndim == 4 or (biases is not None and biases.ndim == 4)
    if not per_shard:
        return [slice(0, num_shards)]
    return [slice(n, n + 1) for n in range(num_shards)]


def _of(tiles: Float32[np.ndarray, "..."], shards: slice):
    return tiles[shards.start] if tiles.ndim == 4 else tiles


def _poison(
    output: Float32[np.ndarray, "shards outputs channels"], composed: ComposedMaps
) -> None:
    """Writes NaN wherever a weight or a window element was never written."""
    if composed.channels_written is not None:
        written = composed.channels_written
        written = written.reshape(-1, 1, output.shape[2])
        np.copyto(output, np.nan, where=~written)
    if composed.windows_written is not None:
        np.copyto(output, np.nan, where=~composed.windows_written[..., None])
