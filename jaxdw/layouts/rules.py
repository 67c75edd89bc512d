"""The rules of a layout, each checked by enumeration.

Each rule compares one map, or a whole chain of them, with `Definition`.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from jaxdw.layouts.counterexample import (
    SHAPE,
    Failure,
    Name,
    Place,
    check_map,
    compare,
    equal,
    held,
    source_name,
    through,
)
from jaxdw.layouts.definition import FACE, TILE, TILE_ELEMS, UNWRITTEN, ZERO, Definition
from jaxdw.maps.maps import DramMaps, Maps
from jaxdw.maps.multicast import NO_CORE, Multicast, handshake

RULES = {
    "channels": "a core holds an equal share of the channels, in whole tiles",
    "prepare": "the matrix holds each weight once, in the lane where the cores that "
    "own its channel multiply it with its kernel position, and zeros elsewhere",
    "tilize": "tiles hold the matrix face by face, row by row in each",
    "deal": "page p lies in bank p mod banks, slot p div banks",
    "read": "a reader gets the tiles of its channel shard, row by row, and no others",
    "multicast": "a core that does not read names the reader of its channel shard, "
    "which waits for just these and writes just these of the program's cores",
    "weights": "all of the above together: each weight reaches just the cores that own "
    "its channel, once; every other lane that they multiply is zero",
    "pairing": "window element k of channel c meets element k * channels + c of the "
    "tiles in its core's L1",
    "bias prepare": "row 0 holds the bias in channel order, all else is zero",
    "bias tilize": "as tilize",
    "bias deal": "as deal",
    "bias read": "every core gets the tiles of its channel shard, and no others",
    "bias": "as weights, for the bias",
    "taps": "a kernel position lies y * padded width + x sticks, both dilated, after "
    "its window's start",
    "top_left": "an output's row has its window's start, other rows none",
    "shard": "stick s lies in shard s div rows, row s mod rows; other rows are zero",
    "halo": "a haloed shard holds the padded images from its first window's start to "
    "its last window's end, and nothing else",
    "collect": "each output is taken from the row that computed it, and no row twice",
    "outputs": "all of the above together: every window element of every output comes "
    "from its own pixel, or from zero padding",
}

_CHUNK_ELEMS = 1 << 21  # window elements compared at a time


def parts(outputs: np.ndarray, taps: int) -> Iterator[np.ndarray]:
    """Yields the outputs in parts whose windows fit memory."""
    step = max(1, _CHUNK_ELEMS // taps)
    for first in range(0, len(outputs), step):
        yield outputs[first : first + step]


def _lane_place(lane: int) -> str:
    tile, inside = divmod(lane, TILE_ELEMS)
    row, column = divmod(inside, FACE)
    return f"L1 tile {tile}, {_face_row(row)}, column {column}"


def _face_row(row: int) -> str:
    return f"face {row // FACE}, row {row % FACE}"


def _by_faces(matrix: np.ndarray, face_columns: int) -> np.ndarray:
    """Views a matrix as `[tile rows, tile columns, 2, 2, 16, face columns]`."""
    rows, columns = matrix.shape
    faces = (rows // TILE, 2, FACE, columns // (2 * face_columns), 2, face_columns)
    return matrix.reshape(faces).transpose(0, 3, 1, 4, 2, 5)


@dataclasses.dataclass(frozen=True)
class _DramRules:
    """The rules of one tensor's way from the host through DRAM to the cores."""

    prefix: str
    maps: DramMaps
    definition: Definition
    num_banks: int
    lanes: Int[np.ndarray, "channel_shards lanes"]
    tile_ids: Int[np.ndarray, "channel_shards tiles"]  # in read order
    name: Name

    @property
    def multiplied(self) -> Int[np.ndarray, "channel_shards tiles"]:
        return self.tile_ids[:, : self.lanes.shape[1] // TILE_ELEMS]

    @property
    def num_tiles(self) -> int:
        return self.maps.prepare.index.size // TILE_ELEMS

    @property
    def slots(self) -> int:
        return -(-self.num_tiles // self.num_banks)

    def stages(self, readers: np.ndarray) -> Iterator[Failure]:
        """Checks every map by itself; `readers` `[cores]` are those that read."""
        shape = self.maps.prepare.index.shape
        if len(shape) != 2 or shape[0] % TILE or shape[1] % TILE:
            yield from equal(self.prefix + "prepare", SHAPE, "whole tiles", shape)
            return
        yield from self._prepare()
        yield from self._tilize()
        yield from self._deal()
        yield from self._read(readers)

    def _prepare(self) -> Iterator[Failure]:
        rule, prepare = self.prefix + "prepare", self.maps.prepare
        matrix, ids = np.asarray(prepare.index), self.multiplied
        faces = _by_faces(matrix, FACE)
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
        num_values = np.count_nonzero(self.lanes != ZERO)
        yield from equal(rule, "number of sources", num_values, prepare.size)
        yield from compare(
            rule, self.lanes, got.reshape(self.lanes.shape), place, self.name
        )
        beyond = np.count_nonzero(matrix != prepare.size) - filled
        yield from equal(rule, "filled elements that no core multiplies", 0, beyond)

    def _tilize(self) -> Iterator[Failure]:
        rows, columns = self.maps.prepare.index.shape
        runs = np.arange(rows * columns // FACE).reshape(rows, -1)
        yield from check_map(
            self.prefix + "tilize",
            self.maps.tilize,
            _by_faces(runs, 1).reshape(self.num_tiles, -1),
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
        face_rows = through(kinds[:, 1:], self.maps.tilize, TILE_ELEMS // FACE)
        got = through(face_rows, self.maps.prepare, FACE).reshape(len(kinds), -1)
        yield from compare(
            self.prefix.strip() or "weights",
            self.lanes[kinds[:, 0]],
            got,
            lambda kind, lane: (int(cores[kind]), _lane_place(lane)),
            self.name,
        )


def check_layout(
    definition: Definition, maps: Maps, num_banks: int
) -> Iterator[Failure]:
    """Checks all of `RULES`; `maps` hold NumPy arrays."""
    channels = definition.channels_per_core
    yield from equal("channels", "of one core", channels, maps.channels_per_core)
    yield from _check_weights(definition, maps, num_banks)
    yield from _check_bias(definition, maps, num_banks)
    yield from _check_sticks(definition, maps)


def _check_weights(
    definition: Definition, maps: Maps, num_banks: int
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
        definition.weight_lanes(),
        definition.tile_ids(definition.weight_tile_rows),
        name,
    )
    wrong = [
        *rules.stages(definition.readers),
        *_check_multicast(definition, maps.multicast),
    ]
    yield from wrong
    if all(failure.place != SHAPE for failure in wrong):
        source = handshake(maps.multicast).source
        yield from rules.arrival(held(source.index, source.size))
    yield from check_map(
        "pairing",
        maps.pairing,
        definition.pairing(),
        rules.tile_ids.shape[1] * TILE_ELEMS,
        lambda _, tap, channel: (None, f"a core's channel {channel}, tap {tap}"),
    )


def _check_bias(
    definition: Definition, maps: Maps, num_banks: int
) -> Iterator[Failure]:
    yield from equal("bias", "maps", definition.conv.bias, maps.bias is not None)
    if maps.bias is None or not definition.conv.bias:
        return
    rules = _DramRules(
        "bias ",
        maps.bias,
        definition,
        num_banks,
        definition.bias_lanes(),
        definition.tile_ids(1),
        lambda c: source_name(c) if c < 0 else f"the bias of channel {c}",
    )
    cores = np.arange(definition.num_cores)
    wrong = list(rules.stages(np.ones(len(cores), bool)))
    yield from wrong
    if all(failure.place != SHAPE for failure in wrong):
        yield from rules.arrival(cores)


def _check_multicast(definition: Definition, multicast: Multicast) -> Iterator[Failure]:
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


def _check_sticks(definition: Definition, maps: Maps) -> Iterator[Failure]:
    """Checks activations; a core here is an NHW shard of channel shard 0."""
    conv, step = definition.conv, definition.channel_shards

    def name(stick: int) -> str:
        if stick < 0:
            return source_name(stick)
        row, x = divmod(stick, conv.width)
        image, y = divmod(row, conv.height)
        return f"pixel {(image, y, x)}"

    def row_of(what: str) -> Place:
        return lambda shard, row: (shard * step, f"row {row} of the {what} shard")

    def row_name(row: int) -> str:
        shard, within = divmod(row, definition.output_rows)
        return source_name(row) if row < 0 else f"row {within} of core {shard * step}"

    taps = definition.tap_offsets()
    yield from equal("taps", SHAPE, taps.shape, maps.taps.shape)
    if taps.shape == maps.taps.shape:
        yield from compare(
            "taps", taps, maps.taps, lambda tap: (None, f"kernel position {tap}"), str
        )
    halo_shape = maps.halo.index.shape
    halo_rows = halo_shape[-1]
    yield from check_map(
        "top_left", maps.top_left, definition.top_left(), halo_rows, row_of("output")
    )
    sticks = conv.batch * conv.height * conv.width
    input_rows = definition.nhw_shards * definition.input_rows
    yield from check_map(
        "shard", maps.shard, definition.input_shards(), sticks, row_of("input"), name
    )
    least = int(definition.halo_ends.max())
    if halo_rows < least:
        yield from equal("halo", "rows of a haloed shard", f">= {least}", halo_rows)
    want = definition.halo(halo_rows)
    if halo_shape == want.shape:  # shards without outputs keep a range of no use
        got = held(maps.halo.index, maps.halo.size)
        want = np.where(definition.busy[:, None], want, got)
    yield from check_map("halo", maps.halo, want, input_rows, row_of("haloed"), name)
    outputs = np.arange(definition.num_outputs)
    output_rows = definition.nhw_shards * definition.output_rows
    yield from check_map(
        "collect",
        maps.collect,
        outputs,
        output_rows,
        lambda output: (None, f"output {output}"),
        row_name,
    )
    windows = [
        failure
        for part in parts(outputs, conv.taps)
        for failure in _compare_windows(definition, maps, part, name)
    ]
    if windows:
        count = sum(failure.count for failure in windows)
        yield dataclasses.replace(windows[0], count=count)


def _compare_windows(
    definition: Definition, maps: Maps, outputs: np.ndarray, name: Name
) -> Iterator[Failure]:
    """Compares these outputs' windows, if the maps have shapes to go through."""
    fits = len(maps.collect.index) == definition.num_outputs
    if not fits or maps.halo.index.ndim != 2 or maps.top_left.index.ndim != 2:
        return
    row = held(maps.collect.index[outputs], maps.collect.size)
    start = through(row, maps.top_left)[:, None]
    within = start + np.asarray(maps.taps)
    halo_rows = maps.halo.index.shape[1]
    inside = (start >= 0) & (within >= 0) & (within < halo_rows)
    shard = row[:, None] // maps.top_left.index.shape[1]
    haloed = np.where(inside, shard * halo_rows + within, UNWRITTEN)
    found = through(through(haloed, maps.halo), maps.shard)
    want = definition.windows(outputs)

    def place(output: int, tap: int) -> tuple[None, str]:
        position = divmod(tap, definition.conv.kernel[1])
        return None, f"output {outputs[output]}, kernel position {position}"

    if want.shape == found.shape:
        yield from compare("outputs", want, found, place, name)
