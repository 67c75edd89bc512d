"""Mantissa bits that a device program does not read change none of its results."""

import jax.numpy as jnp
import numpy as np

import jaxdw as jd
from jaxdw.numerics.fpu_float import cut


def check_cut(read_bits, bits, sticks, compute: jd.ComputeConfig, form: str) -> None:
    """Checks what a program reads of bf16, and that a form needs no other bits.

    Args:
      read_bits: of the program; bits: what it shall return with bf16 throughout.
      sticks: its arithmetic on `[taps, sticks, channels]` windows and weights.
    """
    formats = {"dtype": "bfloat16", "output_dtype": "bfloat16"}
    assert read_bits(compute, **formats) == bits
    for other in ("dtype", "output_dtype"):
        assert read_bits(compute, **formats | {other: "bfloat8_b"}) is None
    rng = np.random.default_rng(0)
    values = rng.standard_normal((10, 5, 64)).astype(jnp.bfloat16).astype(np.float32)
    windows, weights = jnp.asarray(values[:9]), jnp.asarray(values[:9, :1] * 3)
    want = np.asarray(sticks(windows, weights, form="integer"))
    assert len(np.unique(want)) > 100
    short = windows if bits is None else cut(windows, bits[0])
    got = np.asarray(sticks(short, weights, form=form, cut_to=bits))
    np.testing.assert_array_equal(got.view(np.uint32), want.view(np.uint32))
