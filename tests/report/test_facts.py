import dataclasses

import jaxdw as jd
from jaxdw.judge.compare import Verdict
from jaxdw.plan.known import known
from jaxdw.report.facts import (
    elsewhere,
    l1_rows,
    meaning,
    plan_facts,
    plan_row,
    program_facts,
    verdict_facts,
)


def test_plan_facts_are_those_of_the_plan():
    conv = jd.ConvConfig(channels=96, height=9, width=20, stride=2, padding=1, batch=2)
    facts = plan_facts(jd.make_plan(conv))
    assert (facts["input"], facts["output"]) == ([2, 9, 20, 96], [2, 5, 10, 96])
    assert (facts["input_shard"], facts["output_shard"]) == ([96, 96], [32, 96])
    assert (facts["weight_tiles_per_core"], facts["effective_tiles"]) == (6, 1)


def test_verdict_facts_spell_the_share_of_exact_outputs():
    verdict = Verdict(
        outputs=8,
        exact=6,
        max_ulp=3,
        mean_ulp=0.25,
        small_error=0.0,
        pcc=1.0,
        gain=0.9597,
        snr_db=None,
        rule="",
        passed=False,
    )
    facts = verdict_facts(verdict)
    assert facts["exact"] == "6 of 8 outputs (75.0000%)"
    assert (facts["max_ulp"], facts["mean_ulp"]) == (3, "0.250000")
    words = "outputs are 4.0% too small, which PCC cannot see"
    assert (facts["gain"], facts["snr_db"]) == (f"0.959700: {words}", "none")
    unscaled = dataclasses.replace(verdict, gain=0.9951, snr_db=27.046)
    facts = verdict_facts(unscaled)
    assert (facts["gain"], facts["snr_db"]) == ("0.995100", "27.05")


def test_a_plan_is_one_row_and_its_buffers_are_numbered_from_0():
    conv = jd.ConvConfig(
        channels=64,
        height=8,
        width=10,
        kernel=(3, 5),
        padding=(1, 2),
        batch=2,
        activation="relu",
    )
    plan = jd.make_plan(conv, jd.ShardConfig(cores=5, enable_act_double_buffer=True))
    assert plan_row(plan) == {
        "case": "2x64x8x10 k3x5 s1",
        "program": "depthwise",
        "scheme": "height",
        "grid": "5x1",
        "cores": 5,
        "in_shard": "32x64",
        "halo_shard": "x".join(map(str, plan.halo_shard)),
        "out_shard": "32x64",
        "tiles": 4,
        "static_bytes": plan.l1.static_bytes,
        "halo_bytes": plan.halo_shard.rows * 128,
        "out_bytes": 32 * 128,
        "free_bytes": plan.l1.free_bytes,
        "cycles": plan.cycles.total,
        "binding": "l1_reads",
        "findings": "JDW016 JDW017 JDW023",
    }
    assert [row["cb"] for row in l1_rows(plan)] == [0, 1, 2, 4, 5, 7, 8, 3, 6]


def test_facts_name_the_program_its_tree_and_how_well_it_is_known():
    conv = jd.ConvConfig(channels=32, height=1, width=20, kernel=(1, 3))
    plan = jd.make_plan(conv, program="regular")
    assert program_facts(plan) == {
        "program": "regular",
        "tree": "ttnn 0.81.1",
        "upstream_program": "conv1d",
        "known": {
            "choice": "real planner",
            "layout": "real planner",
            "L1": "real planner",
            "slices": "real planner",
            "weights": "real planner",
            "moves": "real planner",
            "arithmetic": "real kernels",
            "cycles": "source",
        },
    }
    assert plan_facts(plan).items() >= program_facts(plan).items()
    assert elsewhere(plan) == (
        "NOT THE PROGRAM THAT RUNS: ttnn 0.81.1 gives this layer to its conv1d "
        "program; figures are of regular."
    )
    assert elsewhere(jd.make_plan(conv, program="conv1d")) is None


def test_a_program_that_no_table_lists_is_assumed():
    assert {known("winograd")[name].by for name in known("regular")} == {"assumed"}
    assert known("depthwise")["moves"].by == "silicon"


def test_a_verdict_is_told_in_words():
    conv = jd.ConvConfig(channels=32, height=20, width=20, padding=1)
    verdict = Verdict(
        outputs=4,
        exact=1,
        max_ulp=9,
        mean_ulp=1.0,
        small_error=0.0,
        pcc=0.99,
        gain=None,
        snr_db=None,
        rule="",
        passed=True,
    )
    plan = jd.make_plan(conv)
    said = meaning(plan, verdict)
    assert said.startswith("The result is as right as tt-metal's own test asks. LoFi ")
    assert "not get there: JDW007, memory corruption; see `jaxdw rule JDW007`" in said
    failed = dataclasses.replace(verdict, passed=False)
    assert meaning(plan, failed) == (
        "The result is not what tt-metal's own test asks. Known: JDW007, memory "
        "corruption; see `jaxdw rule JDW007`."
    )
    plain = jd.make_plan(dataclasses.replace(conv, height=8, width=8, channels=64))
    exact = dataclasses.replace(verdict, exact=4)
    assert (
        meaning(plain, exact) == "The result is as right as tt-metal's own test asks."
    )
    assert meaning(plain, failed) == "The result is not what tt-metal's own test asks."
