"""Every way of running ttnn's programs gives the same bits, or refuses."""

import dataclasses
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from programs import draw, same_bits

import jaxdw as jd
from jaxdw.launch import composed
from jaxdw.launch.bucketed import run_bucketed
from jaxdw.machine import pallas_core
from jaxdw.machine.cores import _of_pallas, arithmetic_of, static_of

WIDE = {"fp32_dest_acc": True}
CASES = {
    "one shard": ("regular", {"channels": 40, "bias": True}, {}, {}),
    "narrow shards": (
        "regular",
        {"channels": 24, "batch": 2},
        {"scheme": "block", "grid": (3, 2)},
        {},
    ),
    "kept partials": (
        "regular",
        {"channels": 32, "bias": True, "batch": 2},
        {"scheme": "block", "grid": (4, 2)},
        WIDE | {"packer_l1_acc": True},
    ),
    "columns": (
        "regular",
        {"channels": 70, "weights_dtype": "bfloat8_b"},
        {"scheme": "width", "grid": (3, 1)},
        {"math_fidelity": "HiFi2"},
    ),
    "coalesced": (
        "conv1d",
        {"channels": 64, "kernel": (1, 2), "weights_dtype": "bfloat4_b"},
        {},
        {},
    ),
    "tap by tap": (
        "conv1d",
        {"channels": 40, "kernel": (1, 3), "weights_dtype": "bfloat4_b"},
        {},
        WIDE,
    ),
}
SIZES = {  # few taps: what is compiled grows with them
    "regular": {"height": 6, "width": 5, "kernel": 2, "padding": (1, 0, 1, 0)},
    "conv1d": {"height": 1, "width": 50},
}


@functools.cache
def case(name: str, **changes) -> tuple[jd.Plan, jd.Maps, tuple]:
    program, conv, shard, compute = CASES[name]
    layer = jd.ConvConfig(**(SIZES[program] | conv))
    plan = jd.make_plan(
        layer,
        jd.ShardConfig(**({"grid": (2, 2)} | shard)),
        jd.ComputeConfig(**(compute | changes)),
        program=program,
    )
    return plan, jd.make_maps(plan), draw(layer)


@functools.cache
def composed_output(name: str) -> np.ndarray:
    plan, maps, operands = case(name)
    return np.asarray(jd.run(plan, maps, *operands).output)


@pytest.mark.parametrize("name", CASES)
def test_pieces_give_the_same_bits(name):
    plan, maps, operands = case(name)
    same_bits(run_bucketed(plan, maps, *operands), composed_output(name))


# of the other two test_run.py and test_program_faults.py make every memory
@pytest.mark.parametrize(
    "name", ["narrow shards", "kept partials", "columns", "tap by tap"]
)
def test_every_memory_made_gives_the_same_bits(name):
    plan, maps, operands = case(name)
    want = composed_output(name)
    staged = jd.run(plan, maps, *operands, keep=("l1_weights", "output_shards"))
    same_bits(staged.output, want)
    shards = staged.memories["output_shards"]
    assert shards.shape == (plan.num_output_cores, *map(int, maps_shape(plan)))


def maps_shape(plan: jd.Plan) -> tuple[int, int]:
    return plan.output_rows, plan.output_shard.channels


def test_under_jit_with_maps_at_hand_and_with_maps_traced():
    """Traced maps make every memory, as above: the shortest arithmetic will do."""
    plan, maps, operands = case("one shard")
    want = composed_output("one shard")
    short, _, _ = case("one shard", arithmetic="float32")

    @jax.jit
    def closed(x, w, bias):
        return jd.run(plan, maps, x, w, bias).output

    @jax.jit
    def passed(maps, x, w, bias):
        return jd.run(short, maps, x, w, bias).output

    same_bits(closed(*operands), want)
    same_bits(passed(maps, *operands), jd.run(short, maps, *operands).output)


@pytest.mark.parametrize("name", ["columns", "coalesced"])
def test_derivatives_are_those_of_the_float32_convolution(name):
    plan, maps, (x, w, bias) = case(name, math_fidelity="LoFi")
    rng = np.random.default_rng(1)
    x, w, cotangent = (
        rng.integers(-3, 4, shape).astype(np.float32)
        for shape in (x.shape, w.shape, plan.output_shape)
    )
    top, bottom, left, right = plan.conv.padding

    def convolution(x, w):
        return jax.lax.conv_general_dilated(
            x,
            w.transpose(2, 3, 1, 0),
            plan.conv.stride,
            [(top, bottom), (left, right)],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=plan.conv.channels,
        )

    def ours(x, w):
        return jd.run(plan, maps, x, w, bias).output

    got, want = (
        jax.grad(lambda x, w, f=f: (f(x, w) * cotangent).sum(), (0, 1))(x, w)
        for f in (ours, convolution)
    )
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["narrow shards", "tap by tap"])
def test_float32_takes_every_way(name):
    plan, maps, operands = case(name, arithmetic="float32", fp32_dest_acc=False)
    x, w, bias = (None if value is None else np.round(value * 2) for value in operands)
    want = np.asarray(jd.run(plan, maps, x, w, bias).output)
    # equal, not of one pattern: a sum of zeros may be -0.0
    np.testing.assert_array_equal(want, jd.reference(plan.conv, x, w, bias))
    same_bits(run_bucketed(plan, maps, x, w, bias), want)
    same_bits(jd.run(plan, maps, x, w, bias, backend="pallas").output, want)


WORKER = Path(__file__).parents[1] / "mesh_worker.py"


def on_meshes(cases: list[dict]) -> list[dict]:
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    worker = subprocess.run(
        [sys.executable, WORKER, json.dumps(cases)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | flags,
        timeout=300,
        check=True,
    )
    return [json.loads(line) for line in worker.stdout.splitlines() if line[0] == "{"]


def test_devices_give_the_same_bits_as_one():
    """One device alone runs in test_program_faults.py."""
    float32 = {"arithmetic": "float32"}

    def one(name: str, *devices: int, fault=None, **changes) -> dict:
        program, conv, shard, compute = CASES[name]
        return {
            "program": program,
            "conv": SIZES[program] | conv,
            "shard": shard,
            "compute": compute | changes,
            "mesh": devices,
            "fault": fault,
        }

    found = on_meshes(
        [
            one("one shard", 2, **float32),
            one("kept partials", 2),
            one("tap by tap", 2),
            one("columns", 2),  # channel shards, of one NHW shard
            one("narrow shards", 2, fault="halo", **float32),
            one("kept partials", 1, 2),
        ]
    )
    refusal = found.pop()["refused"]
    assert "'second': 2}) must not deal the channel shards of this regular" in refusal
    assert [row["equal"] for row in found] == [True] * 5
    assert [row["devices"] for row in found] == [2] * 5
    assert [row["nan"] > 0 for row in found] == [False] * 4 + [True]
    assert [row["exchanged"] > 0 for row in found] == [False, True, True, False, True]


def pallas_case(name: str):
    plan, maps, operands = case(name)
    return functools.partial(jd.run, plan, maps, *operands, backend="pallas")


@pytest.mark.parametrize("name", ["one shard", "columns", "coalesced"])
def test_the_pallas_kernel_gives_the_same_bits(name):
    called = []
    kernel = pallas_core.pallas_grid

    def spy(*arguments, **options):
        called.append(arguments[0].shape)
        return kernel(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pallas_core, "pallas_grid", spy)
        same_bits(pallas_case(name)().output, composed_output(name))
    assert called


@pytest.mark.parametrize(
    ("name", "channels"), [("kept partials", "8"), ("narrow shards", "8")]
)
def test_the_pallas_kernel_is_refused_where_channels_do_not_part(name, channels):
    if name == "narrow shards":
        plan, *_ = case(name)
        figures = tuple((dict(static_of(plan).figures) | {"width": 24}).items())
        static = dataclasses.replace(static_of(plan), figures=figures)
        with pytest.raises(jd.UnsupportedError, match="blocks of 32; use backend"):
            _of_pallas(static, 32)
        return
    sentence = rf"'pallas'.*regular launch \({channels} channels.*use backend='xla'"
    with pytest.raises(jd.UnsupportedError, match=sentence):
        pallas_case(name)()


@pytest.mark.parametrize("name", ["one shard", "narrow shards", "coalesced"])
def test_triton_takes_the_kernel(name):
    """Lowered for a GPU, on any machine: no operation that Triton does not have."""
    plan, maps, operands = case(name)
    static = static_of(plan)
    x, w, bias = operands
    sticks = composed.load_sticks(maps.composed, x, static)
    lanes = composed.load_weights(maps.composed, w, bias, static)
    block = pallas_core.channel_block(sticks.shape[-1])
    kernel = functools.partial(
        pallas_core.pallas_grid,
        arithmetic=arithmetic_of(_of_pallas(static, block), "float"),
        activation=static.activation,
        output_dtype=static.output_dtype,
        compute=static.compute,
        interpret=False,
    )
    arguments = sticks, maps.composed.sticks.index, lanes.weights, lanes.bias
    traced = jax.jit(kernel).trace(*map(as_device, arguments))
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("xla.gpu.triton") == 1


def as_device(value):
    return None if value is None else jnp.asarray(value)
