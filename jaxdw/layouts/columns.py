"""What all device programs state alike: a core owns a block of the matrix's columns."""

import dataclasses

import numpy as np
from jaxtyping import Int

from jaxdw.layouts.definition import FACE, TILE, ZERO, Definition


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns of each channel shard, in whole tiles, and the bias in them."""

    definition: Definition

    @property
    def channel_tiles(self) -> int:
        return self.definition.channels_per_core // TILE

    @property
    def num_columns(self) -> int:
        """Columns of all channel shards."""
        return self.definition.channel_shards * self.definition.channels_per_core

    def bias_lanes(self) -> Int[np.ndarray, "channel_shards lanes"]:
        """Returns the bias in each lane: row 0 of a tile, in its two upper faces."""
        shards = self.definition.channel_shards
        lanes = np.full((shards, self.channel_tiles, 4, FACE, FACE), ZERO)
        channel = np.arange(self.num_columns)
        channel = np.where(channel < self.definition.conv.channels, channel, ZERO)
        lanes[:, :, :2, 0] = channel.reshape(shards, self.channel_tiles, 2, FACE)
        return lanes.reshape(shards, -1)

    def bias_tile_ids(self) -> Int[np.ndarray, "channel_shards tiles"]:
        """Returns the tiles read, all of one tile row."""
        return self.tile_ids(np.zeros(1, int))

    def tile_ids(
        self, tile_rows: Int[np.ndarray, " rows"]
    ) -> Int[np.ndarray, "channel_shards tiles"]:
        """Returns the tiles of each channel shard's columns in these rows, in order."""
        columns = np.arange(self.num_columns // TILE)
        ids = columns.reshape(-1, 1, self.channel_tiles)
        ids = ids + tile_rows[:, None] * len(columns)
        return ids.reshape(len(ids), -1)
