"""Weights of ttnn's programs `regular` and `conv1d`: their matrices, and the pairing.

Both prepare one value for each channel, kernel position and *lane* of the matrix's
rows: `regular` at the channel's own lane alone, all else is zero; `conv1d` at every row
of a block. Large matrices are not built: their maps are formulas of the same places.
Source: tt-metal prepare_conv2d_weights.cpp @c2aaf71d; tests/golden/weights_ttnn.npz.
"""

import numpy as np
from jaxtyping import Int

from jaxdw.maps.dense import Dense
from jaxdw.maps.indexmap import FormulaMap, IndexMap, make_index_map
from jaxdw.plan.plan import Plan
from jaxdw.plan.ttnn.plan import TtnnPlan
from jaxdw.plan.units import TILE, TILE_ELEMS, tile_element

MOST_ELEMS = 2**24  # of a matrix that is made as a table


def weight_rows(plan: Plan) -> Int[np.ndarray, "copies taps channels"]:
    """Returns the rows of the matrix that hold each weight, in its channel's column."""
    assert isinstance(plan, TtnnPlan)
    matrix = plan.launch.weights
    channels, (kernel_h, kernel_w) = plan.conv.channels, plan.conv.kernel
    if plan.program == "regular":
        lanes = np.arange(channels)[None]
    else:
        lanes = np.tile(np.arange(matrix.lanes)[:, None], channels)
    positions = [(r, s) for r in range(kernel_h) for s in range(kernel_w)]
    return np.stack([matrix.row(lanes, r, s) for r, s in positions], axis=1)


def prepare_map(plan: Plan) -> IndexMap | FormulaMap:
    """Returns the map from OIHW weights to the prepared matrix: table or formula."""
    rows, columns = plan.weight_matrix_shape
    held, num_weights = weight_rows(plan), plan.conv.channels * plan.conv.taps
    taps, channels = held.shape[1:]
    weight = np.arange(channels) * taps + np.arange(taps)[:, None]
    if rows * columns <= MOST_ELEMS:
        index = np.full((rows, columns), num_weights, np.int32)
        index[held, np.arange(channels)] = weight
        return make_index_map(index, num_weights)

    def sources(places: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
        row, column = np.divmod(places, columns)
        channel = np.minimum(column, channels - 1)
        found = np.full(places.shape, num_weights)
        for copy in held:
            for tap in range(taps):
                hit = (copy[tap][channel] == row) & (column < channels)
                found = np.where(hit, channel * taps + tap, found)
        return found

    return FormulaMap(sources, num_weights, rows * columns)


def dense_of(plan: Plan) -> Dense:
    """Returns where the weights of a core of the output lie in its tiles.

    `conv1d` multiplies row by row with copies, which all are the same.
    """
    tiles, columns = plan.weights, plan.output_shard.channels
    place = np.zeros(tiles.tile_grid[0], np.int64)
    place[list(tiles.read_rows)] = np.arange(len(tiles.read_rows))
    size = plan.weight_tiles_per_core * TILE_ELEMS
    row = weight_rows(plan)
    lanes = plan.num_output_shards * columns
    row = np.pad(row, [(0, 0), (0, 0), (0, lanes - row.shape[2])])
    column = np.arange(lanes) % columns
    tile = place[row // TILE] * tiles.columns_per_core + column // TILE
    element = tile * TILE_ELEMS + tile_element(row % TILE, column % TILE)
    element = np.where(np.arange(lanes) < plan.conv.channels, element, size)
    by_shard = element.reshape(*row.shape[:2], plan.num_output_shards, columns)
    copies = make_index_map(np.moveaxis(by_shard, 2, 0), size)
    return Dense(copies, tiles.columns_per_core)


def pairing_map(plan: Plan) -> IndexMap:
    """Returns the element of a core's weight tiles that each window element meets.

    `[channel shards, taps, channels]` of the output's cores: of all copies the first.
    """
    copies = dense_of(plan).copies
    return IndexMap(np.ascontiguousarray(copies.index[:, 0]), copies.size)
