"""How near one explanation comes to a file."""

import dataclasses

import ml_dtypes
import numpy as np
import pytest

import jaxdw as jd
from jaxdw.faults.tried import alike, try_output

CONV = jd.ConvConfig(channels=4, height=8, width=8, padding=1)
PLAN = jd.make_plan(CONV)
FLOAT32 = dataclasses.replace(CONV, dtype="float32", output_dtype="float32")
NONE = np.zeros(PLAN.output_shape, bool)


def values(seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal(PLAN.output_shape) + 4
    return drawn.astype(ml_dtypes.bfloat16).astype(np.float32)


def tried(output, found, unknown=NONE, plan=PLAN):
    return try_output(plan, found, output, unknown, fault="a", detail="")


def nudged(output, steps: int):
    bits = output.astype(ml_dtypes.bfloat16).view(np.uint16) + np.uint16(steps)
    return bits.view(ml_dtypes.bfloat16).astype(np.float32)


def test_what_is_unknown_is_not_compared():
    output, found = values(), values()
    unknown = NONE.copy()
    unknown[0, 3] = True
    output[unknown] = np.nan
    exact = tried(output, found, unknown)
    assert (exact.match, exact.num_unknown, exact.differing) == ("exact", 32, 0)
    assert (exact.residue, exact.distance) == (0, 0)
    output[0, 5, 5, 2] = nudged(output[0, 5, 5, 2], 1)
    near = tried(output, found, unknown)
    assert (near.match, near.differing) == ("1 ULP", 1)
    want = np.abs(output - found)[0, 5, 5, 2] / np.sqrt((found[~unknown] ** 2).sum())
    assert near.distance == pytest.approx(want, rel=1e-3)


@pytest.mark.parametrize(("steps", "match"), [(1, "1 ULP"), (2, "near")])
def test_small_steps_are_matches_by_name(steps, match):
    assert tried(nudged(values(), steps), values()).match == match


def test_the_residue_is_of_the_worst_channel():
    found, output = values(), values()
    spread = found[..., 2].std()
    output[..., 2] += np.float32(0.3) * spread
    off = tried(output, found)
    assert off.residue == pytest.approx(0.3, rel=0.01)
    assert off.match == "none"
    output = found.copy()
    output[..., 2] += np.float32(0.1) * spread  # of many ULP, and no rounding
    far = tried(output * 1, found * 1)
    assert far.match == "none"


def test_a_larger_residue_may_still_be_two_ulp():
    found = (values() - 4) / 100 + 4  # small around a large mean
    found = found.astype(ml_dtypes.bfloat16).astype(np.float32)
    one = found.copy()
    one[0, 0, :5] = nudged(found[0, 0, :5], 2)
    off = tried(one, found)
    assert 0.05 < off.residue
    assert off.match == ("near" if off.residue <= 0.2 else "none")


def test_what_is_not_finite_has_no_distance():
    found, output = values(), values()
    found[0, 0, 0, 0] = np.nan
    off = tried(output, found)
    assert (off.match, off.differing, off.distance) == ("none", 1, np.inf)
    assert alike(found, found).all()
    assert not alike(found, output)[0, 0, 0, 0]


def test_a_constant_channel_has_a_residue_as_the_others_spread():
    found, output = values(), values()
    found[..., 1] = output[..., 1] = 2
    output[0, 0, 0, 1] = nudged(output[0, 0, 0, 1], 1)
    assert np.isfinite(tried(output, found).residue)
    assert tried(output, found).residue < 1
