import json
import math
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxdw as jd
from jaxdw.judge import compare as room
from jaxdw.judge.compare import judge, pcc_threshold, scale_in_words

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = json.loads((GOLDEN / "comp_pcc.json").read_text())
ARRAYS = np.load(GOLDEN / "comp_pcc.npz")


CONV = jd.ConvConfig(channels=64, height=8, width=8)
FLOAT32 = jd.ComputeConfig(arithmetic="float32")


def array(name: str, dtype: str) -> np.ndarray:
    values = ARRAYS[name]
    return values.astype(ml_dtypes.bfloat16) if "bfloat16" in dtype else values


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_pcc_is_that_of_ttnn(case):
    golden = array(f"{case['name']}_golden", case["dtype"])
    calculated = array(f"{case['name']}_calc", case["dtype_c"])
    value = jd.pcc(golden, calculated)
    assert abs(value - case["value"]) <= 1e-15
    assert (value >= case["pcc"]) == case["ok"]


def test_constant_bf16_tensors_are_close_by_the_calculated_one():
    low, high = (np.full(9, v, ml_dtypes.bfloat16) for v in (1000, 1032))
    assert jd.pcc(low, high) == 1.0  # 32 apart; 4 epsilon of 1032 are 32.25
    assert jd.pcc(high, low) == 0.0  # of 1000 31.25


def test_the_branchs_pcc_is_numpys_correlation_in_float64():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 1000)).astype(np.float32)
    want = np.min(np.ma.corrcoef(a, b))
    assert abs(jd.pcc(a, b, revision="branch") - want) <= 1e-15
    constant = np.full(1000, 3, np.float32)
    assert jd.pcc(constant, a, revision="branch") == 1.0
    assert jd.pcc(0 * constant, a, revision="branch") == 0.0


def test_ulp_distance_counts_values_between():
    one = np.float32(1)
    assert jd.ulp_distance(one, 1 + 2**-7) == 1
    assert jd.ulp_distance(one, 1 - 2**-8) == 1
    assert jd.ulp_distance(0.0, -0.0) == 0
    smallest = 2.0**-133  # of bf16
    assert jd.ulp_distance(-smallest, smallest) == 2
    assert jd.ulp_distance(one, one + np.float32(2**-23), "float32") == 1
    assert jd.ulp_distance(np.nan, np.nan) == 0
    assert jd.ulp_distance(np.nan, one) == 65536
    smallest = np.float32(2.0**-149)
    assert jd.ulp_distance(-smallest, smallest, "float32") == 2


@given(st.integers(0, 2**16 - 2), st.integers(0, 1))
def test_neighbouring_bf16_patterns_are_1_ulp_apart(bits, step):
    pair = np.array([bits, bits + step], np.uint16).view(ml_dtypes.bfloat16)
    values = pair.astype(np.float32)
    if np.isfinite(values).all() and (values[0] > 0) == (values[1] > 0):
        assert jd.ulp_distance(values[0], values[1]) == step


@pytest.mark.parametrize(
    ("dtype", "largest", "most"),
    [("bfloat16", 0x7F7F0000, 2**16), ("float32", 0x7F7FFFFF, 2**32)],
)
def test_infinity_is_a_number_and_nan_is_none(dtype, largest, most):
    finite = np.array([largest], np.uint32).view(np.float32)[0]
    values = np.array([np.inf, finite, -np.inf, np.nan, -np.nan, 0.0])
    beyond = (largest + 2**16 if dtype == "bfloat16" else largest + 1) >> (
        16 if dtype == "bfloat16" else 0
    )
    want = [0, 1, 2 * beyond, most, most, beyond]
    np.testing.assert_array_equal(
        jd.ulp_distance(np.full(6, np.inf), values, dtype), want
    )
    np.testing.assert_array_equal(
        jd.ulp_distance(values, np.full(6, np.nan), dtype),
        [most, most, most, 0, 0, most],
    )


def test_a_verdict_tells_a_rounding_from_a_mistake():
    want = np.linspace(1, 2, 200)
    good = judge(want, want, CONV, FLOAT32)
    assert (good.exact, good.max_ulp, good.passed) == (200, 0, True)
    off = want.copy()
    off[7] *= 1 + 2**-5
    bad = judge(off, want, CONV, FLOAT32)
    assert (bad.max_ulp > 1, bad.exact, bad.passed) == (True, 199, False)
    missing = want.copy()
    missing[3] = np.nan
    assert not judge(missing, want, CONV, FLOAT32).passed
    small = want.copy()
    small[0] = 1e-3
    off = small.copy()
    off[0] = 2e-3
    assert not judge(off, small, CONV, FLOAT32).passed
    off[0] = 1e-3 + 1e-9
    assert judge(off, small, CONV, FLOAT32).passed


def test_the_matrix_unit_is_judged_by_tt_metals_thresholds():
    lofi = jd.ComputeConfig()
    fp32 = jd.ComputeConfig(fp32_dest_acc=True)
    wide = jd.ConvConfig(channels=1152, height=8, width=8)
    bfp8 = jd.ConvConfig(channels=64, height=8, width=8, output_dtype="bfloat8_b")
    assert pcc_threshold(CONV, lofi) == 0.985
    assert pcc_threshold(wide, lofi) == 0.97
    assert pcc_threshold(CONV, fp32) == 0.997
    assert pcc_threshold(bfp8, fp32) == 0.996
    want = np.random.default_rng(0).standard_normal(1000)
    noise = np.random.default_rng(1).standard_normal(1000)
    assert judge(want + 0.1 * noise, want, CONV, lofi).passed
    assert not judge(want + 0.1 * noise, want, CONV, fp32).passed
    missing = want.copy()
    missing[0] = np.nan
    assert not judge(missing, want, CONV, lofi).passed


EPSILON = 2.0**-7  # of bf16


def verdict_of(output: list[float], want: list[float]):
    return judge(np.array(output), np.array(want, np.float64), CONV, FLOAT32)


def test_ulps_count_above_1_percent_of_the_largest_output_alone():
    assert verdict_of([100, 1 + 2 * EPSILON], [100, 1]).max_ulp == 0
    above = 2.0**-5
    assert verdict_of([1, above * (1 + 2 * EPSILON)], [1, above]).max_ulp == 2
    small = verdict_of([1, 2**-8 * (1 + EPSILON)], [1, 2**-8])
    assert (small.passed, small.mean_ulp, small.exact) == (True, 0.0, 1)
    assert not verdict_of([1 + 2 * EPSILON], [1]).passed


def test_small_outputs_may_be_off_by_a_millionth_of_the_largest():
    assert not verdict_of([1, 1.5e-5], [1, 1e-5]).passed
    assert verdict_of([100, 5e-5], [100, 0]).passed
    assert verdict_of([1, np.nan], [1, 1e-3]).small_error == math.inf


def test_an_output_of_zeros_passes():
    assert verdict_of([0, 0], [0, 0]).passed


def test_a_verdict_is_of_all_its_pieces(monkeypatch):
    want = np.random.default_rng(0).standard_normal(1000)
    want[:8] = 1e-3 * np.abs(want).max()  # small outputs, off by more than an ULP
    got = want.copy()
    got[0] *= 1.5
    got[100] *= 1.02
    monkeypatch.setattr(room, "_PIECE", 10**6)
    whole = judge(got, want, CONV, FLOAT32)
    monkeypatch.setattr(room, "_PIECE", 64)
    parts = judge(got, want, CONV, FLOAT32)
    assert parts.small_error == whole.small_error > 4e-4
    assert (parts.max_ulp, parts.exact) == (whole.max_ulp, whole.exact)
    assert parts.mean_ulp == whole.mean_ulp
    large = np.abs(want) > 0.01 * np.abs(want).max()
    assert parts.mean_ulp == parts.max_ulp / large.sum() > 0
    assert parts.gain == pytest.approx(whole.gain)
    got[3] = np.nan
    assert judge(got, want, CONV, jd.ComputeConfig()).passed is False


def test_gain_is_the_scale_in_least_squares():
    rng = np.random.default_rng(3)
    want = rng.standard_normal((4, 50))
    assert jd.gain(want, 0.96 * want) == pytest.approx(0.96, rel=1e-12)
    got = 0.5 * want + 3 * rng.standard_normal((4, 50))
    slope = np.linalg.lstsq(want.reshape(-1, 1), got.reshape(-1), rcond=None)[0][0]
    assert jd.gain(want, got) == pytest.approx(slope, rel=1e-12)
    assert jd.gain(got, want) != pytest.approx(slope, rel=1e-3)
    assert jd.pcc(want, 0.96 * want) == pytest.approx(1, abs=1e-6)
    for bad in (np.zeros(3), np.array([1, np.nan, 1]), np.array([1, np.inf, 1])):
        assert jd.gain(bad, np.ones(3)) is None
    assert jd.gain(np.ones(3), np.array([1, np.nan, 1])) is None


def test_snr_counts_every_error_in_decibels():
    want = np.array([3.0, 4.0])
    assert jd.snr_db(want, [3.0, 4.5]) == pytest.approx(20)
    assert jd.snr_db(want, [3.5, 4.0]) == pytest.approx(20)
    assert jd.snr_db(want, 0.99 * want) == pytest.approx(40)
    assert jd.snr_db(want, 2 * want) == pytest.approx(0)
    assert jd.snr_db(want, [3.0, 4.005]) == pytest.approx(60)
    assert jd.snr_db(want, want) is None
    for bad in (np.zeros(2), np.array([1, np.nan]), np.array([1, np.inf])):
        assert jd.snr_db(bad, np.ones(2)) is None
        assert jd.snr_db(np.ones(2), bad) in (None, pytest.approx(0))
    for figure in (jd.gain, jd.snr_db):
        with pytest.raises(jd.ConfigError, match=r"`calculated` .=\(3,\).*golden"):
            figure(np.ones(2), np.ones(3))


def test_a_verdict_holds_both_against_float64_before_rounding():
    want = np.random.default_rng(0).standard_normal(1000)
    verdict = judge(0.96 * want, want, CONV, jd.ComputeConfig())
    assert verdict.passed
    assert verdict.gain == pytest.approx(0.96, abs=1e-4)
    assert verdict.snr_db == pytest.approx(28, abs=0.1)
    rounded = judge(want, want, CONV, FLOAT32)
    assert rounded.exact == 1000
    assert 50 < rounded.snr_db < 60  # bf16's own rounding
    missing = judge(np.full(1000, np.nan), want, CONV, FLOAT32)
    assert (missing.gain, missing.snr_db) == (None, None)


def test_a_scale_is_told_in_words_from_a_hundredth():
    assert scale_in_words(0.9597) == (
        "outputs are 4.0% too small, which PCC cannot see"
    )
    assert scale_in_words(1.02) == "outputs are 2.0% too large, which PCC cannot see"
    assert "1.5% too large" in scale_in_words(1.015)
    for near in (None, 1, 0.991, 1.009):
        assert scale_in_words(near) == ""


COMPARISONS = {
    "pcc": (jd.pcc, "`calculated`", "`golden`"),
    "ulp_distance": (jd.ulp_distance, "`b`", "`a`"),
    "judge": (
        lambda want, output: judge(output, want, CONV, jd.ComputeConfig()),
        "`output`",
        "`want`",
    ),
}


@pytest.mark.parametrize("name", COMPARISONS)
@pytest.mark.parametrize(
    ("shape", "way_out"),
    [
        ((1, 32, 4, 8), r".transpose(0, 2, 3, 1)"),
        ((4, 8, 1, 32), r".transpose(2, 0, 1, 3)"),
        ((1, 8, 4, 32), r".transpose(0, 2, 1, 3)"),
        ((32, 32), r".reshape(1, 4, 8, 32)"),
        ((1024,), r".reshape(1, 4, 8, 32)"),
        ((1, 1, 32, 32), r".reshape(1, 4, 8, 32)"),
        ((1, 3, 8, 32), "compare like with like"),
        ((), "compare like with like"),
    ],
)
def test_arrays_of_other_shapes_are_not_compared(name, shape, way_out):
    compare, got, want = COMPARISONS[name]
    with pytest.raises(jd.ConfigError) as refused:
        compare(np.ones((1, 4, 8, 32)), np.ones(shape))
    text = str(refused.value)
    assert text.startswith(f"{got} (={shape}) must have the shape of {want} (=(1, 4, 8")
    assert way_out in text


def test_nchw_against_nhwc_of_equal_size_is_refused():
    rng = np.random.default_rng(0)
    nhwc = rng.standard_normal((1, 8, 8, 64))
    nchw = nhwc.transpose(0, 3, 1, 2)
    match = r"`calculated` \(=\(1, 64, 8, 8\)\).*calculated\.transpose\(0, 2, 3, 1\)"
    with pytest.raises(jd.ConfigError, match=match):
        jd.pcc(nhwc, nchw)
    assert jd.pcc(nhwc, nchw.transpose(0, 2, 3, 1)) == 1.0


@pytest.mark.parametrize("values", [np.array([1j]), np.array(["a"]), np.array([None])])
def test_what_is_no_real_number_is_not_compared(values):
    for compare in (jd.pcc, jd.ulp_distance):
        with pytest.raises(jd.ConfigError, match="must hold real numbers"):
            compare(np.ones(1), values)
        with pytest.raises(jd.ConfigError, match="must hold real numbers"):
            compare(values, np.ones(1))


def test_nothing_is_not_compared():
    for compare in (jd.pcc, jd.ulp_distance):
        with pytest.raises(jd.ConfigError, match=r"\(=\(0, 3\)\) must hold elements"):
            compare(np.ones((0, 3)), np.ones((0, 3)))


def test_ulp_count_in_formats_that_are_known():
    with pytest.raises(jd.ConfigError, match=r"`dtype` \(='float16'\).*bfloat16, fl"):
        jd.ulp_distance([1.0], [1.0], "float16")
