from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import oracles_fpu
import pytest
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxdw as jd
from jaxdw.numerics.sfpu import activate

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "core_kernels.npz")
CASES = [name[: -len("__out")] for name in GOLDEN.files if name.endswith("__out")]


def values(bits: np.ndarray) -> np.ndarray:
    return bits.view(ml_dtypes.bfloat16).astype(np.float32)


def test_the_golden_file_holds_all_its_cases():
    assert len(CASES) == 24
    assert any("K25" in case for case in CASES)


class GoldenTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=False)
    @parameterized.parameters(*CASES)
    def test_sticks_are_those_of_the_librarys_kernels(self, case):
        windows, weights = (values(GOLDEN[n]) for n in GOLDEN[f"{case}__inputs"])
        if f"{case}__w_held" in GOLDEN.files:
            weights = values(GOLDEN[f"{case}__w_held"])
        bias = None
        if f"{case}__bias_held" in GOLDEN.files:
            bias = values(GOLDEN[f"{case}__bias_held"])
        compute = jd.ComputeConfig(
            math_fidelity=case.split("_")[2], fp32_dest_acc="fp32acc1" in case
        )

        def run(windows, weights, bias):
            return jd.core_sticks(windows, weights, bias, compute=compute)

        got = self.variant(run)(windows, weights, bias)
        np.testing.assert_array_equal(got, values(GOLDEN[f"{case}__out"]))


class VariantsTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_jitted_and_not_the_sticks_are_the_same_golden_ones(self):
        case = "K9_C64_LoFi_fp32acc0_bf16_bias"
        windows, weights = (values(GOLDEN[n]) for n in GOLDEN[f"{case}__inputs"])
        bias = values(GOLDEN[f"{case}__bias_held"])

        def run(windows, weights, bias):
            return jd.core_sticks(windows, weights, bias, compute=jd.ComputeConfig())

        got = self.variant(run)(windows, weights, bias)
        np.testing.assert_array_equal(got, values(GOLDEN[f"{case}__out"]))


@settings(max_examples=15)
@given(
    st.sampled_from([1, 9, 16, 17, 25, 33, 50]),
    st.sampled_from(["LoFi", "HiFi2", "HiFi3", "HiFi4"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([("wormhole", "wormhole_b0"), ("blackhole", "blackhole")]),
    st.integers(0, 10**6),
)
def test_sticks_equal_the_scalar_oracle(taps, fidelity, fp32_dest, bias, chip, seed):
    """Extreme exponents, zeros, infinities and NaN among the operands."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        spread = [(120, 132), (60, 190), (0, 256)][seed % 3]
        bits = rng.integers(*spread, shape) << 7 | rng.integers(0, 128, shape)
        bits |= rng.integers(0, 2, shape) << 15
        bits[rng.random(shape) < 0.1] = 0
        return (bits.astype(np.uint32) << 16).view(np.float32)

    windows, weights, added = draw(3, taps, 16), draw(1, taps, 16), draw(16)
    compute = jd.ComputeConfig(math_fidelity=fidelity, fp32_dest_acc=fp32_dest)
    got = jd.core_sticks(
        windows, weights, added if bias else None, compute=compute, arch=chip[1]
    )
    for stick, window in zip(np.asarray(got), windows, strict=True):
        want = oracles_fpu.core_stick(
            window.view(np.uint32).tolist(),
            weights[0].view(np.uint32).tolist(),
            added.view(np.uint32).tolist() if bias else None,
            fidelity,
            fp32_dest,
            chip[0],
        )
        if fp32_dest:
            want = [oracles_fpu.dst_to_bf16(bits) for bits in want]
        assert stick.view(np.uint32).tolist() == want


def test_float32_output_keeps_all_of_a_32_bit_dst():
    rng = np.random.default_rng(0)
    windows = rng.standard_normal((4, 9, 16)).astype(np.float32)
    weights = rng.standard_normal((1, 9, 16)).astype(np.float32)
    compute = jd.ComputeConfig(math_fidelity="HiFi4", fp32_dest_acc=True)
    wide = jd.core_sticks(windows, weights, compute=compute, output_dtype="float32")
    narrow = jd.core_sticks(windows, weights, compute=compute)
    bits = [oracles_fpu.dst_to_bf16(int(b)) for b in np.asarray(wide).view("u4").flat]
    assert np.asarray(narrow).view(np.uint32).ravel().tolist() == bits
    want = oracles_fpu.core_stick(
        windows[0].view(np.uint32).tolist(),
        weights[0].view(np.uint32).tolist(),
        None,
        "HiFi4",
        True,
        "wormhole",
    )
    assert np.asarray(wide)[0].view(np.uint32).tolist() == want


@pytest.mark.parametrize("fp32_dest", [False, True])
@pytest.mark.parametrize("name", ["relu6", "silu", "gelu", "gelu_approx"])
def test_activations_take_the_chips_form_on_dst(name, fp32_dest):
    rng = np.random.default_rng(0)
    windows = rng.standard_normal((32, 9, 16)).astype(np.float32)
    weights = rng.standard_normal((1, 9, 16)).astype(np.float32)
    compute = jd.ComputeConfig(fp32_dest_acc=fp32_dest)
    output_dtype = "float32" if fp32_dest else "bfloat16"
    fixed = {"compute": compute, "output_dtype": output_dtype}
    dst = jd.core_sticks(windows, weights, **fixed)
    got = jd.core_sticks(windows, weights, activation=name, **fixed)
    np.testing.assert_array_equal(got, activate(dst, name, fp32_dest=fp32_dest))


def test_weights_of_each_stick_or_of_all():
    rng = np.random.default_rng(0)
    windows, weights = rng.standard_normal((2, 5, 9, 16)).astype(np.float32)
    compute = jd.ComputeConfig()
    each = jd.core_sticks(windows, weights, compute=compute)
    for stick in range(5):
        alone = jd.core_sticks(windows, weights[[stick]], compute=compute)
        np.testing.assert_array_equal(each[stick], alone[stick])


def test_float32_arithmetic_accumulates_in_order():
    windows = np.array([[[2.0**25], [1.0], [-(2.0**25)]]], np.float32)
    compute = jd.ComputeConfig(arithmetic="float32")
    got = jd.core_sticks(windows, np.ones((1, 3, 1), np.float32), compute=compute)
    assert float(got[0, 0]) == 0.0
    got = jd.core_sticks(windows[:, [0, 2, 1]], np.ones((1, 3, 1)), compute=compute)
    assert float(got[0, 0]) == 1.0


def test_what_the_chip_does_not_have_is_refused():
    windows, weights = np.ones((1, 9, 16)), np.ones((1, 9, 16))
    with pytest.raises(
        jd.ConfigError, match=r"`output_dtype` \(='float32'\).*32-bit Dst"
    ):
        jd.core_sticks(
            windows, weights, compute=jd.ComputeConfig(), output_dtype="float32"
        )
    with pytest.raises(jd.ConfigError, match=r"`math_fidelity` \(='HiFi5'\)"):
        jd.core_sticks(
            windows, weights, compute=jd.ComputeConfig(math_fidelity="HiFi5")
        )


def test_derivatives_go_straight_through():
    rng = np.random.default_rng(0)
    windows = rng.standard_normal((4, 9, 16)).astype(np.float32)
    weights = rng.standard_normal((1, 9, 16)).astype(np.float32)
    compute = jd.ComputeConfig()

    def loss(weights):
        return jd.core_sticks(windows, weights, compute=compute).sum()

    gradient = jax.grad(loss)(jnp.asarray(weights))
    np.testing.assert_allclose(gradient[0], windows.sum(axis=0), rtol=1e-5)
