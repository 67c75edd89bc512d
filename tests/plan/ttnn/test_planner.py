"""Which way ttnn 0.81.1 takes, and what its planner refuses."""

import dataclasses

import pytest
import ttnn_rows

import jaxdw as jd
from jaxdw.plan.ttnn.operations import operations
from jaxdw.plan.ttnn.planner import default_compute, plan_ttnn, problems
from jaxdw.plan.ttnn.route import route, takes_conv1d

ARCH = jd.load_arch("n150")
ROW = {"channels": 64, "height": 1, "width": 67, "kernel": (1, 4)}
IMAGE = {"channels": 64, "height": 16, "width": 16, "padding": 1}


def plan_of(fields, **shard):
    conv = jd.ConvConfig(**fields)
    return plan_ttnn(conv, jd.ShardConfig(**shard), default_compute(conv), ARCH)


@pytest.mark.parametrize(
    ("fields", "way"),
    [
        (ROW, "conv1d"),
        (ROW | {"kernel": (1, 1), "stride": (1, 2)}, "conv1d"),
        (ROW | {"kernel": (1, 1), "padding": (0, 0, 0, 1)}, "conv1d"),
        (ROW | {"bias": True}, "regular"),
        (ROW | {"height": 2}, "regular"),
        (ROW | {"kernel": (2, 4), "padding": (1, 0, 0, 0)}, "regular"),
        # the image's width is not asked: a column is an image
        (ROW | {"height": 67, "width": 1, "kernel": (4, 1)}, "regular"),
        (ROW | {"kernel": (1, 1)}, "refused"),
        (ROW | {"kernel": (1, 1), "bias": True}, "matmul"),
        (IMAGE | {"kernel": (1, 1), "padding": 0}, "matmul"),
        (IMAGE | {"kernel": (1, 1)}, "regular"),
        (IMAGE | {"kernel": (1, 1), "padding": 0, "stride": 2}, "regular"),
        (IMAGE | {"kernel": (1, 1), "padding": 0, "dilation": 2}, "regular"),
        (IMAGE | {"kernel": 2, "padding": 0, "stride": 2}, "folded"),
        (IMAGE | {"kernel": 2, "padding": (0, 1, 0, 0), "stride": 2}, "regular"),
        (IMAGE | {"kernel": 2, "padding": (1, 1, 0, 0), "stride": 2}, "folded"),
        (IMAGE | {"kernel": 2, "padding": 0, "stride": 2, "dilation": 2}, "regular"),
        (IMAGE | {"kernel": (2, 3), "padding": 0, "stride": 2}, "regular"),
    ],
)
def test_the_way_of_a_layer(fields, way):
    assert route(jd.ConvConfig(**fields), jd.ShardConfig()) == way


def test_width_never_takes_the_matmul_and_tiles_are_folded_without_padding():
    conv = jd.ConvConfig(**IMAGE | {"kernel": (1, 1), "padding": 0})
    assert route(conv, jd.ShardConfig(scheme="width")) == "regular"
    conv = jd.ConvConfig(**IMAGE | {"kernel": 2, "stride": 2})
    assert route(conv, jd.ShardConfig()) == "folded"
    assert route(conv, jd.ShardConfig(input_layout="tile")) == "regular"


def test_a_program_may_be_chosen_against_the_library():
    conv = jd.ConvConfig(**ROW)
    asked = conv, jd.ShardConfig(), jd.ComputeConfig(), ARCH
    own, other = plan_ttnn(*asked), plan_ttnn(*asked, program="regular")
    assert (own.route, other.route) == ("conv1d", "regular")
    assert takes_conv1d(conv)
    names = own.launch.program.name, other.launch.program.name
    assert names == ("conv1d", "regular")
    assert problems(*asked, program="conv1d") == []
    assert own.launch.at.output_grid.broadcasts()[0].num_dests == 1
    for changes in ({"bias": True}, {"height": 2}, {"kernel": (2, 4), "padding": 1}):
        (sentence,) = problems(
            jd.ConvConfig(**ROW | changes), *asked[1:], program="conv1d"
        )
        assert "must have one row and no bias" in sentence


def test_a_folded_stride_is_not_modelled():
    with pytest.raises(jd.UnsupportedError, match=r"`stride` \(=\(2, 2\)\).*folds"):
        plan_of(IMAGE | {"kernel": 2, "padding": 0, "stride": 2})


def test_reused_activations_are_refused_by_the_library_or_not_modelled():
    asked = {"enable_activation_reuse": True}
    for scheme in ("auto", "height"):
        plan = plan_of(IMAGE, **asked, scheme=scheme)
        assert plan.message.startswith("Activation reuse needs act block h (1) to be")
        assert plan.launch is None
    with pytest.raises(jd.UnsupportedError, match="blocks of 2 tiles on images 1"):
        plan_of(IMAGE, **asked, grid=(4, 1))
    assert plan_of(IMAGE, **asked, scheme="width").message is None


def test_a_layer_of_the_matmul_has_weights_but_no_launch():
    plan = plan_of(IMAGE | {"kernel": (1, 1), "padding": 0, "channels": 40})
    assert plan.launch is None
    assert plan.num_launches == 0
    assert (plan.weight_shape, plan.padded_weight_shape) == ((40, 40), (64, 64))
    refused = plan_of(ROW | {"kernel": (1, 1)})
    assert refused.message.endswith("Mismatch: width=64 height=32")


def test_the_library_computes_like_this_if_it_is_not_told():
    conv = jd.ConvConfig(**IMAGE)
    assert default_compute(conv) == jd.ComputeConfig(math_fidelity="HiFi4")
    both = dataclasses.replace(conv, dtype="float32", weights_dtype="float32")
    assert default_compute(both).fp32_dest_acc
    one = dataclasses.replace(conv, dtype="float32")
    assert not default_compute(one).fp32_dest_acc


def test_block_formats_have_no_sticks():
    plan = plan_of(IMAGE | {"dtype": "bfloat8_b"}, scheme="block")
    assert plan.launch.at.channel_align == 32
    asked = jd.ConvConfig(**IMAGE)
    tiled = plan_ttnn(
        asked,
        jd.ShardConfig(scheme="block", input_layout="tile"),
        jd.ComputeConfig(),
        ARCH,
    )
    assert plan.launch.at.input_shard == tiled.launch.at.input_shard


@pytest.mark.parametrize(
    ("shard", "sentence"),
    [
        ({"weight_layout": "concatenated"}, "`weight_layout` (='concatenated') must"),
        ({"memory": "dram", "cores": 4}, "`cores` (=4) must be left out"),
        (
            {"scheme": "width", "grid": (1, 1), "act_block_w_div": 3},
            "`act_block_w_div` (=3) must divide the 2 tiles of a core's channels; try",
        ),
        ({"scheme": "width", "grid": (1, 1), "act_block_w_div": 2}, None),
        ({"act_block_w_div": 2}, None),
    ],
)
def test_options_that_ttnn_cannot_take_are_named(shard, sentence):
    found = problems(
        jd.ConvConfig(**IMAGE), jd.ShardConfig(**shard), jd.ComputeConfig(), ARCH
    )
    assert [text[: len(sentence or "")] for text in found] == [sentence] * len(found)
    assert bool(found) == (sentence is not None)


def test_a_part_of_a_core_s_channels_is_whole_tiles():
    conv = jd.ConvConfig(**IMAGE | {"channels": 128})
    shard = jd.ShardConfig(scheme="width", grid=(1, 1), act_block_w_div=3)
    (sentence,) = problems(conv, shard, jd.ComputeConfig(), ARCH)
    assert "must divide the 4 tiles of a core's channels; try 2" in sentence


def test_a_plan_names_its_operations_up_to_the_refusal():
    assert operations(plan_of(IMAGE, scheme="height")) == ("Halo", "Move", "Conv2d")
    bare = plan_of(IMAGE | {"padding": 0}, scheme="width")
    assert operations(bare) == ("Conv2d",)
    assert plan_of(IMAGE | {"channels": 9000, "height": 400}, scheme="width").message
    none = plan_of(IMAGE | {"channels": 9000, "height": 400}, scheme="width")
    assert none.launch.allocation_failure.tensor == "input"
    assert operations(none) == ()


def test_plans_of_one_question_are_equal_and_can_be_kept():
    first, second = (ttnn_rows.plan_of(ttnn_rows.rows()[40]) for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)
