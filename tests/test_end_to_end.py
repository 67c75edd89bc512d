"""The depthwise branch's own test cases, in every scheme."""

import csv
import dataclasses
import functools
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import jaxdw as jd
from jaxdw.judge.compare import judge
from jaxdw.maps.banks import read_map

GOLDEN = Path(__file__).parent / "golden"
CASES = list(csv.DictReader((GOLDEN / "upstream_cases.csv").read_text().splitlines()))
SCHEMES = ("height", "width", "block")


FLOAT32 = jd.ComputeConfig(arithmetic="float32")
FORMATS = {"bf16": "bfloat16", "bfp8": "bfloat8_b", "bfp4": "bfloat4_b"}


def conv_of(row: dict, **fields) -> jd.ConvConfig:
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
        **fields,
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
        np.asarray(
            jd.emulate(
                conv, jd.ShardConfig(scheme=s), x, w, bias, compute=FLOAT32
            ).output
        )
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


@pytest.mark.parametrize("row", CASES[:23], ids=lambda r: "-".join(r.values()))
def test_the_final_rows_pass_tt_metals_own_thresholds_at_lofi(row):
    conv = conv_of(row, weights_dtype=FORMATS[row["wdtype"]])
    x, w, bias, reference = drawn(conv)
    shard = jd.ShardConfig(scheme=row["layout"].lower())
    result = jd.emulate(conv, shard, x, w, bias)
    verdict = judge(result.output, reference, conv, result.plan.compute)
    assert verdict.rule.startswith("PCC at least 0.9")
    assert verdict.passed, verdict
    assert verdict.pcc < 1  # LoFi rounds: exact equality would mean no emulation


def recorded():
    """Input, weights, output and PCC as a Wormhole chip gave them."""
    golden = np.load(GOLDEN / "recorded_height.npz")
    x, w, output = (
        golden[name].view(ml_dtypes.bfloat16).astype(np.float32)
        for name in ("x_nchw", "w_oihw", "out_nhwc")
    )
    return x.transpose(0, 2, 3, 1), w, output, float(golden["recorded_pcc"])


EXAMPLE = jd.ConvConfig(channels=64, height=8, width=8, padding=1)


def branch_pcc(output, x, w) -> float:
    want = jd.reference(EXAMPLE, x, w).astype(np.float32)
    output = np.asarray(output).astype(ml_dtypes.bfloat16)
    return jd.pcc(output, want, revision="branch")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_bit_is_that_of_the_silicon(scheme):
    x, w, want, pcc = recorded()
    output = jd.emulate(EXAMPLE, jd.ShardConfig(scheme=scheme), x, w).output
    np.testing.assert_array_equal(output, want)
    assert pcc == 0.9998038038213132
    assert abs(branch_pcc(output, x, w) - pcc) <= 1e-13


def test_the_silicons_failure_is_reproduced():
    """WIDTH with every core fed tile 0 of the HEIGHT layout."""
    x, w, *_ = recorded()
    plan = jd.make_plan(EXAMPLE, jd.ShardConfig(scheme="width"))
    weights = jd.make_maps(jd.make_plan(EXAMPLE)).weights
    table = jd.bank_table(4, 2048, 0, "wormhole_b0")
    weights = dataclasses.replace(weights, read=read_map(table, np.array([[0], [0]])))
    maps = dataclasses.replace(jd.make_maps(plan), weights=weights)
    output = jd.run(plan, maps, x, w).output
    assert abs(branch_pcc(output, x, w) - 0.0895812379007859) <= 1e-13
