"""The matrix that weight preparation makes, as formulas of rows and columns.

Both programs use it: the dense matmul with the layer's input channels, conv1d with the
rows of a block in their place.
Source: tt-metal prepare_conv2d_weights.cpp @c2aaf71d; 20 tensors of ttnn 0.81.1
(tests/golden/weights_ttnn.npz).
"""

import dataclasses

import numpy as np

from jaxdw.plan.ttnn.placed import Placed
from jaxdw.plan.units import TILE, round_up

Lanes = int | np.ndarray  # one or many


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WeightMatrix:
    """A prepared weight tensor; it lies tiled and interleaved in DRAM.

    Attributes:
      at: the launch.
      lanes: what a kernel position has rows for: input channels, or rows of a block.
    """

    at: Placed
    lanes: int

    @property
    def shard_lanes(self) -> int:
        """Lanes of one input column."""
        columns = self.at.input_columns
        return round_up(self.lanes, columns * self.at.channel_align) // columns

    @property
    def padded_lanes(self) -> int:
        return self.shard_lanes * self.at.input_columns

    @property
    def logical_shape(self) -> tuple[int, int]:
        """The shape that the library returns, without padding."""
        return self.lanes * self.at.conv.taps, self.at.conv.channels

    @property
    def rows(self) -> int:
        kernel_h, kernel_w = self.at.conv.kernel
        if self.at.scheme == "width":
            return kernel_h * kernel_w * self.padded_lanes
        if self.at.scheme == "height":
            return kernel_h * self._slab
        slabs = 1 if self.at.shard.full_inner_dim else kernel_h
        return self.at.input_columns * slabs * self._slab

    @property
    def columns(self) -> int:
        return self.at.output_shard.channels * self.at.output_columns

    @property
    def tile_grid(self) -> tuple[int, int]:
        """Tile rows and tile columns."""
        return self.rows // TILE, self.columns // TILE

    @property
    def alignment(self) -> tuple[int, int]:
        """What the library pads the logical shape to multiples of.

        A whole tile, or the padded size where whole tiles are not enough.
        """
        rows, columns = (
            TILE if round_up(logical, TILE) == padded else padded
            for logical, padded in zip(
                self.logical_shape, (self.rows, self.columns), strict=True
            )
        )
        return rows, columns

    def row(self, lane: Lanes, r: int, s: int) -> Lanes:
        """Returns the row of a lane, or of many, at kernel row `r` and column `s`."""
        kernel_h, kernel_w = self.at.conv.kernel
        if self.at.scheme == "width":
            return (r * kernel_w + s) * self.padded_lanes + lane
        if self.at.scheme == "height":
            return r * self._slab + s * self.padded_lanes + lane
        shard, inside = lane // self.shard_lanes, lane % self.shard_lanes
        if self.at.shard.full_inner_dim:
            tap = r * kernel_w + s
            return shard * self._slab + tap * self.shard_lanes + inside
        return (shard * kernel_h + r) * self._slab + s * self.shard_lanes + inside

    @property
    def _slab(self) -> int:
        """Rows of the kernel positions that a block takes at once, in whole tiles."""
        taps = self.at.conv.kernel[1]
        if self.at.scheme == "block" and self.at.shard.full_inner_dim:
            taps = self.at.conv.taps
        return round_up(self.shard_lanes * taps, TILE)
