"""The launch that faults are put into: intact, and on unknown memory."""

import numpy as np
import pytest
from fault_examples import EXAMPLES, FAULTS, example, plan_of
from ttnn_examples import ttnn_plan

import jaxdw as jd
from jaxdw.faults.catalogue import CATALOGUE
from jaxdw.faults.used_chip import lay_out, run_launch
from jaxdw.judge.draws import draw
from jaxdw.launch import composed


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


def test_faults_of_one_plan_share_a_computation():
    plan = plan_of("block", bias=True, channels=96, width=9)
    operands = draw(plan.conv, "random", 0)
    launch = lay_out(plan)
    before = composed.trace_composed._cache_size()
    for fault in CATALOGUE:
        if fault.applies(plan) and fault.stage not in ("compute", "output"):
            run_launch(fault.inject(launch), operands)
    assert composed.trace_composed._cache_size() - before == 1


def test_behind_a_shard_lie_a_stick_of_ones_and_the_shard_before():
    plan = plan_of("height", height=9)  # 72 sticks: 32, 32 and 8
    shard = lay_out(plan).maps.shard
    rows = plan.input_shard.rows
    own, ones, earlier = np.split(shard.index, [rows, rows + 1], axis=1)
    sticks = np.arange(plan.num_nhw_shards * rows).reshape(own.shape)
    real = sticks < 72
    np.testing.assert_array_equal(own[real], sticks[real])
    assert (ones == 72).all()
    np.testing.assert_array_equal(earlier[real], 73 + sticks[real])


def test_rows_that_no_core_computed_are_not_known():
    plan = plan_of("height", height=5)  # 40 outputs: 32 and 8
    operands = draw(plan.conv, "random", 0)
    swapped = FAULTS["shards-swapped"].inject(lay_out(plan, known=False))
    unknown = np.isnan(run_launch(swapped, operands)).all(axis=-1).ravel()
    np.testing.assert_array_equal(np.flatnonzero(unknown), np.arange(8, 32))


@pytest.mark.parametrize("program", ["regular", "conv1d"])
def test_faults_of_another_program_are_refused_in_one_sentence(program):
    plan = ttnn_plan(program)
    x, w, bias = draw(plan.conv, "random", 0)
    message = rf"^faults are made for program 'depthwise', not '{program}'; plan the"
    with pytest.raises(jd.UnsupportedError, match=message):
        lay_out(plan)
    with pytest.raises(jd.UnsupportedError, match=message):
        jd.diagnose(plan, x, w, bias, np.zeros(plan.output_shape))
