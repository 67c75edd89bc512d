"""The Plan: everything tt-metal decides before a byte moves, and all refusals."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
from jaxtyping import Int

from jaxdw.arch.arch import Arch, load_arch
from jaxdw.errors import ConfigError, refuse
from jaxdw.plan.config import (
    TILE_BYTES,
    ComputeConfig,
    ConvConfig,
    Scheme,
    ShardConfig,
    output_problems,
    stick_elem_bytes,
)
from jaxdw.plan.findings import Finding, layout_findings
from jaxdw.plan.grid import (
    TILE,
    CoreGrid,
    Shard,
    input_shard,
    output_shard,
    round_up,
    search_core_grid,
)
from jaxdw.plan.layout import FACE, WeightLayout, make_weight_layout
from jaxdw.plan.window import PAD, UNWRITTEN, ShardRange, Window, halo_transfers

TILE_ELEMS = TILE * TILE


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Bytes and tiles that one launch moves; weights and bias in tiles of DRAM.

    Attributes:
      tiles_per_bank: tiles read from each DRAM bank, weights and bias.
      weight_tiles_per_core, bias_tiles_per_core: tiles each core reads itself.
      multicast_sent_bytes: by each core; one send counts once, however many receive.
      multicast_received_bytes: by each core of the program.
      multicast_stray_bytes: into idle cores inside a sender's rectangle.
      halo_local_bytes, halo_remote_bytes, halo_padding_bytes: sticks copied inside a
        core, to another core, and zeroed.
    """

    tiles_per_bank: tuple[int, ...]
    weight_tiles_per_core: tuple[int, ...]
    bias_tiles_per_core: tuple[int, ...]
    multicast_sent_bytes: tuple[int, ...]
    multicast_received_bytes: tuple[int, ...]
    multicast_stray_bytes: int
    halo_local_bytes: int
    halo_remote_bytes: int
    halo_padding_bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """How one depthwise conv2d lies on one chip; built by `make_plan`.

    Invariants: core `n * num_channel_shards + c` holds NHW shard `n` of channel shard
    `c`; `weight_tiles_per_core == weight_tile_rows * channel_tiles`.
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
        return self.shard.scheme

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

    @functools.cached_property
    def findings(self) -> tuple[Finding, ...]:
        """The known defects that this configuration meets on the real system."""
        return layout_findings(
            self.weight_layout, channels=self.conv.channels, taps=self.conv.taps
        )

    @functools.cached_property
    def traffic(self) -> Traffic:
        """Counts what one launch moves."""
        cores = range(self.num_cores)
        reads = [self.weight_tile_ids(core) for core in self.weight_readers]
        reads += [self.bias_tile_ids(core) for core in cores]
        ids = np.array([tile for tiles in reads for tile in tiles], np.int64)
        per_bank = np.bincount(ids % self.arch.num_banks, minlength=self.arch.num_banks)
        broadcasts = self.core_grid.broadcasts()
        senders = {broadcast.sender for broadcast in broadcasts}
        launch_bytes = self.weight_tiles_per_core * TILE_BYTES[self.conv.weights_dtype]
        sources = self.halo_sources()
        owner = np.arange(self.num_nhw_shards)[:, None]
        moved = (sources != PAD) & (sources != UNWRITTEN)
        local = np.count_nonzero(moved & (sources // self.input_shard.rows == owner))
        shard_stick_bytes = self.halo_shard.channels * stick_elem_bytes(self.conv.dtype)
        stick_bytes = shard_stick_bytes * self.num_channel_shards * self.has_halo
        return Traffic(
            tiles_per_bank=tuple(int(count) for count in per_bank),
            weight_tiles_per_core=tuple(
                self.weight_tiles_per_core * (core in self.weight_readers)
                for core in cores
            ),
            bias_tiles_per_core=tuple(len(self.bias_tile_ids(core)) for core in cores),
            multicast_sent_bytes=tuple(launch_bytes * (c in senders) for c in cores),
            multicast_received_bytes=tuple(
                launch_bytes * (c not in self.weight_readers) for c in cores
            ),
            multicast_stray_bytes=launch_bytes
            * sum(b.rect.area - 1 - b.num_dests for b in broadcasts),
            halo_local_bytes=int(local) * stick_bytes,
            halo_remote_bytes=(int(np.count_nonzero(moved)) - int(local)) * stick_bytes,
            halo_padding_bytes=int(np.count_nonzero(sources == PAD)) * stick_bytes,
        )

    def _check_core(self, core: int) -> None:
        if not 0 <= core < self.num_cores:
            raise ConfigError(
                f"`core` (={core}) must be one of this plan's {self.num_cores} cores; "
                f"use 0 to {self.num_cores - 1}"
            )


def make_plan(
    conv: ConvConfig,
    shard: ShardConfig | None = None,
    compute: ComputeConfig | None = None,
    arch: str | Path | Arch = "wormhole_b0",
) -> Plan:
    """Plans one depthwise conv2d as tt-metal would.

    Args:
      shard: HEIGHT on the chip's whole grid if None.
      compute: `ComputeConfig()` if None.
      arch: a chip's name, a path to a TOML like those in `jaxdw/arch`, or an `Arch`.

    Raises:
      ConfigError: with every rule that the configuration breaks, one to a line:
        sizes below 1, a kernel larger than the padded input, unknown names, a grid
        larger than the chip's, an override that is no multiple of 32, a 32-bit
        output of a 16-bit Dst.
    """
    shard, compute = shard or ShardConfig(), compute or ComputeConfig()
    arch = load_arch(arch)
    refuse(
        conv.problems()
        + shard.problems(arch)
        + compute.problems()
        + output_problems(conv.output_dtype, compute)
    )
    window = Window(conv)
    core_grid = search_core_grid(
        shard.scheme,
        num_outputs=window.num_outputs,
        channels=conv.channels,
        limit=shard.grid or arch.grid,
        act_block_h_override=shard.act_block_h_override,
    )
    before_halo = input_shard(
        shard.scheme, core_grid, num_inputs=window.num_inputs, channels=conv.channels
    )
    ranges = window.shard_ranges(core_grid.num_nhw_shards)
    halo_rows = max(r.last_padded - r.first_padded + 1 for r in ranges)
    return Plan(
        conv=conv,
        shard=shard,
        compute=compute,
        arch=arch,
        core_grid=core_grid,
        input_shard=before_halo,
        halo_shard=dataclasses.replace(before_halo, rows=halo_rows),
        output_shard=output_shard(
            core_grid, num_outputs=window.num_outputs, channels=conv.channels
        ),
        weight_layout=make_weight_layout(
            shard.weight_layout,
            channels=conv.channels,
            taps=conv.taps,
            num_shards=core_grid.num_channel_shards,
        ),
    )
