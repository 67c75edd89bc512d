import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdw.arch.arch import load_arch
from jaxdw.numerics import fpu, fpu_float


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


@functools.partial(jax.jit, static_argnums=(2, 3, 4, 5))
def reduce(windows, weights, phases, fp32_dest, way, mantissa_bits=None):
    return way.multiply_reduce(
        lambda k: windows[k],
        weights,
        phases=phases,
        fp32_dest=fp32_dest,
        arch=load_arch("wormhole_b0"),
        **({"mantissa_bits": mantissa_bits} if mantissa_bits else {}),
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("taps", [1, 9, 25, 33])
@pytest.mark.parametrize("fp32_dest", [False, True])
@pytest.mark.parametrize("phases", [1, 2, 3, 4])
def test_the_float_form_equals_the_integer_form(phases, fp32_dest, taps, seed):
    windows, weights = ordinary_operands(seed, taps, zeros=0.1 * (seed % 2))
    assert fpu_float.is_ordinary(windows) & fpu_float.is_ordinary(weights)
    results = [
        reduce(windows, weights, phases, fp32_dest, way) for way in (fpu_float, fpu)
    ]
    chex.assert_trees_all_equal(*(np.asarray(r).view(np.uint32) for r in results))


def drawn_windows(rng: np.random.Generator, taps: int, num: int):
    """Draws windows and weights: wide and narrow exponents, ties, zeros, cancellation.

    Every second window of an equal half repeats the one before it with another sign.
    """
    least, beyond = fpu_float.ORDINARY_LEAST, fpu_float.ORDINARY_BEYOND
    wide = rng.integers(least, beyond, (2, taps, num))
    spread = rng.integers(0, 16, num)  # exponents within so many of each other
    narrow = rng.integers(least, beyond - 16, num) + rng.integers(
        0, 1 + spread, (2, taps, num)
    )
    exponent = np.where(rng.random(num) < 0.2, wide, narrow)
    kept = rng.choice([-1 << 16, -1 << 18, -1 << 20, -1 << 22], num)
    bits = (exponent << 23 | rng.integers(0, 1 << 23, (2, taps, num))) & kept
    bits |= rng.integers(0, 2, (2, taps, num)) << 31
    half = taps // 2
    cancels = rng.random(num) < 0.25
    mirrored = bits[:, :half] ^ np.array([1 << 31, 0])[:, None, None]
    bits[:, half : 2 * half] = np.where(cancels, mirrored, bits[:, half : 2 * half])
    bits[rng.random(bits.shape) < 0.05] = 0
    return jnp.asarray(bits.astype(np.uint32).view(np.float32))


@pytest.mark.slow
def test_the_float_form_equals_the_integer_form_on_ten_million_windows():
    rng = np.random.default_rng(2026)
    bits = fpu_float.mantissa_bits_of("bfloat16", "bfloat16")
    windows = 0
    for taps in (1, 2, 7, 8, 9, 10, 15, 16, 17, 24, 25, 33, 49):
        for phases in (1, 2, 3, 4):
            for _ in range(2):
                num = 100_000
                operands = drawn_windows(rng, taps, num)
                assert all(map(fpu_float.is_ordinary, operands))
                want = reduce(*operands, phases, False, fpu)
                got = reduce(*operands, phases, False, fpu_float, bits)
                got, want = (np.asarray(dst).view("u4") for dst in (got, want))
                np.testing.assert_array_equal(got, want)
                windows += num
    assert windows >= 10_000_000


@pytest.mark.parametrize("bits", [1, 5, 7, 8, 10])
def test_bits_of_bf16_are_cut_as_floats_are(bits):
    halves = np.arange(2**16, dtype=np.uint16)
    floats = (halves.astype(np.uint32) << 16).view(np.float32)
    want = np.asarray(fpu_float.cut(jnp.asarray(floats), bits)).view(np.uint32)
    found = np.asarray(fpu_float.cut(jnp.asarray(halves), bits))
    np.testing.assert_array_equal(found.astype(np.uint32) << 16, want)
    lower = halves & ((1 << max(8 - bits, 0)) - 1)
    np.testing.assert_array_equal(found, halves - lower)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_operands_out_of_the_ordinary_are_seen(dtype):
    least, most = 2.0**-43, 2.0**37 * (1 - 2**-8)
    usual = jnp.array([0.0, -0.0, 1.0, -least, most], dtype)
    assert fpu_float.is_ordinary(usual)
    for extreme in (least / 2, most * (1 + 2**-7), 2.0**-130, np.inf, np.nan):
        for sign in (1, -1):
            values = usual.at[1].set(jnp.asarray(sign * extreme, dtype))
            assert not fpu_float.is_ordinary(values)


def test_the_widest_ordinary_operands_keep_their_products_in_range():
    """Exponents of a product: those of its operands less 127, a carry, 5 tap bits."""
    assert 2 * fpu_float.ORDINARY_LEAST - 127 - 12 >= 20
    assert 2 * (fpu_float.ORDINARY_BEYOND - 1) - 127 + 1 + 5 < 254


@pytest.mark.parametrize("fp32_dest", [False, True])
@pytest.mark.parametrize("phases", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [(8, 8), (8, 7), (8, 3), (11, 8), (5, 8)])
def test_phases_left_out_for_short_mantissas_change_nothing(bits, phases, fp32_dest):
    mask = [np.uint32(2**32 - 2 ** (24 - kept)) for kept in bits]
    operands = ordinary_operands(2, 9, zeros=0.1)
    patterns = [
        np.array(v).view(np.uint32) & m for v, m in zip(operands, mask, strict=False)
    ]
    for pattern, kept in zip(patterns, mask, strict=True):
        pattern[:, :1, :8] = 0x3FFFFFFF & kept  # the largest mantissa of that length
    windows, weights = (jnp.asarray(p.view(np.float32)) for p in patterns)
    fixed = {"phases": phases, "fp32_dest": fp32_dest, "arch": load_arch("blackhole")}
    want = fpu.multiply_reduce(lambda k: windows[k], weights, **fixed)
    got = fpu_float.multiply_reduce(
        lambda k: windows[k], weights, mantissa_bits=bits, **fixed
    )
    chex.assert_trees_all_equal(np.asarray(got).view("u4"), np.asarray(want).view("u4"))


@pytest.mark.parametrize(
    ("small", "large", "want"),
    [
        # a sum of 8191, 14 places down: at 2**-23 it is rounded up to a tie
        ([1.9375] * 4 + [1.9375 / 8, 1.75 / 256], [2.0**14, 1.5 * 2.0**5], 1032),
        # a sum of -8193: at 2**-23 it is rounded to a tie, which goes up to 0
        ([-1.9375] * 4 + [-0.25, -(2.0**-10)], [2.0**14, 2.0**6], 1032),
        # one place further down both vanish
        ([1.9375] * 4 + [1.9375 / 8, 1.75 / 256], [2.0**15, 1.5 * 2.0**6], 2048),
    ],
)
def test_a_term_14_places_down_is_rounded_twice(small, large, want):
    lanes = [*small, 0.0, 0.0, *large]
    windows = jnp.array(lanes, jnp.float32)[:, None]
    weights = jnp.ones((len(lanes), 1))
    for way in (fpu_float, fpu):
        dst = way.multiply_reduce(
            lambda k: windows[k],
            weights,
            phases=1,
            fp32_dest=False,
            arch=load_arch("wormhole_b0"),
        )
        assert float(dst[0]) == want * 16


@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 33])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_one_value_at_any_place_is_seen(size, dtype):
    for place in range(size):
        values = np.ones(size, np.float32)
        assert fpu_float.is_ordinary(jnp.asarray(values, dtype))
        values[place] = 2.0**40
        assert not fpu_float.is_ordinary(jnp.asarray(values, dtype))
