"""Weights and bias: from OIHW to the row-major matrices that get tilized."""

import numpy as np
from jaxtyping import Bool

from jaxdw.maps.indexmap import HostOrDevice, IndexMap, make_index_map
from jaxdw.maps.tiles import matrix_place
from jaxdw.plan.depthwise.layout import WeightLayout
from jaxdw.plan.plan import Plan
from jaxdw.plan.units import FACE, TILE, TILE_ELEMS, round_up


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


def bias_prepare_map(plan: Plan) -> IndexMap:
    """Returns the map from the bias to `[32, padded channels of all shards]`, row 0.

    Source: tt-metal prepare_conv2d_weights.cpp @002a3f41, prepare_conv_bias_internal.
    """
    channels = plan.conv.channels
    columns = plan.num_channel_shards * plan.input_shard.channels
    index = np.full((TILE, columns), channels, np.int32)
    index[0, :channels] = np.arange(channels)
    return make_index_map(index, channels)


def served_channels(
    weights_written: Bool[HostOrDevice, "*grid tiles"],
    bias_written: Bool[HostOrDevice, "*bias_grid bias_tiles"] | None,
    *,
    taps: int,
    channels: int,
) -> Bool[HostOrDevice, "*out_grid channels"]:
    """Returns the channels of a core whose weights and bias all were written.

    Args:
      weights_written: of the tiles in its L1, in read order.
      channels: padded channels of the core.
    """
    tile = np.arange(taps * channels).reshape(taps, channels) // TILE_ELEMS
    served: HostOrDevice = weights_written[..., tile].all(axis=-2)  # pyright: ignore[reportAssignmentType]
    if bias_written is not None:
        served = served & bias_written[..., np.arange(channels) // TILE]
    return served
