import numpy as np

import jaxdw as jd
from jaxdw.judge.compare import Verdict
from jaxdw.report.text import (
    face_view,
    facts_table,
    l1_rows,
    plan_facts,
    plan_row,
    verdict_facts,
)


def test_face_view_is_the_one_of_the_plans():
    tile = np.zeros((32, 32), np.float32)
    for row in range(16):
        tile[row, :16] = 1 + row // 2
    tile[:2, 16:] = 9
    tile[31, 3] = 2.5
    lines = list(face_view(tile))
    assert lines[0] == "Row 0: F0[1, 1, ...] F1[9, 9, ...]"
    assert lines[2] == "Row 2: F0[2, 2, ...] F1[0, 0, ...]"
    assert lines[16] == "Rows 16-30: zeros"
    assert lines[17] == "Row 31: F2[0, 0, 0, 2.5, ...] F3[0, 0, ...]"
    assert len(lines) == 18


def test_memory_nobody_wrote_is_named():
    tile = np.full((32, 32), np.nan, np.float32)
    tile[0, :16] = 1
    lines = list(face_view(tile))
    assert lines[0] == "Row 0: F0[1, 1, ...] F1[never written]"
    assert lines[20] == "Row 20: F2[never written] F3[never written]"


def test_a_lone_row_of_zeros_is_named_and_a_row_written_in_part_is_shown():
    tile = np.ones((32, 32), np.float32)
    tile[5] = 0
    tile[7, 1] = np.nan
    lines = list(face_view(tile))
    assert lines[5] == "Row 5: zeros"
    assert lines[7] == "Row 7: F0[1, nan, 1, 1, ...] F1[1, 1, ...]"


def test_lists_of_more_than_16_values_are_cut():
    table = facts_table("", {"short": list(range(16)), "long": list(range(17))})
    short, long = table.columns[1].cells
    assert short == str(list(range(16)))
    assert long == "[0, 1, 2, 3, 4, 5, 6, 7, ..., 15, 16]"


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
        rule="",
        passed=False,
    )
    facts = verdict_facts(verdict)
    assert facts["exact"] == "6 of 8 outputs (75.0000%)"
    assert (facts["max_ulp"], facts["mean_ulp"]) == (3, "0.250000")


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
        "findings": "JDW016 JDW017",
    }
    assert [row["cb"] for row in l1_rows(plan)] == [0, 1, 2, 4, 5, 7, 8, 3, 6]
