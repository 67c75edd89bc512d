"""The depthwise branch's own test cases, in every scheme."""

import csv
import functools
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import jaxdw as jd

GOLDEN = Path(__file__).parent / "golden"
CASES = list(csv.DictReader((GOLDEN / "upstream_cases.csv").read_text().splitlines()))
SCHEMES = ("height", "width", "block")


def conv_of(row: dict) -> jd.ConvConfig:
    pair = {
        name: (int(row[a]), int(row[b]))
        for name, a, b in (
            ("kernel", "kh", "kw"),
            ("stride", "sh", "sw"),
            ("padding", "ph", "pw"),
            ("dilation", "dh", "dw"),
        )
    }
    return jd.ConvConfig(
        batch=int(row["batch"]),
        channels=int(row["in_ch"]),
        height=int(row["H"]),
        width=int(row["W"]),
        bias=True,
        activation=None if row["activation"] == "none" else row["activation"],
        **pair,
    )


@functools.lru_cache(maxsize=1)
def drawn(conv: jd.ConvConfig):
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.standard_normal(shape).astype(ml_dtypes.bfloat16).astype(np.float32)

    arrays = normal(*conv.input_shape), normal(*conv.weight_shape)
    bias = (normal(conv.channels) * 10).astype(ml_dtypes.bfloat16).astype(np.float32)
    return *arrays, bias, jd.reference(conv, *arrays, bias)


def test_all_32_rows_are_here():
    assert len(CASES) == 32


@pytest.mark.parametrize("row", CASES, ids=lambda r: "-".join(r.values()))
def test_all_schemes_agree_and_are_right(row):
    conv = conv_of(row)
    x, w, bias, reference = drawn(conv)
    outputs = [
        np.asarray(jd.emulate(conv, jd.ShardConfig(scheme=s), x, w, bias).output)
        for s in SCHEMES
    ]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])
    want = reference.astype(ml_dtypes.bfloat16).astype(np.float64)
    largest = np.abs(want).max()
    ulp = jd.ulp_distance(outputs[0], want)
    above = np.abs(want) > 0.01 * largest
    assert ulp[above].max() <= 1
    # a value whose float64 lies within the float32 error of a rounding boundary may
    # land on either side: 1 ULP; anything further must be tiny
    error = np.abs(outputs[0] - want)[~above & (ulp > 1)]
    assert error.max(initial=0) <= 1e-6 * largest
