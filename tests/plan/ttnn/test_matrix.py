"""Where weight preparation of ttnn 0.81.1 put each element of 20 tensors."""

import csv

import hypothesis.strategies as st
import numpy as np
import pytest
import strategies
import ttnn_rows
from hypothesis import given

import jaxdw as jd
from jaxdw.plan.ttnn.planner import default_compute, plan_ttnn

TABLE = (ttnn_rows.GOLDEN / "weights_ttnn.csv").read_text()
CASES = list(csv.DictReader(TABLE.splitlines()))
TENSORS = np.load(ttnn_rows.GOLDEN / "weights_ttnn.npz")


def launch_of(conv, arch="n150", **shard):
    plan = plan_ttnn(
        conv, jd.ShardConfig(**shard), default_compute(conv), jd.load_arch(arch)
    )
    return plan.launch


def launch_of_case(case):
    pair = case["pad"].strip("()").split(", ")
    conv = jd.ConvConfig(
        channels=int(case["C"]),
        height=int(case["H"]),
        width=int(case["W"]),
        kernel=(int(case["kh"]), int(case["kw"])),
        padding=(int(pair[0]), int(pair[1])),
        bias=case["bias"] == "True",
    )
    rows = 64 if case["name"].endswith("abh64") else 0
    return launch_of(
        conv, scheme=ttnn_rows.SCHEMES[case["layout"]], act_block_h_override=rows
    )


def test_the_tensors_are_whole():
    assert len(CASES) == 20
    assert {key.split("__")[0] for key in TENSORS} == {c["name"] for c in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_every_weight_lies_where_the_library_put_it(case):
    launch = launch_of_case(case)
    conv, weights = launch.at.conv, launch.weights
    kernel_h, kernel_w = conv.kernel
    dense = launch.program.name == "regular"
    assert case["name"].startswith("R" if dense else "D")
    places = set()
    for c in range(conv.channels):
        for r in range(kernel_h):
            for s in range(kernel_w):
                number = (c * kernel_h + r) * kernel_w + s + 1
                lanes = [c] if dense else range(weights.lanes)
                places |= {(weights.row(lane, r, s), c, number) for lane in lanes}
    name = case["name"]
    stored = zip(*(TENSORS[f"{name}__{part}"] for part in ("row", "col", "id")))  # noqa: B905
    assert places == {tuple(map(int, place)) for place in stored}
    assert len(places) == int(case["nonzero"])
    assert (weights.rows, weights.columns) == tuple(TENSORS[f"{name}__shape"])
    assert "1x1x{}x{}".format(*weights.logical_shape) == case["shape"]


@given(strategies.ttnn_layers(), st.sampled_from(["row_major", "tile"]))
def test_no_two_weights_share_a_row(layer, input_layout):
    conv, shard = layer
    launch = launch_of(conv, scheme=shard.scheme, input_layout=input_layout)
    weights = launch.weights
    rows = [
        weights.row(lane, r, s)
        for lane in range(weights.lanes)
        for r in range(conv.kernel[0])
        for s in range(conv.kernel[1])
    ]
    assert len(set(rows)) == len(rows)
    assert min(rows) == 0
    assert max(rows) < weights.rows
    assert weights.columns >= conv.channels
    assert weights.rows % 32 == weights.columns % 32 == 0


@given(strategies.ttnn_layers(), st.sampled_from([False, True]))
def test_the_readers_of_all_columns_cover_the_matrix_once(layer, full_inner_dim):
    conv, shard = layer
    shard = jd.ShardConfig(scheme=shard.scheme, full_inner_dim=full_inner_dim)
    compute = default_compute(conv)
    plan = jd.make_plan(conv, shard, compute, program="ttnn", must_fit=False)
    launch = plan.launch
    at = launch.at
    if launch.program.name == "conv1d" and at.scheme != "height":
        with pytest.raises(jd.UnsupportedError, match=f"'{at.scheme}'.*'height'"):
            plan.weight_tile_ids(0)
        return
    ids = [
        tile for core in range(at.output_columns) for tile in plan.weight_tile_ids(core)
    ]
    tile_rows, tile_columns = launch.weights.tile_grid
    assert sorted(ids) == list(range(tile_rows * tile_columns))
    last = at.output_grid.num_cores - 1
    assert plan.weight_tile_ids(last) == plan.weight_tile_ids(last % at.output_columns)
    expected = range(at.output_grid.num_cores if at.scheme == "width" else 1)
    if at.scheme == "block":
        expected = range(at.output_columns)
    assert plan.weight_readers == tuple(expected)
