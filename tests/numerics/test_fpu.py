import functools
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracles_fpu
import pytest
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdw.numerics import fpu

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "fpu.npz")
KEYS = sorted({name.rsplit(".", 1)[0] for name in GOLDEN.files})
ARCHS = {"wormhole": "wormhole_b0", "blackhole": "blackhole"}
CHIPS = list(ARCHS.items())


def floats(bits: np.ndarray) -> jnp.ndarray:
    """Turns bf16 or float32 patterns into float32 values."""
    wide = bits.astype(np.uint32) << 16 if bits.dtype == np.uint16 else bits
    return jnp.asarray(wide.view(np.float32))


def patterns(values) -> np.ndarray:
    return np.asarray(values).view(np.uint32)


@functools.cache
def jitted(op: str, arch: str, fp32_dest: bool, last: int):
    """Returns the compiled operation: hypothesis calls it many times."""
    return jax.jit(operation(op, arch, fp32_dest, last))


def operation(op: str, arch: str, fp32_dest: bool, last: int):
    """Returns the operation of one golden key, as a function of a, b, dst."""
    fixed = {"fp32_dest": fp32_dest, "arch": arch}
    if op == "elwadd":
        return lambda a, b, dst: fpu.elwadd(a, b, dst, accumulate=bool(last), **fixed)
    function = {"elwmul": fpu.elwmul, "gapool": fpu.gapool}[op]
    return lambda a, b, dst: function(a, b, dst, phase=last, **fixed)


def test_the_golden_file_holds_both_chips_and_all_phases():
    assert len(KEYS) == 40


class GoldenTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters(*KEYS)
    def test_every_case_of_the_functional_simulator(self, key):
        arch, op, dst, last = key.split(".")
        arrays = {n: GOLDEN[f"{key}.{n}"] for n in ("a", "b", "dst", "out")}
        function = operation(op, ARCHS[arch], dst == "fp32dst1", int(last[-1]))
        operands = (floats(arrays[n]) for n in ("a", "b", "dst"))
        got = self.variant(function)(*operands)
        chex.assert_trees_all_equal(patterns(got), patterns(floats(arrays["out"])))


EXPONENTS = st.one_of(
    st.integers(110, 140), st.integers(0, 255), st.sampled_from([0, 1, 2, 254, 255])
)


@st.composite
def bf16(draw: st.DrawFn) -> int:
    """Draws a bf16 value as a float32 pattern: zero, denormal, infinity, NaN too."""
    sign, fraction = draw(st.integers(0, 1)), draw(st.integers(0, 127))
    return sign << 31 | draw(EXPONENTS) << 23 | fraction << 16


@st.composite
def fp32(draw: st.DrawFn) -> int:
    sign, fraction = draw(st.integers(0, 1)), draw(st.integers(0, 2**23 - 1))
    return sign << 31 | draw(EXPONENTS) << 23 | fraction


def value(bits) -> jnp.ndarray:
    return jnp.asarray(np.array(bits, np.uint32).view(np.float32))


@settings(max_examples=300)
@given(
    st.one_of(bf16(), fp32()),
    st.one_of(bf16(), fp32()),
    st.data(),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from(CHIPS),
)
def test_elwmul_equals_the_scalar_oracle(a, b, data, phase, fp32_dest, chip):
    dst = data.draw(fp32() if fp32_dest else bf16())
    want = oracles_fpu.elwmul(a, b, dst, phase, fp32_dest, chip[0])
    got = jitted("elwmul", chip[1], fp32_dest, phase)(value(a), value(b), value(dst))
    assert int(patterns(got)) == want


@settings(max_examples=200)
@given(
    st.lists(st.one_of(bf16(), fp32()), min_size=16, max_size=16),
    st.lists(bf16(), min_size=16, max_size=16),
    st.data(),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from(CHIPS),
)
def test_gapool_equals_the_scalar_oracle(a, b, data, phase, fp32_dest, chip):
    dst = data.draw(fp32() if fp32_dest else bf16())
    want = oracles_fpu.gapool(a, b, dst, phase, fp32_dest, chip[0])
    got = jitted("gapool", chip[1], fp32_dest, phase)(value(a), value(b), value(dst))
    assert int(patterns(got)) == want


@settings(max_examples=300)
@given(
    st.one_of(bf16(), fp32()),
    st.one_of(bf16(), fp32()),
    st.data(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(CHIPS),
)
def test_elwadd_equals_the_scalar_oracle(a, b, data, accumulate, fp32_dest, chip):
    dst = data.draw(fp32() if fp32_dest else bf16())
    want = oracles_fpu.elwadd(a, b, dst, accumulate, fp32_dest, chip[0])
    add = jitted("elwadd", chip[1], fp32_dest, accumulate)
    assert int(patterns(add(value(a), value(b), value(dst)))) == want


def test_only_wormhole_has_the_minus_one_unit_quirk():
    """1.0 less 1.0 + 2**-23 in a 32-bit Dst leaves exactly -1 unit."""
    dst = value(0xBF800001)
    results = {
        arch: patterns(
            fpu.elwmul(
                value(0x3F800000),
                value(0x3F800000),
                dst,
                phase=0,
                fp32_dest=True,
                arch=arch,
            )
        )
        for arch in ARCHS.values()
    }
    assert int(results["blackhole"]) == 0xB4000000  # -2**-23
    assert int(results["wormhole_b0"]) == 0x80000000 | (127 + 4) << 23


@pytest.mark.parametrize("fp32_dest", [False, True])
@pytest.mark.parametrize("op", ["elwmul", "gapool"])
def test_products_at_the_bottom_of_the_exponent_range_equal_the_oracle(op, fp32_dest):
    """Exponents of a product around 0, Dst barely above it."""
    rng = np.random.default_rng(0)
    shape = (200, 16) if op == "gapool" else (200,)
    exponent = rng.integers(50, 78, shape)
    other = 127 - exponent + rng.integers(-2, 3, shape)
    a, b, dst = (
        (e << 23 | rng.integers(0, 128, e.shape) << 16).astype(np.uint32)
        for e in (exponent, other, rng.integers(0, 4, 200))
    )
    got = jitted(op, "blackhole", fp32_dest, 0)(floats(a), floats(b), floats(dst))
    oracle = getattr(oracles_fpu, op)
    want = [
        oracle(x.tolist(), y.tolist(), int(z), 0, fp32_dest, "blackhole")
        for x, y, z in zip(a, b, dst, strict=True)
    ]
    assert patterns(got).tolist() == want
