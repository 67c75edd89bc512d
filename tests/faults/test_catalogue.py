"""The catalogue, the launch that faults are put into, and the table of checks."""

import functools

import ml_dtypes
import numpy as np
import pytest
from fault_examples import EXAMPLES, FAULTS, example, plan_of

import jaxdw as jd
from jaxdw.faults.catalogue import CATALOGUE
from jaxdw.faults.laboratory import laboratory, ranges
from jaxdw.faults.used_chip import lay_out, run_launch
from jaxdw.judge.draws import draw
from jaxdw.launch import composed


@functools.cache
def table(name: str):
    plan = example(name)
    rows = laboratory(plan.conv, plan.shard, plan.compute)
    return {row.fault: row for row in rows}


def test_the_catalogue_is_complete():
    assert len(FAULTS) == len(CATALOGUE) >= 24
    codes = {fault.code for fault in CATALOGUE} - {None}
    assert codes == {"JDW003", "JDW004", "JDW005", "JDW006", "JDW013"}
    covered = {f for n in EXAMPLES for f in FAULTS if FAULTS[f].applies(example(n))}
    assert covered == set(FAULTS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_faults_that_are_findings_apply_where_the_plan_finds_them(name):
    plan = example(name)
    found = {finding.code for finding in plan.findings}
    ours = {f.code for f in CATALOGUE if f.code and f.applies(plan)}
    assert ours == found & {fault.code for fault in CATALOGUE}


@pytest.mark.parametrize("name", ["height", "width", "blocks of 16"])
def test_an_intact_launch_is_the_emulation(name):
    plan = example(name)
    operands = draw(plan.conv, "witness", 0)
    want = jd.run(plan, jd.make_maps(plan), *operands).output
    for known in (True, False):
        got = run_launch(lay_out(plan, known=known), operands)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", EXAMPLES)
def test_memory_that_is_not_known_shows_as_nan_and_nowhere_else(name):
    plan = example(name)
    operands, earlier = (draw(plan.conv, "witness", seed) for seed in (0, 1))
    known, unknown = lay_out(plan), lay_out(plan, known=False)
    depends = set()
    for fault in CATALOGUE:
        if fault.applies(plan):
            want = run_launch(fault.inject(known), operands, earlier)
            got = run_launch(fault.inject(unknown), operands)
            compared = ~np.isnan(got)
            np.testing.assert_array_equal(got[compared], want[compared])
            assert not np.isnan(want).any()
            other = run_launch(fault.inject(known), operands, operands)
            assert not (want != other)[compared].any()
            if not compared.all():
                depends.add(fault.id)
    assert "stale-weights" in depends
    assert not depends & {"transposed-kernel", "start-tile-zero", "bias-missing"}


def test_faults_of_one_plan_share_a_compiled_program():
    plan = plan_of("block", bias=True, channels=96, width=9)
    operands = draw(plan.conv, "random", 0)
    launch = lay_out(plan)
    before = composed.trace_composed._cache_size()
    for fault in CATALOGUE:
        if fault.applies(plan) and fault.stage not in ("compute", "output"):
            run_launch(fault.inject(launch), operands)
    assert composed.trace_composed._cache_size() - before == 1


@pytest.mark.parametrize("name", EXAMPLES)
def test_witness_equality_notices_every_fault(name):
    plan, rows = example(name), table(name)
    assert set(rows) == {f for f in FAULTS if FAULTS[f].applies(plan)}
    assert all(row.witness for row in rows.values())


CHANNEL_PERMUTATIONS = {"channels-rotated", "columns-swapped", "start-tile-zero"}


@pytest.mark.parametrize("name", ["height", "width", "block"])
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
    assert missed == {
        "host-truncates", "remainder-dropped", "receiver-missing", "padding-of-ones",
        "padding-not-zeroed", "output-truncated",
    }  # fmt: skip
    rows = table("blocks of 16") | table("HiFi2")
    for fault in (
        "block-exponent-per-32", "block-exponent-saturated", "block-truncated",
        "fidelity-too-high", "fidelity-too-low", "dst-16-bit",
    ):  # fmt: skip
        assert not rows[fault].pcc_0_99
    seen = {fault for fault, row in rows.items() if row.witness}
    assert {fault for fault in seen if not rows[fault].ulp} == {
        "host-truncates", "output-truncated", "dst-16-bit",
    }  # fmt: skip
    assert not table("block")["host-truncates"].wrong  # bf16 values lose nothing


def test_checks_agree_with_their_definitions():
    for name in EXAMPLES:
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
