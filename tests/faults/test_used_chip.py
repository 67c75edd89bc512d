"""The launch that faults are put into: intact, and on unknown memory."""

import numpy as np
import pytest
from fault_examples import EXAMPLES, example, plan_of
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
        if fault.applies(plan) and fault.stage != "file":
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
    run = composed.compiled(composed.load_and_run, "cpu")
    before = run._cache_size()
    made = [f for f in CATALOGUE if f.applies(plan) and not f.computes]
    for fault in made:
        run_launch(fault.inject(launch), operands)
    assert run._cache_size() - before == 1
    assert len(made) > 50


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


@pytest.mark.parametrize("program", ["regular", "conv1d"])
def test_another_programs_launch_is_its_emulation(program):
    plan = ttnn_plan(program)
    operands = draw(plan.conv, "witness", 0)
    want = jd.run(plan, jd.make_maps(plan), *operands).output
    np.testing.assert_array_equal(run_launch(lay_out(plan), operands), want)
    applying = {fault.id for fault in CATALOGUE if fault.applies(plan)}
    assert "flipped-kernel" in applying
    assert not applying & {"byte-offset", "halo-row-off", "added-backwards"}
