"""Assertions pass what is the plan's, and say of anything else what it is instead."""

import numpy as np
import pytest
from examples import distinct_weights, unchecked, uneven_plan, width_plan

import jaxdw as jd
from jaxdw.testing import assert_output, assert_prepared, assert_tiles


def operands(plan: jd.Plan, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Draws integers, of which every sum is exact."""
    rng = np.random.default_rng(seed)
    shapes = (plan.conv.input_shape, plan.conv.weight_shape, (plan.conv.channels,))
    return tuple(rng.integers(-8, 9, shape).astype(np.float32) for shape in shapes)


def test_the_plans_own_preparation_and_tiles_pass():
    plan = uneven_plan()
    w = distinct_weights(plan)
    matrix = np.asarray(jd.prepare_weights(plan, w))
    assert_prepared(plan, matrix, w)
    tiles = np.asarray(jd.tilize(matrix))
    assert_tiles(plan, tiles, w)
    for core in (0, 5):
        own = tiles[list(plan.weight_tile_ids(core))]
        assert_tiles(plan, own, w, core=core)
        with pytest.raises(
            AssertionError, match=r"assert_tiles failed.*elements differ"
        ):
            assert_tiles(plan, own, w, core=core + 1)


def test_exchanged_rows_are_told_with_their_place_and_the_layer():
    plan = width_plan(96, 3)
    w = distinct_weights(plan)
    swapped = np.asarray(jd.prepare_weights(plan, w)).copy()
    swapped[[1, 2]] = swapped[[2, 1]]
    with pytest.raises(AssertionError) as told:
        assert_prepared(plan, swapped, w)
    assert str(told.value).startswith(
        "[jaxdw] Assertion assert_prepared failed: 192 of 3072 elements differ\n"
        "Diagnosis: no known layout"
    )
    assert "ttnn.TensorMemoryLayout.WIDTH_SHARDED" in str(told.value)
    assert "in_channels=96" in str(told.value)


def test_a_kernel_turned_by_half_a_circle_is_named():
    """The planted mistake of a user: a true convolution, taps from the last on."""
    plan = uneven_plan()
    w = distinct_weights(plan)
    flipped = np.ascontiguousarray(w[:, :, ::-1, ::-1])
    prepared = np.asarray(jd.prepare_weights(plan, flipped))
    with pytest.raises(AssertionError, match=r"Diagnosis: not the plan's: .*kernel"):
        assert_prepared(plan, prepared, w)


def test_one_element_of_an_output_fails_with_its_place():
    plan = uneven_plan(scheme="height")
    x, w, bias = operands(plan)
    output = np.array(jd.run(plan, jd.make_maps(plan), x, w, bias).output)
    assert_output(plan, output, x, w, bias)
    place = (1, 4, 2, 77)
    expected = output[place]
    output[place] += 64
    with pytest.raises(AssertionError) as told:
        assert_output(plan, output, x, w, bias)
    said = str(told.value)
    total = output.size
    assert f"assert_output failed: 1 of {total} outputs differ in any bit" in said
    assert f"channel) {place}: expected {expected:g}, got {output[place]:g}" in said
    assert "\nDiagnosis: " in said
    assert "groups=200" in said


def test_ulp_are_allowed_and_no_more():
    plan = uneven_plan(scheme="height")
    x, w, bias = operands(plan)
    output = np.array(jd.run(plan, jd.make_maps(plan), x, w, bias).output)
    output = np.asarray(output, np.float32)
    place = tuple(np.argwhere(output > 128)[0])
    output[place] += 1  # one step of bf16 from 128 to 256
    assert output[place] < 256
    assert_output(plan, output, x, w, bias, max_ulp=1)
    output[place] += 1
    with pytest.raises(
        AssertionError, match=r"1 of \d+ outputs differ more than 1 ULP"
    ):
        assert_output(plan, output, x, w, bias, max_ulp=1)
    assert_output(plan, output, x, w, bias, max_ulp=2)
    output[place] = np.inf
    with pytest.raises(AssertionError, match="1 of"):
        assert_output(plan, output, x, w, bias, max_ulp=1000)


def test_the_diagnosis_of_a_known_fault_is_in_the_message():
    plan = uneven_plan(scheme="width")
    x, w, bias = operands(plan)
    no_bias = jd.make_plan(
        jd.ConvConfig(**{**vars(plan.conv), "bias": False}), plan.shard
    )
    output = jd.run(no_bias, jd.make_maps(no_bias), x, w).output
    with pytest.raises(AssertionError, match=r"(?s)Diagnosis: .*cause 1: .*bias"):
        assert_output(plan, np.asarray(output), x, w, bias)


def test_another_program_has_no_diagnosis_and_says_so():
    conv = jd.ConvConfig(channels=32, height=8, width=8, padding=1)
    plan = jd.make_plan(conv, jd.ShardConfig(scheme="height"), program="regular")
    rng = np.random.default_rng(0)
    x = rng.integers(-4, 5, conv.input_shape).astype(np.float32)
    w = rng.integers(-4, 5, conv.weight_shape).astype(np.float32)
    output = np.array(jd.run(plan, jd.make_maps(plan), x, w).output)
    assert_output(plan, output, x, w)
    output[0, 0, 0, 0] += 8
    with pytest.raises(AssertionError, match=r"Diagnosis: "):
        assert_output(plan, output, x, w)


def test_an_output_of_another_shape_is_refused():
    plan = uneven_plan(scheme="height")
    x, w, bias = operands(plan)
    with pytest.raises(jd.ConfigError, match=r"`output` \(=\(2, 2\)\) must have the"):
        unchecked(assert_output)(plan, np.zeros((2, 2)), x, w, bias)
