"""The oracle of unit and packers agrees with the functional simulator, bit for bit."""

from pathlib import Path

import numpy as np
import oracles_fpu
import oracles_unit as unit
import pytest
from oracles_unit import numbers, of_values, patterns

INF, ONE = 0x7F800000, 0x3F800000
FPU = np.load(Path(__file__).parent / "golden" / "fpu.npz")
FPU_KEYS = sorted({name.rsplit(".", 1)[0] for name in FPU.files})


@pytest.mark.parametrize("key", [key for key in FPU_KEYS if "acc1" not in key])
def test_unit_agrees_with_the_functional_simulator(key):
    arch, op, fp32_dest, variant = key.split(".")
    wide = fp32_dest == "fp32dst1"
    a, b, dst, out = (
        patterns(FPU[f"{key}.{field}"]) for field in "a b dst out".split()
    )
    if op == "elwadd":
        got = unit.elwadd(a, b, wide, arch)
    else:
        act = unit.mvmul if op == "gapool" else unit.elwmul
        got = act(a, b, dst, int(variant[-1]), wide, arch)
    np.testing.assert_array_equal(got, out)


@pytest.mark.parametrize("phase", range(4))
def test_mvmul_reads_float32_as_the_scalar_oracle_does(phase):
    rng = np.random.default_rng(phase)
    a, b = (of_values(rng.standard_normal((150, 16)) * 2.0**20) for _ in range(2))
    a[::3, 5], b[::4, 3:9] = 0x007FFFFF, INF - 1
    dst = of_values(rng.standard_normal(150) * 2.0**40)
    for wide, arch in [(True, "wormhole"), (False, "blackhole")]:
        want = [
            oracles_fpu.gapool(*args, phase, wide, arch)
            for args in zip(a.tolist(), b.tolist(), dst.tolist(), strict=True)
        ]
        assert unit.mvmul(a, b, dst, phase, wide, arch).tolist() == want


@pytest.mark.parametrize(
    ("arch", "want"), [("wormhole", 0xC1800000), ("blackhole", 0xB4000000)]
)
def test_one_unit_below_zero_differs_by_chip(arch, want):
    a, b = np.zeros((2, 1, 16), np.int64)
    a[0, 0], b[0, 0] = of_values(-1.0625), ONE
    got = unit.mvmul(a, b, np.array([0x3F87FFFF]), 0, True, arch)
    assert got.tolist() == [want]


def test_mvmul_has_srca_of_five_bits_and_two_groups_of_lanes():
    a, b, dst = *np.zeros((2, 16), np.int64), np.array(0)
    a[0], b[0] = of_values([1.9921875, 1.9921875])
    assert numbers(unit.mvmul(a, b, dst, 0, True, "wormhole")) == 1.9375 * 1.984375
    # Next to 4096 in its own group 0.5 of a product's lowest bit rounds up; from the
    # other group it arrives whole.
    a[0] = b[0] = of_values(64.0)
    for lane, want in [(7, 4100.0), (8, 4098.0)]:
        ones = np.zeros((2, 16), np.int64)
        ones[0, lane], ones[1, lane] = of_values([2.0, 1.0])
        got = unit.mvmul(a + ones[0], b + ones[1], dst, 0, True, "wormhole")
        assert numbers(got) == want


def test_exponent_zero_is_zero_of_a_product_and_of_a_sum():
    a, b, half = np.zeros((3, 1, 16), np.int64)
    a[0, 0], b[0, 0], half[0, 0] = of_values([-(2.0**-63), 2.0**-63, 2.0**-64])
    dst = of_values([1.75 * 2.0**-126])
    for wide in (True, False):
        assert unit.mvmul(a, b, dst, 0, wide, "blackhole") == 0
        assert unit.mvmul(a, half, dst, 0, wide, "blackhole") == dst
        assert unit.elwmul(a[0, :1], half[0, :1], dst, 0, wide, "blackhole") == dst


def test_kernels_round_bfp8_twice():
    block = np.zeros((1, 16), np.int64)
    block[0, :3] = of_values([2.0, 1.0078125, -1.0078125])
    exponents, codes = unit.pack_bfp8_kernel(block)
    assert exponents.tolist() == [[128]]
    assert codes[0, :4].tolist() == [64, 33, 0x80 | 33, 0]
    assert unit.pack_bfp8_bf16(block)[1][0, :3].tolist() == [64, 32, 0x80 | 32]
    assert numbers(unit.unpack_bfp8(exponents, codes))[0, :3].tolist() == [
        2.0,
        1.03125,
        -1.03125,
    ]


def test_l1_adds_to_nearest_even_and_flushes_denormals():
    old = of_values([1.0, 1.0078125, 1.0, 1e-40, -0.0])
    new = of_values([2.0**-8, 2.0**-8, 2.0**-24, 1e-40, 0.0])
    bf16 = numbers(unit.add_in_l1(old, new, "bfloat16"))
    assert bf16.tolist() == [1.0, 1.015625, 1.0, 0.0, 0.0]
    fp32 = numbers(unit.add_in_l1(old, new, "float32"))
    assert fp32.tolist() == [1.0 + 2.0**-8, 1.01171875, 1.0, 0.0, 0.0]
    small = of_values([1.5 * 2.0**-126, -(2.0**-126)])
    assert unit.add_in_l1(small[:1], small[1:], "float32").tolist() == [0]
