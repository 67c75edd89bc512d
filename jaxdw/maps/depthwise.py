"""Weights of program `depthwise`: the prepared matrix, and which window each meets."""

import numpy as np

from jaxdw.maps.indexmap import IndexMap, make_index_map
from jaxdw.maps.tiles import matrix_place
from jaxdw.plan.depthwise.layout import WeightLayout
from jaxdw.plan.depthwise.weights import weight_layout
from jaxdw.plan.plan import Plan
from jaxdw.plan.units import FACE, TILE_ELEMS, round_up


def prepare_map(layout: WeightLayout, *, channels: int, taps: int) -> IndexMap:
    """Returns the map from OIHW weights to the prepared matrix.

    Sources are the `channels * taps` weights, a channel's kernel positions side by
    side; destinations are `[rows, columns]`. Padding lanes are zeros.
    Source: tt-metal prepare_conv2d_weights.cpp @002a3f41,
    conv_2d_depthwise_weight_layout_helper; revisions in jaxdw.plan.depthwise.layout.
    """
    num_weights = channels * taps
    num_elems = layout.rows * layout.columns
    index = np.full(num_elems, num_weights, np.int32)
    tap = np.arange(taps)[:, None]
    first = 0
    for count, offset in zip(
        layout.shard_channels, layout.shard_offset_elems, strict=True
    ):
        lane = np.arange(round_up(count, FACE))[None, :]
        place = offset + matrix_place(
            tap * layout.stick_elems + lane, layout.row_elems, layout.tiles_per_row
        )
        source = np.where(lane < count, (first + lane) * taps + tap, num_weights)
        inside = place < num_elems
        index[place[inside]] = source[inside]
        first += count
    return make_index_map(index.reshape(layout.rows, layout.columns), num_weights)


def prepare_map_of(plan: Plan) -> IndexMap:
    """Returns the map of a plan's weights, by its own revision of the preparation."""
    return prepare_map(
        weight_layout(plan), channels=plan.conv.channels, taps=plan.conv.taps
    )


def pairing_map(plan: Plan) -> IndexMap:
    """Returns the element of a core's weight tiles that each window element meets.

    `[1, taps, channels]`, the same on all cores: the reader lays the sticks of a window
    one after another, and the matrix unit multiplies them with tiles in memory order.
    Source: tt-metal reader_pool_2d.cpp @ff6ab496; checked on the library's own kernels
    (tests/golden/core_kernels.npz).
    """
    taps, channels = plan.conv.taps, plan.input_shard.channels
    element = np.arange(taps * channels).reshape(1, taps, channels)
    return make_index_map(element, plan.weight_tiles_per_core * TILE_ELEMS)
