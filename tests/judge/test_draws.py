import dataclasses

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


def test_a_layers_own_weights_replace_drawn_ones_as_the_host_sends_them():
    w, bias = (values for values in draw(CONV, "witness", 1)[1:])
    drawn = draw(CONV, "random", 0)
    sent = draw(CONV, "random", 0, own=(w, bias))
    np.testing.assert_array_equal(sent.x, drawn.x)
    np.testing.assert_array_equal(sent.w, bf16(w))
    np.testing.assert_array_equal(sent.bias, bf16(bias))
    for dtype in ("bfloat8_b", "bfloat4_b", "float32"):
        conv = dataclasses.replace(CONV, weights_dtype=dtype)
        sent = draw(conv, "random", 0, own=(w, bias))
        np.testing.assert_array_equal(sent.w, w)
        np.testing.assert_array_equal(sent.bias, bias)
    bare = dataclasses.replace(CONV, bias=False)
    assert draw(bare, "random", 0, own=(w, None)).bias is None


def test_own_weights_of_another_layer_are_refused():
    w, bias = draw(CONV, "random", 0)[1:]
    with pytest.raises(jd.ConfigError, match=r"`w` \(=\(319, 1, 3, 2\)\).*\n.*`bias`"):
        draw(CONV, "random", 0, own=(w[1:], bias[1:]))
    with pytest.raises(jd.ConfigError, match=r"`bias` \(=True\).*has no bias"):
        draw(CONV, "random", 0, own=(w, None))
    bare = dataclasses.replace(CONV, bias=False)
    with pytest.raises(jd.ConfigError, match=r"`bias` \(=False\).*has a bias"):
        draw(bare, "random", 0, own=(w, bias))


def test_the_draw_of_a_seed_stays_what_it_is():
    x, w, bias = draw(CONV, "random", 0)
    assert x[0, 0, 0, :3].tolist() == [0.1259765625, -0.1318359375, 0.640625]
    assert (float(w[0, 0, 0, 0]), float(bias[0])) == (0.546875, -8.125)
