"""Provenance against an emulated run whose every number says where it comes from."""

import functools

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from trace_examples import BASE, plan_of

import jaxdw as jd
from jaxdw.maps.banks import bank_table
from jaxdw.trace.core import explain_core
from jaxdw.trace.weight import explain_slot, explain_tile, explain_weight

WITNESS = {
    "dtype": "float32",
    "weights_dtype": "float32",
    "output_dtype": "float32",
}
KEEP = ("weights", "tiles", "dram", "l1_weights", "input_shards", "haloed_shards")
KEEP += ("output_shards",)


def numbered(shape) -> np.ndarray:
    """Gives every element its own number, from 1."""
    return np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)


def emulated(plan: jd.Plan, w: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    x = numbered(plan.conv.input_shape)
    result = jd.run(plan, jd.make_maps(plan), x, w, keep=KEEP)
    memories = {name: np.asarray(memory) for name, memory in result.memories.items()}
    return np.asarray(result.output), memories


CASES = {
    "partial row of cores": dict(scheme="height", channels=40, height=20, width=20),
    "strides and images": dict(
        scheme="height", channels=96, batch=2, height=9, width=7, kernel=(2, 3),
        stride=(2, 1), padding=(1, 0, 2, 1), grid=(3, 2), arch="blackhole",
    ),
    "shards of two tiles": dict(
        scheme="width", channels=250, height=5, kernel=(4, 5), grid=(4, 1)
    ),
    "uneven block": dict(scheme="block", channels=90, kernel=5, padding=2, stride=2),
    "dilated, column major": dict(
        scheme="block", channels=160, height=12, dilation=2, grid=(2, 3),
        orientation="col_major", arch="blackhole",
    ),
}  # fmt: skip


@functools.cache
def witnessed(case: str):
    plan = plan_of(**WITNESS | CASES[case])
    w = numbered(plan.conv.weight_shape)
    return plan, w, emulated(plan, w)[1]


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=30)
@given(data=st.data())
def test_every_answer_is_what_the_emulator_did(case, data):
    plan, w, memories = witnessed(case)

    def draw(shape) -> tuple[int, ...]:
        return tuple(data.draw(st.integers(0, size - 1)) for size in shape)

    weight = draw((plan.conv.channels, *plan.conv.kernel))
    check_weight(plan, memories, w, weight)
    check_products(plan, weight, draw(plan.output_shape[:3]))
    check_core(plan, memories, *draw([plan.num_cores]))


def check_weight(plan, memories, w, weight):
    channel, kh, kw = weight
    number = w[channel, 0, kh, kw]
    trace = explain_weight(plan, channel, kh, kw, BASE)
    page, element = trace.page, trace.element
    assert (trace.channel, trace.kernel_position) == (channel, (kh, kw))
    assert memories["weights"][trace.row, trace.column] == number
    in_face = element.face_row * 16 + element.face_column
    assert element.face * 256 + in_face == element.index
    assert memories["tiles"][page.tile, element.index] == number
    columns = plan.weight_tile_grid[1]
    assert page.tile == page.tile_row * columns + page.tile_column
    assert (trace.row // 32, trace.column // 32) == (page.tile_row, page.tile_column)
    raw = memories["dram"][page.bank, page.slot]
    assert raw[element.byte :][: element.num_bytes].view("<f4") == number
    table = bank_table(page.tile + 1, 4096, BASE, plan.arch)
    assert page.local_address == table.local_address[-1]
    assert page.noc_address == table.noc_address[-1]

    l1 = memories["l1_weights"]
    found = [(h.core, h.l1_tile, element.index) for h in trace.holders]
    assert found == [tuple(place) for place in np.argwhere(l1 == number).tolist()]
    weight_cb = next(b for b in plan.l1.buffers if b.cb == 2)
    for holder in trace.holders:
        offset = holder.l1_tile * 4096 + element.byte
        assert (holder.l1_offset, holder.l1_address) == (
            offset,
            weight_cb.address + offset,
        )
        assert holder.xy == plan.core_grid.xy(holder.core)
    assert set(trace.readers) <= set(plan.weight_readers)
    assert not set(trace.receivers) & set(plan.weight_readers)
    assert len(trace.readers) == 1  # a weight leaves DRAM once
    assert {h.source for h in trace.holders} == set(trace.readers)

    tile = explain_tile(plan, page.tile, BASE)
    assert tile == explain_slot(plan, page.bank, page.slot, BASE)
    assert tile.page == page
    assert [h.core for h in tile.holders] == [h.core for h in trace.holders]
    assert any(first <= channel <= last for first, last in tile.channels)
    assert (kh, kw) in tile.kernel_positions
    assert tile.num_weights == (memories["tiles"][page.tile] > 0).sum()
    for core in (h.core for h in trace.holders):
        assert page.tile in explain_core(plan, *plan.core_grid.xy(core)).tiles


def check_products(plan, weight, output):
    """One weight is 1, all others 0: an output is the element it was paired with."""
    w = np.zeros(plan.conv.weight_shape, np.float32)
    channel, kh, kw = weight
    w[channel, 0, kh, kw] = 1
    x = numbered(plan.conv.input_shape)
    outputs, memories = emulated(plan, w)
    trace = explain_weight(plan, *weight, output=output)
    assert {(p.channel, p.kernel_position) for p in trace.pairings} == {
        (channel, (kh, kw))
    }
    assert sum(p.on_pixels for p in trace.pairings) == np.count_nonzero(outputs)
    assert sum(p.outputs for p in trace.pairings) == outputs[..., 0].size
    product = trace.product
    assert product is not None
    want = outputs[(*output, channel)]
    lane = channel % plan.input_shard.channels
    assert memories["output_shards"][product.core, product.output_row, lane] == want
    assert memories["haloed_shards"][product.core, product.halo_row, lane] == want
    if product.pixel is None:
        assert want == 0
        assert product.source is None
    else:
        assert x[(*product.pixel, channel)] == want
        before = memories["input_shards"][product.source, product.source_row, lane]
        assert before == want
    shard_bytes = plan.input_shard.channels * 4
    haloed = min(
        b.address for b in plan.l1.buffers if b.name in ("input", "halo output")
    )
    assert product.l1_address == haloed + product.halo_row * shard_bytes + lane * 4


def check_core(plan, memories, core):
    x, y = plan.core_grid.xy(core)
    trace = explain_core(plan, x, y)
    assert trace.core == core
    assert trace.noc_xy == (plan.arch.worker_x[x], plan.arch.worker_y[y])
    tiles = memories["tiles"][list(trace.tiles)]
    np.testing.assert_array_equal(memories["l1_weights"][core], tiles)
    haloed = np.full_like(memories["haloed_shards"][core], np.nan)
    for run in trace.runs:
        rows = slice(run.row, run.row + run.length)
        haloed[rows] = 0
        if run.source is not None:
            source = memories["input_shards"][run.source]
            haloed[rows] = source[run.source_row :][: run.length]
            channels = plan.conv.channels  # sticks are numbered through
            first = (source[run.source_row, 0] - 1) // channels
            assert trace.channels is None or run.stick == first
    np.testing.assert_array_equal(memories["haloed_shards"][core], haloed)
    assert trace.padding_rows + sum(trace.rows_from.values()) <= trace.halo_rows
    stride = plan.conv.stride[1]
    starts = [s for a, b in trace.window_starts for s in range(a, b + 1, stride)]
    assert starts == plan.top_left(core).tolist()
    assert len(trace.window_starts) == plan.index_list_length(core) // 2 - 1
    lanes = np.flatnonzero((memories["input_shards"][core] > 0).any(axis=0))
    first = core % plan.num_channel_shards * plan.input_shard.channels
    if trace.channels is None or trace.input_sticks is None:
        assert not len(lanes)
    else:
        assert trace.channels == (first + lanes[0], first + lanes[-1])
        rows = np.flatnonzero((memories["input_shards"][core] > 0).any(axis=1))
        before = plan.input_shard.rows * (core // plan.num_channel_shards)
        assert trace.input_sticks == (before + rows[0], before + rows[-1])
    shard = plan.shard_ranges[core // plan.num_channel_shards]
    if trace.outputs is None:
        assert shard.num_outputs == 0
    else:
        last = shard.first_output + shard.num_outputs - 1
        assert trace.outputs == (shard.first_output, last)


@pytest.mark.parametrize("scheme", ["height", "width", "block"])
def test_tiles_hold_every_weight_just_once(scheme):
    plan = plan_of(scheme, channels=90, kernel=5, padding=2)
    rows, columns = plan.weight_tile_grid
    traces = [explain_tile(plan, tile, BASE) for tile in range(rows * columns)]
    assert sum(trace.num_weights for trace in traces) == 90 * 25
    assert {k for t in traces for k in t.kernel_positions} == {
        (kh, kw) for kh in range(5) for kw in range(5)
    }
    seen = {c for t in traces for a, b in t.channels for c in range(a, b + 1)}
    assert seen == set(range(90))
    places = {(t.page.bank, t.page.slot) for t in traces}
    assert len(places) == len(traces)
    for trace in traces:
        assert explain_slot(plan, trace.page.bank, trace.page.slot, BASE) == trace
    assert [t.rows for t in traces] == [
        (32 * r, 32 * r + 31) for r in range(rows) for _ in range(columns)
    ]
    assert [t.columns for t in traces] == [
        (32 * c, 32 * c + 31) for _ in range(rows) for c in range(columns)
    ]


def test_tiles_past_the_kernel_positions_are_read_and_never_multiplied():
    plan = plan_of("height", channels=96, kernel=5, padding=2)  # 25 x 96 weights
    for tile in range(int(np.prod(plan.weight_tile_grid))):
        holders = explain_tile(plan, tile).holders
        assert [h.multiplied for h in holders] == [tile < 3] * plan.num_cores
    assert explain_core(plan, 0, 0).multiplied == 3


def test_a_tile_that_wraps_names_its_channels_as_ranges():
    plan = plan_of("height", channels=1920, height=14, width=14)
    assert explain_tile(plan, 1).channels == ((0, 127), (1024, 1919))


def test_the_plans_example_step_by_step():
    trace = explain_weight(plan_of(), 40, 1, 2, 0x1D4DA0, output=(0, 5, 7))
    # position 5 of 32 channels, channel 8 of its shard: 168th of its stream
    assert (trace.element.face, trace.element.face_row) == (0, 10)
    assert (trace.element.face_column, trace.element.byte) == (8, 336)
    assert (trace.page.bank, trace.page.slot) == (1, 0)
    assert trace.page.noc_address == 0x400401D4DA0
    assert [(h.xy, h.role) for h in trace.holders] == [
        ((1, 0), "sender"),
        ((1, 1), "receiver"),
    ]
    assert [(p.outputs, p.on_pixels) for p in trace.pairings] == [(32, 28), (32, 28)]
    product = trace.product
    assert product is not None
    assert (product.core, product.output_row, product.pixel) == (3, 15, None)
    assert product.halo_row == 29  # row 5 of the image, behind its last column


def test_an_older_layout_loses_weights_or_pairs_them_wrong():
    lossy = plan_of("width", channels=91, weight_layout="concatenated")
    assert explain_weight(lossy, 89, 0, 0).holders
    with pytest.raises(jd.ConfigError, match=r"\(90, 0, 0\).*'concatenated' loses it"):
        explain_weight(lossy, 90, 0, 0)
    wrong = plan_of("width", channels=480, grid=(4, 2), weight_layout="tile_chunks")
    trace = explain_weight(wrong, 300, 1, 1)
    paired = {(p.channel, p.kernel_position) for p in trace.pairings}
    assert paired != {(300, (1, 1))}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda p: explain_weight(p, 64, 3, -1),
            r"`channel` \(=64\).* use 0 to 63\n`kh` \(=3\).*\n`kw` \(=-1\)",
        ),
        (lambda p: explain_weight(p, 0, 0, 0, 7), r"`base_address` \(=0x7\)"),
        (
            lambda p: explain_weight(p, 0, 0, 0, output=(1, 8, 0)),
            r"`output image` \(=1\) must be one of 1; use 0\n`output row` \(=8\)",
        ),
        (lambda p: explain_tile(p, 2), r"`tile` \(=2\) must be one of 2; use 0 to 1"),
        (lambda p: explain_slot(p, 12, 0), r"`bank` \(=12\) must be one of 12"),
        (lambda p: explain_slot(p, 5, 0), r"`bank` \(=5\) must hold.* use 0 to 1"),
        (lambda p: explain_slot(p, 1, 1), r"`slot` \(=1\) must be one of 1; use 0"),
        (lambda p: explain_core(p, 8, -1), r"`x` \(=8\).*\n`y` \(=-1\).*0 to 7"),
    ],
)  # fmt: skip
def test_refusals_name_the_value_the_rule_and_a_way_out(call, message):
    with pytest.raises(jd.ConfigError, match=message):
        call(plan_of())
