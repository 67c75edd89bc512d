"""Halo, windows and output shards after each fault, against what then arrives."""

import dataclasses

import numpy as np
import pytest
from fault_examples import plan_of, spoilt, whole_numbers

import jaxdw as jd


@pytest.mark.parametrize("scheme", ["height", "width", "block"])
def test_padding_sticks_hold_something_else(scheme):
    plan = plan_of(scheme)
    operands, earlier = (whole_numbers(plan.conv, seed) for seed in (0, 1))
    framed = np.pad(operands.x, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=1.0)
    bare = dataclasses.replace(plan.conv, height=10, width=10, padding=0)
    want = jd.reference(bare, framed, operands.w)
    np.testing.assert_array_equal(spoilt(plan, "padding-of-ones", operands), want)
    intact = jd.reference(plan.conv, *operands)
    got = spoilt(plan, "padding-not-zeroed", operands, earlier)
    np.testing.assert_array_equal(got[:, 1:-1, 1:-1], intact[:, 1:-1, 1:-1])
    for edge in (got[:, 0], got[:, -1], got[:, :, 0], got[:, :, -1]):
        assert (edge != intact[:, 0]).mean() > 0.5
    silent = earlier._replace(x=0 * earlier.x)
    got = spoilt(plan, "padding-not-zeroed", operands, silent)
    np.testing.assert_array_equal(got, intact)


@pytest.mark.parametrize("scheme", ["height", "width", "block"])
def test_windows_and_halo_are_off_by_one(scheme):
    plan = plan_of(scheme)
    operands, earlier = (whole_numbers(plan.conv, seed) for seed in (0, 1))
    lower = np.concatenate([operands.x[:, 1:], earlier.x[:, :1]], axis=1)
    want = jd.reference(plan.conv, lower, operands.w)
    got = spoilt(plan, "halo-row-off", operands, earlier)
    np.testing.assert_array_equal(got[:, :-2], want[:, :-2])
    right = dataclasses.replace(plan.conv, padding=(1, 1, 0, 2))
    want = jd.reference(right, operands.x, operands.w)
    got = spoilt(plan, "window-column-off", operands, earlier)
    np.testing.assert_array_equal(got[:, :, :-1], want[:, :, :-1])


@pytest.mark.parametrize("width", [18, 20])  # runs begin inside a row, or not
def test_window_starts_step_by_one(width):
    plan = plan_of("height", height=18, width=width, stride=2)
    operands = whole_numbers(plan.conv, 0)
    every = jd.reference(
        dataclasses.replace(plan.conv, stride=(2, 1)), operands.x, operands.w
    )
    want = np.empty(plan.output_shape)
    out_width = plan.output_shape[2]
    for y in range(plan.output_shape[1]):
        for x in range(out_width):
            output = y * out_width + x
            begin = max(0, output // 32 * 32 - y * out_width)  # of the core's own run
            want[:, y, x] = every[:, y, 2 * begin + x - begin if begin <= x else x]
    np.testing.assert_array_equal(spoilt(plan, "stride-ignored", operands), want)


def test_windows_are_gathered_undilated():
    """JDW006: sizes and halo know the dilation, the gather does not."""
    plan = plan_of("height", dilation=2, padding=2)
    operands = whole_numbers(plan.conv, 0)
    plain = dataclasses.replace(plan.conv, dilation=(1, 1))
    want = jd.reference(plain, operands.x, operands.w)[:, :8, :8]
    np.testing.assert_array_equal(spoilt(plan, "dilation-ignored", operands), want)


def test_output_shards_change_places():
    plan = plan_of("height", height=16)
    operands = whole_numbers(plan.conv, 0)
    want = jd.reference(plan.conv, *operands)
    want = np.concatenate([want[:, 4:8], want[:, :4], want[:, 8:]], axis=1)
    np.testing.assert_array_equal(spoilt(plan, "shards-swapped", operands), want)
