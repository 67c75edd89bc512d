"""Weights of ttnn's programs: prepared as the library does, by table and by formula."""

import ast
import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import jaxdw as jd
from jaxdw.maps import regular
from jaxdw.maps.dense import Dense
from jaxdw.maps.indexmap import FormulaMap, IndexMap
from jaxdw.maps.maps import make_maps
from jaxdw.maps.tiles import tilize_formula, tilize_map

GOLDEN = Path(__file__).parents[1] / "golden"
SCHEMES = {"H": "height", "B": "block", "W": "width"}
STORED = np.load(GOLDEN / "weights_ttnn.npz")
ROWS = list(csv.DictReader((GOLDEN / "weights_ttnn.csv").read_text().splitlines()))


def planned(row: dict[str, str]) -> jd.Plan:
    conv = jd.ConvConfig(
        channels=int(row["C"]),
        height=int(row["H"]),
        width=int(row["W"]),
        kernel=(int(row["kh"]), int(row["kw"])),
        padding=ast.literal_eval(row["pad"]),
        bias=row["bias"] == "True",
    )
    rows = int(json.loads(row["opts"]).get("act_block_h_override", 0))
    shard = jd.ShardConfig(scheme=SCHEMES[row["layout"]], act_block_h_override=rows)
    return jd.make_plan(conv, shard, program="ttnn", must_fit=False)


def stored(name: str) -> np.ndarray:
    want = np.zeros(STORED[f"{name}__shape"], np.int64)
    row, column, value = (STORED[f"{name}__{part}"] for part in ("row", "col", "id"))
    want[row, column] = value
    return want


def numbered(plan: jd.Plan) -> np.ndarray:
    size = int(np.prod(plan.conv.weight_shape))
    return np.arange(1, size + 1).reshape(plan.conv.weight_shape)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_the_matrix_is_the_library_s(row):
    plan, want = planned(row), stored(row["name"])
    assert plan.program == ("conv1d" if row["name"].startswith("D") else "regular")
    assert plan.weight_matrix_shape == want.shape
    prepare = regular.prepare_map(plan)
    assert isinstance(prepare, IndexMap)
    sources = np.append(numbered(plan).ravel(), 0)
    np.testing.assert_array_equal(sources[prepare.index], want)
    if want.max() <= 256:  # in bf16
        got = jd.prepare_weights(plan, numbered(plan).astype(np.float32))
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if int(row["C"]) < 150], ids=lambda row: row["name"]
)
def test_the_formula_names_the_same_sources(row, monkeypatch):
    plan = planned(row)
    table = regular.prepare_map(plan)
    monkeypatch.setattr(regular, "MOST_ELEMS", table.destinations - 1)
    formula = regular.prepare_map(plan)
    assert isinstance(formula, FormulaMap)
    assert (formula.size, formula.destinations) == (table.size, table.destinations)
    places = np.arange(table.destinations + 2).reshape(1, -1)
    np.testing.assert_array_equal(formula.at(places), table.at(places))
    monkeypatch.setattr(regular, "MOST_ELEMS", table.destinations)
    assert isinstance(regular.prepare_map(plan), IndexMap)


def test_numbers_that_float32_holds_are_prepared_whole():
    plan = planned(ROWS[0])
    conv = jd.ConvConfig(
        channels=32, height=16, width=16, padding=1, weights_dtype="float32"
    )
    plan = jd.make_plan(conv, jd.ShardConfig(), program="regular")
    got = jd.prepare_weights(plan, numbered(plan).astype(np.float32))
    np.testing.assert_array_equal(got, stored("R_H_C32_k3"))


@pytest.mark.parametrize(("rows", "columns"), [(32, 32), (96, 64), (64, 160)])
def test_the_tilize_formula_is_the_table(rows, columns):
    table, formula = tilize_map(rows, columns), tilize_formula(rows, columns)
    places = np.arange(table.destinations + 2)
    np.testing.assert_array_equal(formula.at(places), table.at(places))
    assert (formula.size, formula.destinations) == (table.size, table.destinations)


LAYERS = [
    ("regular", {"channels": 40}, {}),
    ("regular", {"channels": 72, "kernel": (2, 3)}, {"scheme": "block"}),
    (
        "regular",
        {"channels": 72, "kernel": (2, 3)},
        {"scheme": "block", "full_inner_dim": True},
    ),
    ("regular", {"channels": 200}, {"scheme": "width", "act_block_w_div": 1}),
    ("regular", {"channels": 100}, {"scheme": "block", "input_layout": "tile"}),
    ("conv1d", {"channels": 40, "kernel": (1, 3), "height": 1, "width": 200}, {}),
]


@pytest.mark.parametrize(("program", "conv", "shard"), LAYERS)
def test_each_weight_is_paired_once_with_its_own_channel(program, conv, shard):
    layer = jd.ConvConfig(**({"height": 6, "width": 6, "padding": 1} | conv))
    shard = jd.ShardConfig(grid=(4, 2), **shard)
    plan = jd.make_plan(layer, shard, program=program)
    if program == "conv1d":
        assert plan.weight_matrix_shape[0] > 32 * layer.taps  # more than one tile high
    maps = make_maps(plan)
    pairing = maps.pairing
    shape = plan.num_output_shards, layer.taps, plan.output_shard.channels
    assert pairing.index.shape == shape
    assert pairing.size == 1024 * plan.weight_tiles_per_core
    seen = []
    tables = maps.weights
    for shard in range(plan.num_output_shards):
        tiles = np.array(plan.weight_tile_ids(shard))
        lanes = pairing.index[shard]
        real = lanes < pairing.size
        assert len(np.unique(lanes[real])) == real.sum()
        element = np.where(real, lanes, 0)
        tile, inside = tiles[element // 1024], element % 1024
        row = tables.tilize.index[tile, inside // 16]
        source = tables.prepare.index.ravel()[row * 16 + inside % 16]
        channel = np.arange(lanes.shape[1]) + shard * lanes.shape[1]
        want = channel * layer.taps + np.arange(layer.taps)[:, None]
        assert (real == (channel < layer.channels)).all()
        assert (lanes[~real] == pairing.padding).all()
        np.testing.assert_array_equal(source[real], want[real])
        seen += source[real].tolist()
    assert sorted(seen) == list(range(layer.channels * layer.taps))


@pytest.mark.parametrize(("program", "conv", "shard"), LAYERS)
def test_copies_are_all_the_weights_that_cores_hold(program, conv, shard):
    layer = jd.ConvConfig(**({"height": 6, "width": 6, "padding": 1} | conv))
    plan = jd.make_plan(layer, jd.ShardConfig(grid=(4, 2), **shard), program=program)
    maps = make_maps(plan)
    dense = maps.dense
    assert isinstance(dense, Dense)
    assert dense.tile_columns == plan.output_shard.channels // 32
    copies = 1
    if program == "conv1d":
        copies = plan.weight_matrix_shape[0] // layer.taps
    named = dense.copies.index[dense.copies.index < dense.copies.size]
    weights = (maps.weights.prepare.index < maps.weights.prepare.size).sum()
    assert len(named) == weights == copies * layer.channels * layer.taps
    np.testing.assert_array_equal(dense.copies.index[:, 0], maps.pairing.index)
    if program == "conv1d":
        assert len(np.unique(named)) == len(named)


WIDE = """
from pathlib import Path
import numpy as np
import jaxdw as jd
conv = jd.ConvConfig(channels=10240, height=3, width=3, padding=1)
plan = jd.make_plan(conv, jd.ShardConfig(scheme="width"), program="regular",
                    must_fit=False)
maps = jd.make_maps(plan)
rng = np.random.default_rng(0)
x, w = (rng.integers(-2, 3, s).astype(np.float32)
        for s in (conv.input_shape, conv.weight_shape))
got = jd.run(plan, maps, x, w).output
assert np.array_equal(got, jd.reference(conv, x, w))
# not getrusage, which counts what the parent held before exec
status = Path("/proc/self/status").read_text()
print(np.prod(plan.weight_matrix_shape), status.split("VmHWM:")[1].split()[0])
"""


def test_ten_thousand_channels_run_within_two_gigabytes():
    command = [sys.executable, "-c", WIDE]
    child = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert child.returncode == 0, child.stderr
    elements, kilobytes = map(int, child.stdout.split())
    assert elements == 10240 * 92160
    assert kilobytes < 2_000_000


def test_a_matrix_known_by_formula_is_not_made():
    conv = jd.ConvConfig(channels=2048, height=3, width=3, padding=1)
    shard = jd.ShardConfig(scheme="width")
    plan = jd.make_plan(conv, shard, program="regular", must_fit=False)
    x, w = np.zeros(conv.input_shape), np.zeros(conv.weight_shape)
    with pytest.raises(jd.UnsupportedError, match=r"\(=18432 x 2048 elements\)"):
        jd.prepare_weights(plan, w)
    with pytest.raises(jd.UnsupportedError, match=r"\(=18432 x 2048 elements\)"):
        jd.run(plan, jd.make_maps(plan), x, w, keep=("dram",))
