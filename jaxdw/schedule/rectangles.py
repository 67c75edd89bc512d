"""The readers' multicast arguments of many grids, and the tiles their corners span."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int
from numpy.typing import ArrayLike

from jaxdw.arch.arch import Arch
from jaxdw.errors import refuse
from jaxdw.maps.multicast import NO_CORE, Multicast
from jaxdw.plan.config import Scheme

IntOrEach = int | Int[np.ndarray, " grids"]  # one for all grids, or one for each

N150_TILES = (8, 9)  # of a Wormhole n150: 8x8 workers and a row with dispatch cores


@dataclasses.dataclass(frozen=True, kw_only=True)
class Multicasts:
    """The readers' multicast arguments of many grids, padded to the largest.

    The fields of `Multicast` with the grid in front; `present` says which cores are.
    """

    xy: Int[np.ndarray, "grids cores 2"]
    is_sender: Bool[np.ndarray, "grids cores"]
    names: Int[np.ndarray, "grids cores"]
    rect: Int[np.ndarray, "grids cores 4"]
    num_dests: Int[np.ndarray, "grids cores"]
    present: Bool[np.ndarray, "grids cores"]

    def one(self, grid: int) -> Multicast:
        """Returns the arguments of one grid."""
        cores = self.present[grid]
        return Multicast(
            xy=self.xy[grid, cores].astype(np.int32),
            is_sender=self.is_sender[grid, cores],
            names=self.names[grid, cores].astype(np.int32),
            rect=self.rect[grid, cores].astype(np.int32),
            num_dests=self.num_dests[grid, cores].astype(np.int32),
        )


def stack_multicasts(multicasts: Sequence[Multicast]) -> Multicasts:
    """Returns many grids' arguments as one batch."""
    most = max((len(m.names) for m in multicasts), default=0)

    def stacked(values: Sequence[ArrayLike], fill: int) -> np.ndarray:
        arrays = [np.asarray(v) for v in values]
        rest = [(0, 0)] * (arrays[0].ndim - 1)
        return np.stack(
            [
                np.pad(a, [(0, most - len(a)), *rest], constant_values=fill)
                for a in arrays
            ]
        )

    return Multicasts(
        xy=stacked([m.xy for m in multicasts], 0),
        is_sender=stacked([m.is_sender for m in multicasts], 0),
        names=stacked([m.names for m in multicasts], NO_CORE),
        rect=stacked([m.rect for m in multicasts], 0),
        num_dests=stacked([m.num_dests for m in multicasts], 0),
        present=stacked([np.ones(len(m.names), bool) for m in multicasts], 0),
    )


def factory_multicasts(
    scheme: Scheme | Sequence[Scheme],
    x: IntOrEach,
    num_cores: IntOrEach,
    channel_shards: IntOrEach,
) -> Multicasts:
    """Returns the arguments that the factory gives any grids, without a plan.

    Args, each one value or one for each grid:
      scheme: `height`, `width` or `block`.
      x: columns of the grid; its cores fill rows, the last perhaps in part.
      channel_shards: of BLOCK: columns of a ROW_MAJOR grid, rows of a COL_MAJOR one,
        which the factory numbers row by row all the same.

    Source: tt-metal conv2d_op_depthwise_program_factory.cpp @002a3f41.
    """
    schemes, x, num_cores, channel_shards = (
        np.atleast_1d(v)[:, None]
        for v in np.broadcast_arrays(scheme, x, num_cores, channel_shards)
    )
    core = np.arange(num_cores.max(initial=0))[None]
    present = core < num_cores
    block, height = schemes == "block", schemes == "height"
    column, row = core % channel_shards, core // channel_shards
    is_sender = present & np.where(block, row == 0, (core == 0) | ~height)
    receiver = present & ~is_sender
    last_row = num_cores // channel_shards - 1
    num_dests = is_sender * np.where(block, last_row, height * (num_cores - 1))
    inside = column < x  # the core named stands in the grid's first row
    names = np.where(receiver, np.where(block & inside, column, -block.astype(int)), -1)
    boxes = np.where(
        block[..., None],
        np.stack(np.broadcast_arrays(column, 0, column, last_row), axis=-1),
        np.stack(np.broadcast_arrays(0, 0, x - 1, (num_cores - 1) // x), axis=-1),
    )
    return Multicasts(
        xy=np.stack([core % x, core // x], axis=-1) * present[..., None],
        is_sender=is_sender,
        names=names,
        rect=boxes * (num_dests > 0)[..., None],
        num_dests=num_dests,
        present=present,
    )


def live_tiles(arch: Arch) -> tuple[int, int]:
    """Returns the Tensix tiles (x, y) that take multicasts, dispatch cores among them.

    One line beyond the workers, along the axis with more tiles than workers. Source:
    tt-metal core_descriptors/wormhole_b0_80_arch.yaml @049e2880. Assumed: Blackhole
    alike, a column.
    """
    x, y = arch.grid
    return x + (len(arch.worker_x) > x), y + (len(arch.worker_y) > y)


def swap_corners(multicast: Multicast) -> Multicast:
    """Returns the arguments with start and end exchanged, as NoC 1 needs them."""
    rect = np.asarray(multicast.rect)[:, [2, 3, 0, 1]]
    return dataclasses.replace(multicast, rect=rect)


def spans(
    grids: Multicasts, noc: IntOrEach, tiles: tuple[int, int]
) -> tuple[Bool[np.ndarray, "grids cores x"], Bool[np.ndarray, "grids cores y"]]:
    """Returns the columns and rows of tiles that each core's encoded corners span.

    A span wraps if its start lies past its end; NoC 1 counts the other way. Logical
    coordinates keep the order of the NoC's, and only live Tensix tiles receive, so the
    rule holds in them too. No corners at all are (0, 0) of the NoC, which receives
    nothing. Source: tt-isa-documentation WormholeB0/NoC/{MemoryMap,Coordinates}
    @39304719. `Assumed:` Blackhole alike.
    """
    noc, limit = np.asarray(noc), np.array(tiles)
    corners, problems = grids.rect.reshape(-1, 2), []
    if not np.isin(noc, (0, 1)).all():
        problems.append(f"`noc` (={noc.tolist()}) must be 0 or 1")
    for name, points in (("xy", grids.xy.reshape(-1, 2)), ("rect", corners)):
        outside = points[((points < 0) | (points >= limit)).any(axis=1)]
        if len(outside):
            problems.append(
                f"`{name}` (={tuple(outside[0].tolist())}) must lie inside the "
                f"{tiles[0]}x{tiles[1]} tiles; pass the `tiles` of a larger chip"
            )
    unknown = grids.names >= grids.present.sum(axis=1, keepdims=True)
    strangers = grids.names[(grids.names < NO_CORE) | unknown]
    if len(strangers):
        problems.append(
            f"`names` (={int(strangers[0])}) must be a core of the program; use "
            f"{NO_CORE} for none"
        )
    refuse(problems)
    given = (grids.num_dests > 0) | grids.rect.any(axis=2)
    flipped = np.broadcast_to(noc.reshape(-1, 1, 1) == 1, (len(noc.reshape(-1)), 1, 1))
    both = []
    for axis in range(2):
        start, end = grids.rect[..., axis, None], grids.rect[..., axis + 2, None]
        start, end = np.where(flipped, end, start), np.where(flipped, start, end)
        at = np.arange(tiles[axis])
        from_start, to_end = start <= at, at <= end
        span = np.where(start <= end, from_start & to_end, from_start | to_end)
        both.append(span & given[..., None])
    return both[0], both[1]
