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

from jaxdw.arch.arch import load_arch
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


def ordinary_operands(seed: int, taps: int, zeros: float) -> tuple:
    """Draws wide but ordinary bf16 or TF32 operands, ties and cancellation included."""
    rng = np.random.default_rng(seed)
    shape = (taps, 64, 33)
    exponent = (
        rng.integers(120, 134, shape) if seed % 2 else rng.integers(87, 160, shape)
    )
    bits = exponent << 23 | rng.integers(0, 2**10, shape) << 13
    if seed % 3:
        bits &= ~0xFFFF
    if seed % 5 == 0:
        bits &= ~0x3FFFFF  # few mantissa bits: many ties
    bits |= rng.integers(0, 2, shape) << 31
    bits[rng.random(shape) < zeros] = 0
    weights = rng.permutation(bits.ravel()).reshape(shape)[:, :1]
    return tuple(
        jnp.asarray(v.astype(np.uint32).view(np.float32)) for v in (bits, weights)
    )


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def reduce(windows, weights, phases, fp32_dest, fast):
    return fpu.multiply_reduce(
        lambda k: windows[k],
        list(weights),
        phases=phases,
        fp32_dest=fp32_dest,
        arch=load_arch("wormhole_b0"),
        fast=fast,
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("taps", [1, 9, 25, 33])
@pytest.mark.parametrize("fp32_dest", [False, True])
@pytest.mark.parametrize("phases", [1, 2, 3, 4])
def test_the_float32_forms_equal_the_general_ones(phases, fp32_dest, taps, seed):
    windows, weights = ordinary_operands(seed, taps, zeros=0.1 * (seed % 2))
    assert fpu.is_ordinary(windows) & fpu.is_ordinary(weights)
    results = [
        reduce(windows, weights, phases, fp32_dest, fast) for fast in (True, False)
    ]
    chex.assert_trees_all_equal(*map(patterns, results))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_operands_out_of_the_ordinary_are_seen(dtype):
    least, most = 2.0**-43, 2.0**37 * (1 - 2**-8)
    usual = jnp.array([0.0, -0.0, 1.0, -least, most], dtype)
    assert fpu.is_ordinary(usual)
    for extreme in (least / 2, most * (1 + 2**-7), 2.0**-130, np.inf, np.nan):
        for sign in (1, -1):
            values = usual.at[1].set(jnp.asarray(sign * extreme, dtype))
            assert not fpu.is_ordinary(values)


def test_the_widest_ordinary_operands_keep_their_products_in_range():
    """Exponents of a product: those of its operands less 127, a carry, 5 tap bits."""
    assert 2 * fpu._ORDINARY_LEAST - 127 - 12 >= 20
    assert 2 * (fpu._ORDINARY_BEYOND - 1) - 127 + 1 + 5 < 254
