"""Whole layers of ttnn's programs against the oracle that multiplies every lane."""

import numpy as np
import pytest
from programs import draw, expected, same_bits

import jaxdw as jd

SMALL = {"height": 6, "width": 5, "padding": 1}
REGULAR = {
    "width 8": dict(
        conv=dict(channels=24, batch=2), shard=dict(scheme="block", grid=(3, 2))
    ),
    "width 16": dict(
        conv=dict(channels=32, kernel=(5, 5), padding=2),
        shard=dict(scheme="block", grid=(2, 2)),
        compute=dict(math_fidelity="HiFi2"),
    ),
    "width 24": dict(
        conv=dict(channels=48, kernel=(3, 2), stride=(2, 1), bias=True),
        shard=dict(scheme="block", grid=(2, 2)),
        compute=dict(fp32_dest_acc=True),
    ),
    "width 40": dict(
        conv=dict(channels=40, stride=(1, 2), activation="relu", bias=True),
        shard=dict(scheme="height", grid=(2, 1)),
        compute=dict(math_fidelity="HiFi3"),
    ),
    "width 48": dict(
        conv=dict(channels=48, padding=(2, 0, 1, 3), activation="silu"),
        compute=dict(math_fidelity="HiFi4"),
    ),
    "width 64": dict(
        conv=dict(channels=64, batch=2, weights_dtype="bfloat8_b", bias=True),
        compute=dict(math_fidelity="HiFi2"),
        arch="blackhole",
    ),
    "width 96": dict(conv=dict(channels=96, weights_dtype="bfloat4_b")),
    "columns": dict(
        conv=dict(channels=70, kernel=(1, 4), padding=(0, 0, 2, 1)),
        shard=dict(scheme="width", grid=(3, 1)),
        compute=dict(math_fidelity="HiFi4", fp32_dest_acc=True),
    ),
    "parts of columns": dict(
        conv=dict(channels=128, kernel=(2, 2), bias=True),
        shard=dict(scheme="width", grid=(2, 1), act_block_w_div=2),
        compute=dict(fp32_dest_acc=True, packer_l1_acc=True),
    ),
    "whole kernel": dict(
        conv=dict(channels=64),
        shard=dict(scheme="block", grid=(2, 2), full_inner_dim=True),
        compute=dict(fp32_dest_acc=True),
    ),
    "tiled input": dict(
        conv=dict(channels=64, dilation=(2, 1)),
        shard=dict(scheme="block", grid=(2, 2), input_layout="tile"),
        compute=dict(packer_l1_acc=True),
    ),
    "added in L1": dict(
        conv=dict(channels=32, bias=True, kernel=(3, 1)),
        compute=dict(packer_l1_acc=True, math_fidelity="HiFi3"),
    ),
    "block output": dict(
        conv=dict(
            channels=48, output_dtype="bfloat8_b", bias=True, kernel=(2, 1), height=3
        ),
        shard=dict(scheme="block", grid=(2, 2)),
    ),
    "block output, 32 bits": dict(
        conv=dict(channels=16, output_dtype="bfloat8_b", height=3, padding=0),
        compute=dict(fp32_dest_acc=True),
        arch="blackhole",
    ),
    "float32": dict(
        conv=dict(
            channels=40, dtype="float32", weights_dtype="float32",
            output_dtype="float32",
        ),
        compute=dict(math_fidelity="HiFi4", fp32_dest_acc=True),
    ),
    "float32 in": dict(
        conv=dict(channels=32, dtype="float32", bias=True),
        compute=dict(fp32_dest_acc=True),
        arch="blackhole",
    ),
}  # fmt: skip
WIDTHS = {"parts of columns": 64, "columns": 32, "whole kernel": 32, "tiled input": 32}
CONV1D = {
    "coalesced": dict(conv=dict(channels=64, kernel=(1, 4))),
    "tap by tap": dict(
        conv=dict(channels=40, kernel=(1, 5)), compute=dict(math_fidelity="HiFi4")
    ),
    "32 bits": dict(
        conv=dict(channels=40, kernel=(1, 3), batch=2),
        compute=dict(fp32_dest_acc=True, math_fidelity="HiFi2"),
        arch="blackhole",
    ),
    "shared exponents": dict(
        conv=dict(channels=96, kernel=(1, 4), stride=(1, 2), weights_dtype="bfloat8_b"),
        compute=dict(math_fidelity="HiFi3"),
    ),
    "four bits": dict(
        conv=dict(channels=32, kernel=(1, 4), weights_dtype="bfloat4_b"),
    ),
    "block output": dict(
        conv=dict(channels=32, kernel=(1, 4), output_dtype="bfloat8_b"),
    ),
}  # fmt: skip


def emulated(program: str, case: dict) -> tuple[jd.Emulation, np.ndarray]:
    """Emulates a case; returns what came out and what had to."""
    sizes = SMALL if program == "regular" else {"height": 1, "width": 70}
    conv = jd.ConvConfig(**(sizes | case["conv"]))
    shard = jd.ShardConfig(**({"grid": (2, 2)} | case.get("shard", {})))
    compute = jd.ComputeConfig(**case.get("compute", {}))
    x, w, bias = draw(conv)
    arch = case.get("arch", "wormhole_b0")
    result = jd.emulate(
        conv, shard, x, w, bias, compute=compute, arch=arch, program=program
    )
    assert result.plan.program == program
    return result, expected(result.plan, x, w, bias)


@pytest.mark.parametrize("name", REGULAR)
def test_a_layer_of_the_dense_matmul(name):
    result, want = emulated("regular", REGULAR[name])
    if name.startswith("width"):
        assert result.plan.input_shard.channels == int(name.split()[1])
    elif name in WIDTHS:
        assert result.plan.input_shard.channels == WIDTHS[name]
    same_bits(result.output, want)


@pytest.mark.parametrize("name", CONV1D)
def test_a_layer_of_the_1d_program(name):
    result, want = emulated("conv1d", CONV1D[name])
    same_bits(result.output, want)


def test_both_ways_of_the_1d_program_are_met():
    def coalesced(channels: int, kernel: int) -> bool:
        conv = jd.ConvConfig(channels=channels, height=1, width=70, kernel=(1, kernel))
        return jd.make_plan(conv, program="conv1d").own_facts()["coalesced"]

    assert coalesced(64, 4)
    assert not coalesced(40, 5)


def test_ttnn_runs_by_the_program_that_it_takes():
    for height, program in ((1, "conv1d"), (4, "regular")):
        conv = jd.ConvConfig(channels=32, height=height, width=12, kernel=(1, 3))
        x, w, _ = draw(conv)
        got = jd.emulate(conv, None, x, w, program="ttnn")
        assert got.plan.program == program
        same_bits(got.output, jd.emulate(conv, None, x, w, program=program).output)


@pytest.mark.parametrize("program", ["regular", "conv1d"])
def test_float32_is_the_convolution_itself(program):
    conv = jd.ConvConfig(channels=48, height=1, width=20, kernel=(1, 3))
    rng = np.random.default_rng(0)
    x = rng.integers(-5, 6, conv.input_shape).astype(np.float32)
    w = rng.integers(-5, 6, conv.weight_shape).astype(np.float32)
    compute = jd.ComputeConfig(arithmetic="float32")
    got = jd.emulate(conv, None, x, w, compute=compute, program=program).output
    same_bits(got, jd.reference(conv, x, w).astype(np.float32))


def test_operands_that_are_not_ordinary_take_the_integer_form():
    conv = jd.ConvConfig(channels=16, height=4, width=4)
    x, w, _ = draw(conv)
    x[0, 1, 1, 3], w[2, 0, 1, 1] = 2.0**60, 2.0**-70
    result = jd.emulate(conv, jd.ShardConfig(), x, w, program="regular")
    same_bits(result.output, expected(result.plan, x, w, None))
