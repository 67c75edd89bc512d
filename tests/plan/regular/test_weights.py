"""The order of tiles in the dense matmul, by hand."""

import pytest

import jaxdw as jd
from jaxdw.plan.ttnn.planner import default_compute

EXAMPLE = jd.ConvConfig(channels=128, height=4, width=64, kernel=(2, 3), padding=1)


def plan_of(conv=EXAMPLE, **shard):
    shard, compute = jd.ShardConfig(**shard), default_compute(conv)
    return jd.make_plan(conv, shard, compute, program="ttnn", must_fit=False)


def tile_rows(plan, core=0):
    columns = plan.launch.weights.tile_grid[1]
    start = plan.weight_tile_ids(core)[0] % columns
    rows = [tile // columns for tile in plan.weight_tile_ids(core)]
    assert all(
        tile % columns - start == number % plan.launch.at.out_w_tiles
        for number, tile in enumerate(plan.weight_tile_ids(core))
    )
    return rows[:: plan.launch.at.out_w_tiles]


def test_height_reads_kernel_row_after_kernel_row():
    plan = plan_of(scheme="height")
    assert tile_rows(plan) == list(range(2 * 12))
    assert plan.weight_readers == (0,)


def test_block_reads_all_columns_of_a_kernel_row_before_the_next():
    plan = plan_of(scheme="block", grid=(2, 4))
    assert (plan.launch.at.input_columns, plan.launch.blocks.act_w) == (2, 6)
    first, second = list(range(6)), list(range(12, 18))
    third, fourth = list(range(6, 12)), list(range(18, 24))
    assert tile_rows(plan) == first + second + third + fourth
    assert plan.weight_tile_ids(0)[:3] == (0, 1, 4)
    assert plan.weight_tile_ids(1)[:3] == (2, 3, 6)
    whole = plan_of(scheme="block", grid=(2, 4), full_inner_dim=True)
    assert tile_rows(whole) == list(range(24))


def test_width_reads_a_core_s_channels_position_by_position():
    plan = plan_of(scheme="width", grid=(2, 1))
    assert plan.launch.at.input_shard.channels == 64
    taps = [[4 * tap, 4 * tap + 1] for tap in range(6)]
    of_core_0 = [row for pair in taps for row in pair]
    assert tile_rows(plan) == of_core_0 + [row + 2 for row in of_core_0]
    cut = plan_of(scheme="width", grid=(2, 1), act_block_w_div=2)
    assert tile_rows(cut) == [
        4 * tap + 2 * core + part
        for part in range(2)
        for core in range(2)
        for tap in range(6)
    ]
    assert cut.launch.blocks.act_w == 6
    assert plan.weight_readers == (0, 1)


@pytest.mark.parametrize(
    ("scheme", "full", "row"),
    [
        ("height", False, 192 + 2 * 64 + 41),
        ("width", False, (3 + 2) * 64 + 41),
        ("block", False, (2 * 2 + 1) * 64 + 2 * 16 + 9),
        ("block", True, 2 * 96 + (3 + 2) * 16 + 9),
    ],
)
def test_the_row_of_channel_41_at_kernel_row_1_and_column_2(scheme, full, row):
    conv = jd.ConvConfig(channels=64, height=4, width=64, kernel=(2, 3), padding=1)
    plan = plan_of(conv, scheme=scheme, grid=(4, 4), full_inner_dim=full)
    assert plan.launch.weights.row(41, 1, 2) == row
