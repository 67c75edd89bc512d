import dataclasses

import numpy as np
import pytest

import jaxdw as jd
from jaxdw.faults.fit import fit, read_fit, snapped, take_sample
from jaxdw.judge.draws import draw
from jaxdw.plan.window import Window

STRANGE = {
    "channels": 6, "height": 19, "width": 23, "kernel": (3, 2), "stride": (1, 2),
    "padding": (1, 0, 2, 1), "dilation": (2, 3), "bias": True, "batch": 2,
}  # fmt: skip


def sampled(conv, operands, output=None):
    if output is None:
        output = jd.reference(conv, *operands)
    return take_sample(Window(conv), operands.x, output.astype(np.float32))


@pytest.mark.parametrize("activation", [None, "relu", "relu6", "silu", "gelu"])
def test_weights_and_bias_are_found_again(activation):
    conv = jd.ConvConfig(**STRANGE, activation=activation)
    operands = draw(conv, "witness", 0)
    found = fit(sampled(conv, operands))
    known = ~found.unknown
    assert known.sum() >= 4
    near = 1e-3 if activation in (None, "relu", "relu6") else 0.1
    want = operands.w.reshape(6, -1)
    np.testing.assert_allclose(found.w[known], want[known], atol=near)
    np.testing.assert_allclose(found.bias[known], operands.bias[known], atol=near)
    assert found.explains_all(found)
    assert (found.residue[known] < 0.02).all()


def test_a_sample_has_the_windows_of_its_sticks():
    conv = jd.ConvConfig(**STRANGE)
    operands = draw(conv, "random", 0)
    sample = sampled(conv, operands)
    want = jd.reference(conv, *operands).reshape(-1, 6)
    np.testing.assert_allclose(sample.before(operands), want[sample.sticks], rtol=1e-6)
    plain = sample.before(operands._replace(bias=None)) + operands.bias
    np.testing.assert_allclose(plain, want[sample.sticks], rtol=1e-6, atol=1e-6)
    assert sample.distance(sample.before(operands), None) < 1e-6
    assert sample.distance(sample.before(operands), "relu") > 0.2
    assert len(sample.sticks) == Window(conv).num_outputs < 2048


def test_noise_is_no_convolution():
    conv = jd.ConvConfig(**STRANGE)
    operands = draw(conv, "random", 0)
    right = fit(sampled(conv, operands))
    noise = np.random.default_rng(1).standard_normal((2, 16, 12, 6))
    noise = noise[:2, : Window(conv).out_height, : Window(conv).out_width]
    noise = np.resize(noise, (2, Window(conv).out_height, Window(conv).out_width, 6))
    of_noise = fit(sampled(conv, operands, noise))
    assert not of_noise.explains(right).any()
    assert (of_noise.residue > 1).all()  # of nearly nothing that the input makes
    mixed = jd.reference(conv, *operands)
    mixed[..., 2] = noise[..., 2]
    found = fit(sampled(conv, operands, mixed))
    assert found.explains(right).tolist() == [True, True, False, True, True, True]
    assert not found.explains_all(right)


def test_few_outputs_tell_nothing():
    conv = jd.ConvConfig(channels=64, height=8, width=8, kernel=7, padding=3)
    operands = draw(conv, "random", 0)  # 64 outputs of a channel for 50 unknowns
    assert fit(sampled(conv, operands)).unknown.all()
    some = dataclasses.replace(conv, kernel=(3, 3), padding=(1, 1, 1, 1))
    operands = draw(some, "random", 0)
    sample = sampled(some, operands)
    where = np.ones(sample.found.shape, bool)
    where[:, 3] = False
    assert fit(sample, where).unknown.nonzero()[0].tolist() == [3]


def test_fitted_weights_are_read():
    conv = jd.ConvConfig(**STRANGE)
    x, w, bias = operands = draw(conv, "random", 0)
    right = fit(sampled(conv, operands))

    def reading(w, bias):
        output = jd.reference(conv, x, w, bias)
        return read_fit(fit(sampled(conv, operands, output)), right)

    own = reading(w, bias)
    assert (own.own_weights, own.own_bias, own.order) == (True, True, None)
    assert reading(0.96 * w, bias).own_weights
    assert not reading(w, bias + 5).own_bias
    assert reading(w, bias + 5).own_weights
    assert reading(-3 * w, bias).factor == pytest.approx(-3, rel=1e-3)
    swapped = reading(w[[0, 2, 1, 3, 4, 5]], bias)
    assert swapped.order.tolist() == [0, 2, 1, 3, 4, 5]
    assert swapped.factor is None
    other = reading(draw(conv, "random", 9).w, bias)
    assert (other.own_weights, other.order, other.factor) == (False, None, None)


def test_factors_are_snapped_to_simple_ones():
    assert snapped(1.999) == 2
    assert snapped(-0.5001) == -0.5
    assert snapped(254.9) == 255
    assert snapped(1 / 256.1) == 1 / 256
    assert snapped(1.6997) == 1.7
    assert snapped(-12.345) == -12.35
    assert snapped(0.0) == 0
