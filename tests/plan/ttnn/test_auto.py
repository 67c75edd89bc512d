"""The library's estimate of a launch, and the sharding that it takes by it."""

import dataclasses

import pytest

import jaxdw as jd
from jaxdw.plan.regular.program import REGULAR
from jaxdw.plan.ttnn.auto import auto_scheme, estimate
from jaxdw.plan.ttnn.estimates import read_cycles
from jaxdw.plan.ttnn.planner import default_compute
from jaxdw.plan.ttnn.program import Asked

LAYER = jd.ConvConfig(channels=64, height=16, width=16, padding=1)


def asked(conv=LAYER, compute=None, **shard):
    return Asked(
        conv=conv,
        shard=jd.ShardConfig(scheme="auto", **shard),
        compute=compute or default_compute(conv),
        arch=jd.load_arch("n150"),
        program=REGULAR,
    )


def estimate_of(scheme, **kwargs):
    return estimate(asked(**kwargs).place(scheme), REGULAR)


def test_the_estimate_of_one_launch_by_hand():
    found = estimate_of("height")
    assert found.circular == 24 * 2048 + 64
    assert found.output == 2 * 2048
    assert (found.halo_input, found.halo_output) == (32 * 128, 72 * 128)
    assert found.launch == found.circular + found.output + found.halo_output
    assert found.peak == found.launch


def test_a_halo_may_take_more_than_the_launch_after_it():
    found = estimate_of("width", conv=jd.ConvConfig(channels=32, height=64, width=64))
    assert found.peak == found.launch
    sparse = jd.ConvConfig(channels=32, height=64, width=64, stride=(8, 8))
    found = estimate_of("width", conv=sparse)
    assert found.halo_input + found.halo_output > found.launch
    assert found.peak == found.halo_input + found.halo_output


def test_a_block_format_halves_the_input_of_the_halo():
    def inputs(dtype):
        conv = dataclasses.replace(LAYER, dtype=dtype)
        return estimate_of("height", conv=conv, input_layout="tile").halo_input

    assert inputs("bfloat8_b") == inputs("bfloat16") // 2
    assert inputs("float32") == inputs("bfloat16") * 2


def test_the_estimate_counts_activations_that_a_lone_core_does_without():
    conv = jd.ConvConfig(channels=8, height=16, width=16, padding=1)
    at = asked(conv).place("width")
    blocks = REGULAR.block_config(at)
    launched, counted = (
        {b.role: b.num_bytes for b in REGULAR.buffers(at, blocks, as_estimate)}
        for as_estimate in (False, True)
    )
    assert counted.keys() - launched.keys() == {"activations"}
    assert counted["activations"] == blocks.tiles * 2048


@pytest.mark.parametrize(
    ("size", "num_bytes"), [((16, 16), 64), ((256, 1), 192), ((1, 256), 64)]
)
def test_indices_in_dram_count_by_outputs_and_thrice_in_a_column(size, num_bytes):
    conv = jd.ConvConfig(channels=64, height=size[0], width=size[1], kernel=(1, 1))
    counted, plain = (
        estimate_of("height", conv=conv, config_tensors_in_dram=in_dram).circular
        for in_dram in (True, False)
    )
    assert counted - plain == num_bytes


def test_the_estimate_counts_blocks_of_a_matrix_without_padding():
    # 360 rows are 11 whole tiles, 2 blocks of 4; the launch has 3 of them
    conv = jd.ConvConfig(channels=40, height=16, width=16, padding=1)
    compute = jd.ComputeConfig(fp32_dest_acc=True, packer_l1_acc=True)
    at = asked(conv, compute).place("height")
    blocks = REGULAR.block_config(at)
    launched, counted = (
        REGULAR.buffers(at, blocks, as_estimate)[1] for as_estimate in (False, True)
    )
    assert (launched.role, launched.page_bytes, launched.on_buffer) == (
        "partials", 4096, False,
    )  # fmt: skip
    assert (counted.role, counted.page_bytes, counted.on_buffer) == (
        "partials", 2048, True,
    )  # fmt: skip


def test_block_needs_as_many_cores_as_the_grid_is_wide():
    assert auto_scheme(asked(grid=(2, 1))) == "block"
    narrow = dataclasses.replace(LAYER, channels=40)
    assert auto_scheme(asked(narrow, grid=(5, 1))) == "block"
    lone = asked(narrow, grid=(8, 1))
    assert lone.place("block").core_grid.num_cores == 5
    assert auto_scheme(lone) == "height"


def test_height_is_taken_if_block_takes_as_much():
    conv = jd.ConvConfig(channels=8, height=16, width=16, padding=1)
    one = asked(conv, grid=(1, 1))
    height, block = (
        estimate(one.place(scheme), REGULAR).launch for scheme in ("height", "block")
    )
    assert height == block
    assert auto_scheme(one) == "height"


def test_the_halo_of_a_slice_is_counted_with_the_padding_of_the_image():
    part = jd.ConvConfig(
        channels=64,
        height=400,
        width=65,
        kernel=(5, 5),
        stride=(2, 2),
        padding=(2, 2, 2, 0),
    )
    assert auto_scheme(asked(part)) == "height"
    assert auto_scheme(asked(part), halo_padding=(2, 2, 2, 2)) == "block"


def test_the_rate_of_a_read_grows_with_its_pieces_up_to_a_limit():
    arch = jd.load_arch("n150")  # 1 GHz
    rate = (1024, 1000, 9000)
    for piece, speed in ((1, 1), (16, 1), (520, 5), (1024, 9), (4096, 9)):
        assert read_cycles(9000, piece, rate, arch) == pytest.approx(9000 / speed)
    assert read_cycles(9000, 1024, rate, jd.load_arch("p150")) == pytest.approx(1350)
