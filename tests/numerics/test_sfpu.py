import jax.numpy as jnp
import ml_dtypes
import numpy as np
import oracles
import pytest

import jaxdw as jd
from jaxdw.numerics.sfpu import activate, true_activation

ACTIVATIONS = ["relu", "relu6", "silu", "gelu"]


def bf16_grid(limit: float) -> np.ndarray:
    """Every bf16 value with 2**-20 <= |x| <= limit, and 0."""
    values = np.arange(65536, dtype=np.uint16).view(ml_dtypes.bfloat16)
    values = values.astype(np.float32)
    size = np.abs(values)
    return values[(size <= limit) & ((size >= 2**-20) | (values == 0))]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_true_activations_are_within_1_ulp(name):
    x = np.linspace(-8, 8, 4001, dtype=np.float32)
    want = oracles.activation(name, x.astype(np.float64))
    got = np.asarray(true_activation(jnp.asarray(x), name))
    assert jd.ulp_distance(got, want).max() <= 1


@pytest.mark.parametrize("fp32_dest", [False, True])
@pytest.mark.parametrize("name", ["relu", "relu6"])
def test_relu_and_relu6_are_exact(name, fp32_dest):
    x = bf16_grid(1e30)
    got = np.asarray(activate(jnp.asarray(x), name, fp32_dest=fp32_dest))
    np.testing.assert_array_equal(got, oracles.activation(name, x))


def test_silu_is_within_1_ulp_of_the_true_function_and_rounded():
    x = bf16_grid(8)
    want = oracles.activation("silu", x.astype(np.float64))
    got = np.asarray(activate(jnp.asarray(x), "silu", fp32_dest=False))
    assert jd.ulp_distance(got, want).max() <= 1
    assert (got.view(np.uint32) & 0xFFFF == 0).all()
    wide = np.asarray(activate(jnp.asarray(x), "silu", fp32_dest=True))
    nearest = wide.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(got, nearest)
    assert (wide.view(np.uint32) & 0xFFFF != 0).any()


def chebyshev(x: float) -> float:
    """The accurate gelu of facts/numerics.md, written out in float64."""
    coefficients = [
        2.98325768482e-05, 0.499174645395, 0.398579460781, 2.44542739174e-03,
        -6.56369476513e-02, -2.08478037614e-03, 9.2074331601e-03, 7.68340223025e-04,
        -8.62052441087e-04, -1.38391838381e-04, 4.25116466215e-05, 1.19076782913e-05,
        -2.29754133825e-07, -3.74540617693e-07, -4.59055119276e-08, -1.81205228163e-09,
    ]  # fmt: skip
    if x == 0 or x < -5.5:
        return 0.0
    if x >= 3:
        return x
    size = abs(sum(c * x**power for power, c in enumerate(coefficients)))
    return size if x > 0 else -size


def lookup(x: float) -> float:
    """The approximate gelu: 0.5 x + a line in |x|, from the words as fp16."""
    slope_words = np.array([0x322B, 0x37E7, 0x38F3, 0x38E1, 0x3852, 0x3800], "u2")
    words = np.array([0x86D8, 0xB122, 0xB479, 0xB437, 0xAFA4, 0x0000], "u2")
    slopes, intercepts = slope_words.view("f2"), words.view("f2")
    segment = sum(abs(x) >= limit for limit in (0.5, 1.0, 1.5, 2.0, 3.0))
    return 0.5 * x + float(slopes[segment]) * abs(x) + float(intercepts[segment])


@pytest.mark.parametrize(
    ("name", "form", "least", "tolerance"),
    [
        ("gelu", chebyshev, -3.0, 3e-6),
        # in the negative tail the terms of Horner's rule cancel from 10**3 to 10**-4
        ("gelu", chebyshev, -8.0, 5e-4),
        ("gelu_approx", lookup, -8.0, 1e-7),
    ],
)
def test_gelu_takes_the_published_forms(name, form, least, tolerance):
    x = bf16_grid(8)
    x = x[x >= least]
    got = np.asarray(activate(jnp.asarray(x), name, fp32_dest=True))
    want = np.array([form(float(v)) for v in x])
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=tolerance)


def test_gelu_is_zero_only_below_minus_5_and_a_half():
    x = jnp.array([-8.0, -5.53125, -5.5, -5.25, -5.0])
    zero = activate(x, "gelu", fp32_dest=True) == 0
    assert zero.tolist() == [True, True, False, False, False]


@pytest.mark.parametrize("name", ["gelu", "gelu_approx"])
def test_gelu_is_cut_toward_zero_when_stored(name):
    x = bf16_grid(8)
    wide = np.asarray(activate(jnp.asarray(x), name, fp32_dest=True))
    stored = np.asarray(activate(jnp.asarray(x), name, fp32_dest=False))
    want = (wide.view(np.uint32) & 0xFFFF0000).view(np.float32)
    np.testing.assert_array_equal(stored, np.where(np.abs(want) < 2**-126, 0, want))


def test_gelu_follows_the_true_function_to_its_published_error():
    x = bf16_grid(8)
    want = oracles.activation("gelu", x.astype(np.float64))
    accurate = np.asarray(activate(jnp.asarray(x), "gelu", fp32_dest=True))
    assert np.abs(accurate - want).max() < 5e-3
    table = np.asarray(activate(jnp.asarray(x), "gelu_approx", fp32_dest=True))
    assert np.abs(table - want).max() < 2.5e-2
    positive = x > 0.5
    assert jd.ulp_distance(accurate[positive], want[positive]).max() <= 1


def test_no_activation_changes_nothing():
    x = jnp.array([-1.5, 0.0, 7.25])
    assert (activate(x, None, fp32_dest=False) == x).all()
    assert (true_activation(x, None) == x).all()
