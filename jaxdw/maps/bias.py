"""The bias: its matrix, and where a core finds each channel's in its tiles."""

import numpy as np

from jaxdw.maps.indexmap import IndexMap, make_index_map
from jaxdw.plan.plan import Plan
from jaxdw.plan.units import TILE, TILE_ELEMS, tile_element


def bias_prepare_map(plan: Plan) -> IndexMap:
    """Returns the map from the bias to `[32, padded channels of all shards]`, row 0.

    Source: tt-metal prepare_conv2d_weights.cpp @002a3f41, prepare_conv_bias_internal.
    """
    channels = plan.conv.channels
    columns = plan.bias_columns
    index = np.full((TILE, columns), channels, np.int32)
    index[0, :channels] = np.arange(channels)
    return make_index_map(index, channels)


def bias_lanes(num_tiles: int) -> IndexMap:
    """Returns the element of a core's bias tiles that each of its channels gets.

    `[1, channels]`: row 0 of every tile, the first rows of faces 0 and 1.
    """
    tile, column = np.divmod(np.arange(num_tiles * TILE), TILE)
    element = tile * TILE_ELEMS + tile_element(0, column)
    return make_index_map(element[None], num_tiles * TILE_ELEMS)
