"""Layers that ttnn runs in several launches."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from programs import draw, expected, same_bits

import jaxdw as jd
from jaxdw.launch.bucketed import run_bucketed
from jaxdw.launch.slices import run_slices

CHIP = jd.load_arch("n150")
ROWS = {"channels": 24, "height": 20, "width": 12, "padding": 1, "batch": 2}
# name: layer, options, bytes of a core, launches, axis
CASES = {
    "rows": (ROWS | {"bias": True}, {}, 130_000, 3, "height"),
    "columns": (
        {"channels": 16, "height": 6, "width": 210, "padding": (1, 1, 2, 0)},
        {},
        130_000,
        3,
        "width",
    ),
    "strides": (
        {
            "channels": 16, "height": 13, "width": 40, "stride": (2, 2),
            "padding": (0, 1, 1, 0), "batch": 2,
        },
        {},
        60_000,
        2,
        "height",
    ),
    "sticks": (ROWS, {"output_layout": "row_major"}, 100_000, 2, "width"),
}  # fmt: skip


def sliced(name: str, **more) -> jd.Plan:
    conv, shard, size, launches, axis = CASES[name]
    beside = CHIP.l1_size_bytes - CHIP.l1_capacity_bytes
    plan = jd.make_plan(
        jd.ConvConfig(**(conv | more)),
        jd.ShardConfig(memory="dram", grid=(2, 1), **shard),
        arch=dataclasses.replace(CHIP, l1_size_bytes=size + beside),
        program="regular",
    )
    assert (plan.slices, plan.slice_type) == (launches, axis)
    return plan


@pytest.mark.parametrize("name", CASES)
def test_parts_cover_outputs_once_and_read_what_they_need(name):
    plan = sliced(name)
    conv, along = plan.conv, 0 if plan.slice_type == "height" else 1
    outputs, reach = [], conv.kernel[along]
    size = (conv.height, conv.width)[along]
    for part, launch in zip(plan.slice_parts, plan.slice_plans, strict=True):
        own = range(part.first_output, part.first_output + part.num_outputs)
        outputs += own
        read = range(part.first_input, part.first_input + part.num_inputs)
        for output in own:
            start = output * conv.stride[along] - conv.padding[2 * along]
            wanted = [n for n in range(start, start + reach) if 0 <= n < size]
            assert set(wanted) <= set(read)
        assert (launch.conv.height, launch.conv.width)[along] == part.num_inputs
        assert launch.output_shape[1 + along] >= part.num_outputs
        assert launch.slices == 1
    assert outputs == list(range(plan.output_shape[1 + along]))


@pytest.mark.parametrize("name", CASES)
def test_the_joined_output_is_that_of_one_launch_and_of_the_oracle(name):
    plan = sliced(name)
    x, w, bias = draw(plan.conv)
    got = jd.emulate(
        plan.conv, plan.shard, x, w, bias, arch=plan.arch, program="regular"
    )
    assert got.plan.slices == plan.slices
    assert got.output.shape == plan.output_shape
    whole = dataclasses.replace(plan.shard, memory="l1")
    one = jd.emulate(plan.conv, whole, x, w, bias, arch=CHIP, program="regular")
    assert one.plan.slices == 1
    same_bits(got.output, one.output)
    same_bits(got.output, expected(one.plan, x, w, bias))


def test_pieces_run_launch_by_launch_too():
    plan = sliced("rows")
    x, w, bias = draw(plan.conv)
    runs = []

    def run_launch(launch: jd.Plan, image: np.ndarray) -> np.ndarray:
        runs.append(image.shape)
        return run_bucketed(launch, jd.make_maps(launch), image, w, bias)

    got = run_slices(plan, x, run_launch)
    assert isinstance(got, np.ndarray)
    assert runs == [(2, 8, 12, 24), (2, 9, 12, 24), (2, 7, 12, 24)]
    want = jd.emulate(
        plan.conv, plan.shard, x, w, bias, arch=plan.arch, program="regular"
    )
    same_bits(got, want.output)


def test_one_launch_takes_the_whole_image_as_it_is():
    plan = jd.make_plan(jd.ConvConfig(channels=8, height=4, width=4), program="regular")
    x = jnp.ones(plan.conv.input_shape)
    launches = []

    def run_launch(launch: jd.Plan, image):
        launches.append(launch)
        return image

    assert run_slices(plan, x, run_launch) is x
    assert launches == [plan]


def test_a_run_of_several_launches_and_their_memories_are_refused():
    plan = sliced("rows")
    x, w, bias = draw(plan.conv)
    launch = plan.slice_plans[0]
    with pytest.raises(jd.UnsupportedError, match=r"\(=3 launches\) must be of one"):
        jd.run(plan, jd.make_maps(launch), x, w, bias)
    with pytest.raises(jd.UnsupportedError, match=r"\(=3 launches\) must be of one"):
        run_bucketed(plan, jd.make_maps(launch), x, w, bias)
    with pytest.raises(jd.ConfigError, match=r"\(=dram\) must be empty for 3 launches"):
        jd.emulate(
            plan.conv, plan.shard, x, w, bias,
            arch=plan.arch, program="regular", keep=("dram",),
        )  # fmt: skip
