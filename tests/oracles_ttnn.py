"""Slow oracles of the two programs by which ttnn 0.81.1 runs a depthwise conv2d.

"Regular" is a dense matmul on weights expanded with zeros over the channels; "conv1d"
multiplies tap by tap on weights repeated over the rows of a block. Both are computed in
full here, products with zero weights and stale lanes included. Values are float32 bit
patterns in int64 (oracles_unit.py).

Source: ttnn 0.81.1: weights as prepare_conv_weights lays them out; compute kernels
conv_bmm_tilize.cpp and compute_depthwise_conv1d.cpp, run on ttsim @56694c8a.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from oracles_unit import (
    BLOCK_ELEMS,
    TF32_MASK,
    Compute,
    add_in_l1,
    elwadd,
    elwmul,
    mvmul,
    pack,
    pack_bfp8_bf16,
    pack_bfp8_kernel,
    reload,
    unpack_bfp8,
)

TILE = 32
LANES = 16
NAN = 0x7FC00000
BF16_MASK = 0xFFFF0000


def round_up(n: int, multiple: int) -> int:
    """Returns the smallest multiple that is at least n."""
    return -(-n // multiple) * multiple


class Layout(NamedTuple):
    """How the regular program cuts its reduction axis K.

    scheme: height, block, block_full (BLOCK with full_inner_dim) or width.
    kernel: rows and columns of the kernel.
    width: channels of one core's input shard.
    cores: input cores along the channels.
    width_div: act_block_w_div of WIDTH.
    """

    scheme: str
    kernel: tuple[int, int]
    width: int
    cores: int = 1
    width_div: int = 1


# --- Prepared weights ----------------------------------------------------------------


def regular_row(layout: Layout, r: int, s: int, c: int) -> int:
    """Returns the row of the weight matrix of kernel position (r, s), channel c."""
    kh, kw = layout.kernel
    core, own = c // layout.width, c % layout.width
    if layout.scheme == "height":
        return r * round_up(layout.width * kw, TILE) + s * layout.width + c
    if layout.scheme == "width":
        return (r * kw + s) * layout.cores * layout.width + c
    if layout.scheme == "block":
        kernel_row = round_up(layout.width * kw, TILE)
        return core * kh * kernel_row + r * kernel_row + s * layout.width + own
    if layout.scheme == "block_full":
        window = round_up(layout.width * kw * kh, TILE)
        return core * window + (r * kw + s) * layout.width + own
    raise ValueError(
        f"`scheme` (={layout.scheme}) must be height, block, block_full or width."
    )


def regular_rows(layout: Layout) -> int:
    """Returns the rows of the weight matrix."""
    kh, kw = layout.kernel
    if layout.scheme == "width":
        return kh * kw * layout.cores * layout.width
    if layout.scheme == "block_full":
        return layout.cores * round_up(layout.width * kw * kh, TILE)
    return layout.cores * kh * round_up(layout.width * kw, TILE)


def regular_weights(w: np.ndarray, layout: Layout) -> np.ndarray:
    """Expands weights [C, 1, kh, kw] to the matrix [K, C rounded up to 32]."""
    channels, _, kh, kw = w.shape
    matrix = np.zeros((regular_rows(layout), round_up(channels, TILE)), w.dtype)
    for channel in range(channels):
        for r in range(kh):
            for s in range(kw):
                row = regular_row(layout, r, s, channel)
                matrix[row, channel] = w[channel, 0, r, s]
    return matrix


def conv1d_weights(w: np.ndarray, block_h: int) -> np.ndarray:
    """Repeats [C, 1, 1, kw] over the rows of a block of `block_h` tiles.

    Returns:
      [32 block_h kw, C rounded up to 32], tap after tap.
    """
    channels, _, _, kw = w.shape
    rows = TILE * block_h
    matrix = np.zeros((rows * kw, round_up(channels, TILE)), w.dtype)
    for s in range(kw):
        for i in range(rows):
            for channel in range(channels):
                matrix[s * rows + i, channel] = w[channel, 0, 0, s]
    return matrix


# --- The reduction axis --------------------------------------------------------------


class Lane(NamedTuple):
    """One lane of K: its row of the weight matrix and what its activation is.

    `tap` (kernel row, column) and `channel`; a lane that pads a stick to 32 has tap
    None.
    """

    row: int
    tap: tuple[int, int] | None
    channel: int


def stick_lanes(
    taps: list[tuple[int, int]], core: int, width: int, first_row: int
) -> list[Lane]:
    """Returns a block of one core's sticks, padded to whole tiles, in matrix order."""
    lanes = []
    for k in range(round_up(len(taps) * width, TILE)):
        tap = taps[k // width] if k // width < len(taps) else None
        lanes.append(Lane(first_row + k, tap, core * width + k % width))
    return lanes


def k_blocks(layout: Layout) -> list[list[Lane]]:
    """Returns the blocks of K in the order in which a core multiplies them."""
    kh, kw = layout.kernel
    window = [(r, s) for r in range(kh) for s in range(kw)]
    if layout.scheme == "width":
        return width_blocks(layout, window)
    if layout.scheme == "block_full":
        rows = round_up(layout.width * kw * kh, TILE)
        return [
            stick_lanes(window, core, layout.width, core * rows)
            for core in range(layout.cores)
        ]
    rows = round_up(layout.width * kw, TILE)
    return [
        stick_lanes(window[r * kw :][:kw], core, layout.width, (core * kh + r) * rows)
        for r in range(kh)
        for core in range(layout.cores)
    ]


def width_blocks(layout: Layout, window: list[tuple[int, int]]) -> list[list[Lane]]:
    """Returns the blocks of WIDTH: parts of a shard outer, input cores inner."""
    part = layout.width // layout.width_div
    if part % TILE:
        raise ValueError(
            f"`width` / `width_div` (={layout.width} / {layout.width_div}) must be a "
            f"multiple of {TILE}; take a smaller `width_div`."
        )
    blocks = []
    for first in range(0, layout.width, part):
        for core in range(layout.cores):
            block = []
            for r, s in window:
                for c in range(part):
                    channel = core * layout.width + first + c
                    row = regular_row(layout, r, s, channel)
                    block.append(Lane(row, (r, s), channel))
            blocks.append(block)
    return blocks


def tilise(sticks: np.ndarray, compute: Compute) -> np.ndarray:
    """Returns activations [sticks, lanes] as ACT_TILIZED holds them, in `dtype`.

    bf16: exact for bf16; of float32 the high half, which Wormhole with a 32-bit Dst
    rounds, ties away. float32: cut to TF32. bfp8: the kernel's packer, but one rounding
    on Blackhole with a 32-bit Dst.
    """
    wide_blackhole = compute.fp32_dest and compute.arch == "blackhole"
    if compute.dtype == "bfloat8_b":
        by = pack_bfp8_bf16 if wide_blackhole else pack_bfp8_kernel
        return unpack_bfp8(*by(sticks))
    if compute.dtype == "float32":
        return np.where((sticks >> 23) & 0xFF, sticks & TF32_MASK, 0)
    if compute.fp32_dest and not wide_blackhole:
        return pack(sticks, "bfloat16", fp32_dest=True)
    return sticks & BF16_MASK


def activation_block(
    windows: np.ndarray, block: list[Lane], dtype: str, stale: Sequence[int]
) -> np.ndarray:
    """Returns [sticks, lanes] of one block of K before it is tilised.

    A lane that nobody writes is stale. With a bfp8 output, where 16 lanes share an
    exponent, those that pad a stick are cleared unless they fill whole groups, and
    channels past the layer's own are 0 (Assumed: the host pads with zeros).
    """
    sticks, channels = windows.shape[0], windows.shape[3]
    padding = sum(lane.tap is None for lane in block)
    out = np.zeros((sticks, len(block)), np.int64)
    for k, lane in enumerate(block):
        if lane.tap is not None and lane.channel < channels:
            out[:, k] = windows[:, lane.tap[0], lane.tap[1], lane.channel]
        elif dtype != "bfloat8_b" or (lane.tap is None and padding % BLOCK_ELEMS == 0):
            out[:, k] = stale[k % len(stale)]
    return out


# --- The regular program -------------------------------------------------------------


def multiply_block(
    dst: np.ndarray, activations: np.ndarray, weights: np.ndarray, compute: Compute
) -> np.ndarray:
    """Adds one block of K to Dst [sticks, columns]: tiles, then phases, then halves.

    Args:
      activations: [sticks, K], SrcB.
      weights: [1 or sticks, columns, K], SrcA.
    """
    for tile in range(0, activations.shape[1], TILE):
        for phase in compute.phases:
            for half in range(tile, tile + TILE, LANES):
                lanes = slice(half, half + LANES)
                a, b = weights[:, :, lanes], activations[:, None, lanes]
                dst = mvmul(a, b, dst, phase, compute.fp32_dest, compute.arch)
    return dst


def dense_dst(
    activations: list[np.ndarray],
    weights: list[np.ndarray],
    compute: Compute,
    bias: np.ndarray | None = None,
) -> np.ndarray:
    """Returns Dst [sticks, columns] of a matmul over blocks of K, before the last pack.

    Partial sums are packed after a block and copied back to Dst before the next.
    `packer_l1_acc` is in force with more than two blocks, or more than one and a bias:
    then they are added in L1, but for the last block of a layer without bias.

    Args:
      activations: tilised [sticks, K] of each block.
      weights: [1 or sticks, columns, K] of each block.
      bias: [columns].
    """
    num_blocks = len(activations)
    in_l1 = compute.packer_l1_acc and num_blocks > (2 if bias is None else 1)
    dtype = compute.dtype
    if in_l1:
        dtype = "float32" if compute.fp32_dest else "bfloat16"
    empty = np.zeros((activations[0].shape[0], weights[0].shape[1]), np.int64)
    dst = partial = empty
    for index in range(num_blocks):
        first, ends_in_dst = index == 0, bias is None and index == num_blocks - 1
        dst = empty if first or (in_l1 and not ends_in_dst) else reload(partial)
        dst = multiply_block(dst, activations[index], weights[index], compute)
        packed = pack(dst, dtype, compute.fp32_dest)
        partial = add_in_l1(partial, packed, dtype) if in_l1 and not first else packed
    if bias is None:
        return dst
    return elwadd(partial, bias, compute.fp32_dest, compute.arch)


def regular_dst(
    windows: np.ndarray,
    weights: np.ndarray,
    layout: Layout,
    compute: Compute,
    bias: np.ndarray | None = None,
    relu: bool = False,
    stale: Sequence[int] = (NAN,),
) -> np.ndarray:
    """Returns what the packer of the output reads, [sticks, C rounded up to 32].

    Args:
      windows: [sticks, kh, kw, C], bf16 or float32.
      weights: [C, kh, kw], bf16 or float32 (block floats unpacked).
      bias: [C].
      relu: whether the packer turns negative values into 0.
      stale: what lies in the lanes that nobody writes, repeated.
    Assumed: RELU acts before the packer looks for a shared exponent.
    """
    matrix = regular_weights(weights[:, None], layout)
    if bias is not None:
        bias = np.pad(bias, (0, matrix.shape[1] - len(bias)))
    activations, by_block = [], []
    for block in k_blocks(layout):
        sticks = activation_block(windows, block, compute.dtype, stale)
        activations.append(tilise(sticks, compute))
        by_block.append(matrix[[lane.row for lane in block]].T[None])
    dst = dense_dst(activations, by_block, compute, bias)
    return np.where(dst >> 31, 0, dst) if relu else dst


def regular_sticks(
    windows: np.ndarray,
    weights: np.ndarray,
    layout: Layout,
    compute: Compute,
    bias: np.ndarray | None = None,
    relu: bool = False,
    stale: Sequence[int] = (NAN,),
) -> np.ndarray:
    """Returns the output sticks [sticks, C rounded up to 32] of `regular_dst`."""
    dst = regular_dst(windows, weights, layout, compute, bias, relu, stale)
    return pack(dst, compute.dtype, compute.fp32_dest)


# --- The 1D depthwise program --------------------------------------------------------


def conv1d_dst(
    windows: np.ndarray, weights: np.ndarray, compute: Compute, coalesced: bool
) -> np.ndarray:
    """Returns what the packer of the output reads, [sticks, C].

    Coalesced, all taps accumulate in Dst. If not, each is multiplied alone and added to
    the packed sum of those before it; the product passes through SrcB, which keeps its
    high 16 bits. The activation is SrcA, the weight SrcB.

    Args:
      windows: [sticks, taps, C] bf16; bfp8 output: C whole groups of 16, the stale
        lanes of the last group included.
      weights: [taps, C] bf16.
      coalesced: whether one read brings all taps.
    """
    if compute.dtype == "float32":
        raise ValueError("`dtype` (=float32) must be bfloat16 or bfloat8_b here.")
    fp32_dest, arch = compute.fp32_dest, compute.arch
    dst = np.zeros((windows.shape[0], windows.shape[2]), np.int64)
    for tap in range(windows.shape[1]):
        before = pack(dst, compute.dtype, fp32_dest)
        if not coalesced:
            dst = np.zeros_like(dst)
        activations = tilise(windows[:, tap], compute)
        for phase in compute.phases:
            dst = elwmul(activations, weights[tap], dst, phase, fp32_dest, arch)
        if not coalesced and tap > 0:
            dst = elwadd(before, dst & BF16_MASK, fp32_dest, arch)
    return dst


def conv1d_sticks(
    windows: np.ndarray, weights: np.ndarray, compute: Compute, coalesced: bool
) -> np.ndarray:
    """Returns the output sticks [sticks, C] of `conv1d_dst`."""
    dst = conv1d_dst(windows, weights, compute, coalesced)
    return pack(dst, compute.dtype, compute.fp32_dest)
