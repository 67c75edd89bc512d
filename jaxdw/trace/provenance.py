"""The provenance of every element: the maps of a plan composed, and inverted."""

import functools
from typing import Literal

import numpy as np
from jaxtyping import Int

from jaxdw.maps.indexmap import (
    HostOrDevice,
    IndexMap,
    as_table,
    compose,
    offset_shards,
    widen,
)
from jaxdw.maps.maps import make_maps, window_map
from jaxdw.maps.multicast import handshake
from jaxdw.plan.plan import Plan
from jaxdw.plan.units import FACE, TILE_BYTES, TILE_ELEMS

# `input`: a core that holds no weights and only sends windows to others
Role = Literal["reader", "sender", "receiver", "input", "idle"]

NOTHING = -1  # no weight, no tile, no core, no stick


class Provenance:
    """Says what lies where, by the very maps that the emulator gathers with.

    Arrays hold `NOTHING` where a map names padding or memory that nobody wrote. Cores
    are those of the output's grid, unless they are said to be the input's.

    Raises:
      UnsupportedError: a layer of several launches, or whose weights' matrix is too
        large for a table.
    """

    def __init__(self, plan: Plan):
        plan.refuse_slices("explain")
        self.plan = plan
        self.maps = make_maps(plan)
        self.prepare = as_table(self.maps.weights.prepare, "traced")
        self.tilize = as_table(self.maps.weights.tilize, "traced")

    @functools.cached_property
    def tile_weights(self) -> Int[np.ndarray, "tiles 1024"]:
        """The OIHW weight in each element of each tile, in memory order."""
        found = compose(widen(self.tilize, FACE), self.prepare)
        return or_nothing(found).reshape(-1, TILE_ELEMS)

    @functools.cached_property
    def matrix_places(self) -> Int[np.ndarray, "tiles 1024"]:
        """The flat place in the prepared matrix of each element of each tile."""
        places = widen(self.tilize, FACE).index
        return np.asarray(places, np.int64).reshape(-1, TILE_ELEMS)

    def places_of(self, weight: int) -> Int[np.ndarray, " copies"]:
        """Returns where an OIHW weight lies among the tiles, in the matrix's order.

        `tile * 1024 + element`; of a weight that is repeated, every copy.
        """
        places = np.flatnonzero(self.tile_weights == weight)
        return places[np.argsort(self.matrix_places.ravel()[places])]

    @functools.cached_property
    def weight_sources(self) -> Int[np.ndarray, " cores"]:
        """The core each core's weights come from."""
        return or_nothing(handshake(self.maps.multicast).source)

    @functools.cached_property
    def held_tiles(self) -> Int[np.ndarray, "cores places"]:
        """The tile id in each place of each core's weight_cb."""
        weights = self.maps.weights
        pages = compose(weights.read, weights.deal)
        source = widen(handshake(self.maps.multicast).source, pages.index.shape[1])
        return or_nothing(compose(source, pages))

    @functools.cached_property
    def _by_tile(self) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """Places in all weight_cb in the order of their tiles, and those tiles."""
        held = self.held_tiles.ravel()
        order = np.argsort(held, kind="stable")
        return order, held[order]

    def holders(self, tile: int) -> list[tuple[int, int]]:
        """Returns the core and the place in its weight_cb of each copy of a tile."""
        order, tiles = self._by_tile
        found = order[np.searchsorted(tiles, tile) : np.searchsorted(tiles, tile + 1)]
        cores, places = np.divmod(found, self.held_tiles.shape[1])
        return list(zip(cores.tolist(), places.tolist(), strict=True))

    @functools.cached_property
    def met_elements(self) -> Int[np.ndarray, "channel_shards_or_1 taps channels"]:
        """The element of its weight_cb that each window element of a core meets."""
        return or_nothing(self.maps.pairing)

    def met_by(self, core: int, element: int) -> tuple[int, int] | None:
        """Returns the tap and the channel of a core that meet an element, if any."""
        met = self.met_elements
        shard = core % self.plan.num_output_shards % len(met)
        taps, channels = np.nonzero(met[shard] == element)
        return (int(taps[0]), int(channels[0])) if len(taps) else None

    @functools.cached_property
    def bias_tiles(self) -> Int[np.ndarray, "cores places"]:
        """The bias tile id in each place of each core's bias_cb."""
        bias = self.maps.bias
        if bias is None:
            return np.empty((self.plan.num_output_cores, 0), np.int64)
        return or_nothing(compose(bias.read, bias.deal))

    @functools.cached_property
    def input_sticks(self) -> Int[np.ndarray, "shards rows"]:
        """The NHW stick in each row of each input shard."""
        return or_nothing(self.maps.shard)

    @functools.cached_property
    def halo_places(self) -> Int[np.ndarray, "shards rows"]:
        """The row among all input shards of each haloed row, sentinels kept.

        `maps.halo.padding` is a stick of zeros, `maps.halo.poison` an unwritten row.
        """
        return np.asarray(self.maps.halo.index, np.int64)

    @functools.cached_property
    def window_starts(self) -> Int[np.ndarray, "shards rows"]:
        """The haloed row where each output's window starts."""
        return or_nothing(self.maps.top_left)

    @functools.cached_property
    def window_rows(self) -> Int[np.ndarray, "shards taps rows"]:
        """The haloed row of each window element of each output."""
        return or_nothing(window_map(self.maps.top_left, self.maps.taps))

    @functools.cached_property
    def window_sticks(self) -> Int[np.ndarray, "shards taps rows"]:
        """The NHW stick of each window element of each output."""
        windows = offset_shards(window_map(self.maps.top_left, self.maps.taps))
        return or_nothing(compose(windows, compose(self.maps.halo, self.maps.shard)))

    @functools.cached_property
    def outputs(self) -> Int[np.ndarray, "shards rows"]:
        """The NHW output in each row of each output shard."""
        shape = (self.plan.num_nhw_shards, self.plan.output_rows)
        return _invert(self.maps.collect.index, int(np.prod(shape))).reshape(shape)

    @functools.cached_property
    def weight_cb_address(self) -> int:
        """Where weight_cb begins in every core's L1."""
        return self.plan.l1.address_of("weights")

    @functools.cached_property
    def haloed_address(self) -> int:
        """Where the haloed shard begins in every core's L1."""
        return self.plan.l1.address_of("source")

    @functools.cached_property
    def weight_cb_tiles(self) -> int:
        """Tiles that weight_cb holds at a time; later ones replace earlier ones."""
        buffer = self.plan.l1.of("weights")
        assert buffer is not None
        return buffer.asked_bytes // TILE_BYTES[self.plan.conv.weights_dtype]

    @functools.cached_property
    def cores_at(self) -> dict[tuple[int, int], int]:
        """The cores by their logical coordinates."""
        return {self.xy(core): core for core in range(self.plan.num_output_cores)}

    @functools.cached_property
    def input_cores_at(self) -> dict[tuple[int, int], int]:
        """The cores of the input's grid by their logical coordinates."""
        grid = self.plan.core_grid
        return {grid.xy(core): core for core in range(self.plan.num_cores)}

    def xy(self, core: int) -> tuple[int, int]:
        """Returns the logical coordinates of a core."""
        x, y = self.maps.multicast.xy[core].tolist()
        return x, y

    def role(self, core: int) -> Role:
        """Returns what a core does for its weights."""
        if not self.maps.multicast.is_sender[core]:
            return "receiver"
        return "sender" if self.maps.multicast.num_dests[core] else "reader"

    def receivers(self, core: int) -> tuple[int, ...]:
        """Returns the cores whose weights come from another one's multicast."""
        sent = self.weight_sources == core
        return tuple(c for c in np.flatnonzero(sent).tolist() if c != core)


def or_nothing(index_map: IndexMap) -> Int[np.ndarray, "..."]:
    """Returns a map's sources, sentinels as `NOTHING`."""
    index = np.asarray(index_map.index, np.int64)
    return np.where(index < index_map.size, index, NOTHING)


def _invert(index: HostOrDevice, size: int) -> Int[np.ndarray, " size"]:
    flat = np.asarray(index).ravel()
    place = np.full(size, NOTHING, np.int64)
    real = np.flatnonzero((flat >= 0) & (flat < size))
    place[flat[real]] = real
    return place


@functools.lru_cache(maxsize=8)
def provenance_of(plan: Plan) -> Provenance:
    """Returns a plan's provenance, made once."""
    return Provenance(plan)
