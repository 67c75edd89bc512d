"""What some outputs tell of a launch, against the run of it."""

import dataclasses

import numpy as np
import pytest
from diagnosed_layers import layer
from fault_examples import FAULTS, example, whole_numbers

import jaxdw as jd
from jaxdw.faults.catalogue import CATALOGUE
from jaxdw.faults.foretold import foretell, make_probe
from jaxdw.faults.used_chip import lay_out, run_launch
from jaxdw.judge.draws import Operands, draw
from jaxdw.numerics.formats import MAGNITUDE_BITS


def told(plan):
    """The faults of a plan that need no other computation, and are not solved."""
    for fault in CATALOGUE:
        if fault.applies(plan) and not (fault.computes or fault.solved):
            yield fault


@pytest.mark.parametrize("name", ["block", "height", "25 taps"])
def test_every_output_is_foretold_where_arithmetic_is_exact(name):
    plan = example(name)
    operands = whole_numbers(plan.conv, 3)
    sticks = np.random.default_rng(0).permutation(plan.window.num_outputs)
    launch = lay_out(plan, known=False)
    for fault in told(plan):
        if fault.rounds or fault.stage == "window":
            continue
        spoilt = fault.inject(launch)
        run = run_launch(spoilt, operands).reshape(-1, plan.conv.channels)[sticks]
        foretold = foretell(spoilt, operands, sticks)
        assert foretold is not None
        np.testing.assert_array_equal(foretold.outputs, run, fault.id)


def test_magnitudes_are_sums_of_absolute_products_and_bias():
    plan = example("block")
    plan = dataclasses.replace(
        plan, conv=dataclasses.replace(plan.conv, activation=None)
    )
    x, w, bias = whole_numbers(plan.conv, 3)
    assert bias is not None
    sticks = np.arange(plan.window.num_outputs)
    size = foretell(lay_out(plan), Operands(x, w, bias), sticks)
    positive = Operands(np.abs(x), np.abs(w), np.abs(bias))
    want = foretell(lay_out(plan), positive, sticks)
    assert size is not None
    assert want is not None
    np.testing.assert_array_equal(size.magnitudes, want.outputs)


@pytest.mark.parametrize("name", ["blackhole", "silu", "regular", "bfp8"])
def test_no_mistake_is_excluded_from_its_own_output_and_most_from_others(name):
    plan = layer(name)
    operands = draw(plan.conv, "random", 7)
    launch = lay_out(plan, known=False)
    right = run_launch(launch, operands)
    launches = {f.id: f.inject(launch) for f in told(plan) if not f.rounds}
    excluded = 0
    for id in [*launches][::3]:
        found = run_launch(launches[id], operands)
        probe = make_probe(launch, operands, right, np.nan_to_num(found, nan=1.5))
        assert probe.exclude(launches[id]) is None, id
        excluded += sum(probe.exclude(other) is not None for other in launches.values())
    assert excluded > 0.6 * len([*launches][::3]) * len(launches)


def test_what_is_excluded_says_how_far_it_is_and_how_much_of_it_is_known():
    plan = layer("blackhole")
    operands = draw(plan.conv, "random", 7)
    launch = lay_out(plan, known=False)
    right = run_launch(launch, operands)
    probe = make_probe(launch, operands, right, -right)
    far = probe.exclude(launch)
    assert far is not None
    assert far.distance == pytest.approx(2, rel=0.05)
    assert far.known == 1
    assert not probe.is_near(launch)
    offset = probe.exclude(FAULTS["byte-offset"].inject(launch))
    assert offset is not None
    assert offset.known == pytest.approx(1 / 2, abs=0.2)
    nudged = make_probe(launch, operands, right, right * np.float32(1.01))
    assert nudged.is_near(launch)
    assert nudged.exclude(launch) is None


def test_unknown_weights_of_a_block_leave_nothing_foretold():
    plan = layer("bfp8")
    assert plan.conv.weights_dtype in MAGNITUDE_BITS
    operands = draw(plan.conv, "random", 7)
    launch = FAULTS["stale-weights"].inject(lay_out(plan, known=False))
    assert foretell(launch, operands, np.arange(4)) is None


def test_half_of_the_sticks_are_those_that_differ():
    plan = layer("height")
    operands = draw(plan.conv, "random", 7)
    launch = lay_out(plan, known=False)
    right = run_launch(launch, operands)
    found = right.copy()
    found[0, 9, 8, 5] = np.nan
    probe = make_probe(launch, operands, right, found)
    assert plan.window.num_outputs - 1 in probe.sticks
    assert np.argwhere(probe.differs).tolist() == [[len(probe.sticks) - 1, 5]]
    assert probe.exclude(launch) is None  # one of thousands
    assert not probe.is_near(launch)


def test_a_bias_after_the_activation_is_foretold():
    plan = example("block")
    plan = jd.make_plan(
        dataclasses.replace(plan.conv, activation="relu"), plan.shard, plan.compute
    )
    operands = whole_numbers(plan.conv, 3)
    sticks = np.arange(plan.window.num_outputs)
    launch = FAULTS["bias-after-activation"].inject(lay_out(plan, known=False))
    run = run_launch(launch, operands).reshape(-1, plan.conv.channels)
    foretold = foretell(launch, operands, sticks)
    assert foretold is not None
    np.testing.assert_array_equal(foretold.outputs, run)
    right = foretell(lay_out(plan, known=False), operands, sticks)
    assert right is not None
    assert (right.outputs != run).any()


def test_the_few_sticks_that_differ_are_among_those_looked_at():
    conv = jd.ConvConfig(channels=96, height=56, width=56, padding=1)
    plan = jd.make_plan(conv)
    right = np.zeros(plan.output_shape, np.float32)
    found = right.copy()
    found.reshape(-1, 96)[[5, 1000, 3135], 7] = 1
    operands = draw(conv, "random", 7)
    probe = make_probe(lay_out(plan, known=False), operands, right, found)
    assert {5, 1000, 3135} <= {*probe.sticks.tolist()}
    assert len(probe.sticks) < 130
