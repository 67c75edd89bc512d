"""Where the depthwise program's weights have to be, lane by lane.

Stated from the readers' and the compute kernel's protocol, faces and tiles written out:
no function that builds the maps is used, so that a mistake in those shows.

Source: tt-metal reader_pool_2d.cpp @ff6ab496, compute_pool_2d.cpp and
conv2d_op_depthwise_program_factory.cpp @002a3f41.
"""

import dataclasses

import numpy as np
from jaxtyping import Int

from jaxdw.layouts.columns import Columns
from jaxdw.layouts.definition import TILE, TILE_ELEMS, ZERO


@dataclasses.dataclass(frozen=True)
class DepthwiseWeights(Columns):
    """The lanes and tiles of each channel shard; a weight is `channel * taps + tap`."""

    def weight_lanes(self) -> Int[np.ndarray, "channel_shards lanes"]:
        """Returns the weight in each lane that compute multiplies.

        The reader drops stick `k` of a window at `k * channels_per_core`; a weight has
        to lie in the lane of the element that it is for.
        """
        conv, channels_per_core = (
            self.definition.conv,
            self.definition.channels_per_core,
        )
        shard = np.arange(self.definition.channel_shards)[:, None, None]
        channel = shard * channels_per_core + np.arange(channels_per_core)
        weight = channel * conv.taps + np.arange(conv.taps)[:, None]
        lanes = np.where(channel < conv.channels, weight, ZERO)
        lanes = lanes.reshape(self.definition.channel_shards, -1)
        tail = -lanes.shape[1] % TILE_ELEMS
        return np.pad(lanes, [(0, 0), (0, tail)], constant_values=ZERO)

    def pairing(self) -> Int[np.ndarray, "1 taps channels"]:
        """Returns the element of its tiles that each window element of a core meets."""
        taps = self.definition.conv.taps
        lanes = np.arange(taps * self.definition.channels_per_core)
        return lanes.reshape(1, taps, -1)

    def weight_tile_ids(self) -> Int[np.ndarray, "channel_shards tiles"]:
        """Returns the tiles read; the factory counts 16 elements as a tile's row."""
        face_rows = self.definition.conv.taps * self.channel_tiles * 2
        return self.tile_ids(np.arange(-(-face_rows // TILE)))
