"""All maps of one plan, stage by stage, and their composition for fast runs."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Int32

from jaxdw.maps import depthwise, regular
from jaxdw.maps.banks import bank_table, deal_map, read_map
from jaxdw.maps.bias import bias_lanes, bias_prepare_map
from jaxdw.maps.dense import Dense, check_dense
from jaxdw.maps.halo import collect_map, halo_map, shard_map, top_left_map
from jaxdw.maps.held import InL1, held_in_l1
from jaxdw.maps.indexmap import (
    FormulaMap,
    HostOrDevice,
    IndexMap,
    check_indices,
    compose,
    element_of,
    narrow,
    offset_shards,
)
from jaxdw.maps.lanes import LaneMaps, fitted, side_by_side
from jaxdw.maps.multicast import Multicast, handshake, make_multicast
from jaxdw.maps.strided import Strided, strided_windows
from jaxdw.maps.tiles import tilize_formula, tilize_map
from jaxdw.plan.map_facts import MapFacts
from jaxdw.plan.plan import Plan
from jaxdw.plan.units import FACE, FACE_ROWS, TILE, TILE_BYTES
from jaxdw.shown import Shown


class ProgramMaps(NamedTuple):
    """What a device program says of its weights.

    Attributes:
      prepare: the map from OIHW weights to the prepared matrix.
      pairing, dense: as in `Maps`.
    """

    prepare: Callable[[Plan], IndexMap | FormulaMap]
    pairing: Callable[[Plan], IndexMap]
    dense: Callable[[Plan], Dense | None] = lambda plan: None


PROGRAMS = {
    "depthwise": ProgramMaps(depthwise.prepare_map_of, depthwise.pairing_map),
    "regular": ProgramMaps(regular.prepare_map, regular.pairing_map, regular.dense_of),
    "conv1d": ProgramMaps(regular.prepare_map, regular.pairing_map, regular.dense_of),
}

NO_READ = -1  # in place of a page id: this core reads nothing


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class DramMaps:
    """How one tensor gets from the host into DRAM and is read from there.

    Attributes:
      prepare: `[rows, columns]` of the row-major matrix, from the host tensor.
      tilize: `[tiles, 64]` rows of 16 elements, from those of the matrix. Both are
        formulas where the matrix is too large for a table.
      deal: `[banks, slots]` of DRAM, from tiles.
      read: `[cores, tiles]` in L1 of the cores that read, from places in DRAM.
    """

    prepare: IndexMap | FormulaMap
    tilize: IndexMap | FormulaMap
    deal: IndexMap
    read: IndexMap


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, repr=False)
class Maps(Shown):
    """Where every element comes from, one map for each stage of the data path.

    Attributes:
      multicast: the arguments of the readers' handshake that delivers weights.
      pairing: `[channel shards or 1, taps, channels]` of a core's windows, from the
        elements of the weight tiles in its L1: what each window element meets.
      dense: what holds for all other elements; None if nobody multiplies them.
      shard: `[shards, input rows]` from NHW sticks.
      halo: `[shards, halo rows]` from input shard rows, shards in a row.
      top_left: `[shards, output rows]`, window starts in the core's own haloed shard.
      taps: `[taps]`, rows from a window's start to each kernel position.
      collect: `[outputs]` from output shard rows, shards in a row.
      facts: what the maps were made by; None inside a computation, which plans share.
      channels_per_core: padded output channels of one core.
      lanes: padded input channels of all cores, which windows have.
      block_elems: elements of a tile's face row that are packed together, 16 if they
        share an exponent.
    """

    weights: DramMaps
    bias: DramMaps | None
    multicast: Multicast
    pairing: IndexMap
    dense: Dense | None
    shard: IndexMap
    halo: IndexMap
    top_left: IndexMap
    taps: Int32[HostOrDevice, " taps"]
    collect: IndexMap
    facts: MapFacts | None = dataclasses.field(metadata={"static": True})
    channels_per_core: int = dataclasses.field(metadata={"static": True})
    lanes: int = dataclasses.field(metadata={"static": True})
    block_elems: int = dataclasses.field(metadata={"static": True})

    def __repr__(self) -> str:
        return f"<Maps, {self.channels_per_core} channels a core>"

    @functools.cached_property
    def on_host(self) -> "ComposedMaps":
        """`composed` as NumPy arrays."""
        with jax.ensure_compile_time_eval():
            return compose_maps(self)

    @functools.cached_property
    def composed(self) -> "ComposedMaps":
        """The same moves with every chain of maps run together, made once."""
        with jax.ensure_compile_time_eval():
            return jax.device_put(self.on_host)

    @functools.cached_property
    def strided(self) -> "StridedMaps | None":
        """`composed` with windows that are slices; None if cores read others."""
        with jax.ensure_compile_time_eval():
            return jax.device_put(self.strided_on_host)

    @functools.cached_property
    def strided_on_host(self) -> "StridedMaps | None":
        """`strided` as NumPy arrays."""
        return stride_maps(self.on_host, self)

    @functools.cached_property
    def by_mesh(self) -> dict[Any, Any]:
        """What `launch.mesh` laid out on devices, for each mesh."""
        return {}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class ComposedMaps(LaneMaps):
    """The maps of all stages run together, host tensor to core.

    Attributes:
      sticks: `[shards, taps, output rows]` from NHW sticks.
      windows_written: `[shards, output rows]`, whether a window's elements were ever
        written; None if that holds for every output the user sees.
      collect: as in `Maps`, or None if shards in a row begin with the output.
    """

    sticks: IndexMap
    windows_written: Bool[HostOrDevice, "shards rows"] | None
    collect: IndexMap | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class StridedMaps(LaneMaps):
    """`ComposedMaps` of which the windows are slices, and all NHW shards alike.

    Weights are those of all channel shards in a row, as of one.

    Attributes:
      windows: of all outputs, in the order in which the user sees them.
    """

    windows: Strided


def make_maps(plan: Plan) -> Maps:
    """Builds and checks the index maps of a plan, on the host."""
    return Maps(
        weights=_weight_maps(plan),
        bias=_bias_maps(plan) if plan.conv.bias else None,
        multicast=make_multicast(plan),
        pairing=PROGRAMS[plan.program].pairing(plan),
        dense=PROGRAMS[plan.program].dense(plan),
        shard=shard_map(plan),
        halo=halo_map(plan),
        top_left=top_left_map(plan),
        taps=np.array(plan.window.tap_offsets(), np.int32),
        collect=collect_map(plan),
        facts=plan.map_facts,
        channels_per_core=plan.output_shard.channels,
        lanes=plan.num_channel_shards * plan.input_shard.channels,
        block_elems=1 if plan.conv.weights_dtype in ("bfloat16", "float32") else FACE,
    )


def _dram_maps(
    plan: Plan,
    prepare: IndexMap | FormulaMap,
    shape: tuple[int, int],
    page_ids: np.ndarray,
) -> DramMaps:
    is_table = isinstance(prepare, IndexMap)
    tilize = tilize_map(*shape) if is_table else tilize_formula(*shape)
    page_bytes = TILE_BYTES[plan.conv.weights_dtype]
    table = bank_table(tilize.destinations // FACE_ROWS, page_bytes, 0, plan.arch)
    return DramMaps(
        prepare=prepare,
        tilize=tilize,
        deal=deal_map(table),
        read=read_map(table, page_ids),
    )


def _weight_maps(plan: Plan) -> DramMaps:
    page_ids = np.full((plan.num_output_cores, plan.weight_tiles_per_core), NO_READ)
    for core in plan.weight_readers:
        page_ids[core] = plan.weight_tile_ids(core)
    prepare = PROGRAMS[plan.program].prepare(plan)
    return _dram_maps(plan, prepare, plan.weight_matrix_shape, page_ids)


def _bias_maps(plan: Plan) -> DramMaps:
    cores = range(plan.num_output_cores)
    page_ids = np.array([plan.bias_tile_ids(core) for core in cores])
    prepare = bias_prepare_map(plan)
    return _dram_maps(plan, prepare, (TILE, plan.bias_columns), page_ids)


def window_map(top_left: IndexMap, taps: Int32[HostOrDevice, " taps"]) -> IndexMap:
    """Returns the row of each window element: `[shards, taps, output rows]`.

    A row past the haloed shard is memory that nobody wrote.
    """
    start = top_left.index[:, None, :]
    row = start + taps[None, :, None]
    outside = (start >= top_left.size) | (row >= top_left.size) | (row < 0)
    xp = np if isinstance(row, np.ndarray) else jax.numpy
    return IndexMap(xp.where(outside, top_left.poison, row), top_left.size)


def _blocks(pairing: IndexMap, elems: int) -> tuple[IndexMap, IndexMap | None]:
    """Returns the elements to pack, in whole blocks, and the lanes among them.

    Returns:
      The pairing and None where its lanes, in runs of `elems`, are whole blocks; or
      `[channel shards or 1, n, elems]` from the tiles' elements, and `[channel shards
      or 1, taps, channels]` from a core's `n * elems`.
    """
    if _are_whole_blocks(pairing, elems):
        return pairing, None
    rows = narrow(pairing, elems)
    found = [np.unique(row, return_inverse=True) for row in rows.index]
    most = max(len(row) for row, _ in found)
    block = np.full((len(found), most, 1), rows.padding)
    for n, (row, _) in enumerate(found):
        block[n, : len(row), 0] = row
    index = element_of(block, np.arange(elems), rows.size, elems)
    lanes = np.stack([place for _, place in found]) * elems + pairing.index % elems
    return (
        IndexMap(index.astype(np.int32), pairing.size),
        IndexMap(lanes.astype(np.int32), most * elems),
    )


def _are_whole_blocks(pairing: IndexMap, elems: int) -> bool:
    """Whether every run of `elems` channels is one block, or nothing throughout."""
    if pairing.index.shape[-1] % elems:
        return False
    runs = pairing.index.reshape(-1, elems)
    starts = runs[:, :1]
    real = starts < pairing.size
    aligned = ~real | (starts % elems == 0)
    return bool(aligned.all() and (runs == starts + real * np.arange(elems)).all())


def _weight_lanes(maps: Maps) -> tuple[InL1, IndexMap | None]:
    """Returns where the weight of each lane comes from, and the blocks it lies in."""
    sent = handshake(maps.multicast).source
    elements, lanes = _blocks(maps.pairing, maps.block_elems)
    held = held_in_l1(maps.weights, sent, elements, len(maps.shard.index))
    if lanes is None:
        return held, None
    blocks = held.sources
    grid, per_core = blocks.index.shape[:-2], lanes.size
    lane = np.broadcast_to(lanes.index, (*grid, *lanes.index.shape[1:]))
    core = np.arange(np.prod(grid)).reshape(*grid, 1, 1)
    index = IndexMap((lane + core * per_core).astype(np.int32), blocks.destinations)
    return InL1(index, held.written.ravel()[index.index]), blocks


def check_maps(maps: Maps) -> Bool[np.ndarray, "*cores channels"] | np.bool:
    """Checks maps where they enter a run.

    Returns:
      What `check_dense` does, without its first axis where all NHW shards are alike;
      True for programs that are not dense.

    Raises:
      ConfigError: an index that its map does not have.
      UnsupportedError: as `check_dense`.
    """
    check_indices(maps)
    if maps.dense is None:
        return np.True_
    sent = handshake(maps.multicast).source
    written = check_dense(maps.weights, sent, maps.dense, len(maps.shard.index))
    return written[0] if (written == written[0]).all() else written


def compose_maps(maps: Maps) -> ComposedMaps:
    """Runs every chain of maps together, on the host: NumPy in, NumPy out.

    Raises:
      ConfigError, UnsupportedError: as `check_maps`.
    """
    maps = jax.tree.map(np.asarray, maps)
    dense_written = check_maps(maps)
    weights, blocks = _weight_lanes(maps)
    channels_written = weights.written.all(axis=-2) & dense_written
    bias = None
    if maps.bias is not None:
        lanes = bias_lanes(maps.bias.read.index.shape[1])
        bias = held_in_l1(maps.bias, None, lanes, len(maps.shard.index))
        channels_written = channels_written & bias.written
    channels_written = channels_written.reshape(*channels_written.shape[:-2], -1)
    channels_written = fitted(channels_written, maps.lanes, True)
    windows = offset_shards(window_map(maps.top_left, maps.taps))
    sticks = compose(windows, compose(maps.halo, maps.shard))
    windows_written = (sticks.index != sticks.poison).all(axis=1)
    seen = maps.collect.index[maps.collect.index < maps.collect.size]
    in_order = np.array_equal(maps.collect.index, np.arange(len(maps.collect.index)))
    return ComposedMaps(
        weights=weights.sources,
        blocks=blocks,
        bias=None if bias is None else bias.sources,
        sticks=sticks,
        channels_written=None if channels_written.all() else channels_written,
        windows_written=None
        if windows_written.ravel()[seen].all()
        else windows_written,
        collect=None if in_order else maps.collect,
        lanes=maps.lanes,
    )


def stride_maps(composed: ComposedMaps, maps: Maps) -> StridedMaps | None:
    """Returns composed maps with windows that are slices of the padded image.

    Returns:
      None if cores read other windows, or if NHW shards differ in their weights.
    """
    packed = composed.blocks or composed.weights
    ndims = [(packed.index, 3), (composed.weights.index, 3)]
    if composed.bias is not None:
        ndims.append((composed.bias.index, 2))
    if composed.channels_written is not None:
        ndims.append((composed.channels_written, 1))
    assert maps.facts is not None
    windows = strided_windows(maps.facts.conv, composed.sticks, maps.collect)
    if windows is None or any(of.ndim > shared for of, shared in ndims):
        return None
    own = {f.name: getattr(composed, f.name) for f in dataclasses.fields(LaneMaps)}
    in_a_row = side_by_side(np.asarray(composed.weights.index))[None]
    own["weights"] = IndexMap(in_a_row, composed.weights.size)
    return StridedMaps(windows=windows, **own)
