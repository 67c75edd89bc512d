"""Weights of a matrix that a core multiplies row after row, as ttnn's programs do."""

import abc
import dataclasses
import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jaxdw.layouts.columns import Columns
from jaxdw.layouts.definition import TILE, TILE_ELEMS, ZERO, Cut, by_faces

NO_TAP = -1  # a row that pads a block to whole tiles
EVERY_CHANNEL = -1  # a row that holds a weight in each column


class Rows(NamedTuple):
    """The rows of weights in a core's L1, in the order that it reads them.

    Attributes:
      row: of the prepared matrix; tap: kernel position that it is multiplied with;
      channel: the one whose weight it holds, in that channel's column alone.
    """

    row: Int[np.ndarray, " rows"]
    tap: Int[np.ndarray, " rows"]
    channel: Int[np.ndarray, " rows"]


@dataclasses.dataclass(frozen=True)
class MatrixWeights(Columns, abc.ABC):
    """The lanes and tiles of each channel shard; a weight is `channel * taps + tap`."""

    @abc.abstractmethod
    def _rows(self) -> Rows:
        """Returns whole tiles of rows; each row of the matrix is read once."""

    @functools.cached_property
    def rows(self) -> Rows:
        return self._rows()

    @property
    def cut(self) -> Cut:
        assert self.definition.cut is not None
        return self.definition.cut

    def _held(
        self, columns: Int[np.ndarray, " columns"]
    ) -> Int[np.ndarray, "rows columns"]:
        """Returns the weight in each row read of these columns."""
        conv, (_, tap, channel) = self.definition.conv, self.rows
        own = (channel[:, None] == columns) | (channel[:, None] == EVERY_CHANNEL)
        real = own & (tap[:, None] != NO_TAP) & (columns < conv.channels)
        return np.where(real, columns * conv.taps + tap[:, None], ZERO)

    def matrix(self) -> Int[np.ndarray, "rows columns"]:
        """Returns the weight in each element of the prepared matrix."""
        found = np.empty((len(self.rows.row), self.num_columns), np.int64)
        found[self.rows.row] = self._held(np.arange(self.num_columns))
        return found

    def weight_lanes(self) -> Int[np.ndarray, "channel_shards lanes"]:
        """Returns the weight in each lane of a core's tiles."""
        columns = np.arange(self.num_columns)
        shards = np.split(columns, self.definition.channel_shards)
        return np.stack([by_faces(self._held(shard)).ravel() for shard in shards])

    def weight_tile_ids(self) -> Int[np.ndarray, "channel_shards tiles"]:
        """Returns the tiles read, block after block of rows."""
        return self.tile_ids(self.rows.row[::TILE] // TILE)

    def pairing(self) -> Int[np.ndarray, "channel_shards taps channels"]:
        """Returns the element of its tiles that each window element of a core meets.

        Of a weight that stands in several rows the first is named.
        """
        conv, (_, tap, channel) = self.definition.conv, self.rows
        place = np.full((conv.taps, self.num_columns), ZERO)
        for at in np.flatnonzero(tap != NO_TAP)[::-1]:
            if channel[at] == EVERY_CHANNEL:
                place[tap[at], : conv.channels] = at
            elif channel[at] < conv.channels:
                place[tap[at], channel[at]] = at
        width = self.definition.channels_per_core
        tiles = np.arange(len(tap) * width).reshape(-1, TILE_ELEMS)
        element = _of_faces(tiles, len(tap))
        column = np.arange(self.num_columns) % width
        met = np.where(place == ZERO, ZERO, element[place, column])
        return met.reshape(conv.taps, -1, width).swapaxes(0, 1)


def _of_faces(
    tiles: Int[np.ndarray, "tiles 1024"], rows: int
) -> Int[np.ndarray, "rows columns"]:
    """Returns the matrix of so many rows that `by_faces` takes apart into tiles."""
    faces = tiles.reshape(rows // TILE, -1, 2, 2, TILE // 2, TILE // 2)
    return faces.transpose(0, 2, 4, 1, 3, 5).reshape(rows, -1)
