"""Calls, rows and vectors of ttnn say what the plan is of, and what they cannot say."""

import pytest

import jaxdw as jd
from jaxdw.exports.ttnn import core_ranges, sweep_vector, ttnn_call, ttnn_text


def plan_of(shard: dict | None = None, **conv) -> jd.Plan:
    plain = {"channels": 96, "height": 20, "width": 18, "padding": 1}
    return jd.make_plan(
        jd.ConvConfig(**(plain | conv)), jd.ShardConfig(**(shard or {})), must_fit=False
    )


@pytest.mark.parametrize("cores", [1, 5, 8, 11, 16, 63, 64, (3, 2)])
def test_rectangles_hold_every_core_and_no_other(cores):
    plan = plan_of({"scheme": "height", "cores": cores}, height=64, width=64)
    held = [
        (x, y)
        for x0, y0, x1, y1 in core_ranges(plan.core_grid)
        for y in range(y0, y1 + 1)
        for x in range(x0, x1 + 1)
    ]
    assert held == [plan.core_grid.xy(core) for core in range(plan.num_cores)]


def test_a_grid_limit_becomes_the_cores_that_it_leads_to():
    said = ttnn_call(plan_of({"scheme": "block", "grid": (2, 3)}))
    assert "override_sharding_config=True" in said
    assert "ttnn.CoreCoord(0, 0), ttnn.CoreCoord(1, 2)" in said
    assert "core_grid" not in ttnn_call(plan_of({"scheme": "block"}))


def test_defaults_are_left_out_and_others_said():
    plain = ttnn_call(plan_of())
    for name in ("transpose", "act_block", "activation", "double_buffer", "output_la"):
        assert name not in plain
    assert "bias_tensor=None" in plain
    assert "slice_config=ttnn.Conv2dL1FullSliceConfig" in plain
    shard = {"scheme": "block", "orientation": "col_major", "act_block_h_override": 64}
    said = ttnn_call(plan_of(shard, bias=True, activation="silu"))
    assert "transpose_shards=True" in said
    assert "act_block_h_override=64" in said
    assert "ttnn.UnaryWithParam(ttnn.UnaryOpType.SILU)" in said
    assert "bias_tensor=bias_tensor" in said


def test_what_ttnn_has_no_word_for_stands_in_comments():
    shard = {"weight_layout": "tile_chunks", "program_cache": True}
    said = ttnn_call(plan_of(shard))
    assert "# weights prepared by the revision tile_chunks" in said
    assert "# called again from the program cache" in said
    assert "# wormhole_b0, program depthwise of tt-metal branch @002a3f41" in said
    one_row = ttnn_call(plan_of(height=1, padding=0, kernel=(1, 3)))
    assert "itself gives this layer to conv1d" in one_row


def test_a_layer_from_dram_has_no_slice_config_and_says_its_launches():
    conv = jd.ConvConfig(channels=64, height=300, width=300, padding=1)
    shard = jd.ShardConfig(scheme="height", memory="dram")
    plan = jd.make_plan(conv, shard, program="regular", must_fit=False)
    said = ttnn_call(plan)
    assert plan.slices > 1
    assert "slice_config" not in said
    assert f"{plan.slices} launches" in said


def test_vectors_are_in_the_order_of_the_sweep():
    plan = plan_of(
        batch=2, kernel=(5, 3), stride=(2, 1), padding=(2, 1), dilation=2, bias=True
    )
    assert sweep_vector(plan) == str([2, 96, 96, 20, 18, 5, 3, 2, 1, 2, 1, 96, True, 2])
    uneven = sweep_vector(plan_of(padding=(0, 1, 1, 1)))
    assert uneven == "# the sweep has no vector for uneven padding (0, 1, 1, 1)"
    uneven = sweep_vector(plan_of(dilation=(1, 2)))
    assert uneven == "# the sweep has no vector for uneven dilation (1, 2)"
    assert uneven in ttnn_text(plan_of(dilation=(1, 2)))
