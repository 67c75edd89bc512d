"""Blocks, buffers and bounds of the 1D depthwise program."""

import dataclasses

import pytest

import jaxdw as jd
from jaxdw.plan.ttnn.planner import default_compute, plan_ttnn

LAYER = jd.ConvConfig(channels=64, height=1, width=1027, kernel=(1, 4))
F32 = {"dtype": "float32", "weights_dtype": "float32", "output_dtype": "float32"}


def launch_of(conv=LAYER, arch="n150", compute=None, **shard):
    compute = compute or default_compute(conv)
    shard = jd.ShardConfig(**shard)
    return plan_ttnn(conv, shard, compute, jd.load_arch(arch)).launch


def plan_of(**shard):
    shard, compute = jd.ShardConfig(**shard), default_compute(LAYER)
    return jd.make_plan(LAYER, shard, compute, program="ttnn", must_fit=False)


@pytest.mark.parametrize(
    ("arch", "changes", "coalesced"),
    [
        ("n150", {"channels": 1024}, True),  # 8,192 bytes of a window
        ("n150", {"channels": 1056}, False),
        ("n150", {"channels": 512, **F32}, True),
        ("n150", {"channels": 544, **F32}, False),
        ("p150", {"channels": 2048}, True),  # 16,384
        ("p150", {"channels": 2080}, False),
        ("n150", {"channels": 40}, False),  # padded to 40
        ("n150", {"dilation": (1, 2)}, False),
        ("n150", {"kernel": (1, 2)}, True),
        ("n150", {"kernel": (1, 1), "stride": (1, 3)}, False),
    ],
)
def test_one_read_takes_all_taps_up_to_a_burst(arch, changes, coalesced):
    conv = dataclasses.replace(LAYER, **changes)
    launch = launch_of(conv, arch, scheme="auto")
    assert launch.program.name == "conv1d"
    assert launch.at.scheme == "height"
    assert launch.blocks.coalesced == coalesced
    taps = conv.kernel[1] if coalesced else 1
    assert launch.blocks.act_w == -(-launch.at.padded_channels * taps // 32)


def test_a_tiled_input_pads_channels_and_so_coalesces():
    conv = dataclasses.replace(LAYER, channels=40)
    assert not launch_of(conv).blocks.coalesced
    tiled = launch_of(conv, input_layout="tile")
    assert tiled.blocks.coalesced
    assert tiled.at.padded_channels == 64


def test_buffers_in_order_of_creation():
    def roles(**shard):
        launch = launch_of(dataclasses.replace(LAYER, channels=40), **shard)
        return [(b.role, b.num_bytes, b.on_buffer) for b in launch.l1.buffers]

    last = [("array", 64, False), ("source", 80 * 35, True)]
    assert roles()[:3] == [
        ("weights", 2 * 2048, False),
        ("activations", 2 * 2048, False),
        ("tilized", 2 * 2048, False),
    ]
    assert roles()[3:5] == [("output", 4096, True), ("indices", 8, True)]
    assert roles()[5:] == last
    cut = roles(grid=(1, 1), act_block_h_override=128)
    assert cut[0] == ("weights", 2 * 4 * 4 * 2048, False)
    assert cut[1] == ("scratch", 2 * 4 * 2048, False)
    assert cut[2][:2] == ("activations", 2 * 4 * 2048)
    doubled = roles(enable_act_double_buffer=True, enable_weights_double_buffer=True)
    assert doubled[0][1] == doubled[1][1] == 2 * doubled[2][1]


def test_work_of_the_two_forms_and_of_float32():
    def work(fidelity="LoFi", **changes):
        conv = dataclasses.replace(LAYER, **changes)
        compute = jd.ComputeConfig(
            math_fidelity=fidelity, fp32_dest_acc="dtype" in changes
        )
        return launch_of(conv, compute=compute).cycles.matrix_unit

    tilise = 4 * 2 * 61
    assert work() == 2 * 4 * 8 + tilise
    assert work("HiFi2") == 2 * 2 * 4 * 8 + tilise
    assert work(channels=40) == 2 * (4 * 8 + 3 * 24) + tilise
    assert work("LoFi", **F32) == work("HiFi4", **F32)
    assert work("LoFi", **F32 | {"output_dtype": "bfloat16"}) == (
        2 * 4 * 8 + 4 * 2 * 74
    )
    assert work("HiFi4", **F32) == 2 * 4 * 32 + 4 * 2 * 128


def test_height_blocks_are_tilised_one_after_the_other():
    whole, cut = (
        launch_of(grid=(1, 1), act_block_h_override=rows, scheme="height")
        for rows in (0, 64)
    )
    assert (whole.blocks.act_h, cut.blocks.act_h) == (32, 2)
    assert cut.cycles.matrix_unit == whole.cycles.matrix_unit
    assert whole.cycles.dram == 16 * cut.cycles.dram


@pytest.mark.parametrize("scheme", ["block", "width"])
def test_other_shardings_read_no_weights_in_order(scheme):
    plan = plan_of(scheme=scheme)
    with pytest.raises(jd.UnsupportedError, match=f"'{scheme}'.*must be 'height'"):
        plan.weight_tile_ids(0)


def test_the_first_core_fetches_the_weights_of_all():
    plan = plan_of()
    launch = plan.launch
    assert plan.weight_readers == (0,)
    tiles = 4 * 2
    assert plan.weight_tile_ids(5) == tuple(range(tiles))
    assert launch.cycles.dram == launch.cycles.multicast == tiles * 2048 // 32
    assert launch.cycles.l1_reads == 32 * 4 * 64 * 2 // 32
