"""How each fault changes a launch: one stage of the data path at a time."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Int, Int32

from jaxdw.faults.used_chip import (
    Launch,
    lay_out,
    lay_weights,
    page_ids,
    pages_to_earlier,
    read_pages,
    stale_rows,
    weight_sources,
)
from jaxdw.maps.depthwise import prepare_map
from jaxdw.maps.indexmap import IndexMap, compose, make_index_map
from jaxdw.maps.maps import NO_READ
from jaxdw.maps.multicast import NO_CORE, Multicast, handshake, make_multicast
from jaxdw.plan.config import WeightLayoutName
from jaxdw.plan.depthwise.layout import WeightLayout, make_weight_layout
from jaxdw.plan.plan import Plan
from jaxdw.plan.units import TILE, TILE_ELEMS
from jaxdw.plan.window import PAD

OLDER_PAGES = 3  # pages of a stick in the older reader and compute kernel


def _on_maps(launch: Launch, **stages) -> Launch:
    return dataclasses.replace(launch, maps=dataclasses.replace(launch.maps, **stages))


def _index(index_map: IndexMap) -> Int32[np.ndarray, "..."]:
    return np.asarray(index_map.index)


# Weights: preparation, tiles, reads


def _prepare(launch: Launch, index: Int[np.ndarray, "rows columns"]) -> Launch:
    weights = launch.maps.weights
    prepare = make_index_map(index, weights.prepare.size)
    return _on_maps(launch, weights=dataclasses.replace(weights, prepare=prepare))


def prepare_from(
    source: Callable[[Plan, Int[np.ndarray, " n"], Int[np.ndarray, " n"]], np.ndarray],
) -> Callable[[Launch], Launch]:
    """Takes each weight from the source given for (plan, channel, kernel position).

    A negative source is padding.
    """

    def inject(launch: Launch) -> Launch:
        conv, prepare = launch.plan.conv, launch.maps.weights.prepare
        own = conv.channels * conv.taps
        channel, tap = np.divmod(np.arange(own), conv.taps)
        taken = source(launch.plan, channel, tap)
        found = weight_sources(launch.plan, taken)
        table = np.arange(prepare.size + 2)
        to = weight_sources(launch.plan, np.arange(own))
        table[to] = np.where(taken < 0, prepare.padding, found)
        return _prepare(launch, table[_index(prepare)])

    return inject


def transposed(plan: Plan, channel, tap):
    kernel_h, kernel_w = plan.conv.kernel
    return channel * plan.conv.taps + tap % kernel_h * kernel_w + tap // kernel_h


def flipped(plan: Plan, channel, tap):
    return channel * plan.conv.taps + plan.conv.taps - 1 - tap


def _shard_of(plan: Plan, channel):
    """Returns for each channel its shard's first channel and count."""
    counts = np.array(plan.weight_layout.shard_channels)
    firsts = np.cumsum(counts) - counts
    shard = np.searchsorted(np.cumsum(counts), channel, side="right")
    shard = np.minimum(shard, len(counts) - 1)
    return firsts[shard], np.maximum(counts[shard], 1)


def rotated(plan: Plan, channel, tap):
    first, count = _shard_of(plan, channel)
    return (first + (channel - first + 1) % count) * plan.conv.taps + tap


def without_remainder(plan: Plan, channel, tap):
    counts = plan.weight_layout.shard_channels
    kept = plan.conv.channels - counts[-1] % TILE
    return np.where(channel < kept, channel * plan.conv.taps + tap, -1)


def wide_blocks(launch: Launch) -> Launch:
    """Takes for every block of channels the tiles that stand where it would begin.

    Source: tt-metal reader_pool_2d.cpp @ff6ab496, compute_pool_2d.cpp @002a3f41.
    Assumed: sticks of a last, narrower block lie as far apart as those of a full one;
    past the tiles that a core holds it reads zeros.
    """
    plan, pairing = launch.plan, launch.maps.pairing
    block = plan.tiles_per_reduction * TILE
    tap, channel = np.divmod(_index(pairing), plan.input_shard.channels)
    first_tile = channel // block * plan.tiles_per_reduction
    met = first_tile * TILE_ELEMS + tap * block + channel % block
    met = np.minimum(met, pairing.padding)
    return _on_maps(launch, pairing=make_index_map(met, pairing.size))


def _lay(launch: Launch, layout: WeightLayout) -> Launch:
    conv = launch.plan.conv
    prepare = prepare_map(layout, channels=conv.channels, taps=conv.taps)
    weights = lay_weights(launch.plan, prepare, known=launch.known)
    return _on_maps(launch, weights=weights)


def prepare_as(name: WeightLayoutName, launch: Launch, num_shards: int = 0) -> Launch:
    """Prepares weights by another revision, or for another number of shards."""
    plan = launch.plan
    layout = make_weight_layout(
        name,
        channels=plan.conv.channels,
        taps=plan.conv.taps,
        num_shards=num_shards or plan.num_channel_shards,
    )
    return _lay(launch, layout)


@functools.lru_cache(maxsize=64)
def misplaces(name: WeightLayoutName, plan: Plan) -> bool:
    """Whether a revision brings any core other weights than the plan's own."""
    launch = lay_out(plan)
    counts = np.array(plan.weight_layout.shard_channels)[:, None]
    real = np.arange(plan.input_shard.channels) < counts
    met = [
        np.where(real[:, None], _index(maps.composed.weights), -1)
        for maps in (launch.maps, prepare_as(name, launch).maps)
    ]
    return not np.array_equal(met[0], met[1])


def overrun(launch: Launch) -> Launch:
    """Lets tiles run on over the next shards' columns instead of wrapping."""
    layout = launch.plan.weight_layout
    endless = launch.plan.conv.taps * layout.stick_elems
    return _lay(launch, dataclasses.replace(layout, tiles_per_row=endless))


def row_major_faces(launch: Launch) -> Launch:
    weights = launch.maps.weights
    index = np.sort(_index(weights.tilize), axis=1)
    tilize = make_index_map(index, weights.tilize.size)
    return _on_maps(launch, weights=dataclasses.replace(weights, tilize=tilize))


def _starts(plan: Plan) -> Int[np.ndarray, "cores 1"]:
    return np.array([[plan.start_tile(core)] for core in range(plan.num_cores)])


def _read(launch: Launch, pages: Int[np.ndarray, "cores tiles"]) -> Launch:
    pages = np.where(page_ids(launch.plan) == NO_READ, NO_READ, pages)
    return _on_maps(launch, weights=read_pages(launch.maps.weights, pages))


def byte_offset(launch: Launch) -> Launch:
    plan = launch.plan
    step = plan.arch.num_banks - 1  # a page further in the same bank, not the next
    return _read(launch, page_ids(plan) + step * _starts(plan))


def tile_zero(launch: Launch) -> Launch:
    return _read(launch, page_ids(launch.plan) - _starts(launch.plan))


def swapped_columns(launch: Launch) -> Launch:
    plan, shift = launch.plan, launch.plan.channel_tiles
    starts = _starts(plan)
    moved = np.where(starts == 0, shift, np.where(starts == shift, -shift, 0))
    return _read(launch, page_ids(plan) + moved)


def earlier_weights(launch: Launch) -> Launch:
    return _read(launch, page_ids(launch.plan) + pages_to_earlier(launch))


def first_pages_only(launch: Launch) -> Launch:
    """Leaves tiles past the third out. Assumed: their products then count as zeros."""
    weights = launch.maps.weights
    index = _index(weights.read).copy()
    index[:, OLDER_PAGES:] = weights.read.padding
    read = make_index_map(index, weights.read.size)
    return _on_maps(launch, weights=dataclasses.replace(weights, read=read))


# Multicast


def _leave_out(
    launch: Launch, cast: Multicast, cores: Bool[np.ndarray, " c"]
) -> Launch:
    """Lets receivers go on, without the data, with what their L1 held."""
    plan = launch.plan
    num_dests = np.array(cast.num_dests)
    np.subtract.at(num_dests, np.asarray(cast.names)[cores], 1)
    cast = dataclasses.replace(
        cast,
        is_sender=cast.is_sender | cores,
        names=np.where(cores, NO_CORE, cast.names).astype(np.int32),
        num_dests=num_dests,
    )
    pages = np.array([plan.weight_tile_ids(core) for core in range(plan.num_cores)])
    held = pages + pages_to_earlier(launch) if launch.known else np.full_like(pages, -1)
    pages = np.where(cores[:, None], held, page_ids(plan))
    weights = read_pages(launch.maps.weights, pages)
    return _on_maps(launch, weights=weights, multicast=cast)


def _with_rects(
    cast: Multicast, change: Callable[[np.ndarray], np.ndarray]
) -> tuple[Multicast, IndexMap]:
    rect = change(np.asarray(cast.rect)).astype(np.int32)
    cast = dataclasses.replace(cast, rect=rect)
    return cast, handshake(cast).source


def over_rects(
    change: Callable[[np.ndarray], np.ndarray],
) -> Callable[[Launch], Launch]:
    """Changes every rectangle `[cores, (x0, y0, x1, y1)]`."""

    def inject(launch: Launch) -> Launch:
        cast, source = _with_rects(launch.maps.multicast, change)
        return _leave_out(launch, cast, _index(source) == source.poison)

    return inject


def short_rects(rect):
    x0, _, x1, _ = rect.T
    wide = x1 > x0
    return rect - np.stack([0 * wide, 0 * wide, wide, ~wide], axis=1)


def swapped_axes(rect):
    return rect[:, [1, 0, 3, 2]]


def misroutes(change: Callable[[np.ndarray], np.ndarray], plan: Plan) -> bool:
    """Whether other rectangles give a core that has outputs other weights or none."""
    if not plan.core_grid.broadcasts():
        return False
    cast = make_multicast(plan)
    source = handshake(cast).source
    _, changed = _with_rects(cast, change)
    return bool(((_index(source) != _index(changed)) & _computes(plan)).any())


def _computes(plan: Plan) -> Bool[np.ndarray, " cores"]:
    busy = [part.num_outputs > 0 for part in plan.shard_ranges]
    return np.repeat(busy, plan.num_channel_shards)


def hasty_receiver(launch: Launch) -> Launch:
    cast = launch.maps.multicast
    receivers = ~np.asarray(cast.is_sender) & _computes(launch.plan)
    last = np.flatnonzero(receivers)[-1]
    return _leave_out(launch, cast, np.arange(len(cast.names)) == last)


# Bias


def bias_pages(launch: Launch, shift: int | None) -> Launch:
    """Reads the bias of the shard `shift` further on; None for zeros."""
    plan, bias = launch.plan, launch.maps.bias
    assert bias is not None
    read = bias.read
    if shift is None:
        index = np.full_like(_index(read), read.padding)
    else:
        cores = np.arange(plan.num_cores)
        column = (cores + shift) % plan.num_channel_shards
        index = _index(read)[cores - cores % plan.num_channel_shards + column]
    read = make_index_map(index, read.size)
    return _on_maps(launch, bias=dataclasses.replace(bias, read=read))


# Halo and windows


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
    index, held = _index(halo), stale_rows(launch.maps, known=launch.known)
    if ones:
        held = np.arange(len(index))[:, None] * rows + rows // 2
    index = np.where(index == halo.padding, held, index)
    return _on_maps(launch, halo=make_index_map(index, halo.size))


def row_below(launch: Launch) -> Launch:
    """Copies of every stick the one below; past the last, what L1 held before."""
    halo, rows = launch.maps.halo, launch.maps.shard.index.shape[1]
    index, own_rows = _index(halo), rows // 2
    shard, row = np.divmod(index, rows)
    below = shard * own_rows + row + launch.plan.conv.width
    shard, row_of_below = np.divmod(below, own_rows)
    held = stale_rows(launch.maps, known=launch.known)
    moved = np.where(shard < len(index), shard * rows + row_of_below, held)
    copied = (index < halo.size) & (row < own_rows)
    return _on_maps(
        launch, halo=make_index_map(np.where(copied, moved, index), halo.size)
    )


def next_column(launch: Launch) -> Launch:
    top_left = launch.maps.top_left
    index = _index(top_left)
    index = index + (index < top_left.size)
    return _on_maps(launch, top_left=make_index_map(index, top_left.size))


def unit_steps(launch: Launch) -> Launch:
    """Steps by 1 from the first window of each run of a row."""
    plan, top_left = launch.plan, launch.maps.top_left
    index = _index(top_left).copy()
    for shard, part in enumerate(plan.shard_ranges):
        output = part.first_output + np.arange(part.num_outputs)
        column = output % plan.window.out_width
        begin = np.where(output - column < part.first_output, column[:1], 0)
        steps = column - begin
        index[shard, : len(output)] -= steps * (plan.conv.stride[1] - 1)
    return _on_maps(launch, top_left=make_index_map(index, top_left.size))


def undilated(launch: Launch) -> Launch:
    window, (kernel_h, kernel_w) = launch.plan.window, launch.plan.kernel
    row, column = np.divmod(np.arange(kernel_h * kernel_w), kernel_w)
    taps = (row * window.padded_width + column).astype(np.int32)
    return _on_maps(launch, taps=taps)


def swapped_shards(launch: Launch) -> Launch:
    collect, rows = launch.maps.collect, launch.plan.output_shard.rows
    order = np.arange(collect.size).reshape(-1, rows)
    order[[0, 1]] = order[[1, 0]]
    swapped = compose(collect, make_index_map(order.ravel(), collect.size))
    return _on_maps(launch, collect=swapped)
