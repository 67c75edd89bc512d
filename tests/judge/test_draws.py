import ml_dtypes
import numpy as np
import pytest

import jaxdw as jd
from jaxdw.judge.draws import WITNESS_REACH, draw

CONV = jd.ConvConfig(channels=320, height=6, width=5, kernel=(3, 2), bias=True)


def bf16(values: np.ndarray) -> np.ndarray:
    return values.astype(ml_dtypes.bfloat16).astype(np.float32)


@pytest.mark.parametrize("values", ["random", "pattern", "witness"])
def test_tensors_have_the_planned_shapes_and_follow_the_seed(values):
    first, same, other = (draw(CONV, values, seed) for seed in (3, 3, 4))
    shapes = [tensor.shape for tensor in first]
    assert shapes == [CONV.input_shape, CONV.weight_shape, (CONV.channels,)]
    assert all(tensor.dtype == np.float32 for tensor in first)
    assert all(map(np.array_equal, first, same))
    assert not np.array_equal(first.x, other.x)
    bare = jd.ConvConfig(channels=320, height=6, width=5, kernel=(3, 2))
    assert draw(bare, values, 3).bias is None


def test_random_values_are_normal_and_held_by_bf16():
    x, w, bias = draw(CONV, "random", 0)
    for tensor, deviation in ((x, 1), (w, 1), (bias, 10)):
        np.testing.assert_array_equal(tensor, bf16(tensor))
        assert tensor.std() == pytest.approx(deviation, rel=0.15)


def test_the_pattern_is_the_kernel_position_from_1():
    x, w, bias = draw(CONV, "pattern", 0)
    positions = np.arange(1, 7).reshape(3, 2)
    np.testing.assert_array_equal(w, np.broadcast_to(positions, CONV.weight_shape))
    drawn = draw(CONV, "random", 0)
    np.testing.assert_array_equal(x, drawn.x)
    np.testing.assert_array_equal(bias, drawn.bias)


def test_witness_values_are_distinct_and_not_held_by_bf16():
    for tensor in draw(CONV, "witness", 0):
        assert len(np.unique(tensor)) == tensor.size
        assert np.mean(tensor == bf16(tensor)) < 0.01
        assert np.abs(tensor).max() <= WITNESS_REACH
