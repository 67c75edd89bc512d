"""Multicasts that go wrong: cores that go on with what their L1 held before."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool

from jaxdw.faults.used_chip import (
    Launch,
    index_of,
    page_ids,
    pages_to_earlier,
    read_pages,
    with_maps,
)
from jaxdw.maps.indexmap import IndexMap
from jaxdw.maps.multicast import NO_CORE, Multicast, handshake, make_multicast
from jaxdw.plan.plan import Plan


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
    return with_maps(launch, weights=weights, multicast=cast)


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
        return _leave_out(launch, cast, index_of(source) == source.poison)

    return inject


def short_rects(rect):
    x0, _, x1, _ = rect.T
    wide = x1 > x0
    return rect - np.stack([0 * wide, 0 * wide, wide, ~wide], axis=1)


def swapped_axes(rect):
    return rect[:, [1, 0, 3, 2]]


def misroutes(change: Callable[[np.ndarray], np.ndarray], plan: Plan) -> bool:
    """Whether other rectangles give a core that has outputs other weights or none."""
    if not plan.broadcasts:
        return False
    cast = make_multicast(plan)
    source = handshake(cast).source
    _, changed = _with_rects(cast, change)
    return bool(((index_of(source) != index_of(changed)) & _computes(plan)).any())


def _computes(plan: Plan) -> Bool[np.ndarray, " cores"]:
    busy = [part.num_outputs > 0 for part in plan.shard_ranges]
    return np.repeat(busy, plan.num_channel_shards)


def hasty_receiver(launch: Launch) -> Launch:
    cast = launch.maps.multicast
    receivers = ~np.asarray(cast.is_sender) & _computes(launch.plan)
    last = np.flatnonzero(receivers)[-1]
    return _leave_out(launch, cast, np.arange(len(cast.names)) == last)
