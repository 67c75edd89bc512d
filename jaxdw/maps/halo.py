"""Activations: sticks to shards, shards to haloed shards, windows, and back."""

import numpy as np

from jaxdw.maps.indexmap import IndexMap, make_index_map
from jaxdw.plan.plan import Plan


def shard_map(plan: Plan) -> IndexMap:
    """Returns the map from NHW sticks to `[shards, rows]` of the input.

    Rows past the tensor are zeros: the host pads before it shards.
    """
    sticks = plan.window.num_inputs
    index = np.arange(plan.num_nhw_shards * plan.input_shard.rows)
    index = np.minimum(index, sticks).reshape(plan.num_nhw_shards, -1)
    return make_index_map(index, sticks)


def halo_map(plan: Plan) -> IndexMap:
    """Returns the map from input shard rows to `[shards, rows]` after halo.

    Built from the transfers themselves. Padding sticks are zeros; rows that no
    transfer writes stay unwritten.
    """
    input_rows, halo_rows = plan.input_shard.rows, plan.halo_shard.rows
    size = plan.num_nhw_shards * input_rows
    index = np.full(plan.num_nhw_shards * halo_rows, size + 1, np.int32)
    pads, copies = plan.halo_transfers()
    for runs, source, step in (
        (pads, np.full(len(pads), size), 0),
        (copies[:, 2:], copies[:, 0] * input_rows + copies[:, 1], 1),
    ):
        core, row, length = runs.T
        within = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        place = np.repeat(core * halo_rows + row, length) + within
        index[place] = np.repeat(source, length) + step * within
    return make_index_map(index.reshape(plan.num_nhw_shards, halo_rows), size)


def top_left_map(plan: Plan) -> IndexMap:
    """Returns the window starts: `[shards, output rows]`, rows of the haloed shard.

    Output rows past a core's sticks are never computed.
    """
    shape = (plan.num_nhw_shards, plan.output_rows)
    index = np.full(shape, plan.halo_shard.rows + 1, np.int32)
    for shard in range(plan.num_nhw_shards):
        starts = plan.top_left(shard * plan.num_channel_shards)
        index[shard, : len(starts)] = starts
    return make_index_map(index, plan.halo_shard.rows)


def collect_map(plan: Plan) -> IndexMap:
    """Returns the map from `[shards, output rows]` to the NHW sticks of the output."""
    index = np.empty(plan.window.num_outputs, np.int32)
    for shard, part in enumerate(plan.shard_ranges):
        rows = np.arange(part.num_outputs)
        index[part.first_output + rows] = shard * plan.output_rows + rows
    return make_index_map(index, plan.num_nhw_shards * plan.output_rows)
