"""What each fault does to the result, and which check sees it."""

import functools

import ml_dtypes
import numpy as np
import pytest
from fault_examples import FAULTS, example

import jaxdw as jd
from jaxdw.faults.laboratory import laboratory
from jaxdw.judge.comparison import ranges
from jaxdw.judge.draws import draw


@functools.cache
def table(name: str):
    plan = example(name)
    rows = laboratory(plan.conv, plan.shard, plan.compute)
    return {row.fault: row for row in rows}


SEEN = ("height", "block", "blocks of 16", "HiFi2")


@pytest.mark.parametrize("name", SEEN)
def test_witness_equality_notices_every_fault(name):
    plan, rows = example(name), table(name)
    assert set(rows) == {f for f in FAULTS if FAULTS[f].applies(plan)}
    assert not {fault for fault, row in rows.items() if not row.witness}


CHANNEL_PERMUTATIONS = {"channels-rotated", "columns-swapped", "start-tile-zero"}


@pytest.mark.parametrize("name", ["height", "block"])
def test_pattern_weights_see_no_channel_permutation(name):
    rows = table(name)
    there = CHANNEL_PERMUTATIONS & set(rows)
    assert there
    for fault in there:
        assert rows[fault].witness
        assert not rows[fault].pattern
        assert rows[fault].pcc < 0.99
    assert rows["transposed-kernel"].pattern


def test_a_correlation_above_0_99_misses_what_witnesses_see():
    missed = {f for f, row in table("block").items() if not row.pcc_0_99}
    assert missed >= {
        "host-truncates", "remainder-dropped", "receiver-missing", "padding-of-ones",
        "padding-not-zeroed", "output-truncated", "products-halved", "output-scaled",
    }  # fmt: skip
    assert not missed & {"flipped-kernel", "channels-rotated", "file-is-nchw"}
    rows = table("blocks of 16") | table("HiFi2")
    for fault in (
        "block-exponent-per-32", "block-exponent-saturated", "block-truncated",
        "fidelity-too-high", "fidelity-too-low", "dst-16-bit",
    ):  # fmt: skip
        assert not rows[fault].pcc_0_99
    seen = {fault for fault, row in rows.items() if row.witness}
    assert {fault for fault in seen if not rows[fault].ulp} >= {
        "host-truncates", "output-truncated", "dst-16-bit",
    }  # fmt: skip
    assert not table("block")["host-truncates"].wrong  # bf16 values lose nothing


def test_checks_agree_with_their_definitions():
    for name in SEEN:
        for row in table(name).values():
            assert row.ulp == (row.max_ulp > 1)
            assert row.pcc_0_985 <= row.pcc_0_99
            assert row.allclose <= (row.wrong > 0)
            assert (row.channels == "") == (row.wrong == 0) == (row.cores == "")


def test_a_row_says_which_outputs_are_wrong():
    rows = table("block")  # 2 NHW shards of 3 columns: 32, 32 and 16 channels
    row = rows["receiver-missing"]
    assert (row.rows, row.cores) == ("4-7", "5")
    assert row.channels.startswith("64")
    assert 0 < row.wrong < 0.1
    row = rows["rectangle-axes-swapped"]
    assert (row.rows, row.cores) == ("4-7", "3, 5")
    assert rows["remainder-dropped"].cores == "2, 5"
    assert ranges(np.array([0, 1, 2, 5, 7, 8])) == "0-2, 5, 7-8"
    assert ranges(np.array([], int)) == ""


def test_witness_values_are_all_different():
    conv = jd.ConvConfig(channels=33, height=7, width=9, bias=True)
    for values in draw(conv, "witness", 0):
        assert np.unique(values).size == values.size
        assert (values.astype(ml_dtypes.bfloat16).astype(np.float32) != values).any()
    assert np.abs(draw(conv, "witness", 0).w).max() > 2
    again, other = draw(conv, "witness", 0), draw(conv, "witness", 1)
    assert (again.x == draw(conv, "witness", 0).x).all()
    assert (again.x != other.x).any()


def test_a_configuration_that_is_none_is_refused():
    with pytest.raises(jd.ConfigError, match="`channels` \\(=0\\)"):
        laboratory(jd.ConvConfig(channels=0, height=8, width=8))
