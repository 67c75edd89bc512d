"""What one core does whatever the program: float32 arithmetic."""

import jax.numpy as jnp
import numpy as np

import jaxdw as jd
from jaxdw.machine.core import float32_sticks


def test_float32_arithmetic_adds_in_kernel_position_order_and_rounds_once():
    windows = np.array([2.0**25, 1.0, -(2.0**25)], np.float32).reshape(3, 1, 1)
    weights, bias = np.ones((3, 1, 1), np.float32), np.full(1, 2**-9, np.float32)

    def sticks(windows, bias, output_dtype="bfloat16"):
        return float32_sticks(
            lambda k: jnp.asarray(windows[k]),
            jnp.asarray(weights),
            None if bias is None else jnp.asarray(bias),
            activation=None,
            output_dtype=output_dtype,
            compute=jd.ComputeConfig(arithmetic="float32"),
        )

    assert sticks(windows, None) == 0
    reordered = windows[[0, 2, 1]]
    assert sticks(reordered, bias) == 1  # 1 + 2**-9 is rounded to bf16, at the end
    assert sticks(reordered, bias, "float32") == 1 + 2.0**-9
