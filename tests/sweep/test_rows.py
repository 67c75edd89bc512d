import dataclasses
import json
import shutil
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given
from strategies import convs, shards

import jaxdw as jd
from jaxdw.sweep.results import ResultStore, compare_rows, read_rows
from jaxdw.sweep.rows import (
    COLUMNS,
    NAMES,
    OLDER,
    SCHEMA,
    Point,
    config_row,
    name_of_row,
    plan_of_row,
    plan_row,
    point_of_row,
    whole_row,
)
from jaxdw.sweep.runner import run_sweep
from jaxdw.sweep.space import Space

# rows as jaxdw 0.3.0 wrote them: 2 layers of MobileNetV2, 2 schemes, 2 grids, seed 0
SCHEMA_2 = Path(__file__).parent / "schema2.jsonl"
OLD_SPACE = Space(
    models=("mobilenet_v2",),
    schemes=("height", "block"),
    grids=(None, (4, 4)),
    filter="height <= 14 and stride == 1 and channels <= 576",
)


@st.composite
def facts(draw: st.DrawFn) -> dict:
    """Draws what a point is made of, where a row has a column for all of it."""
    conv = dataclasses.replace(
        draw(convs()),
        bias=draw(st.booleans()),
        activation=draw(st.sampled_from([None, "relu", "gelu"])),
        weights_dtype=draw(st.sampled_from(["bfloat16", "bfloat4_b", "float32"])),
    )
    shard = draw(shards())
    if draw(st.booleans()):
        shard = jd.ShardConfig(scheme=draw(st.sampled_from(["auto", "width"])))
    compute = jd.ComputeConfig(
        arithmetic=draw(st.sampled_from(["fpu", "float32"])),
        math_fidelity=draw(st.sampled_from(["LoFi", "HiFi4"])),
        fp32_dest_acc=draw(st.booleans()),
    )
    names = {"model": "net", "layer": "a b", "times": draw(st.integers(1, 9))}
    configs = {"conv": conv, "shard": shard, "compute": compute}
    return {**names, **configs, "arch": draw(st.sampled_from(["wormhole_b0", "p150"]))}


@given(facts())
def test_a_row_gives_back_its_point(made_of):
    point = Point(**made_of)
    row = config_row(point)
    assert point_of_row(row) == point
    assert config_row(point_of_row(json.loads(json.dumps(row)))) == row


@given(facts())
def test_a_row_gives_back_its_plan(made_of):
    point = Point(**made_of)
    plan = jd.make_plan(
        point.conv, point.shard, point.compute, point.arch, must_fit=False
    )
    assert plan_of_row(config_row(point)) == plan


def test_the_figures_of_a_plan_stand_in_their_columns():
    conv = jd.ConvConfig(channels=96, height=9, width=20, stride=2, padding=1, batch=2)
    plan = jd.make_plan(conv, jd.ShardConfig(scheme="block", grid=(4, 3)))
    row = plan_row(plan)
    assert row == {
        "planned_program": "depthwise",
        "planned_scheme": "block",
        "grid": "x".join(map(str, plan.grid)),
        "cores": plan.num_cores,
        "nhw_shards": plan.num_nhw_shards,
        "channel_shards": plan.num_channel_shards,
        "halo_shard": "x".join(map(str, plan.halo_shard)),
        "out_shard": "x".join(map(str, plan.output_shard)),
        "padding_waste": row["padding_waste"],
        "l1_static_bytes": plan.l1.static_bytes,
        "l1_buffer_bytes": plan.l1.buffer_bytes,
        "l1_free_bytes": plan.l1.free_bytes,
        "fits": True,
        "weight_tiles": plan.weight_tiles_per_core,
        "tiles_per_bank": max(plan.traffic.tiles_per_bank),
        "multicast_bytes": 2048 * plan.weight_tiles_per_core,
        "cycles": plan.cycles.total,
        "cycles_binding": plan.cycles.binding,
        "cycles_halo": plan.cycles.halo,
        "cycles_dram": plan.cycles.dram,
        "cycles_multicast": plan.cycles.multicast,
        "cycles_l1_reads": plan.cycles.l1_reads,
        "cycles_matrix_unit": plan.cycles.matrix_unit,
        "findings": " ".join(finding.code for finding in plan.findings),
    }
    rows, channels = plan.output_shard
    computed = plan.num_cores * rows * channels
    assert row["padding_waste"] == pytest.approx(1 - 2 * 50 * 96 / computed, abs=1e-6)
    assert (row["nhw_shards"], row["channel_shards"], row["cores"]) == (2, 3, 6)
    alone = jd.make_plan(conv, jd.ShardConfig(scheme="width"))
    assert plan_row(alone)["multicast_bytes"] == 0


def test_waste_counts_the_cores_that_hold_output():
    conv = jd.ConvConfig(channels=384, height=14, width=14, kernel=3, padding=1)
    plan = jd.make_plan(conv, jd.ShardConfig(scheme="block"), program="regular")
    assert (plan.num_cores, plan.num_output_cores) == (56, 42)
    assert tuple(plan.output_shard) == (32, 64)
    waste = plan_row(plan)["padding_waste"]
    assert waste == pytest.approx(1 - 14 * 14 * 384 / (42 * 32 * 64), abs=1e-6)


def test_another_program_is_another_point_and_is_refused():
    point = OLD_SPACE.points()[0]
    other = dataclasses.replace(point, program="winograd")
    assert other.key != point.key
    assert config_row(other)["program"] == "winograd"
    assert point_of_row(config_row(other)) == other
    for planned in (other.plan, lambda: plan_of_row(config_row(other))):
        with pytest.raises(
            jd.ConfigError, match=r"`program` \(='winograd'\).*depthwise"
        ):
            planned()
    configs = (point.conv, point.shard, point.compute, point.arch)
    assert jd.make_plan(*configs, program="depthwise", must_fit=False) == point.plan()


def test_a_folder_of_schema_2_goes_on_and_its_rows_are_depthwise(tmp_path):
    shutil.copy(SCHEMA_2, tmp_path / "rows.jsonl")
    old = [json.loads(line) for line in SCHEMA_2.read_text().splitlines()]
    assert "program" not in old[0]
    rows = read_rows(tmp_path)
    assert [row["program"] for row in rows] == ["depthwise"] * 8
    assert [row["planned_program"] for row in rows] == ["depthwise"] * 8
    assert [row["repeat"] for row in rows] == [None] * 8
    assert [{n: row[n] for n in old[0]} for row in rows] == old
    fresh = []
    found = run_sweep(OLD_SPACE.points(), tmp_path, processes=1, progress=fresh.extend)
    assert fresh == []
    assert found == rows
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows
    assert read_rows(tmp_path / "rows.parquet") == rows
    assert read_rows(tmp_path / "rows.csv") == rows
    assert plan_of_row(rows[3]) == OLD_SPACE.points()[3].plan()
    assert list(compare_rows(rows, found)) == []


def test_columns_that_a_schema_lacks_are_no_changes():
    old = read_rows(SCHEMA_2)
    own = {"schema": SCHEMA, "repeat": "jaxdw run", "jaxdw": "9"}
    new = [row | own for row in old]
    for before, after in ((old, new), (new, old)):
        assert list(compare_rows(before, after)) == []
    new[2] |= {"pcc": 0.5, "planned_program": "regular"}
    (change,) = compare_rows(old, new)
    assert change.columns == {
        "planned_program": ("depthwise", "regular"),
        "pcc": (old[2]["pcc"], 0.5),
    }
    # of one schema, a command that differs is a change
    again = [row | {"repeat": "jaxdw plan"} for row in new]
    assert {"repeat"} == {n for c in compare_rows(new, again) for n in c.columns}


def test_older_files_of_other_kinds_are_completed(tmp_path):
    shutil.copy(SCHEMA_2, tmp_path / "rows.jsonl")
    text = (tmp_path / "rows.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in text]
    lines = [",".join(rows[0])]
    lines += [",".join("" if v is None else str(v) for v in r.values()) for r in rows]
    (tmp_path / "old.csv").write_text("\n".join(lines) + "\n")
    assert read_rows(tmp_path / "old.csv") == read_rows(tmp_path)


def test_a_folder_of_this_schema_is_not_written_again(tmp_path):
    with ResultStore(tmp_path) as store:
        store.append([config_row(OLD_SPACE.points()[0])])
    before = (tmp_path / "rows.jsonl").stat()
    with ResultStore(tmp_path) as store:
        assert len(store.rows) == 1
    after = (tmp_path / "rows.jsonl").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("schema", [None, 1, 99, "4"])
def test_a_schema_that_is_not_read_is_refused(schema):
    with pytest.raises(jd.ConfigError, match=rf"f, line 1 .*schema {SCHEMA}.*{schema}"):
        whole_row({"schema": schema}, "f, line 1")
    assert whole_row({"schema": SCHEMA, "key": "k"}, "f")["program"] is None
    assert set(OLDER) == {2, 3, 4}


def test_a_name_says_every_axis_that_says_something():
    point = Point(
        model="net", layer="a", times=2,
        conv=jd.ConvConfig(channels=8, height=4, width=4, batch=3, activation="relu"),
        shard=jd.ShardConfig(scheme="auto", grid=(4, 2)),
        compute=jd.ComputeConfig(fp32_dest_acc=True), arch="n150",
    )  # fmt: skip
    assert name_of_row(config_row(point)) == (
        "net a batch 3 relu bfloat16 LoFi fpu fp32_dest_acc depthwise n150 4x2 l1 auto"
    )


def test_every_column_has_a_type_and_a_meaning():
    assert len(set(NAMES)) == len(COLUMNS)
    for column in COLUMNS:
        assert column.kind in (int, float, bool, str)
        assert column.meaning
