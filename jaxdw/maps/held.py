"""What lies in the tiles of the cores' L1: their elements, followed to the host."""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int

from jaxdw.maps.indexmap import IndexMap, Sources, element_of, follow, narrow
from jaxdw.plan.units import FACE, TILE_ELEMS


@runtime_checkable
class WayToL1(Protocol):
    """What `DramMaps` says, by tables or by formulas."""

    @property
    def prepare(self) -> Sources: ...
    @property
    def tilize(self) -> Sources: ...
    @property
    def deal(self) -> Sources: ...
    @property
    def read(self) -> Sources: ...


class InL1(NamedTuple):
    """Elements of the tiles in the cores' L1, as `held_in_l1` finds them.

    Both lack their leading axis where all NHW shards hold the same.

    Attributes:
      sources: `[(shards,) channel shards, ...]` from the host tensor.
      written: of the same shape, whether the tile was ever written.
    """

    sources: IndexMap
    written: Bool[np.ndarray, "*grid elements"]


def pages_in_l1(
    tensor: WayToL1,
    sent: Sources | None,
    num_tiles: int,
    wanted: Int[np.ndarray, " wanted"] | None = None,
) -> Int[np.ndarray, "cores wanted"]:
    """Returns the tile of DRAM that each tile in the cores' L1 holds.

    Args:
      sent: the core each core's tiles come from; None if each reads its own.
      num_tiles: of one core; wanted: the ones to look at, sentinels among them, or all.
    """
    wanted = np.arange(num_tiles) if wanted is None else wanted
    num_cores = tensor.read.destinations // num_tiles
    first = np.arange(num_cores)[:, None] * num_tiles
    place = np.where(wanted < num_tiles, first, (num_cores - 1) * num_tiles) + wanted
    if sent is not None:
        place = follow(place, sent, num_tiles)
    return tensor.deal.at(tensor.read.at(place))


def held_in_l1(
    tensor: WayToL1, sent: Sources | None, elements: IndexMap, num_nhw_shards: int
) -> InL1:
    """Follows elements of the cores' tiles back to the host tensor.

    Only tiles that hold one of them are looked at, and of these only the elements.

    Args:
      sent: the core each core's tiles come from; None if each reads its own.
      elements: `[channel shards or 1, ...]` from the elements of a core's tiles.
    """
    tiles = elements.size // TILE_ELEMS
    num_cores, rest = divmod(tensor.read.destinations, tiles)
    if rest or num_cores % num_nhw_shards:
        raise ValueError(
            f"`elements.size` (={elements.size}) must be the elements of each core's "
            f"tiles, {tensor.read.destinations} tiles on all cores"
        )
    touched, which = np.unique(narrow(elements, TILE_ELEMS).index, return_inverse=True)
    pages = pages_in_l1(tensor, sent, tiles, touched)
    pages = pages.reshape(num_nhw_shards, -1, len(touched))
    if (pages == pages[0]).all():
        pages = pages[0]
    which = which.reshape(len(elements.index), -1)
    which = np.broadcast_to(which, (*pages.shape[:-1], which.shape[-1]))
    page = np.take_along_axis(pages, which, axis=-1)
    page = page.reshape(*pages.shape[:-1], *elements.index.shape[1:])
    inside = np.asarray(elements.index) % TILE_ELEMS
    found = element_of(page, inside, tensor.deal.size, TILE_ELEMS)
    found = follow(follow(found, tensor.tilize, FACE), tensor.prepare)
    sources = IndexMap(found.astype(np.int32), tensor.prepare.size)
    return InL1(sources, page != tensor.deal.size + 1)
