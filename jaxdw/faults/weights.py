"""Weights and bias that go wrong: preparation, tiles, reads from DRAM."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from jaxdw.faults.used_chip import (
    Launch,
    index_of,
    lay_out,
    lay_weights,
    page_ids,
    pages_to_earlier,
    read_pages,
    weight_sources,
    with_maps,
)
from jaxdw.maps.depthwise import prepare_map
from jaxdw.maps.indexmap import as_table, make_index_map
from jaxdw.maps.maps import NO_READ
from jaxdw.plan.config import WeightLayoutName
from jaxdw.plan.depthwise.layout import WeightLayout, make_weight_layout
from jaxdw.plan.depthwise.weights import tiles_per_reduction, weight_layout
from jaxdw.plan.plan import Plan
from jaxdw.plan.units import TILE, TILE_ELEMS

OLDER_PAGES = 3  # pages of a stick in the older reader and compute kernel


def _prepare(launch: Launch, index: Int[np.ndarray, "rows columns"]) -> Launch:
    weights = launch.maps.weights
    prepare = make_index_map(index, weights.prepare.size)
    return with_maps(launch, weights=dataclasses.replace(weights, prepare=prepare))


def prepare_from(
    source: Callable[[Plan, Int[np.ndarray, " n"], Int[np.ndarray, " n"]], np.ndarray],
) -> Callable[[Launch], Launch]:
    """Takes each weight from the source given for (plan, channel, kernel position).

    A negative source is padding.
    """

    def inject(launch: Launch) -> Launch:
        conv, prepare = (
            launch.plan.conv,
            as_table(launch.maps.weights.prepare, "spoiled"),
        )
        own = conv.channels * conv.taps
        channel, tap = np.divmod(np.arange(own), conv.taps)
        taken = source(launch.plan, channel, tap)
        found = weight_sources(launch.plan, taken)
        sources = np.arange(prepare.size + 2)
        to = weight_sources(launch.plan, np.arange(own))
        sources[to] = np.where(taken < 0, prepare.padding, found)
        return _prepare(launch, sources[index_of(prepare)])

    return inject


def _shard_of(plan: Plan, channel):
    """Returns for each channel its shard's first channel and count."""
    counts = np.array(weight_layout(plan).shard_channels)
    firsts = np.cumsum(counts) - counts
    shard = np.searchsorted(np.cumsum(counts), channel, side="right")
    shard = np.minimum(shard, len(counts) - 1)
    return firsts[shard], np.maximum(counts[shard], 1)


def rotated(plan: Plan, channel, tap):
    first, count = _shard_of(plan, channel)
    return (first + (channel - first + 1) % count) * plan.conv.taps + tap


def without_remainder(plan: Plan, channel, tap):
    counts = weight_layout(plan).shard_channels
    kept = plan.conv.channels - counts[-1] % TILE
    return np.where(channel < kept, channel * plan.conv.taps + tap, -1)


def wide_blocks(launch: Launch) -> Launch:
    """Takes for every block of channels the tiles that stand where it would begin.

    Source: tt-metal reader_pool_2d.cpp @ff6ab496, compute_pool_2d.cpp @002a3f41.
    Assumed: sticks of a last, narrower block lie as far apart as those of a full one;
    past the tiles that a core holds it reads zeros.
    """
    plan, pairing = launch.plan, launch.maps.pairing
    block = tiles_per_reduction(plan) * TILE
    tap, channel = np.divmod(index_of(pairing), plan.input_shard.channels)
    first_tile = channel // block * tiles_per_reduction(plan)
    met = first_tile * TILE_ELEMS + tap * block + channel % block
    met = np.minimum(met, pairing.padding)
    return with_maps(launch, pairing=make_index_map(met, pairing.size))


def _lay(launch: Launch, layout: WeightLayout) -> Launch:
    conv = launch.plan.conv
    prepare = prepare_map(layout, channels=conv.channels, taps=conv.taps)
    weights = lay_weights(launch.plan, prepare, known=launch.known)
    return with_maps(launch, weights=weights)


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
    counts = np.array(weight_layout(plan).shard_channels)[:, None]
    real = np.arange(plan.input_shard.channels) < counts
    met = [
        np.where(real[:, None], index_of(maps.composed.weights), -1)
        for maps in (launch.maps, prepare_as(name, launch).maps)
    ]
    return not np.array_equal(met[0], met[1])


def overrun(launch: Launch) -> Launch:
    """Lets tiles run on over the next shards' columns instead of wrapping."""
    layout = weight_layout(launch.plan)
    endless = launch.plan.conv.taps * layout.stick_elems
    return _lay(launch, dataclasses.replace(layout, tiles_per_row=endless))


def row_major_faces(launch: Launch) -> Launch:
    weights = launch.maps.weights
    index = np.sort(index_of(as_table(weights.tilize, "spoiled")), axis=1)
    tilize = make_index_map(index, weights.tilize.size)
    return with_maps(launch, weights=dataclasses.replace(weights, tilize=tilize))


def _starts(plan: Plan) -> Int[np.ndarray, "cores 1"]:
    return np.array([[plan.start_tile(core)] for core in range(plan.num_cores)])


def _read(launch: Launch, pages: Int[np.ndarray, "cores tiles"]) -> Launch:
    pages = np.where(page_ids(launch.plan) == NO_READ, NO_READ, pages)
    return with_maps(launch, weights=read_pages(launch.maps.weights, pages))


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
    index = index_of(weights.read).copy()
    index[:, OLDER_PAGES:] = weights.read.padding
    read = make_index_map(index, weights.read.size)
    return with_maps(launch, weights=dataclasses.replace(weights, read=read))


def next_bias(launch: Launch) -> Launch:
    """Reads the bias of the next shard."""
    plan, bias = launch.plan, launch.maps.bias
    assert bias is not None
    cores = np.arange(plan.num_cores)
    column = (cores + 1) % plan.num_channel_shards
    index = index_of(bias.read)[cores - cores % plan.num_channel_shards + column]
    read = make_index_map(index, bias.read.size)
    return with_maps(launch, bias=dataclasses.replace(bias, read=read))
