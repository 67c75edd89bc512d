"""The rules of weights and bias: from the host through DRAM to the cores.

Tiles and faces are written out here, as in `Definition`, not taken from the plan's
units or the maps.
"""

import dataclasses
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from jaxdw.layouts.counterexample import (
    SHAPE,
    Failure,
    Namer,
    check_map,
    compare,
    equal,
    held,
    source_name,
    through,
)
from jaxdw.layouts.definition import (
    FACE,
    TILE,
    TILE_ELEMS,
    UNWRITTEN,
    ZERO,
    Definition,
    by_faces,
)
from jaxdw.maps.indexmap import IndexMap, as_table
from jaxdw.maps.maps import DramMaps, Maps
from jaxdw.maps.multicast import NO_CORE, Multicast, handshake


@runtime_checkable
class WeightStatement(Protocol):
    """What a device program says of its weights: where each has to be."""

    def weight_lanes(self) -> Int[np.ndarray, "channel_shards lanes"]: ...

    def pairing(self) -> Int[np.ndarray, "shards_or_1 taps channels"]: ...

    def bias_lanes(self) -> Int[np.ndarray, "channel_shards lanes"]: ...

    def weight_tile_ids(self) -> Int[np.ndarray, "channel_shards tiles"]: ...

    def bias_tile_ids(self) -> Int[np.ndarray, "channel_shards tiles"]: ...


def _lane_place(lane: int) -> str:
    tile, inside = divmod(lane, TILE_ELEMS)
    row, column = divmod(inside, FACE)
    return f"L1 tile {tile}, {_face_row(row)}, column {column}"


def _face_row(row: int) -> str:
    return f"face {row // FACE}, row {row % FACE}"


@dataclasses.dataclass(frozen=True)
class _DramRules:
    """The rules of one tensor's way from the host through DRAM to the cores."""

    prefix: str
    maps: DramMaps
    definition: Definition
    num_banks: int
    lanes: Int[np.ndarray, "channel_shards lanes"]
    tile_ids: Int[np.ndarray, "channel_shards tiles"]  # in read order
    name: Namer

    @property
    def prepare(self) -> IndexMap:
        return as_table(self.maps.prepare, "certified")

    @property
    def tilize(self) -> IndexMap:
        return as_table(self.maps.tilize, "certified")

    @property
    def multiplied(self) -> Int[np.ndarray, "channel_shards tiles"]:
        return self.tile_ids[:, : self.lanes.shape[1] // TILE_ELEMS]

    @property
    def num_tiles(self) -> int:
        return self.prepare.index.size // TILE_ELEMS

    @property
    def slots(self) -> int:
        return -(-self.num_tiles // self.num_banks)

    def stages(self, readers: np.ndarray) -> Iterator[Failure]:
        """Checks every map by itself; `readers` `[cores]` are those that read."""
        shape = self.prepare.index.shape
        if len(shape) != 2 or shape[0] % TILE or shape[1] % TILE:
            yield from equal(self.prefix + "prepare", SHAPE, "whole tiles", shape)
            return
        yield from self._prepare()
        yield from self._tilize()
        yield from self._deal()
        yield from self._read(readers)

    def _prepare(self) -> Iterator[Failure]:
        rule, prepare = self.prefix + "prepare", self.prepare
        matrix, ids = np.asarray(prepare.index), self.multiplied
        faces = by_faces(matrix, FACE)
        tile_columns, in_tensor = faces.shape[1], ids < self.num_tiles

        def place(shard: int, lane: int) -> tuple[int, str]:
            tile, inside = divmod(lane, TILE_ELEMS)
            face, inside = divmod(inside, FACE * FACE)
            tile_row, tile_column = divmod(int(ids[shard, tile]), tile_columns)
            row = tile_row * TILE + face // 2 * FACE + inside // FACE
            column = tile_column * TILE + face % 2 * FACE + inside % FACE
            return shard, f"matrix row {row}, column {column} ({_lane_place(lane)})"

        tile_row, tile_column = np.divmod(np.where(in_tensor, ids, 0), tile_columns)
        got = held(faces[tile_row, tile_column], prepare.size).reshape(*ids.shape, -1)
        filled = np.count_nonzero((got != ZERO) & in_tensor[..., None])
        got = np.where(in_tensor[..., None], got, UNWRITTEN)
        num_values = int(self.lanes.max()) + 1
        yield from equal(rule, "number of sources", num_values, prepare.size)
        yield from compare(
            rule, self.lanes, got.reshape(self.lanes.shape), place, self.name
        )
        beyond = np.count_nonzero(matrix != prepare.size) - filled
        yield from equal(rule, "filled elements that no core multiplies", 0, beyond)

    def _tilize(self) -> Iterator[Failure]:
        rows, columns = self.prepare.index.shape
        runs = np.arange(rows * columns // FACE).reshape(rows, -1)
        yield from check_map(
            self.prefix + "tilize",
            self.tilize,
            by_faces(runs, 1).reshape(self.num_tiles, -1),
            runs.size,
            lambda tile, row: (None, f"tile {tile}, {_face_row(row)}"),
        )

    def _deal(self) -> Iterator[Failure]:
        pages = np.arange(self.slots * self.num_banks).reshape(self.slots, -1).T
        yield from check_map(
            self.prefix + "deal",
            self.maps.deal,
            np.where(pages < self.num_tiles, pages, UNWRITTEN),
            self.num_tiles,
            lambda bank, slot: (None, f"bank {bank}, slot {slot}"),
        )

    def _read(self, readers: np.ndarray) -> Iterator[Failure]:
        ids = np.tile(self.tile_ids, (self.definition.nhw_shards, 1))
        rule, num_places = self.prefix + "read", self.slots * self.num_banks

        def place(core: int, tile: int) -> tuple[int, str]:
            return core, f"L1 tile {tile}, tile id {ids[core, tile]}"

        slot, bank = np.divmod(ids, self.num_banks)
        in_dram = readers[:, None] & (ids < num_places)
        want = np.where(in_dram, bank * self.slots + slot, UNWRITTEN)
        yield from check_map(rule, self.maps.read, want, num_places, place)
        least = int(ids.max()) + 1
        if least > self.num_tiles:
            yield from equal(rule, "tiles of the tensor", f">= {least}", self.num_tiles)

    def arrival(self, source: Int[np.ndarray, " cores"]) -> Iterator[Failure]:
        """Checks the maps together; `source` is the core whose read each core gets."""
        read = held(self.maps.read.index, self.maps.read.size)
        pages = through(read, self.maps.deal)[:, : self.multiplied.shape[1]]
        pages = np.where(source[:, None] >= 0, pages[source], UNWRITTEN)
        shard = np.arange(len(pages)) % self.definition.channel_shards
        kinds, cores = np.unique(
            np.column_stack([shard, pages]), axis=0, return_index=True
        )
        face_rows = through(kinds[:, 1:], self.tilize, TILE_ELEMS // FACE)
        got = through(face_rows, self.prepare, FACE).reshape(len(kinds), -1)
        yield from compare(
            self.prefix.strip() or "weights",
            self.lanes[kinds[:, 0]],
            got,
            lambda kind, lane: (int(cores[kind]), _lane_place(lane)),
            self.name,
        )


def check_weights(
    definition: Definition, statement: WeightStatement, maps: Maps, num_banks: int
) -> Iterator[Failure]:
    def name(weight: int) -> str:
        if weight < 0:
            return source_name(weight)
        channel, tap = divmod(weight, definition.conv.taps)
        position = divmod(tap, definition.conv.kernel[1])
        return f"the weight of channel {channel}, kernel position {position}"

    rules = _DramRules(
        "",
        maps.weights,
        definition,
        num_banks,
        statement.weight_lanes(),
        statement.weight_tile_ids(),
        name,
    )
    wrong = [
        *rules.stages(definition.readers),
        *check_multicast(definition, maps.multicast),
    ]
    yield from wrong
    if all(failure.place != SHAPE for failure in wrong):
        source = handshake(maps.multicast).source
        yield from rules.arrival(held(source.index, source.size))
    yield from check_map(
        "pairing",
        maps.pairing,
        statement.pairing(),
        rules.tile_ids.shape[1] * TILE_ELEMS,
        lambda shard, tap, channel: (
            shard if len(maps.pairing.index) > 1 else None,
            f"a core's channel {channel}, tap {tap}",
        ),
    )


def check_bias(
    definition: Definition, statement: WeightStatement, maps: Maps, num_banks: int
) -> Iterator[Failure]:
    yield from equal("bias", "maps", definition.conv.bias, maps.bias is not None)
    if maps.bias is None or not definition.conv.bias:
        return
    rules = _DramRules(
        "bias ",
        maps.bias,
        definition,
        num_banks,
        statement.bias_lanes(),
        statement.bias_tile_ids(),
        lambda c: source_name(c) if c < 0 else f"the bias of channel {c}",
    )
    cores = np.arange(definition.num_cores)
    wrong = list(rules.stages(np.ones(len(cores), bool)))
    yield from wrong
    if all(failure.place != SHAPE for failure in wrong):
        yield from rules.arrival(cores)


def check_multicast(definition: Definition, multicast: Multicast) -> Iterator[Failure]:
    num_cores, reads = definition.num_cores, definition.readers
    cores = np.arange(num_cores)
    names = np.where(reads, NO_CORE, cores % definition.channel_shards)
    entries = {len(getattr(multicast, f.name)) for f in dataclasses.fields(multicast)}
    yield from equal("multicast", SHAPE, {num_cores}, entries)
    if entries != {num_cores}:
        return
    places = len(np.unique(multicast.xy, axis=0))
    yield from equal("multicast", "places of the cores", num_cores, places)
    x0, y0, x1, y1 = (side[:, None] for side in multicast.rect.T)
    x, y = multicast.xy.T
    writes = (x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1) & (cores[:, None] != cores)
    sends = names == cores[:, None]
    for what, want, got in (
        ("reads DRAM", reads, multicast.is_sender),
        ("core that it waits for", names, multicast.names),
        ("cores that it waits for", sends.sum(axis=1), multicast.num_dests),
    ):
        yield from compare(
            "multicast",
            want,
            got,
            lambda core, what=what: (core, what),
            str,
        )
    yield from compare(
        "multicast",
        sends,
        writes & (multicast.num_dests > 0)[:, None],
        lambda sender, core: (core, f"copies that core {sender}'s rectangle writes"),
        str,
    )
