"""What lies where: cores, shards, windows and halo, whatever program computes them."""

import dataclasses
import functools
from typing import cast

import numpy as np
from jaxtyping import Int

from jaxdw.arch.arch import Arch
from jaxdw.errors import ConfigError
from jaxdw.plan.config import ComputeConfig, ConvConfig, Scheme, ShardConfig
from jaxdw.plan.grid import CoreGrid, Shard
from jaxdw.plan.units import TILE, round_up
from jaxdw.plan.window import (
    ShardRange,
    Window,
    halo_transfers,
    index_list_length,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placement:
    """Where the tensors of one depthwise conv2d lie on one chip.

    Invariants: `shard.scheme` is a scheme, never `auto`; core
    `n * num_channel_shards + c` holds NHW shard `n` of channel shard `c` of the input;
    core `n * num_output_shards + c` the same of the output; both grids have the same
    NHW shards.
    """

    conv: ConvConfig
    shard: ShardConfig
    compute: ComputeConfig
    arch: Arch
    core_grid: CoreGrid  # of the input
    output_grid: CoreGrid  # of the output, and of weights and bias
    input_shard: Shard  # before halo
    halo_shard: Shard  # after halo; as many rows as the hungriest core needs
    output_shard: Shard

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

    @property
    def num_output_shards(self) -> int:
        """Channel shards of the output."""
        return self.output_grid.num_channel_shards

    @property
    def num_output_cores(self) -> int:
        """Cores that hold weights and compute outputs."""
        return self.output_grid.num_cores

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
    def channel_tiles(self) -> int:
        """Tiles that one core's output channels span (`in_ntiles_c`)."""
        return self.output_shard.channels // TILE

    @property
    def output_rows(self) -> int:
        """Rows of one core's output, in whole tiles."""
        return round_up(self.output_shard.rows, TILE)

    def start_tile(self, core: int) -> int:
        """Returns the first tile id (column of tile row 0) that `core` needs.

        Args:
          core: one of `num_output_cores`.
        """
        self._check_core(core, self.num_output_cores)
        return core % self.num_output_shards * self.channel_tiles

    def bias_tile_ids(self, core: int) -> tuple[int, ...]:
        """Returns the DRAM tile ids of `core`'s bias; empty without bias.

        Every core reads its own. Source: tt-metal reader_pool_2d.cpp @ff6ab496.
        """
        start = self.start_tile(core)
        return tuple(range(start, start + self.channel_tiles)) * self.conv.bias

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

    def _check_core(self, core: int, num_cores: int | None = None) -> None:
        count = self.num_cores if num_cores is None else num_cores
        if not 0 <= core < count:
            raise ConfigError(
                f"`core` (={core}) must be one of this plan's {count} cores; "
                f"use 0 to {count - 1}"
            )
