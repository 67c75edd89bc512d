"""The verdicts of `judge_schedule` on many grids at once, as array code."""

import dataclasses

import numpy as np
from jaxtyping import Bool

from jaxdw.schedule.rectangles import N150_TILES, IntOrEach, Multicasts, spans


@dataclasses.dataclass(frozen=True, kw_only=True)
class GridVerdicts:
    """What `judge_schedule` finds with the intact protocol, for many grids.

    Each kind of problem by grid and core, stray writes by grid and tile.
    """

    clean: Bool[np.ndarray, " grids"]
    race: Bool[np.ndarray, "grids cores"]
    deadlock: Bool[np.ndarray, "grids cores"]
    unserved: Bool[np.ndarray, "grids cores"]
    acknowledgement: Bool[np.ndarray, "grids cores"]
    stray_write: Bool[np.ndarray, "grids tiles_y tiles_x"]


def judge_grids(
    grids: Multicasts, *, noc: IntOrEach = 0, tiles: tuple[int, int] = N150_TILES
) -> GridVerdicts:
    """Decides for many grids at once what `READERS_PROTOCOL` can do.

    A sender multicasts if as many receivers name it as it waits for, or more; with
    more it may hang, and nothing orders what it sends. Memory grows with grids times
    cores squared.

    Args:
      noc: one for all, or one for each grid; corners as encoded.
      tiles: Tensix tiles (x, y) that take multicasts.

    Raises:
      ConfigError: as `judge_schedule`.
    """
    x_spans, y_spans = spans(grids, noc, tiles)
    num_grids, num_cores = grids.present.shape
    receiver = grids.present & ~grids.is_sender
    cores = np.arange(num_cores)
    named = (grids.names[:, None] == cores[:, None]) & receiver[:, None]
    waiting = grids.is_sender & (grids.num_dests > 0)
    arrived = named.sum(axis=2)
    exact = waiting & (arrived == grids.num_dests)
    sends = waiting & (arrived >= grids.num_dests)
    shape = num_grids, num_cores, num_cores
    x, y = (np.broadcast_to(grids.xy[:, None, :, axis], shape) for axis in range(2))
    reach = np.take_along_axis(x_spans, x, 2)
    reach &= np.take_along_axis(y_spans, y, 2)
    itself = reach[:, cores, cores]
    reach &= grids.present[:, None] & (cores[:, None] != cores)
    hit = reach & sends[..., None]
    foreign = (hit & ~named).any(axis=1)
    unordered = (hit & ~exact[..., None]).any(axis=1)
    late = np.where(waiting, arrived > grids.num_dests, arrived > 0)
    answers = x_spans.sum(axis=2) * y_spans.sum(axis=2) - itself
    x_sent = (x_spans & sends[..., None]).astype(np.float32)
    stray_write = y_spans.astype(np.float32).swapaxes(1, 2) @ x_sent > 0
    grid, core = np.nonzero(grids.present)
    x, y = grids.xy[grid, core].T
    stray_write[grid, y, x] = foreign[grid, core]
    found = {
        "race": foreign | unordered | late,
        "deadlock": (waiting & ~exact)
        | (receiver & ~(hit & named & exact[..., None]).any(axis=1)),
        "unserved": receiver & ~(hit & named).any(axis=1),
        "acknowledgement": sends & (answers != grids.num_dests),
        "stray_write": stray_write,
    }
    bad = [mask.reshape(num_grids, -1).any(axis=1) for mask in found.values()]
    return GridVerdicts(clean=~np.any(bad, axis=0), **found)
