"""All maps of one plan, stage by stage, and their composition for fast runs."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Int32

from jaxdw.maps.banks import bank_table, deal_map, read_map
from jaxdw.maps.halo import collect_map, halo_map, shard_map, top_left_map
from jaxdw.maps.indexmap import HostOrDevice, IndexMap, compose, offset_shards, widen
from jaxdw.maps.multicast import Multicast, handshake, make_multicast
from jaxdw.maps.tiles import tilize_map
from jaxdw.maps.weights import bias_prepare_map, prepare_map, served_channels
from jaxdw.plan.plan import Plan
from jaxdw.plan.units import FACE, FACE_ROWS, TILE_BYTES, TILE_ELEMS

NO_READ = -1  # in place of a page id: this core reads nothing


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class DramMaps:
    """How one tensor gets from the host into DRAM and is read from there.

    Attributes:
      prepare: `[rows, columns]` of the row-major matrix, from the host tensor.
      tilize: `[tiles, 64]` rows of 16 elements, from those of the matrix.
      deal: `[banks, slots]` of DRAM, from tiles.
      read: `[cores, tiles]` in L1 of the cores that read, from places in DRAM.
    """

    prepare: IndexMap
    tilize: IndexMap
    deal: IndexMap
    read: IndexMap


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Maps:
    """Where every element comes from, one map for each stage of the data path.

    Attributes:
      multicast: the arguments of the readers' handshake that delivers weights.
      shard: `[shards, input rows]` from NHW sticks.
      halo: `[shards, halo rows]` from input shard rows, shards in a row.
      top_left: `[shards, output rows]`, window starts in the core's own haloed shard.
      taps: `[taps]`, rows from a window's start to each kernel position.
      collect: `[outputs]` from output shard rows, shards in a row.
      channels_per_core: padded channels of one core.
    """

    weights: DramMaps
    bias: DramMaps | None
    multicast: Multicast
    shard: IndexMap
    halo: IndexMap
    top_left: IndexMap
    taps: Int32[HostOrDevice, " taps"]
    collect: IndexMap
    channels_per_core: int = dataclasses.field(metadata={"static": True})

    @property
    def effective_tiles(self) -> int:
        """Of the weight tiles in a core's L1, those that it multiplies."""
        return -(-len(self.taps) * self.channels_per_core // TILE_ELEMS)

    @functools.cached_property
    def composed(self) -> "ComposedMaps":
        """The same moves with every chain of maps run together, made once."""
        with jax.ensure_compile_time_eval():
            return jax.device_put(compose_maps(self))

    @functools.cached_property
    def spread(self) -> dict[Any, Any]:
        """What `machine.mesh` laid out on devices, for each mesh."""
        return {}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class ComposedMaps:
    """The maps of all stages run together, host tensor to core.

    Weights and bias lack their leading axis where all NHW shards get the same.

    Attributes:
      weights: `[(shards,) channel shards, effective tiles, 1024]` from OIHW weights.
      bias: `[(shards,) channel shards, tiles, 1024]` from the bias, or None.
      sticks: `[shards, taps, output rows]` from NHW sticks.
      channels_written: `[(shards,) channels]`, of channel shards in a row, whether all
        weights of a channel were ever written; None if all were.
      no_poison: whether all weights that cores multiply hold values of the host's.
      windows_written: `[shards, output rows]`, the same of a window's elements; None if
        that holds for every output the user sees.
      collect: as in `Maps`, or None if shards in a row begin with the output.
    """

    weights: IndexMap
    bias: IndexMap | None
    sticks: IndexMap
    channels_written: Bool[HostOrDevice, "*nhw channels"] | None
    windows_written: Bool[HostOrDevice, "shards rows"] | None
    collect: IndexMap | None
    no_poison: bool = dataclasses.field(metadata={"static": True})


def make_maps(plan: Plan) -> Maps:
    """Builds and checks the index maps of a plan, on the host."""
    return Maps(
        weights=_weight_maps(plan),
        bias=_bias_maps(plan) if plan.conv.bias else None,
        multicast=make_multicast(plan),
        shard=shard_map(plan),
        halo=halo_map(plan),
        top_left=top_left_map(plan),
        taps=np.array(plan.window.tap_offsets(), np.int32),
        collect=collect_map(plan),
        channels_per_core=plan.input_shard.channels,
    )


def _dram_maps(plan: Plan, prepare: IndexMap, page_ids: np.ndarray) -> DramMaps:
    rows, columns = prepare.index.shape
    tilize = tilize_map(rows, columns)
    page_bytes = TILE_BYTES[plan.conv.weights_dtype]
    table = bank_table(len(tilize.index), page_bytes, 0, plan.arch)
    return DramMaps(
        prepare=prepare,
        tilize=tilize,
        deal=deal_map(table),
        read=read_map(table, page_ids),
    )


def _weight_maps(plan: Plan) -> DramMaps:
    page_ids = np.full((plan.num_cores, plan.weight_tiles_per_core), NO_READ)
    for core in plan.weight_readers:
        page_ids[core] = plan.weight_tile_ids(core)
    prepare = prepare_map(
        plan.weight_layout, channels=plan.conv.channels, taps=plan.conv.taps
    )
    return _dram_maps(plan, prepare, page_ids)


def _bias_maps(plan: Plan) -> DramMaps:
    page_ids = np.array([plan.bias_tile_ids(core) for core in range(plan.num_cores)])
    return _dram_maps(plan, bias_prepare_map(plan), page_ids)


def window_map(top_left: IndexMap, taps: Int32[HostOrDevice, " taps"]) -> IndexMap:
    """Returns the row of each window element: `[shards, taps, output rows]`.

    A row past the haloed shard is memory that nobody wrote.
    """
    start = top_left.index[:, None, :]
    row = start + taps[None, :, None]
    outside = (start >= top_left.size) | (row >= top_left.size) | (row < 0)
    xp = np if isinstance(row, np.ndarray) else jax.numpy
    return IndexMap(xp.where(outside, top_left.poison, row), top_left.size)


def _per_core_elements(maps: DramMaps, pages: IndexMap) -> IndexMap:
    """Returns `[..., 1024]` elements of the host tensor for tiles `[...]`."""
    rows = compose(widen(pages, FACE_ROWS), maps.tilize)
    elements = compose(widen(rows, FACE), maps.prepare)
    shape = (*pages.index.shape, TILE_ELEMS)
    return IndexMap(elements.index.reshape(shape), elements.size)


def _over_grid(pages: IndexMap, num_nhw_shards: int) -> IndexMap:
    """Splits cores into (NHW shard, channel shard); drops the first if all agree."""
    grid = pages.index.reshape(num_nhw_shards, -1, pages.index.shape[-1])
    return IndexMap(grid[0] if (grid == grid[0]).all() else grid, pages.size)


def _tiles_written(pages: IndexMap) -> Bool[HostOrDevice, "*grid tiles"]:
    return pages.index != pages.poison


def compose_maps(maps: Maps) -> ComposedMaps:
    """Runs every chain of maps together, on the host: NumPy in, NumPy out."""
    maps = jax.tree.map(np.asarray, maps)
    num_nhw_shards = len(maps.shard.index)
    read = compose(maps.weights.read, maps.weights.deal)
    source = widen(handshake(maps.multicast).source, maps.weights.read.index.shape[1])
    pages = compose(source, read)
    multiplied = IndexMap(pages.index[:, : maps.effective_tiles], pages.size)
    weight_pages = _over_grid(multiplied, num_nhw_shards)
    bias = bias_written = None
    if maps.bias is not None:
        bias_pages = compose(maps.bias.read, maps.bias.deal)
        bias_pages = _over_grid(bias_pages, num_nhw_shards)
        bias = _per_core_elements(maps.bias, bias_pages)
        bias_written = _tiles_written(bias_pages)

    channels_written = served_channels(
        _tiles_written(weight_pages),
        bias_written,
        taps=len(maps.taps),
        channels=maps.channels_per_core,
    )
    channels_written = channels_written.reshape(*channels_written.shape[:-2], -1)
    windows = offset_shards(window_map(maps.top_left, maps.taps))
    sticks = compose(windows, compose(maps.halo, maps.shard))
    windows_written = (sticks.index != sticks.poison).all(axis=1)
    seen = maps.collect.index[maps.collect.index < maps.collect.size]
    in_order = np.array_equal(maps.collect.index, np.arange(len(maps.collect.index)))
    weights = _per_core_elements(maps.weights, weight_pages)
    return ComposedMaps(
        weights=weights,
        bias=bias,
        sticks=sticks,
        channels_written=None if channels_written.all() else channels_written,
        windows_written=None
        if windows_written.ravel()[seen].all()
        else windows_written,
        collect=None if in_order else maps.collect,
        no_poison=bool((weights.index != weights.poison).all()),
    )
