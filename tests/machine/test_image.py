"""The padded image gives the same bits however it is held."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdw as jd
from jaxdw.launch import composed
from jaxdw.machine import image
from jaxdw.machine.cores import image_held, static_of

FLOAT32 = jd.ComputeConfig(arithmetic="float32")
LAYER = {"channels": 96, "height": 9, "width": 10, "padding": (1, 1)}
LAYERS = {
    "floats": [
        {"channels": 64},
        {"channels": 16, "stride": (2, 1), "bias": True},
        {"channels": 20, "dilation": (1, 2)},  # padded
        {"channels": 80, "activation": "relu6"},
    ],
    "words": [
        {},
        {"stride": (2, 2), "bias": True, "activation": "silu"},
        {"batch": 3, "padding": (0, 2, 1, 0), "dilation": (2, 1)},
        {"channels": 128, "output_dtype": "bfloat8_b", "activation": "relu"},
        {"channels": 160, "kernel": (1, 5), "padding": (0, 2)},
        {"weights_dtype": "bfloat4_b", "bias": True, "stride": (1, 2)},
    ],
    "bits": [
        {"channels": 144},  # no pairs of 16
        {"channels": 120},  # padded
        {"kernel": (5, 5)},
    ],
}


def values(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Returns normal values, others of float32 among them."""
    found = np.random.default_rng(seed).standard_normal(shape, np.float32)
    odd = [np.nan, np.inf, -np.inf, -0.0, 1e-40, 3e38, 1.00390625, -1.00390625]
    found.flat[: 50 * len(odd) : 50] = odd
    return found


@pytest.mark.parametrize("scheme", ["height", "width", "block"])
@pytest.mark.parametrize(
    ("held", "layer"), [(held, layer) for held in LAYERS for layer in LAYERS[held]]
)
def test_the_same_bits_as_of_gathered_sticks(held, layer, scheme):
    conv = jd.ConvConfig(**LAYER | layer)
    plan = jd.make_plan(conv, jd.ShardConfig(scheme=scheme), FLOAT32, must_fit=False)
    maps, static = jd.make_maps(plan), static_of(plan)
    assert image_held(static) == held
    w = np.random.default_rng(1).standard_normal(conv.weight_shape, np.float32)
    bias = jnp.arange(float(conv.channels)) if conv.bias else None
    operands = values(conv.input_shape, 0), jnp.asarray(w), bias, static, "float"
    assert maps.strided is not None
    found, want = (
        jax.jit(composed.load_and_run, static_argnames=("static", "form"))(
            own, *operands
        )[0]
        for own in (maps.strided, maps.composed)
    )
    np.testing.assert_array_equal(found, want)
    assert np.isnan(want).any()
    assert np.isfinite(want).mean() > 0.5


def test_words_hold_channels_16_apart():
    bits = jnp.arange(3 * 64, dtype=jnp.uint16).reshape(3, 64)
    words = np.asarray(image.held_as(bits, "words"))
    assert words.shape == (3, 2, 16)
    assert words.dtype == np.uint32
    stick, group, lane = 2, 1, 5
    assert words[stick, group, lane] == (2 * 64 + 32 + 5) | (2 * 64 + 32 + 21) << 16


def held(**other) -> image.Held:
    usual = {"arithmetic": "float32", "taps": 9, "channels": 96}
    launch = usual | {"padded": 96, "outputs": 1000} | other
    return image.how_held(**launch)


def test_how_an_image_is_held(monkeypatch):
    assert held() == "words"
    assert held(arithmetic="fpu") == "bits"
    assert held(channels=96, padded=128) == "bits"
    assert held(channels=112, padded=112) == "floats"
    assert held(channels=144, padded=144) == "bits"
    assert held(taps=25) == "bits"
    assert held(taps=10) == held(channels=90) == "floats"
    few = {"channels": 64, "padded": 64}
    assert held(**few) == held(**few, outputs=2**21) == "floats"
    assert held(**few, outputs=2**21 + 1) == "words"
    assert held(**few, taps=10) == "floats"
    assert held(**few, taps=10, outputs=2**21 + 1) == "bits"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert held() == held(**few) == "bits"
