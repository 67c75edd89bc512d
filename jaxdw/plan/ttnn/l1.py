"""Circular buffers and tensors in one core's L1, and what the library says of them.

Circular buffers grow from the base upward in order of creation, each from a multiple of
the chip's alignment; the halo's output and then the op's output lie below the small
region. The sharded input is gone by then and the halo's output moved up in its place.
Source: ttnn 0.81.1 on a mock device (tests/golden/plan_ttnn.csv.xz).
"""

import dataclasses
from typing import Literal

from jaxdw.plan.grid import Shard
from jaxdw.plan.ttnn.blocks import BlockConfig
from jaxdw.plan.ttnn.indices import index_bytes
from jaxdw.plan.ttnn.placed import Placed
from jaxdw.plan.units import TILE, TILE_BYTES, round_up, stick_elem_bytes

Role = Literal[
    "weights",
    "partials",
    "scratch",
    "activations",
    "second_reader",
    "tilized",
    "bias",
    "row_major",
    "output",
    "indices",
    "array",
    "window",
]
ARRAY_BYTES = 64


@dataclasses.dataclass(frozen=True, slots=True)
class CircularBuffer:
    """One circular buffer; `on_buffer` ones stand on a tensor and take no L1 again."""

    role: Role
    page_bytes: int
    pages: int
    on_buffer: bool = False

    @property
    def num_bytes(self) -> int:
        return self.page_bytes * self.pages


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class L1Layout:
    """One core's L1 while the launch runs.

    Attributes:
      region_end: first byte above the circular buffers.
      lowest_buffer: address of the lowest tensor.
      message: the library's own refusal, None if it fits.
    """

    base: int
    static_bytes: int
    region_end: int
    lowest_buffer: int
    message: str | None

    @property
    def fits(self) -> bool:
        return self.message is None


def input_tile_bytes(at: Placed) -> int:
    """Returns the bytes of a tile of what the halo gives: bf16 or float32."""
    return TILE * TILE * stick_elem_bytes(at.conv.dtype)


def stick_bytes(at: Placed) -> int:
    """Returns the bytes of one stick of a core's input."""
    return at.input_shard.channels * stick_elem_bytes(at.conv.dtype)


def shard_bytes(at: Placed, shard: Shard, dtype: str, layout: str) -> int:
    """Returns the bytes of a shard in L1, with the library's rounding."""
    if layout == "tile":
        size = -(-shard.rows // TILE) * -(-shard.channels // TILE) * TILE_BYTES[dtype]
    else:
        size = shard.rows * shard.channels * stick_elem_bytes(dtype)
    return round_up(size, at.arch.circular_buffer_align_bytes)


def window_bytes(at: Placed) -> int:
    """Returns the bytes of the tensor that windows are read from."""
    if at.has_halo:
        return shard_bytes(at, at.halo_shard, at.conv.dtype, "row_major")
    return shard_bytes(at, at.input_shard, at.conv.dtype, "row_major")


def output_bytes(at: Placed) -> int:
    """Returns the bytes of the op's output; its rows are whole tiles in any layout."""
    shard = Shard(rows=at.out_h_tiles * TILE, channels=at.output_shard.channels)
    return shard_bytes(at, shard, at.conv.output_dtype, at.shard.output_layout)


def last_buffers(
    at: Placed, blocks: BlockConfig, estimate: bool
) -> tuple[CircularBuffer, ...]:
    """Returns the buffers that both programs create last.

    Args:
      estimate: those that the library counts before it launches: two bytes of an index
        for each output, three times as many for an image one column wide.
    """
    tile = TILE_BYTES[at.conv.output_dtype]
    shard = at.halo_shard if at.has_halo else at.input_shard
    in_dram = at.shard.config_tensors_in_dram
    if estimate:
        column = in_dram and at.conv.width == 1 < at.conv.height
        indices = at.out_h_tiles * TILE * (6 if column else 2)
    else:
        indices = index_bytes(at.window, at.num_nhw_shards, blocks)
    return (
        CircularBuffer("output", tile, at.out_h_tiles * at.out_w_tiles, True),
        CircularBuffer("indices", indices, 1, not in_dram),
        CircularBuffer("array", ARRAY_BYTES, 1),
        CircularBuffer("window", stick_bytes(at), shard.rows, True),
    )


def place_l1(at: Placed, buffers: tuple[CircularBuffer, ...]) -> L1Layout:
    """Returns where a launch's buffers end, and the refusal if they do not fit."""
    arch = at.arch
    align = arch.circular_buffer_align_bytes
    static = 0
    end = arch.l1_unreserved_base_bytes
    for buffer in buffers:
        if not buffer.on_buffer:
            static += buffer.num_bytes
            end = round_up(end, align) + buffer.num_bytes
    lowest = arch.l1_top_bytes - window_bytes(at) - output_bytes(at)
    return L1Layout(
        base=arch.l1_unreserved_base_bytes,
        static_bytes=static,
        region_end=end,
        lowest_buffer=lowest,
        message=_message(at, end, lowest),
    )


def _message(at: Placed, end: int, lowest: int) -> str | None:
    if end <= min(at.arch.l1_size_bytes, lowest):
        return None
    x, y = at.cores
    cores = f"core range [0-0 - {x - 1}-{y - 1}]"
    if end > at.arch.l1_size_bytes:
        return (
            f"Statically allocated circular buffers on {cores} grow to {end} B which "
            f"is beyond max L1 size of {at.arch.l1_size_bytes} B"
        )
    return (
        f"Statically allocated circular buffers in program # clash with L1 buffers on "
        f"{cores}. L1 buffer allocated at {lowest} and static circular buffer region "
        f"ends at {end}"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class AllocationFailure:
    """A tensor that finds no room in L1, and what the library says of it."""

    tensor: Literal["input", "halo", "output"]
    message: str


def allocation_failure(at: Placed) -> AllocationFailure | None:
    """Returns the first tensor that finds no room in L1, None if all do.

    The sharded input comes first, then the halo's output beside it, then the op's
    output beside that one. Assumed: the last, which no run showed.
    """
    conv, shard = at.conv, at.shard
    source = shard_bytes(at, at.input_shard, conv.dtype, shard.input_layout)
    window, banks = window_bytes(at), at.core_grid.num_cores
    wanted: list[tuple[Literal["input", "halo", "output"], int, int, int]] = [
        ("input", source, 0, banks),
        ("halo", window if at.has_halo else 0, source, banks),
        ("output", output_bytes(at), window, at.output_grid.num_cores),
    ]
    capacity = at.arch.l1_capacity_bytes
    for tensor, size, allocated, banks in wanted:
        free = capacity - allocated
        if size > free:
            return AllocationFailure(
                tensor,
                f"Out of Memory: Not enough space to allocate {size * banks} B L1 "
                f"buffer across {banks} banks, where each bank needs to store {size} "
                f"B, but bank size is {capacity} B (allocated: {allocated} B, free: "
                f"{free} B, largest free block: {free} B).",
            )
    return None
