"""Slices of layers that lie in DRAM."""

import dataclasses
import math

import hypothesis.strategies as st
import pytest
from hypothesis import given

import jaxdw as jd
from jaxdw.plan.ttnn.planner import default_compute, plan_ttnn
from jaxdw.plan.ttnn.slices import slices
from jaxdw.plan.window import Window

IMAGE = jd.ConvConfig(channels=64, height=512, width=512, padding=1)


def plan_of(conv, arch="n150", **shard):
    shard = jd.ShardConfig(**{"scheme": "auto", "memory": "dram"} | shard)
    arch = jd.load_arch(arch) if isinstance(arch, str) else arch
    return plan_ttnn(conv, shard, default_compute(conv), arch)


@st.composite
def images(draw):
    kernel = draw(st.sampled_from([(3, 3), (5, 5), (1, 4), (2, 3)]))
    dilation = (1, draw(st.sampled_from([1, 2])))
    return jd.ConvConfig(
        channels=8,
        height=draw(st.integers(5, 80)),
        width=draw(st.integers(9, 200)),
        kernel=kernel,
        stride=(draw(st.integers(1, 3)), draw(st.integers(1, 2))),
        padding=tuple(draw(st.integers(0, size - 1)) for size in kernel for _ in "ab"),
        dilation=dilation,
    )


@given(images(), st.sampled_from(["height", "width"]), st.integers(1, 9), st.booleans())
def test_slices_compute_all_outputs_in_whole_tiles_of_columns(conv, axis, count, tiled):
    window = Window(conv)
    outputs = {"height": window.out_height, "width": window.out_width}
    parts = list(slices(conv, axis, count, tiled))
    step = 32 if tiled and axis == "width" else 1
    steps = math.ceil(outputs[axis] / step)
    shares = math.ceil(steps / count)
    for part in parts:
        assert not part.problems()
        own = Window(part)
        across = "width" if axis == "height" else "height"
        sizes = {"height": own.out_height, "width": own.out_width}
        whole = (part.height, part.width) == (conv.height, conv.width)
        if tiled and not whole:
            assert own.out_width % 32 == 0
            sizes["width"] = min(sizes["width"], outputs["width"])
        assert sizes[across] == outputs[across]
        assert sizes[axis] <= shares * step
    assert Window(parts[0]).out_height * Window(parts[0]).out_width * count >= (
        window.out_height * window.out_width
    )
    if count == 1:
        assert parts == [conv]


def test_a_middle_slice_reads_its_neighbours_and_an_edge_keeps_its_padding():
    conv = dataclasses.replace(
        IMAGE, height=30, width=64, kernel=(5, 3), padding=(2, 1)
    )
    first, middle, last = slices(conv, "height", 3, tiled=False)
    assert (first.height, first.padding) == (12, (2, 0, 1, 1))
    assert (middle.height, middle.padding) == (14, (0, 0, 1, 1))
    assert (last.height, last.padding) == (12, (0, 2, 1, 1))
    assert all(Window(part).out_height == 10 for part in (first, middle, last))
    left, right = slices(conv, "width", 2, tiled=True)
    assert (left.width, left.padding) == (33, (2, 2, 1, 0))
    assert (right.width, right.padding) == (33, (2, 2, 0, 1))
    wide = dataclasses.replace(
        IMAGE, height=10, width=64, kernel=(7, 3), padding=(3, 1)
    )
    third, fourth = list(slices(wide, "height", 5, tiled=False))[2:4]
    assert (third.height, third.padding) == (8, (0, 0, 1, 1))
    assert (fourth.height, fourth.padding) == (7, (0, 1, 1, 1))
    narrow = dataclasses.replace(conv, width=60)
    part = next(slices(narrow, "height", 2, tiled=True))
    assert part.padding == (2, 0, 1, 1 + 4)
    strided = dataclasses.replace(narrow, stride=(1, 2))
    part = next(slices(strided, "height", 2, tiled=True))
    assert part.padding == (2, 0, 1, 1 + 2 * 2)


@pytest.mark.parametrize(
    ("height", "width", "tiled", "axis"),
    [
        (56, 199, "tile", "height"),
        (56, 200, "tile", "width"),
        (200, 200, "tile", "width"),
        (201, 200, "tile", "height"),
        (600, 200, "row_major", "width"),
        (601, 200, "row_major", "height"),
    ],
)
def test_the_shape_of_an_image_decides_how_it_is_cut(height, width, tiled, axis):
    conv = jd.ConvConfig(channels=64, height=height, width=width, padding=1)
    plan = plan_of(conv, output_layout=tiled)
    assert plan.slicing.axis == axis


def test_the_fewest_slices_that_fit_are_taken_to_the_byte():
    arch = jd.load_arch("n150")
    plan = plan_of(IMAGE)
    assert (plan.num_launches, plan.slicing.axis) == (4, "width")
    assert plan.launch.at.conv == plan.slicing.first
    assert plan.launch.at.window.out_width == 128
    assert plan.message is None
    # the least room for four slices, by bisection
    low, high = 0, arch.l1_capacity_bytes
    while high - low > 1:
        middle = (low + high) // 2
        if plan_of(IMAGE, _with_room(arch, middle)).num_launches == 4:
            high = middle
        else:
            low = middle
    at = plan_of(IMAGE, _with_room(arch, high)).launch
    used = at.l1.static_bytes + sum(
        b.num_bytes for b in at.buffers if b.role in ("output", "window")
    )
    assert high == used
    # five are no smaller than four: 16 tiles of columns, four to the largest slice
    assert plan_of(IMAGE, _with_room(arch, high - 1)).num_launches == 6


def _with_room(arch, num_bytes):
    size = arch.l1_unreserved_base_bytes + arch.l1_small_bytes + num_bytes
    return dataclasses.replace(arch, l1_size_bytes=size)


def test_a_layer_that_no_slice_makes_small_enough_is_refused():
    conv = jd.ConvConfig(channels=10_240, height=1, width=12, kernel=(1, 4))
    plan = plan_of(conv)
    assert plan.num_launches == 0
    assert plan.launch is None
    assert plan.message == (
        "DRAM Auto slice could not find valid slice configuration. Tried up to 1 "
        "slices for width-slicing on output dimension 9. Available L1: 1360544 bytes. "
        "Operation requires more memory than available even with maximum slicing."
    )


def test_launches_of_slices_write_tiles_whatever_is_asked():
    for layout in ("tile", "row_major"):
        for conv in (IMAGE, dataclasses.replace(IMAGE, height=16, width=16)):
            plan = plan_of(conv, output_layout=layout)
            assert plan.launch.at.shard.output_layout == "tile"
            assert plan.shard.output_layout == layout


@pytest.mark.parametrize(
    ("conv", "num_launches"),
    [
        (jd.ConvConfig(channels=64, height=120, width=400, kernel=7, padding=3), 2),
        (
            jd.ConvConfig(
                channels=96, height=400, width=512, kernel=9, stride=2, padding=4
            ),
            8,
        ),
    ],
)
def test_the_scheme_of_a_slice_is_found_with_the_padding_of_the_image(
    conv, num_launches
):
    plan = plan_of(conv)
    assert plan.num_launches == num_launches
    assert plan.slicing.scheme == plan.launch.at.scheme == "block"


def test_slices_look_at_the_override_only_when_they_run():
    conv = jd.ConvConfig(channels=144, height=40, width=256, kernel=5, padding=2)
    plan = plan_of(conv, scheme="height", act_block_h_override=256)
    assert plan.num_launches == 1
    conv = jd.ConvConfig(channels=192, height=200, width=64, kernel=5, padding=2)
    plan = plan_of(conv, scheme="height", act_block_h_override=256)
    assert plan.num_launches == 2
    assert plan.launch.at.out_h_tiles % 8
    assert plan.launch.blocks.act_h < 8


def test_slices_are_read_as_sticks_and_a_whole_image_as_it_lies():
    tiled = {"input_layout": "tile", "scheme": "block"}
    part = plan_of(IMAGE, **tiled)
    assert part.num_launches > 1
    assert part.launch.at.channel_align == 8
    whole = plan_of(dataclasses.replace(IMAGE, height=16, width=16), **tiled)
    assert whole.num_launches == 1
    assert whole.launch.at.channel_align == 32
