import jax.numpy as jnp
import numpy as np
import oracles_fpu
import pytest

import jaxdw as jd
from jaxdw.machine.depthwise import compute_sticks, read_bits
from jaxdw.numerics.fpu_float import cut

MANTISSA_BITS = {"bfloat16": 8, "float32": 11, "bfloat8_b": 7, "bfloat4_b": 3}


def values_of(dtype: str, *shape: int, seed: int) -> np.ndarray:
    """Draws values that a format holds, exponents well spread."""
    rng = np.random.default_rng(seed)
    exponent = rng.integers(110, 140, shape)
    bits = exponent << 23 | rng.integers(0, 2**23, shape)
    bits &= -(1 << (24 - MANTISSA_BITS[dtype]))
    bits |= rng.integers(0, 2, shape) << 31
    return bits.astype(np.uint32).view(np.float32)


def sticks_of(windows, weights, bias, **options) -> np.ndarray:
    fixed = {
        "activation": None,
        "output_dtype": "bfloat16",
        "dtype": "bfloat16",
        "weights_dtype": "bfloat16",
        "compute": jd.ComputeConfig(),
        "arch": jd.load_arch("wormhole_b0"),
        "form": "float",
    }
    result = compute_sticks(
        lambda k: jnp.asarray(windows[k]),
        jnp.asarray(weights)[:, None],
        None if bias is None else jnp.asarray(bias),
        **(fixed | options),
    )
    return np.asarray(result).view(np.uint32)


@pytest.mark.parametrize("fp32_dest", [False, True])
@pytest.mark.parametrize("fidelity", ["LoFi", "HiFi2", "HiFi3", "HiFi4"])
@pytest.mark.parametrize(
    ("dtype", "weights_dtype"),
    [
        ("bfloat16", "bfloat16"),
        ("float32", "float32"),
        ("bfloat16", "bfloat4_b"),
        ("float32", "bfloat8_b"),
        ("bfloat8_b", "float32"),
    ],
)
def test_both_forms_equal_the_scalar_oracle(dtype, weights_dtype, fidelity, fp32_dest):
    """17 taps: more than one reduction. Fewer mantissa bits drop phases, not bits."""
    windows = values_of(dtype, 17, 3, 16, seed=0)
    weights = values_of(weights_dtype, 17, 16, seed=1)
    bias = values_of(weights_dtype, 16, seed=2)
    compute = jd.ComputeConfig(math_fidelity=fidelity, fp32_dest_acc=fp32_dest)
    options = {"dtype": dtype, "weights_dtype": weights_dtype, "compute": compute}
    got = sticks_of(windows, weights, bias, **options)
    again = sticks_of(windows, weights, bias, form="integer", **options)
    np.testing.assert_array_equal(got, again)
    for stick in range(3):
        want = oracles_fpu.core_stick(
            windows[:, stick].view(np.uint32).tolist(),
            weights.view(np.uint32).tolist(),
            bias.view(np.uint32).tolist(),
            fidelity,
            fp32_dest,
            "wormhole",
        )
        if fp32_dest:
            want = [oracles_fpu.dst_to_bf16(bits) for bits in want]
        assert got[stick].tolist() == want


@pytest.mark.parametrize("form", ["float", "integer"])
@pytest.mark.parametrize("fp32_dest", [False, True])
@pytest.mark.parametrize("fidelity", ["LoFi", "HiFi2", "HiFi3", "HiFi4"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "bfloat8_b"])
def test_bits_that_no_phase_reads_may_be_cut_before(dtype, fidelity, fp32_dest, form):
    compute = jd.ComputeConfig(math_fidelity=fidelity, fp32_dest_acc=fp32_dest)
    bits = read_bits(compute)
    assert bits == {"LoFi": (5, 7), "HiFi2": (10, 7)}.get(fidelity, (10, 11))
    operands = (
        values_of(dtype, 17, 3, 16, seed=3),
        values_of(dtype, 17, 16, seed=4),
    )
    options = {"dtype": dtype, "weights_dtype": dtype, "compute": compute}
    want = sticks_of(*operands, None, form="integer", **options)
    short = [cut(jnp.asarray(v), n) for v, n in zip(operands, bits, strict=True)]
    got = sticks_of(*short, None, form=form, cut_to=bits, **options)
    np.testing.assert_array_equal(got, want)


def test_only_the_integer_form_takes_any_operands():
    """Infinity is 2**128 to the matrix unit; against the scalar oracle."""
    windows = np.full((2, 1, 16), np.inf, np.float32)
    weights = np.full((2, 16), 2.0**-100, np.float32)
    found = sticks_of(windows, weights, None, form="integer")
    want = oracles_fpu.core_stick(
        windows[:, 0].view(np.uint32).tolist(),
        weights.view(np.uint32).tolist(),
        None,
        "LoFi",
        False,
        "wormhole",
    )
    assert found[0].tolist() == want
    assert (found.view(np.float32) == 2.0**29).all()
    assert (sticks_of(windows, weights, None) != found).all()
