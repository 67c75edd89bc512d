"""The rules of activations: shards, halo, windows, outputs."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from jaxdw.layouts.counterexample import (
    SHAPE,
    Failure,
    Locator,
    Namer,
    check_map,
    compare,
    equal,
    held,
    source_name,
    through,
)
from jaxdw.layouts.definition import UNWRITTEN, Definition
from jaxdw.maps.maps import Maps

_CHUNK_ELEMS = 1 << 21  # window elements compared at a time


def parts(outputs: np.ndarray, taps: int) -> Iterator[np.ndarray]:
    """Yields the outputs in parts whose windows fit memory."""
    step = max(1, _CHUNK_ELEMS // taps)
    for first in range(0, len(outputs), step):
        yield outputs[first : first + step]


def check_sticks(definition: Definition, maps: Maps) -> Iterator[Failure]:
    """Checks activations; a core here is an NHW shard of channel shard 0."""
    conv, step = definition.conv, definition.channel_shards
    input_step = definition.input_shards

    def name(stick: int) -> str:
        if stick < 0:
            return source_name(stick)
        row, x = divmod(stick, conv.width)
        image, y = divmod(row, conv.height)
        return f"pixel {(image, y, x)}"

    def row_of(what: str, step: int) -> Locator:
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
        "top_left",
        maps.top_left,
        definition.top_left(),
        halo_rows,
        row_of("output", step),
    )
    sticks = conv.batch * conv.height * conv.width
    input_rows = definition.nhw_shards * definition.input_rows
    yield from check_map(
        "shard",
        maps.shard,
        definition.stick_shards(),
        sticks,
        row_of("input", input_step),
        name,
    )
    least = int(definition.halo_ends.max())
    if halo_rows < least:
        yield from equal("halo", "rows of a haloed shard", f">= {least}", halo_rows)
    want = definition.halo(halo_rows)
    if halo_shape == want.shape:  # shards without outputs keep a range of no use
        got = held(maps.halo.index, maps.halo.size)
        want = np.where(definition.busy[:, None], want, got)
    yield from check_map(
        "halo", maps.halo, want, input_rows, row_of("haloed", input_step), name
    )
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
    definition: Definition, maps: Maps, outputs: np.ndarray, name: Namer
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
