import dataclasses

import hypothesis.strategies as st
import numpy as np
import oracles
import oracles_ttnn
import pytest
import strategies
from hypothesis import assume, given, settings
from layout_examples import MAP_BUILDERS, first_rule, spoil
from ttnn_examples import ttnn_plan

import jaxdw as jd
from jaxdw.layouts.certificate import certify, definition_of, weights_of
from jaxdw.layouts.definition import ZERO
from jaxdw.layouts.regular import RegularWeights
from jaxdw.maps import regular


@st.composite
def questions(draw: st.DrawFn) -> tuple:
    """Draws what `make_plan` is asked of both programs, in one launch."""
    conv, shard = draw(strategies.ttnn_layers())
    if conv.height == 1:
        conv = dataclasses.replace(conv, padding=(0, 0, *conv.padding[2:]))
    program = draw(st.sampled_from(["regular", "ttnn"]))
    if program == "ttnn" and conv.height == 1 and not conv.bias:
        shard = dataclasses.replace(shard, scheme="height")
    shard = dataclasses.replace(
        shard,
        input_layout=draw(st.sampled_from(["row_major", "tile"])),
        full_inner_dim=shard.scheme == "block" and draw(st.booleans()),
        act_block_h_override=draw(st.sampled_from([0, 0, 32, 64])),
        orientation=draw(st.sampled_from(["row_major", "col_major"])),
        grid=draw(st.sampled_from([None, (2, 3), (8, 1)])),
    )
    compute = jd.ComputeConfig(fp32_dest_acc=draw(st.booleans()))
    arch = draw(st.sampled_from(["wormhole_b0", "blackhole"]))
    return conv, shard, compute, arch, program


@given(questions())
@settings(max_examples=60)
def test_the_layout_of_any_plan_holds(question):
    *configs, program = question
    assume(configs[0].kernel != configs[0].stride)  # ttnn folds these strides away
    plan = jd.make_plan(*configs, program=program, must_fit=False)
    certificate = certify(plan)
    assert certificate.holds, certificate.failures
    assert certificate.counts["outputs"] == np.prod(plan.output_shape[:3])
    read = plan.num_output_shards * plan.weight_tiles_per_core
    assert certificate.counts["weight_tiles_read"] == read
    assert certificate.counts["weight_tiles_unused"] == 0
    assert f"program={plan.program}" in certificate.key


def layout_of(plan: jd.Plan) -> oracles_ttnn.Layout:
    scheme = plan.scheme + "_full" * plan.shard.full_inner_dim
    return oracles_ttnn.Layout(
        scheme,
        plan.conv.kernel,
        plan.input_shard.channels,
        plan.num_channel_shards,
        plan.shard.act_block_w_div,
    )


CASES = {
    "height": {"scheme": "height"},
    "height of tiles": {"scheme": "height", "input_layout": "tile"},
    "width": {"scheme": "width", "channels": 200, "grid": (2, 2)},
    "width in parts": {
        "scheme": "width", "channels": 250, "grid": (2, 1), "act_block_w_div": 2
    },
    "block": {},
    "block of tiles": {"channels": 90, "input_layout": "tile"},
    "full inner dim": {"full_inner_dim": True},
    "more columns": {"channels": 200, "grid": (8, 3)},
    "column major": {"orientation": "col_major", "channels": 90},
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_statement_is_that_of_the_loops(case):
    plan = ttnn_plan(**CASES[case])
    assert certify(plan).holds
    weights = weights_of(plan)
    assert isinstance(weights, RegularWeights)
    conv, layout = plan.conv, layout_of(plan)
    w = np.arange(1, conv.channels * conv.taps + 1).reshape(conv.weight_shape)
    matrix = oracles_ttnn.regular_weights(w, layout)
    past = plan.weight_matrix_shape[1] - matrix.shape[1]
    matrix = np.pad(matrix, [(0, 0), (0, past)])
    np.testing.assert_array_equal(weights.matrix() + 1, matrix)
    blocks = oracles_ttnn.k_blocks(layout)
    lanes = [lane for block in blocks for lane in block]
    width = plan.output_shard.channels
    prepared = oracles.tilize(matrix)
    for shard in range(plan.num_output_shards):
        own = matrix[[lane.row for lane in lanes], shard * width : (shard + 1) * width]
        l1 = oracles.tilize(own)
        np.testing.assert_array_equal(weights.weight_lanes()[shard] + 1, l1.ravel())
        ids = weights.weight_tile_ids()[shard]
        np.testing.assert_array_equal(prepared[ids], l1)
        met = weights.pairing()[shard]
        for tap in range(conv.taps):
            for column in range(width):
                channel = shard * width + column
                if channel >= conv.channels:
                    assert met[tap, column] == ZERO
                else:
                    assert l1.flat[met[tap, column]] == channel * conv.taps + tap + 1


MUTANTS = [
    ("prepare", "weight_rows", "matrix.row(lanes, r, s)", "matrix.row(lanes, 0, s)"),
    ("prepare", "weight_rows", "range(kernel_w)]", "range(kernel_w)][::-1]"),
    (
        "prepare",
        "weight_rows",
        "np.arange(channels)[None]",
        "np.zeros((1, channels), int)",
    ),
    (
        "prepare",
        "prepare_map",
        "* taps + np.arange(taps)",
        "* taps + np.arange(taps)[::-1]",
    ),
    ("prepare", "prepare_map", "(rows, columns), num_weights,", "(rows, columns), 0,"),
    ("prepare", "prepare_map", "index[held,", "index[(held + 1) % rows,"),
    (
        "pairing",
        "dense_of",
        "np.arange(len(tiles.read_rows))",
        "np.arange(len(tiles.read_rows))[::-1]",
    ),
    ("pairing", "dense_of", "% columns\n", "% columns // 2\n"),
    (
        "pairing",
        "dense_of",
        "tile_element(row % TILE, column % TILE)",
        "row % TILE * TILE + column % TILE",
    ),
    (
        "pairing",
        "dense_of",
        "* tiles.columns_per_core +",
        "// 2 * tiles.columns_per_core +",
    ),
    ("pairing", "dense_of", "< plan.conv.channels, element", "< lanes, element"),
    ("tilize", "tilize_map", "(-1, FACE_ROWS)", "(FACE_ROWS, -1).T"),
    ("deal", "bank_table", "bank, slot = page %", "bank, slot = (page + 1) %"),
    ("read", "read_map", "bank * table.num_slots + slot", "slot * table.num_slots"),
    ("read", "_weight_maps", "weight_tile_ids(core)", "weight_tile_ids(0)"),
    (
        "multicast",
        "make_multicast",
        "plan.num_output_shards",
        "plan.num_channel_shards",
    ),
    (
        "multicast",
        "make_multicast",
        "plan.output_grid.xy(core)",
        "plan.output_grid.xy(0)",
    ),
    ("multicast", "make_multicast", "= broadcast.num_dests", "= 1"),
    ("bias prepare", "bias_prepare_map", "index[0, ", "index[1, "),
    ("bias read", "_bias_maps", "bias_tile_ids(core)", "bias_tile_ids(0)"),
    (
        "channels",
        "make_maps",
        "=plan.output_shard.channels",
        "=plan.input_shard.channels",
    ),
    ("channels", "make_maps", "plan.num_channel_shards *", "plan.num_output_shards *"),
    ("taps", "make_maps", "tap_offsets()", "tap_offsets()[::-1]"),
    ("shard", "shard_map", "np.minimum(index,", "np.minimum(index + 1,"),
    ("halo", "halo_map", "copies[:, 0] * input_rows", "copies[:, 2]"),
    ("top_left", "top_left_map", "= starts", "= starts + 1"),
    ("collect", "collect_map", "* plan.output_rows + rows", "* plan.output_rows"),
]


@pytest.mark.parametrize(("rule", "name", "old", "new"), MUTANTS)
def test_a_changed_line_in_a_map_builder_is_named(monkeypatch, rule, name, old, new):
    plan = ttnn_plan(channels=90, width=40)  # 4 NHW shards, 3 columns of the output
    assert (plan.num_nhw_shards, plan.num_output_shards) == (6, 3)
    assert plan.num_channel_shards != 3
    builder = MAP_BUILDERS.get(name) or getattr(regular, name)
    assert first_rule(monkeypatch, plan, builder, old, new) == rule


def test_a_weight_off_the_diagonal_is_named_with_its_core():
    plan = ttnn_plan()
    maps = jd.make_maps(plan)

    def change(index, size):
        index[1, 38] = 0  # row 1 is channel 1's; column 38 is core 1's
        return index

    first, *_, last = certify(plan, spoil(maps, "weights.prepare", change)).failures
    assert (first.rule, first.core) == ("prepare", 1)
    assert first.place.startswith("matrix row 1, column 38 (L1 tile 0, face 0, row 1")
    assert (first.expected, first.found[:31]) == (
        "zero",
        "the weight of channel 0, kernel",
    )
    assert (last.rule, last.core) == ("weights", 1)


def test_places_of_windows_are_named_by_cores_of_their_own_grid():
    plan = ttnn_plan(width=40)
    assert (plan.num_channel_shards, plan.num_output_shards) == (5, 2)

    def change(index, size):
        index[1, 0] = size + 1
        return index

    maps = jd.make_maps(plan)
    for stage, core in (("shard", 5), ("halo", 5), ("top_left", 2)):
        first = certify(plan, spoil(maps, stage, change)).failures[0]
        assert (first.rule, first.core) == (stage, core)


def test_a_layer_of_several_launches_is_certified_launch_by_launch():
    conv = jd.ConvConfig(channels=640, height=120, width=120, padding=1, bias=True)
    shard = jd.ShardConfig(scheme="width", memory="dram")
    plan = jd.make_plan(conv, shard, program="regular", must_fit=False)
    assert plan.slices > 1
    with pytest.raises(jd.UnsupportedError, match=rf"{plan.slices}.*slice_plans"):
        certify(plan)
    assert certify(plan.slice_plans[0]).holds


def test_a_matrix_too_large_for_a_table_is_refused():
    conv = jd.ConvConfig(channels=2048, height=8, width=8, padding=1)
    plan = jd.make_plan(conv, program="regular", must_fit=False)
    message = r"\(=37748736 elements\).*certified.*fewer channels"
    with pytest.raises(jd.UnsupportedError, match=message):
        certify(plan)


def test_a_definition_knows_both_grids():
    definition = definition_of(ttnn_plan())
    assert (definition.input_shards, definition.input_channels) == (5, 40)
    assert (definition.channel_shards, definition.num_cores) == (2, 10)
