import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import jaxdw as jd
from jaxdw.numerics.sfpu import activate


@pytest.mark.parametrize("name", ["relu", "relu6", "silu", "gelu"])
def test_activations_are_the_true_functions_within_1_ulp(name):
    x = np.linspace(-8, 8, 4001, dtype=np.float32)
    want = oracles.activation(name, x.astype(np.float64))
    got = np.asarray(activate(jnp.asarray(x), name))
    assert jd.ulp_distance(got, want).max() <= 1


def test_no_activation_changes_nothing():
    x = jnp.array([-1.5, 0.0, 7.25])
    assert (activate(x, None) == x).all()
