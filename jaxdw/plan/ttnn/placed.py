"""What of one launch lies on which core: grids, shards and the halo.

Source of every rule here: tt-metal conv2d_utils.cpp @71ff3c1d
(determine_parallel_config, determine_output_parallel_config,
get_input_channels_alignment, determine_input_memory_config); ttnn 0.81.1 on a mock
device agrees row by row (tests/golden/plan_ttnn.csv.xz).
"""

import dataclasses
import functools

import numpy as np

from jaxdw.arch.arch import Arch
from jaxdw.plan.config import ComputeConfig, ConvConfig, Scheme, ShardConfig
from jaxdw.plan.grid import CoreGrid, Shard, given_core_grid, most_shards
from jaxdw.plan.units import TILE, round_up
from jaxdw.plan.window import Window

_STICK_ALIGN = 8  # elements: 16 bytes of the smallest format of a stick


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """One launch on its cores.

    Unlike the depthwise branch, BLOCK has its own columns for inputs and for outputs:
    channels of a ROW_MAJOR input are dealt in steps of 8, those of the output in tiles.
    Kernels run on both grids together.

    Invariants: `core_grid` and `output_grid` have the same NHW shards; `output_shard`
    counts real rows in WIDTH, whole tiles of rows elsewhere.
    """

    conv: ConvConfig
    shard: ShardConfig
    compute: ComputeConfig
    arch: Arch
    scheme: Scheme
    window: Window
    channel_align: int  # shards of the input are multiples of it wide
    core_grid: CoreGrid
    output_grid: CoreGrid
    input_shard: Shard
    halo_shard: Shard
    output_shard: Shard

    @property
    def num_nhw_shards(self) -> int:
        return self.core_grid.num_nhw_shards

    @property
    def input_columns(self) -> int:
        """Channel shards of the input."""
        return self.core_grid.num_channel_shards

    @property
    def output_columns(self) -> int:
        """Channel shards of the output."""
        return self.output_grid.num_channel_shards

    @property
    def padded_channels(self) -> int:
        """Channels of the input over all its shards."""
        return self.input_shard.channels * self.input_columns

    @property
    def out_h_tiles(self) -> int:
        return -(-self.output_shard.rows // TILE)

    @property
    def out_w_tiles(self) -> int:
        return self.output_shard.channels // TILE

    @property
    def has_halo(self) -> bool:
        """Whether sticks move before compute.

        Only an unpadded WIDTH convolution of ROW_MAJOR sticks reads in place.
        Source: ttnn 0.81.1 on a mock device.
        """
        in_place = self.scheme == "width" and self.shard.input_layout == "row_major"
        return not in_place or any(self.conv.padding)

    @property
    def cores(self) -> tuple[int, int]:
        """The rectangle around all cores of the launch, (x, y)."""
        grids = self.core_grid, self.output_grid
        return max(grid.x for grid in grids), max(grid.y for grid in grids)


def place(
    conv: ConvConfig,
    shard: ShardConfig,
    compute: ComputeConfig,
    arch: Arch,
    scheme: Scheme,
    *,
    as_slice: bool = False,
    is_part: bool = False,
) -> Placed:
    """Returns where one launch lies.

    Args:
      as_slice: find the grid as for a slice: without `act_block_h_override`.
      is_part: read sticks out of DRAM, as for one of several slices. Source of both:
        tt-metal conv2d.cpp, get_input_memory_config (later than ttnn 0.81.1).
    """
    window = Window(conv)
    align = _channel_align(shard, scheme, is_part)
    step = 1 if as_slice else max(1, shard.act_block_h_override // TILE)
    out_tiles = -(-window.num_outputs // TILE)
    core_grid = _core_grid(conv, shard, arch, scheme, out_tiles, align, step)
    output_grid = _output_grid(conv, shard, arch, scheme, core_grid)
    nhw = core_grid.num_nhw_shards
    columns = core_grid.num_channel_shards
    rows = window.num_inputs
    if scheme != "width":
        rows = round_up(rows, nhw * TILE) // nhw
    elif shard.input_layout == "tile":
        rows = round_up(rows, TILE)
    channels = round_up(conv.channels, columns * align) // columns
    if shard.input_shard is not None and shard.keeps_cores:
        rows, channels = shard.input_shard
    out_rows = window.num_outputs
    if scheme != "width":
        out_rows = round_up(out_rows, nhw * TILE) // nhw
    out_columns = output_grid.num_channel_shards
    return Placed(
        conv=conv,
        shard=shard,
        compute=compute,
        arch=arch,
        scheme=scheme,
        window=window,
        channel_align=align,
        core_grid=core_grid,
        output_grid=output_grid,
        input_shard=Shard(rows=rows, channels=channels),
        halo_shard=Shard(rows=halo_rows(window, nhw), channels=channels),
        output_shard=Shard(
            rows=out_rows,
            channels=round_up(conv.channels, out_columns * TILE) // out_columns,
        ),
    )


def halo_rows(window: Window, num_nhw_shards: int) -> int:
    """Returns the rows of a haloed shard: as many as the hungriest core needs."""
    return (
        _longest_span(
            window.num_outputs,
            num_nhw_shards,
            (window.out_height, window.out_width),
            window.conv.stride,
            (window.padded_height, window.padded_width),
        )
        + window.reach
        + 1
    )


@functools.lru_cache(maxsize=1 << 14)
def _longest_span(
    num_outputs: int,
    num_shards: int,
    out_size: tuple[int, int],
    stride: tuple[int, int],
    padded_size: tuple[int, int],
) -> int:
    """Returns the padded positions from a shard's first window to its last, at most."""
    rows = round_up(num_outputs, num_shards * TILE) // num_shards
    first = np.arange(0, num_outputs, rows)
    last = np.minimum(first + rows, num_outputs) - 1
    row, x = np.divmod(np.stack([first, last]), out_size[1])
    image, y = np.divmod(row, out_size[0])
    start = (image * padded_size[0] + y * stride[0]) * padded_size[1] + x * stride[1]
    return int((start[1] - start[0]).max())


@functools.lru_cache(maxsize=1 << 14)
def _most_shards(num_blocks: int, limit: int, blocks_per_step: int = 1) -> int:
    return most_shards(num_blocks, limit, blocks_per_step)


def _channel_align(shard: ShardConfig, scheme: Scheme, is_part: bool) -> int:
    """Returns the channels that a shard's width must be a multiple of."""
    if scheme == "width" or (shard.input_layout == "tile" and not is_part):
        return TILE
    if shard.input_shard is not None and shard.keeps_cores:
        return TILE  # shards that are kept are whole tiles wide
    return _STICK_ALIGN


def _core_grid(
    conv: ConvConfig,
    shard: ShardConfig,
    arch: Arch,
    scheme: Scheme,
    out_tiles: int,
    align: int,
    step: int,
) -> CoreGrid:
    limit = limit_x, limit_y = shard.grid or arch.grid
    if shard.cores is not None and shard.keeps_cores:
        return given_core_grid(scheme, shard.cores, limit, shard.orientation)
    if scheme == "width":
        columns = _most_shards(-(-conv.channels // TILE), limit_x * limit_y)
        return given_core_grid(scheme, columns, limit)
    if scheme == "height":
        nhw = _most_shards(out_tiles, limit_x * limit_y, step)
        return given_core_grid(scheme, nhw, limit)
    if shard.orientation == "col_major":
        limit_x, limit_y = limit_y, limit_x
    nhw = _most_shards(out_tiles, limit_y, step)
    columns = _most_shards(-(-conv.channels // align), limit_x)
    return _block_grid(nhw, columns, shard)


def _output_grid(
    conv: ConvConfig,
    shard: ShardConfig,
    arch: Arch,
    scheme: Scheme,
    core_grid: CoreGrid,
) -> CoreGrid:
    if scheme == "height":
        return core_grid
    limit_x, limit_y = limit = shard.grid or arch.grid
    tiles = -(-conv.channels // TILE)
    if scheme == "width":
        return given_core_grid(scheme, _most_shards(tiles, limit_x * limit_y), limit)
    start = limit_y if shard.orientation == "col_major" else limit_x
    return _block_grid(core_grid.num_nhw_shards, _most_shards(tiles, start), shard)


def _block_grid(nhw: int, columns: int, shard: ShardConfig) -> CoreGrid:
    col_major = shard.orientation == "col_major"
    return CoreGrid(
        x=nhw if col_major else columns,
        y=columns if col_major else nhw,
        num_nhw_shards=nhw,
        num_channel_shards=columns,
        orientation=shard.orientation,
    )
