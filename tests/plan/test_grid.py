import csv
from pathlib import Path

import oracles
import pytest
import strategies
from hypothesis import given

import jaxdw as jd
from jaxdw.plan.grid import Broadcast, CoreGrid, Rect, most_shards
from jaxdw.plan.units import round_up

GOLDEN = Path(__file__).parents[1] / "golden"
PLANNING_CSV = (GOLDEN / "planning_ttnn.csv").read_text().splitlines()
PLANNING = list(csv.DictReader(PLANNING_CSV))


def plan_of(row: dict) -> jd.Plan:
    names = ("batch", "channels", "height", "width", "kernel", "stride", "padding")
    conv = jd.ConvConfig(**{name: int(row[name]) for name in names})
    shard = jd.ShardConfig(scheme=row["scheme"])
    return jd.make_plan(conv, shard, arch=row["arch"], must_fit=False)


@pytest.mark.parametrize("row", PLANNING, ids=lambda r: "-".join(r.values()))
def test_shards_are_those_of_ttnn(row):
    plan = plan_of(row)
    got = {
        "nhw_shards": plan.num_nhw_shards,
        "in_shard_rows": plan.input_shard.rows,
        "halo_shard_rows": plan.halo_shard.rows,
        "out_shard_rows": plan.output_shard.rows,
    }
    want = {name: int(row[name]) for name in got if row[name]}
    assert {name: got[name] for name in want} == want


@pytest.mark.parametrize(
    ("scheme", "grid", "input_shard", "halo_shard", "output_shard"),
    [
        ("height", (2, 1), (32, 64), (60, 64), (32, 64)),
        ("width", (2, 1), (64, 32), (100, 32), (64, 32)),
        ("block", (2, 2), (32, 32), (60, 32), (32, 32)),
    ],
)
def test_the_plans_own_example(scheme, grid, input_shard, halo_shard, output_shard):
    conv = jd.ConvConfig(channels=64, height=8, width=8, padding=1)
    plan = jd.make_plan(conv, jd.ShardConfig(scheme=scheme))
    assert plan.grid == grid
    assert tuple(plan.input_shard) == input_shard
    assert tuple(plan.halo_shard) == halo_shard
    assert tuple(plan.output_shard) == output_shard


def test_672_channels_5x5_stride_2_take_the_plans_7x2_grid():
    conv = jd.ConvConfig(
        channels=672, height=14, width=14, kernel=5, stride=2, padding=2
    )
    plan = jd.make_plan(conv, jd.ShardConfig(scheme="block"))
    assert plan.grid == (7, 2)
    assert tuple(plan.halo_shard) == (227, 96)


@given(strategies.convs(), strategies.shards())
def test_grid_and_shards_equal_the_oracle(conv, shard):
    plan = jd.make_plan(conv, shard, must_fit=False)
    _, out_h, out_w, _ = plan.output_shape
    for axis, out in enumerate((out_h, out_w)):
        assert out == oracles.output_size(
            conv.input_shape[1 + axis],
            conv.kernel[axis],
            conv.stride[axis],
            conv.padding[2 * axis],
            conv.padding[2 * axis + 1],
            conv.dilation[axis],
        )
    shards = oracles.parallel_config(
        shard.scheme, conv.batch, conv.channels, out_h, out_w, *shard.grid
    )
    assert (plan.num_nhw_shards, plan.num_channel_shards) == shards
    want_in, want_out = oracles.shard_shapes(
        shard.scheme,
        conv.batch,
        conv.channels,
        conv.height,
        conv.width,
        out_h,
        out_w,
        *shards,
    )
    assert tuple(plan.input_shard) == want_in
    assert tuple(plan.output_shard) == want_out


def test_act_block_h_override_makes_shards_of_whole_steps():
    assert most_shards(49, 64) == 49
    assert most_shards(49, 64, 2) == 25
    assert most_shards(49, 64, 64) == 1
    conv = jd.ConvConfig(channels=32, height=56, width=28, padding=1)
    plan = jd.make_plan(conv, jd.ShardConfig(act_block_h_override=64))
    assert plan.num_cores == 25


def test_act_block_h_override_holds_for_the_rows_of_block_shards_too():
    conv = jd.ConvConfig(channels=32, height=10, width=16, kernel=1)
    shard = jd.ShardConfig(scheme="block", act_block_h_override=64)
    assert jd.make_plan(conv, shard, must_fit=False).grid == (1, 3)


def test_as_many_tiles_as_cores_fill_the_whole_grid():
    plan = jd.make_plan(jd.ConvConfig(channels=32, height=64, width=32, padding=1))
    assert (plan.num_cores, plan.grid) == (64, (8, 8))


def test_round_up():
    assert [round_up(v, 32) for v in (0, 1, 32, 33)] == [0, 32, 32, 64]


def test_height_cores_fill_rows_and_leave_the_last_partial():
    conv = jd.ConvConfig(channels=32, height=20, width=20, padding=1)
    plan = jd.make_plan(conv)
    assert (plan.num_cores, plan.grid) == (13, (8, 2))
    assert plan.core_grid.xy(12) == (4, 1)
    assert plan.core_grid.broadcasts() == (
        Broadcast(sender=0, rect=Rect(x0=0, y0=0, x1=7, y1=1), num_dests=12),
    )


def test_block_sends_down_each_column_and_width_sends_nothing():
    block = CoreGrid(x=2, y=3, num_nhw_shards=3, num_channel_shards=2)
    assert block.broadcasts() == (
        Broadcast(sender=0, rect=Rect(x0=0, y0=0, x1=0, y1=2), num_dests=2),
        Broadcast(sender=1, rect=Rect(x0=1, y0=0, x1=1, y1=2), num_dests=2),
    )
    assert (
        CoreGrid(x=8, y=2, num_nhw_shards=1, num_channel_shards=13).broadcasts() == ()
    )
