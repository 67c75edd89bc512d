import dataclasses

import pytest
import strategies
from hypothesis import given

import jaxdw as jd

EXAMPLE = jd.ConvConfig(channels=64, height=8, width=8, padding=1)
BASE = 0x1D4DA0


def plan_of(conv=EXAMPLE, arch="n150", **shard) -> jd.Plan:
    return jd.make_plan(conv, jd.ShardConfig(**shard), arch=arch, must_fit=False)


def runtime(plan: jd.Plan, bias_address: int = 0) -> list[list]:
    return [
        [argument.value for argument in core]
        for core in plan.arguments(
            weight_address=BASE, bias_address=bias_address
        ).runtime["reader"]
    ]


def compile_time(plan: jd.Plan, kernel: str):
    return plan.arguments(weight_address=0, bias_address=0).compile_time[kernel]


def named(args) -> dict[str, int | str]:
    return {argument.name: argument.value for argument in args}


def test_width_cores_share_a_base_and_start_at_their_own_tile():
    assert runtime(plan_of(scheme="width")) == [
        [BASE, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
        [BASE, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0],
    ]


def test_block_row_0_sends_down_its_column():
    assert runtime(plan_of(scheme="block")) == [
        [BASE, 1, 18, 18, 18, 19, 1, 1, 0, 1, 0, 0],
        [BASE, 1, 19, 18, 19, 19, 1, 1, 0, 1, 1, 0],
        [BASE, 0, 18, 18, 0, 1, 0, 0, 0, 0, 0, 0],
        [BASE, 0, 19, 18, 0, 1, 0, 0, 0, 0, 1, 0],
    ]


def test_height_core_0_sends_to_the_bounding_box():
    conv = dataclasses.replace(EXAMPLE, height=20, width=20, bias=True)
    args = runtime(plan_of(conv), bias_address=4096)
    assert args[0] == [BASE, 1, 18, 18, 25, 19, 12, 12, 0, 1, 0, 4096]
    assert args[1:] == [[BASE, 0, 18, 18, 0, 1, 0, 0, 0, 0, 0, 4096]] * 12
    bare = runtime(plan_of(dataclasses.replace(conv, bias=False)), bias_address=4096)
    assert {core[11] for core in bare} == {0}


def test_col_major_block_gets_the_roles_of_row_major():
    conv = jd.ConvConfig(channels=96, height=8, width=16, padding=1)
    plan = plan_of(conv, scheme="block", orientation="col_major")
    assert plan.grid == (4, 3)
    args = runtime(plan)
    assert [core[1] for core in args] == [1] * 3 + [0] * 9
    assert [core[10] for core in args[:4]] == [0, 1, 2, 0]
    assert args[1][2:6] == [19, 18, 19, 21]


def test_roles_off_the_chip_are_refused():
    conv = jd.ConvConfig(channels=64, height=8, width=64, padding=1)
    shard = {"scheme": "block", "orientation": "col_major", "cores": (13, 2)}
    with pytest.raises(jd.ConfigError, match=r"\(=\(0, 12\)\).*13x10 cores"):
        runtime(plan_of(conv, "p150", **shard))


@given(strategies.convs(), strategies.shards())
def test_arguments_name_what_the_plan_does(conv, shard):
    plan = jd.make_plan(conv, shard, must_fit=False)
    args = plan.arguments(weight_address=0, bias_address=0).runtime["reader"]
    readers = [core for core, a in enumerate(args) if named(a)["is_sender"]]
    assert tuple(readers) == plan.weight_readers
    for core, values in enumerate(map(named, args)):
        assert values["start_tile_id"] == plan.start_tile(core)
        assert [a.index for a in args[core]] == list(range(12))
    noc_xy = [
        plan.arch.worker_noc_xy(plan.core_grid.xy(core))
        for core in range(plan.num_cores)
    ]
    for broadcast in plan.core_grid.broadcasts():
        sender = named(args[broadcast.sender])
        rect = broadcast.rect
        assert sender["num_dests"] == sender["num_cores"] == broadcast.num_dests
        assert (sender["mcast_start_x"], sender["mcast_end_x"]) == (
            18 + rect.x0, 18 + rect.x1,
        )  # fmt: skip
        assert (sender["mcast_start_y"], sender["mcast_end_y"]) == (
            18 + rect.y0, 18 + rect.y1,
        )  # fmt: skip
    for values in map(named, args):
        if not values["is_sender"]:
            assert (values["sender_x"], values["sender_y"]) in noc_xy
    sticks = plan.arguments(weight_address=0, bias_address=0).runtime["compute"]
    assert [core[0].value for core in sticks] == [
        plan.shard_ranges[core // plan.num_channel_shards].num_outputs
        for core in range(plan.num_cores)
    ]


def test_compile_arguments_of_a_plain_layer():
    conv = jd.ConvConfig(
        channels=144, height=56, width=40, kernel=(3, 5), stride=(2, 3),
        padding=(1, 2, 3, 4), bias=True,
    )  # fmt: skip
    plan = plan_of(conv)
    reader = compile_time(plan, "reader")
    assert [a.value for a in reader] == [
        plan.output_shard.rows, 3, 5, 7, 320, 40, 144, 0, 0, "0x3f800000", 0, 1,
        5 * 32 * 15, 32, 0, 0, 0, 9, 7, 4, 4, 5, 1, 2, 3, 3, 3, 5, 1, 1, 5, 288, 320, 2,
        3, 1, 1, 0, 1, 3, 0, 0, 0, 0, 3, 3, 2, 1, "interleaved DRAM", 1, 6, 5,
        "interleaved DRAM",
    ]  # fmt: skip
    assert [a.index for a in reader] == list(range(53))
    assert [reader[i].name for i in (0, 4, 12, 33, 43, 47, 49)] == [
        "out_nhw_per_core", "in_nbytes_leftover", "in_cb_sz", "multi_buffering_factor",
        "zero_pages", "num_shards_c", "has_bias",
    ]  # fmt: skip
    compute = compile_time(plan, "compute")
    assert [a.value for a in compute] == [
        5, 15, 0, 0, 144, 1, 32, 0, 0, 4, 4, 5, 1, 2, 3, 3, 3, 3, 3, 1, 8, 1, 0, 0, 2,
        3, 59, 47, 3, 5, 3, 2, 1, 1, 6, 5, 5,
    ]  # fmt: skip
    assert compute[36].name == "clear_value_cb"


@pytest.mark.parametrize(
    ("channels", "shard", "per_shard"),
    [
        (48, {"scheme": "width"}, 32),
        (64, {"scheme": "width"}, 32),
        (960, {"scheme": "block"}, 128),
        (100, {"scheme": "height"}, 100),
        (64, {"scheme": "width", "cores": 3}, 21),
    ],
)
def test_channels_per_shard_follow_the_factorys_formula(channels, shard, per_shard):
    plan = plan_of(dataclasses.replace(EXAMPLE, channels=channels), **shard)
    reader = named(compile_time(plan, "reader"))
    assert reader["in_c_per_shard_ceil"] == per_shard
    assert reader["in_nbytes_c"] == 2 * per_shard


@pytest.mark.parametrize(
    ("channels", "kernel", "blocks", "leftover", "size"),
    [
        (256, 3, 1, 512, 8 * 32 * 9),
        (257, 3, 2, 64, 8 * 32 * 9),
        (320, 3, 2, 128, 8 * 32 * 9),
        (512, 5, 2, 1024, 8 * 32 * 32),
        (160, 7, 2, 64, 4 * 32 * 32),
        (128, 7, 1, 256, 4 * 32 * 32),
        (64, 4, 1, 128, 2 * 32 * 16),
    ],
)
def test_wide_reductions_come_in_blocks(channels, kernel, blocks, leftover, size):
    conv = dataclasses.replace(EXAMPLE, channels=channels, kernel=(kernel, kernel))
    conv = dataclasses.replace(conv, padding=(3, 3, 3, 3))
    reader = named(compile_time(plan_of(conv), "reader"))
    assert reader["in_nblocks_c"] == blocks
    assert reader["in_nbytes_leftover"] == leftover
    assert reader["in_cb_sz"] == size


def test_row_major_output_has_no_pre_tilize_buffer():
    plan = plan_of(output_layout="row_major")
    compute = named(compile_time(plan, "compute"))
    assert (compute["pre_tilize_cb"], compute["is_output_tiled"]) == (32, 0)
    block = plan_of(dataclasses.replace(EXAMPLE, output_dtype="bfloat8_b"))
    assert named(compile_time(block, "reader"))["zero_pages"] == 1
    compute = named(compile_time(block, "compute"))
    assert (compute["is_output_block_format"], compute["bias_cb"]) == (1, 32)


def test_float32_sticks_are_counted_in_4_bytes():
    plan = plan_of(dataclasses.replace(EXAMPLE, dtype="float32"))
    reader = named(compile_time(plan, "reader"))
    for name in ("in_nbytes_leftover", "in_nbytes_c", "shard_width_bytes"):
        assert reader[name] == 64 * 4


def test_only_block_formats_zero_their_pages():
    conv = dataclasses.replace(EXAMPLE, output_dtype="float32")
    compute = jd.ComputeConfig(fp32_dest_acc=True)
    reader = named(compile_time(jd.make_plan(conv, compute=compute), "reader"))
    assert reader["zero_pages"] == 0


@pytest.mark.parametrize(
    ("shard", "sticks"),
    [
        ({"cores": 4}, [32, 32, 0, 0]),
        # COL_MAJOR: the channel shards of one column are taken for rows of outputs
        ({"scheme": "block", "orientation": "col_major", "cores": (1, 2)}, [64, 0]),
    ],
)
def test_compute_is_told_the_sticks_of_its_row(shard, sticks):
    args = (
        plan_of(**shard).arguments(weight_address=0, bias_address=0).runtime["compute"]
    )
    assert [core[0].value for core in args] == sticks
