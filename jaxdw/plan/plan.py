"""The Plan: everything tt-metal decides before a byte moves."""

import dataclasses
import functools
from typing import Literal, cast

import numpy as np
from jaxtyping import Int

from jaxdw.arch.arch import Arch
from jaxdw.errors import ConfigError
from jaxdw.plan.config import ComputeConfig, ConvConfig, Scheme, ShardConfig
from jaxdw.plan.cycles import CycleBounds, cycle_bounds
from jaxdw.plan.depthwise.layout import WeightLayout
from jaxdw.plan.findings import Finding, find
from jaxdw.plan.grid import CoreGrid, Shard
from jaxdw.plan.l1 import L1Use, l1_use
from jaxdw.plan.traffic import Traffic, count_traffic
from jaxdw.plan.units import FACE, TILE, TILE_ELEMS, round_up
from jaxdw.plan.window import (
    ShardRange,
    Window,
    halo_transfers,
    index_list_length,
)

_TAPS_PER_REDUCTION = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """How one depthwise conv2d lies on one chip; built by `make_plan`.

    Invariants: `shard.scheme` is a scheme, never `auto`; core
    `n * num_channel_shards + c` holds NHW shard `n` of channel shard `c`;
    `weight_tiles_per_core == weight_tile_rows * channel_tiles`.
    """

    conv: ConvConfig
    shard: ShardConfig
    compute: ComputeConfig
    arch: Arch
    core_grid: CoreGrid
    input_shard: Shard  # before halo
    halo_shard: Shard  # after halo; as many rows as the hungriest core needs
    output_shard: Shard
    weight_layout: WeightLayout

    @property
    def scheme(self) -> Scheme:
        return cast(Scheme, self.shard.scheme)

    @property
    def kernel(self) -> tuple[int, int]:
        return self.conv.kernel

    @property
    def grid(self) -> tuple[int, int]:
        """The rectangle of cores, (x, y); HEIGHT and WIDTH may leave its end idle."""
        return self.core_grid.x, self.core_grid.y

    @property
    def num_cores(self) -> int:
        return self.core_grid.num_cores

    @property
    def num_nhw_shards(self) -> int:
        return self.core_grid.num_nhw_shards

    @property
    def num_channel_shards(self) -> int:
        return self.core_grid.num_channel_shards

    @functools.cached_property
    def window(self) -> Window:
        return Window(self.conv)

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        """[N, Ho, Wo, C]."""
        window = self.window
        return (
            self.conv.batch,
            window.out_height,
            window.out_width,
            self.conv.channels,
        )

    @property
    def weight_matrix_shape(self) -> tuple[int, int]:
        return self.weight_layout.rows, self.weight_layout.columns

    @property
    def weight_tile_grid(self) -> tuple[int, int]:
        """Tile rows and tile columns of the prepared weights in DRAM."""
        return self.weight_layout.tile_grid

    @property
    def channel_tiles(self) -> int:
        """Tiles that one core's channels span (`in_ntiles_c`)."""
        return self.input_shard.channels // TILE

    @property
    def weight_tile_rows(self) -> int:
        """Tile rows each core reads, by the factory's own count.

        Source: tt-metal conv2d_op_depthwise_program_factory.cpp @002a3f41.
        """
        rows = self.conv.taps * self.input_shard.channels // FACE
        return round_up(rows, TILE) // TILE

    @property
    def weight_tiles_per_core(self) -> int:
        return self.weight_tile_rows * self.channel_tiles

    @property
    def effective_tiles(self) -> int:
        """Tiles that compute multiplies: the first of those in L1.

        Source: tt-metal compute_pool_2d.cpp @002a3f41, MAX_EFFECTIVE_TILES.
        """
        return -(-self.conv.taps * self.input_shard.channels // TILE_ELEMS)

    @property
    def is_large_kernel(self) -> bool:
        """Whether one reduction cannot hold all kernel positions."""
        return self.conv.taps > _TAPS_PER_REDUCTION

    @property
    def tiles_per_reduction(self) -> int:
        """Channel tiles that one reduction holds, MAX_TILES_PER_REDUCTION.

        Source: tt-metal pool_utils.cpp @002a3f41.
        """
        return 4 if self.is_large_kernel else 8

    @property
    def is_wide_reduction(self) -> bool:
        """Whether a core's channels take several reductions."""
        return self.channel_tiles > self.tiles_per_reduction

    def start_tile(self, core: int) -> int:
        """Returns the first tile id (column of tile row 0) that `core` needs."""
        self._check_core(core)
        return core % self.num_channel_shards * self.channel_tiles

    def weight_tile_ids(self, core: int) -> tuple[int, ...]:
        """Returns the DRAM tile ids that `core`'s weights come from, in read order.

        `row * tiles_per_row + start + column`, rows outermost, with the factory's own
        count of tiles per row. A multicast receiver's are those of its sender.
        Source: tt-metal reader_pool_2d.cpp @ff6ab496.
        """
        start = self.start_tile(core)
        tiles_per_row = self.num_channel_shards * self.channel_tiles
        return tuple(
            row * tiles_per_row + start + column
            for row in range(self.weight_tile_rows)
            for column in range(self.channel_tiles)
        )

    def bias_tile_ids(self, core: int) -> tuple[int, ...]:
        """Returns the DRAM tile ids of `core`'s bias; empty without bias.

        Every core reads its own. Source: tt-metal reader_pool_2d.cpp @ff6ab496.
        """
        start = self.start_tile(core)
        return tuple(range(start, start + self.channel_tiles)) * self.conv.bias

    @functools.cached_property
    def weight_readers(self) -> tuple[int, ...]:
        """The cores that read weights from DRAM, in core order."""
        senders = {broadcast.sender for broadcast in self.core_grid.broadcasts()}
        return tuple(sorted(senders)) or tuple(range(self.num_cores))

    @functools.cached_property
    def shard_ranges(self) -> tuple[ShardRange, ...]:
        """Output sticks and padded input positions of every NHW shard."""
        return self.window.shard_ranges(self.num_nhw_shards)

    def halo_sources(self) -> Int[np.ndarray, "shards halo_rows"]:
        """Returns the input stick in each haloed row; PAD or UNWRITTEN if none."""
        return self.window.halo_sources(self.shard_ranges, self.halo_shard.rows)

    def halo_transfers(
        self,
    ) -> tuple[Int[np.ndarray, "pads 3"], Int[np.ndarray, "copies 5"]]:
        """Returns the halo as runs of sticks; core ids count NHW shards.

        Returns:
          pads: (core, destination row, length), and copies: (source core, source row,
          destination core, destination row, length).
        """
        return halo_transfers(self.halo_sources(), self.input_shard.rows)

    def top_left(self, core: int) -> Int[np.ndarray, " sticks"]:
        """Returns the window starts of `core`, rows of its haloed shard.

        One for each output stick of the core. Source: tt-metal sliding_window.cpp
        @00002df2, generate_sliding_window_op_config.
        """
        self._check_core(core)
        shard = self.shard_ranges[core // self.num_channel_shards]
        outputs = shard.first_output + np.arange(shard.num_outputs)
        return self.window.starts(outputs) - shard.first_padded

    @property
    def has_halo(self) -> bool:
        """Whether sticks move before compute; WIDTH without padding reads in place.

        Source: tt-metal conv2d.cpp, call order before conv2d_device_operation.
        """
        return self.scheme != "width" or any(self.conv.padding)

    def index_list_length(self, core: int) -> int:
        """Returns the uint16 entries of `core`'s reader indices before any padding.

        Source: tt-metal sliding_window.cpp @00002df2,
        generate_sliding_window_op_config.
        """
        self._check_core(core)
        shard = self.shard_ranges[core // self.num_channel_shards]
        return index_list_length(self.window.num_segments(shard))

    @property
    def upstream_program(self) -> Literal["depthwise", "conv1d", "regular"]:
        """The program that tt-metal itself takes for this layer.

        Source: tt-metal conv2d_utils.cpp @002a3f41, detection of depthwise convs.
        """
        kernel_h, kernel_w = self.conv.kernel
        if (kernel_h, kernel_w) == (1, 1):
            return "regular"
        is_1d = kernel_h == self.conv.height == 1 or kernel_w == self.conv.width == 1
        return "conv1d" if is_1d else "depthwise"

    @functools.cached_property
    def tiles_per_bank(self) -> tuple[int, ...]:
        """Tiles that all cores read from each DRAM bank, weights and bias.

        Each weight tile is read once, by the one reader of its channel shard; each
        bias tile once by every core of its channel shard.
        """
        banks = range(self.arch.num_banks)
        bias_tiles = self.num_channel_shards * self.channel_tiles * self.conv.bias
        weight_tiles = self.num_channel_shards * self.weight_tiles_per_core
        return tuple(
            -(-max(0, weight_tiles - bank) // len(banks))
            + -(-max(0, bias_tiles - bank) // len(banks)) * self.num_nhw_shards
            for bank in banks
        )

    @functools.cached_property
    def traffic(self) -> Traffic:
        """Counts what one launch moves."""
        return count_traffic(self)

    @functools.cached_property
    def l1(self) -> L1Use:
        """What one core holds in L1."""
        return l1_use(self)

    @functools.cached_property
    def cycles(self) -> CycleBounds:
        """Lower bounds on the cycles of one launch."""
        return cycle_bounds(self)

    @functools.cached_property
    def findings(self) -> tuple[Finding, ...]:
        """The known defects that this configuration meets on the real system."""
        return find(self)

    def _check_core(self, core: int) -> None:
        if not 0 <= core < self.num_cores:
            raise ConfigError(
                f"`core` (={core}) must be one of this plan's {self.num_cores} cores; "
                f"use 0 to {self.num_cores - 1}"
            )
