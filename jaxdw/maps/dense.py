"""Programs that multiply every element of a core's weight tiles.

`regular` and `conv1d` do. A core is emulated by the elements that window elements are
paired with, so the others must be zero, or the same weight again. The maps of a plan
are so; whoever changes them is told where they no longer are.
"""

import dataclasses

import jax
import numpy as np
from jaxtyping import Bool, Int, Shaped

from jaxdw.errors import UnsupportedError
from jaxdw.maps.held import WayToL1, held_in_l1, pages_in_l1
from jaxdw.maps.indexmap import Alike, IndexMap, Sources
from jaxdw.plan.units import FACE, TILE, TILE_ELEMS


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dense:
    """Where the weights of one core lie, every copy.

    Attributes:
      copies: `[channel shards or 1, copies, taps, channels]` from the elements of a
        core's weight tiles; the first copy is what window elements are paired with.
      tile_columns: tiles side by side in a row of a core's weights. All of a column
        meet all of its 32 channels.
    """

    copies: IndexMap
    tile_columns: int = dataclasses.field(metadata={"static": True})


def columns_written(
    tiles_written: Bool[Alike, "*cores tiles"], dense: Dense
) -> Bool[Alike, "*cores channels"]:
    """Returns whether all weights that a core's channels multiply were ever written."""
    rows = tiles_written.reshape(*tiles_written.shape[:-1], -1, dense.tile_columns)
    return rows.all(axis=-2).repeat(TILE, axis=-1)


def check_dense(
    weights: WayToL1, sent: Sources, dense: Dense, num_nhw_shards: int
) -> Bool[np.ndarray, "shards channel_shards channels"]:
    """Checks that no weight stands where the emulation does not look.

    Tables are checked core by core. Of a formula, whose matrix is never made, all tiles
    of a core must be different ones, and all weights must be found.

    Returns:
      `columns_written` of the cores of each NHW shard.

    Raises:
      UnsupportedError: a weight that meets windows of another channel, or copies of one
        that differ.
    """
    num_tiles = dense.copies.size // TILE_ELEMS
    pages = pages_in_l1(weights, sent, num_tiles)
    pages = pages.reshape(num_nhw_shards, -1, num_tiles)
    held = held_in_l1(weights, sent, dense.copies, num_nhw_shards).sources
    found = np.asarray(held.index)
    found = found if found.ndim == 5 else found[None]
    _check_copies(found, held)
    in_place = np.count_nonzero(found < held.size, axis=(2, 3, 4))
    if isinstance(weights.prepare, IndexMap):
        in_tiles = _weights_of_pages(weights)[pages].sum(axis=-1)
    else:
        copies = dense.copies.index.shape[1]
        again = [shard.size - len(np.unique(shard)) for shard in pages]
        missing = copies * weights.prepare.size - in_place.sum(axis=1)
        in_tiles = in_place + (np.array(again) + missing)[:, None]
    strange = (in_tiles != in_place).any(axis=0)
    if strange.any():
        core = int(np.argmax(strange))
        most = int(np.max(np.abs(in_tiles - in_place)[:, core]))
        raise UnsupportedError(
            f"`maps.weights` (={most} weights of channel shard {core}) must lie where "
            "they meet windows of their own channel: sums over several channels are "
            "not modelled; use maps that move weights inside the lanes of a channel"
        )
    return columns_written(pages != weights.deal.size + 1, dense)


def _check_copies(
    found: Int[np.ndarray, "shards channel_shards copies taps channels"], held: IndexMap
) -> None:
    first = found[:, :, :1]
    differs = (found != first) & (found != held.poison) & (first != held.poison)
    if differs.any():
        _, shard, copy, tap, channel = np.argwhere(differs)[0]
        raise UnsupportedError(
            f"`maps.weights` (=row {copy} of kernel position {tap}, channel {channel} "
            f"of channel shard {shard}) must hold the weight of row 0: weights that "
            "differ between the rows of a block are not modelled; use maps that move "
            "whole columns of a block"
        )


def _weights_of_pages(weights: WayToL1) -> Shaped[np.ndarray, " pages"]:
    """Returns how many weights each tile in DRAM holds; none of the two sentinels."""
    prepare = weights.prepare
    assert isinstance(prepare, IndexMap)
    assert isinstance(weights.tilize, IndexMap)
    runs = (prepare.index < prepare.size).reshape(-1, FACE)
    in_runs = np.append(np.count_nonzero(runs, axis=1), [0, 0])
    in_tiles = in_runs[weights.tilize.index].reshape(weights.deal.size, -1)
    return np.append(in_tiles.sum(axis=1), [0, 0])
