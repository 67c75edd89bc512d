"""Sticks that go wrong: halo, windows, output shards."""

import numpy as np

from jaxdw.faults.used_chip import Launch, index_of, stale_rows, with_maps
from jaxdw.maps.indexmap import make_index_map
from jaxdw.plan.plan import Plan
from jaxdw.plan.window import PAD


def reads_padding(plan: Plan) -> bool:
    """Whether any window holds a padding stick."""
    taps, sources = np.array(plan.window.tap_offsets()), plan.halo_sources()
    return any(
        (sources[shard, plan.top_left(core)[:, None] + taps] == PAD).any()
        for shard, core in enumerate(range(0, plan.num_cores, plan.num_channel_shards))
    )


def padding_sticks(launch: Launch, ones: bool) -> Launch:
    """Puts ones, or what L1 held before, where the halo's zeros should be."""
    halo, rows = launch.maps.halo, launch.maps.shard.index.shape[1]
    index, held = index_of(halo), stale_rows(launch.maps, known=launch.known)
    if ones:
        held = np.arange(len(index))[:, None] * rows + rows // 2
    index = np.where(index == halo.padding, held, index)
    return with_maps(launch, halo=make_index_map(index, halo.size))


def row_below(launch: Launch) -> Launch:
    """Copies of every stick the one below; past the last, what L1 held before."""
    halo, rows = launch.maps.halo, launch.maps.shard.index.shape[1]
    index, own_rows = index_of(halo), rows // 2
    shard, row = np.divmod(index, rows)
    below = shard * own_rows + row + launch.plan.conv.width
    shard, row_of_below = np.divmod(below, own_rows)
    held = stale_rows(launch.maps, known=launch.known)
    moved = np.where(shard < len(index), shard * rows + row_of_below, held)
    copied = (index < halo.size) & (row < own_rows)
    return with_maps(
        launch, halo=make_index_map(np.where(copied, moved, index), halo.size)
    )


def next_column(launch: Launch) -> Launch:
    top_left = launch.maps.top_left
    index = index_of(top_left)
    index = index + (index < top_left.size)
    return with_maps(launch, top_left=make_index_map(index, top_left.size))


def unit_steps(launch: Launch) -> Launch:
    """Steps by 1 from the first window of each run of a row."""
    plan, top_left = launch.plan, launch.maps.top_left
    index = index_of(top_left).copy()
    for shard, part in enumerate(plan.shard_ranges):
        output = part.first_output + np.arange(part.num_outputs)
        column = output % plan.window.out_width
        begin = np.where(output - column < part.first_output, column[:1], 0)
        steps = column - begin
        index[shard, : len(output)] -= steps * (plan.conv.stride[1] - 1)
    return with_maps(launch, top_left=make_index_map(index, top_left.size))


def undilated(launch: Launch) -> Launch:
    window, (kernel_h, kernel_w) = launch.plan.window, launch.plan.kernel
    row, column = np.divmod(np.arange(kernel_h * kernel_w), kernel_w)
    taps = (row * window.padded_width + column).astype(np.int32)
    return with_maps(launch, taps=taps)
