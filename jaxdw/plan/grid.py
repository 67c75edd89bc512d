"""The core grid and the shard shapes, by tt-metal's own search.

Source: tt-metal conv2d_utils.cpp @002a3f41 (determine_parallel_config,
determine_input_memory_config) and conv2d_device_operation.cpp @002a3f41 (output).
"""

import dataclasses

from jaxdw.plan.config import Orientation, Scheme
from jaxdw.plan.units import TILE, round_up


def most_shards(num_blocks: int, limit: int, blocks_per_step: int = 1) -> int:
    """Returns the largest shard count up to `limit` that pads less than one share.

    Every shard gets a multiple of `blocks_per_step` blocks.
    """
    for shards in range(limit, 1, -1):
        padded = round_up(num_blocks, shards * blocks_per_step)
        if padded - num_blocks < padded // shards:
            return shards
    return 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The piece of a tensor that one core holds in L1: sticks times channels."""

    rows: int
    channels: int

    def __iter__(self):
        return iter((self.rows, self.channels))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rect:
    """A rectangle of cores in logical coordinates, bounds inclusive.

    Invariant: `x0 <= x1` and `y0 <= y1`.
    """

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def area(self) -> int:
        return (self.x1 - self.x0 + 1) * (self.y1 - self.y0 + 1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Broadcast:
    """One sender's weights going to a rectangle of cores, the sender left out.

    `num_dests` is the count of acknowledgements the sender waits for.
    """

    sender: int
    rect: Rect
    num_dests: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CoreGrid:
    """The cores of one program, numbered over a rectangle `x` wide and `y` high.

    HEIGHT and WIDTH take full rows and then a partial one; BLOCK fills its rectangle
    with one column for each channel shard, or one row if `col_major`. In every scheme
    core `nhw_shard * num_channel_shards + channel_shard` holds that piece: cores count
    row by row, column by column if `col_major`.
    """

    x: int
    y: int
    num_nhw_shards: int
    num_channel_shards: int
    orientation: Orientation = "row_major"

    @property
    def num_cores(self) -> int:
        return self.num_nhw_shards * self.num_channel_shards

    def xy(self, core: int) -> tuple[int, int]:
        """Returns the logical coordinates of a core."""
        if self.orientation == "col_major":
            return core // self.y, core % self.y
        return core % self.x, core // self.x

    def broadcasts(self) -> tuple[Broadcast, ...]:
        """Returns who sends weights to whom.

        HEIGHT: the first core to the bounding box. BLOCK: row 0 of each column down
        its column, column 0 along its row if `col_major`. WIDTH: nobody; every core
        reads its own.
        Source: tt-metal conv2d_op_depthwise_program_factory.cpp @002a3f41.
        """
        if self.num_nhw_shards == 1:
            return ()
        if self.num_channel_shards == 1:
            box = Rect(x0=0, y0=0, x1=self.x - 1, y1=self.y - 1)
            return (Broadcast(sender=0, rect=box, num_dests=self.num_cores - 1),)
        along_x = self.orientation == "col_major"
        rects = (
            Rect(x0=0, y0=shard, x1=self.x - 1, y1=shard)
            if along_x
            else Rect(x0=shard, y0=0, x1=shard, y1=self.y - 1)
            for shard in range(self.num_channel_shards)
        )
        return tuple(
            Broadcast(sender=shard, rect=rect, num_dests=self.num_nhw_shards - 1)
            for shard, rect in enumerate(rects)
        )

    def weight_readers(self) -> tuple[int, ...]:
        """Returns the cores that read weights from DRAM, in core order."""
        senders = sorted(broadcast.sender for broadcast in self.broadcasts())
        return tuple(senders or range(self.num_cores))


def search_core_grid(
    scheme: Scheme,
    *,
    num_outputs: int,
    channels: int,
    limit: tuple[int, int],
    act_block_h_override: int = 0,
    orientation: Orientation = "row_major",
) -> CoreGrid:
    """Returns the core grid that tt-metal's search takes inside `limit` (x, y).

    Args:
      num_outputs: output sticks (N * Ho * Wo); they decide, not the input's.
      act_block_h_override: rows, a multiple of 32; 0 for none.
      orientation: of BLOCK.
    """
    limit_x, limit_y = limit
    nhw_tiles = -(-num_outputs // TILE)
    channel_blocks = -(-channels // TILE)
    tiles_per_step = max(1, act_block_h_override // TILE)
    if scheme == "block":
        if orientation == "col_major":
            limit_x, limit_y = limit_y, limit_x
        nhw = most_shards(nhw_tiles, limit_y, tiles_per_step)
        columns = most_shards(channel_blocks, limit_x)
        rectangle = (nhw, columns) if orientation == "col_major" else (columns, nhw)
        return given_core_grid(scheme, rectangle, limit, orientation)
    if scheme == "height":
        cores = most_shards(nhw_tiles, limit_x * limit_y, tiles_per_step)
    else:
        cores = most_shards(channel_blocks, limit_x * limit_y)
    return given_core_grid(scheme, cores, limit)


def given_core_grid(
    scheme: Scheme,
    cores: int | tuple[int, int],
    limit: tuple[int, int],
    orientation: Orientation = "row_major",
) -> CoreGrid:
    """Returns the grid of these cores: a rectangle, or full rows and a partial one."""
    if scheme == "block":
        x, y = cores if isinstance(cores, tuple) else (cores, 1)
        nhw, columns = (x, y) if orientation == "col_major" else (y, x)
        return CoreGrid(
            x=x,
            y=y,
            num_nhw_shards=nhw,
            num_channel_shards=columns,
            orientation=orientation,
        )
    if isinstance(cores, tuple):
        (x, y), count = cores, cores[0] * cores[1]
    else:
        x, y, count = min(cores, limit[0]), -(-cores // limit[0]), cores
    return CoreGrid(
        x=x,
        y=y,
        num_nhw_shards=count if scheme == "height" else 1,
        num_channel_shards=1 if scheme == "height" else count,
    )


def input_shard(
    scheme: Scheme, grid: CoreGrid, *, num_inputs: int, channels: int
) -> Shard:
    """Returns one core's piece of the input before halo; WIDTH pads no rows."""
    rows = num_inputs
    if scheme != "width":
        rows = round_up(num_inputs, grid.num_nhw_shards * TILE) // grid.num_nhw_shards
    return Shard(rows=rows, channels=padded_channels(grid, channels))


def output_shard(grid: CoreGrid, *, num_outputs: int, channels: int) -> Shard:
    """Returns one core's piece of the output; rows and channels are whole tiles."""
    rows = round_up(-(-num_outputs // grid.num_nhw_shards), TILE)
    return Shard(rows=rows, channels=padded_channels(grid, channels))


def padded_channels(grid: CoreGrid, channels: int) -> int:
    """Returns the channels of one core, padded to whole tiles."""
    return round_up(channels, grid.num_channel_shards * TILE) // grid.num_channel_shards


def held_problems(
    shard: tuple[int, int], grid: CoreGrid, *, num_inputs: int, channels: int
) -> list[str]:
    """Returns a sentence if shards of (rows, channels) do not hold the input."""
    rows, columns = shard
    least = -(-num_inputs // grid.num_nhw_shards)
    padded = padded_channels(grid, channels)
    if rows >= least and columns == padded:
        return []
    problem = (
        f"`input_shard` (={rows} rows, {columns} channels) must hold {num_inputs} "
        f"sticks of {channels} channels on {grid.num_nhw_shards} x "
        f"{grid.num_channel_shards} shards, in whole tiles of channels; use "
        f"{(max(rows, least), padded)}"
    )
    return [problem]
