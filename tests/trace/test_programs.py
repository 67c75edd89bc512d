"""Traces of ttnn's programs against an emulated run of numbered tensors."""

import functools

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from trace_examples import BASE
from ttnn_examples import ttnn_plan

import jaxdw as jd
from jaxdw.maps.banks import bank_table
from jaxdw.report import traces
from jaxdw.report.plan_page import explain_page
from jaxdw.trace.address import explain_address
from jaxdw.trace.core import explain_core
from jaxdw.trace.weight import explain_slot, explain_tile, explain_weight

KEEP = ("weights", "tiles", "dram", "l1_weights", "input_shards", "haloed_shards")
FLOAT32 = {"dtype": "float32", "weights_dtype": "float32", "output_dtype": "float32"}
CASES = {
    "height": {"scheme": "height", "height": 20, "width": 20},
    "width": {"scheme": "width", "channels": 200, "grid": (2, 2)},
    "width in parts": {
        "scheme": "width", "channels": 250, "grid": (2, 1), "act_block_w_div": 2
    },
    "block": {"width": 20},
    "block of tiles": {"channels": 90, "input_layout": "tile", "width": 20},
    "full inner dim": {"full_inner_dim": True, "arch": "blackhole"},
    "column major": {"orientation": "col_major", "channels": 90, "width": 20},
    "conv1d": {"program": "conv1d", "channels": 90},
    "conv1d in blocks": {
        "program": "conv1d", "grid": (2, 1), "act_block_h_override": 32,
        "arch": "blackhole",
    },
}  # fmt: skip


def numbered(shape) -> np.ndarray:
    """Gives every element its own number, from 1."""
    return np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)


@functools.cache
def witnessed(case: str):
    plan = ttnn_plan(**FLOAT32, **CASES[case], arithmetic="float32", fp32_dest_acc=True)
    x, w = numbered(plan.conv.input_shape), numbered(plan.conv.weight_shape)
    bias = numbered(plan.conv.channels) if plan.conv.bias else None
    memories = jd.run(plan, jd.make_maps(plan), x, w, bias, keep=KEEP).memories
    return plan, x, w, {name: np.asarray(memory) for name, memory in memories.items()}


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=25)
@given(data=st.data())
def test_every_answer_is_what_the_emulator_did(case, data):
    plan, x, w, memories = witnessed(case)

    def draw(shape) -> tuple[int, ...]:
        return tuple(data.draw(st.integers(0, size - 1)) for size in shape)

    weight = draw((plan.conv.channels, *plan.conv.kernel))
    output = draw(plan.output_shape[:3])
    check_weight(plan, memories, w, weight)
    check_product(plan, memories, x, weight, output)
    check_core(plan, memories, *draw([plan.arch.grid[0], plan.arch.grid[1]]))


def check_weight(plan, memories, w, weight):
    channel, kh, kw = weight
    number = w[channel, 0, kh, kw]
    trace = explain_weight(plan, channel, kh, kw, BASE)
    page, element = trace.page, trace.element
    held = np.argwhere(memories["weights"] == number)
    assert held.tolist() == [
        [trace.row + copy, trace.column] for copy in range(trace.copies)
    ]
    assert trace.column == channel
    assert trace.copies == (32 * plan.act_block[0] if plan.program == "conv1d" else 1)
    assert memories["tiles"][page.tile, element.index] == number
    raw = memories["dram"][page.bank, page.slot]
    assert raw[element.byte :][:4].view("<f4") == number
    table = bank_table(page.tile + 1, 4096, BASE, plan.arch)
    assert page.noc_address == table.noc_address[-1]

    l1 = memories["l1_weights"]
    own = l1[:, :, element.index] == number
    first = {}
    for core, tile in np.argwhere(own).tolist():
        first.setdefault(core, tile)  # copies follow in later tiles
    assert {h.core: h.l1_tile for h in trace.holders} == first
    [buffer] = [b for b in plan.l1.buffers if b.role == "weights"]
    assert buffer.page_bytes == 4096
    for holder in trace.holders:
        offset = holder.l1_tile % buffer.pages * 4096 + element.byte
        assert (holder.l1_offset, holder.l1_address) == (
            offset,
            buffer.address + offset,
        )
        assert holder.multiplied
        assert holder.xy == plan.output_grid.xy(holder.core)
        assert holder.core % plan.num_output_shards == channel // shard_width(plan)
    assert set(trace.readers) <= set(plan.weight_readers)
    assert len(trace.holders) == plan.num_nhw_shards

    tile = explain_tile(plan, page.tile, BASE)
    assert tile == explain_slot(plan, page.bank, page.slot, BASE)
    assert tile.num_weights == (memories["tiles"][page.tile] > 0).sum()
    assert [h.core for h in tile.holders] == [h.core for h in trace.holders]
    for core in (h.core for h in trace.holders):
        assert page.tile in explain_core(plan, *plan.output_grid.xy(core)).tiles


def shard_width(plan: jd.Plan) -> int:
    return plan.output_shard.channels


def check_product(plan, memories, x, weight, output):
    channel, kh, kw = weight
    trace = explain_weight(plan, *weight, output=output)
    assert {(p.channel, p.kernel_position) for p in trace.pairings} == {
        (channel, (kh, kw))
    }
    assert sum(p.outputs for p in trace.pairings) == np.prod(plan.output_shape[:3])
    conv, product = plan.conv, trace.product
    image, out_y, out_x = output
    y = out_y * conv.stride[0] + kh * conv.dilation[0] - conv.padding[0]
    pixel_x = out_x * conv.stride[1] + kw * conv.dilation[1] - conv.padding[2]
    flat = (image * plan.output_shape[1] + out_y) * plan.output_shape[2] + out_x
    shard, row = divmod(flat, plan.output_rows)
    width = plan.input_shard.channels
    column = channel // shard_width(plan)
    assert product.core == shard * plan.num_output_shards + column
    assert product.output_row == row
    holder, lane = divmod(channel, width)
    assert product.holder == shard * plan.num_channel_shards + holder
    got = memories["haloed_shards"][product.holder, product.halo_row, lane]
    if 0 <= y < conv.height and 0 <= pixel_x < conv.width:
        assert product.pixel == (image, y, pixel_x)
        assert got == x[image, y, pixel_x, channel]
        before = memories["input_shards"][product.source, product.source_row, lane]
        assert before == got
    else:
        assert (product.pixel, product.source, got) == (None, None, 0)
    [haloed] = [b for b in plan.l1.buffers if b.role == "source"]
    place = product.halo_row * width + lane
    assert product.l1_address == haloed.address + place * 4


def check_core(plan, memories, x, y):
    trace = explain_core(plan, x, y)
    cores = {plan.output_grid.xy(core): core for core in range(plan.num_output_cores)}
    inputs = {plan.core_grid.xy(core): core for core in range(plan.num_cores)}
    assert (trace.core, trace.input_core) == (cores.get((x, y)), inputs.get((x, y)))
    if trace.core is None:
        assert trace.role == ("idle" if trace.input_core is None else "input")
        assert trace.tiles == trace.bias_tiles == ()
    else:
        tiles = memories["tiles"][list(trace.tiles)]
        np.testing.assert_array_equal(memories["l1_weights"][trace.core], tiles)
        assert trace.multiplied == len(trace.tiles)
        first = trace.core % plan.num_output_shards * shard_width(plan)
        last = min(first + shard_width(plan), plan.conv.channels) - 1
        assert trace.channels == ((first, last) if first <= last else None)
        tiles = trace.core % plan.num_output_shards * plan.channel_tiles
        tiles = range(tiles, tiles + plan.channel_tiles)
        assert trace.bias_tiles == tuple(tiles) * plan.conv.bias
    if trace.input_core is None:
        assert (trace.runs, trace.halo_rows) == ((), 0)
        return
    sticks = memories["input_shards"][trace.input_core]
    lanes = np.flatnonzero((sticks > 0).any(axis=0))
    before = trace.input_core % plan.num_channel_shards * plan.input_shard.channels
    ends = (before + lanes[0], before + lanes[-1]) if len(lanes) else None
    if trace.input_sticks is not None:
        assert trace.input_channels == ends
    haloed = np.full_like(memories["haloed_shards"][trace.input_core], np.nan)
    for run in trace.runs:
        rows = slice(run.row, run.row + run.length)
        haloed[rows] = 0
        if run.source is not None:
            source = memories["input_shards"][run.source]
            haloed[rows] = source[run.source_row :][: run.length]
    np.testing.assert_array_equal(memories["haloed_shards"][trace.input_core], haloed)
    stride = plan.conv.stride[1]
    starts = [s for a, b in trace.window_starts for s in range(a, b + 1, stride)]
    assert starts == plan.top_left(trace.input_core).tolist()


def test_a_core_that_only_sends_windows_is_no_idle_one():
    plan = ttnn_plan(width=20)
    assert (plan.core_grid.x, plan.output_grid.x) == (5, 2)
    trace = explain_core(plan, 4, 1)
    assert (trace.core, trace.input_core, trace.role) == (None, 9, "input")
    assert trace.input_channels == (32, 39)
    facts = traces.core_facts(plan, trace)
    assert facts["core"] == "none"
    assert facts["in_the_input's_grid"] == 9
    assert facts["of_channels"] == "32 to 39"
    assert "weight_tiles" not in facts
    both = traces.core_facts(plan, explain_core(plan, 1, 1))
    assert (both["core"], both["in_the_input's_grid"]) == (3, 6)
    assert (both["channels"], both["of_channels"]) == ("32 to 39", "8 to 15")
    assert explain_core(plan, 5, 1).role == "idle"


def test_weights_of_one_block_at_a_time_lie_where_those_before_them_lay():
    plan = ttnn_plan()
    [buffer] = [b for b in plan.l1.buffers if b.role == "weights"]
    assert (buffer.pages, plan.weight_tiles_per_core) == (1, 10)
    trace = explain_weight(plan, 38, 1, 2)
    [holder] = {(h.l1_tile, h.l1_offset // 2048) for h in trace.holders}
    assert holder == (9, 0)  # row 1 of 2, column 4 of 5
    text = traces.weight_facts(plan, trace)["in_weight_cb"]
    assert text.endswith("while its block is there: 1 of 10 tiles at a time")
    double = ttnn_plan(enable_weights_double_buffer=True)
    holders = explain_weight(double, 38, 1, 2).holders
    assert {(h.l1_tile, h.l1_offset // 2048) for h in holders} == {(9, 1)}


def test_facts_say_how_a_weight_is_expanded_or_repeated():
    plan = ttnn_plan(width=20)
    trace = explain_weight(plan, 38, 1, 2, output=(1, 6, 17))
    facts = traces.weight_facts(plan, trace)
    assert facts["in_its_row"] == "the only weight, all other columns hold zeros"
    assert facts["prepared_matrix"] == "row 310, column 38 of 320 x 64"
    told = traces.product_facts(plan, trace.product)
    holder = trace.product.holder
    assert holder % 5 == 4
    end = (
        f"core {holder} {plan.core_grid.xy(holder)} of the input's grid, which sends it"
    )
    assert told["window_element"].endswith(end)
    plan = ttnn_plan("conv1d", grid=(2, 1))
    facts = traces.weight_facts(plan, explain_weight(plan, 38, 0, 1))
    assert facts["repeated"] == "in each of rows 96 to 191; the first follows"
    assert "in_its_row" not in facts


def test_addresses_are_asked_of_cores_that_hold_weights():
    plan = ttnn_plan()
    with pytest.raises(jd.ConfigError, match=rf"one of {plan.num_output_cores}; use 0"):
        explain_address(plan, BASE, plan.num_output_cores, BASE)
    trace = explain_address(plan, BASE, 1, BASE)
    assert [read.wanted for read in trace.as_base] == list(plan.weight_tile_ids(1))
    assert [read.asked for read in trace.as_base] == list(plan.weight_tile_ids(0))


def test_what_is_not_traced_is_refused():
    conv = jd.ConvConfig(channels=640, height=120, width=120, padding=1, bias=True)
    shard = jd.ShardConfig(scheme="width", memory="dram")
    plan = jd.make_plan(conv, shard, program="regular", must_fit=False)
    with pytest.raises(jd.UnsupportedError, match=rf"{plan.slices}.*slice_plans"):
        explain_weight(plan, 0, 0, 0)
    wide = jd.ConvConfig(channels=2048, height=8, width=8, padding=1)
    plan = jd.make_plan(wide, program="regular", must_fit=False)
    with pytest.raises(
        jd.UnsupportedError, match=r"=37748736 elements.*fewer channels"
    ):
        explain_core(plan, 0, 0)
    with pytest.raises(
        jd.UnsupportedError, match=r"'depthwise', not 'regular'.*tables"
    ):
        explain_page(ttnn_plan(), core=0, base_address=BASE)
