"""What is tried to explain an output, in which order, and what is left out."""

import dataclasses

import numpy as np
import pytest
from diagnosed_layers import layer
from fault_examples import FAULTS

import jaxdw as jd
from jaxdw.faults.used_chip import Operands, lay_out, run_launch
from jaxdw.judge.draws import draw


def tensors(name: str) -> Operands:
    return draw(layer(name).conv, "random", 7)


def broken(name: str, fault: str | None = None) -> np.ndarray:
    launch = lay_out(layer(name))
    if fault is not None:
        launch = FAULTS[fault].inject(launch)
    return run_launch(launch, tensors(name), draw(layer(name).conv, "random", 8)).copy()


def diagnosed(name: str, output) -> jd.Diagnosis:
    return jd.diagnose(layer(name), *tensors(name), output)


def told(name: str, output) -> list[str]:
    steps: list[str] = []
    jd.diagnose(layer(name), *tensors(name), output, progress=steps.append)
    return steps


def test_a_file_nearer_to_float32_is_tried_with_other_sums_first():
    steps = told("block", broken("block", "fidelity-hifi2"))
    assert "fidelity-hifi2" in steps
    assert not [step for step in steps if step.startswith("weights-in")]


def test_a_file_no_nearer_to_float32_is_tried_with_other_formats_first():
    steps = told("block", broken("block", "weights-in-bfp8"))
    assert "weights-in-bfp8" in steps
    assert "fidelity-too-high" not in steps


def test_values_below_the_activation_are_tried_without_it_first():
    steps = told("width", broken("width", "activation-missing"))
    assert "activation-missing" in steps
    assert "moves" not in steps
    steps = told("width", broken("width", "flipped-kernel"))
    assert "activation-missing" not in steps[: steps.index("moves")]


def test_other_arithmetic_is_not_run_where_exchanged_channels_say_all():
    output = broken("blackhole")
    output[..., [40, 41]] = output[..., [41, 40]]
    assert "fidelity-too-high" not in told("blackhole", output)


def test_what_was_left_out_may_be_named_the_nearest():
    output = broken("height", "flipped-kernel")
    rng = np.random.default_rng(0)
    strange = rng.random(output.shape) < 0.02
    output[strange] += 3 * output.std() * rng.choice([-1, 1], strange.sum())
    found = diagnosed("height", output)
    assert found.named == ()
    assert found.nearest is not None
    assert found.nearest.faults == ("flipped-kernel",)
    assert found.nearest.differing == strange.sum()


@pytest.mark.parametrize(
    "values", [[np.nan, 3.0], [0, 3.0], [7.5] * 3], ids=["NaN", "zero", "few"]
)
def test_gaps_are_named_only_where_all_hold_the_same(values):
    output = broken("block")
    output[0, 2, 3, : len(values)] = values
    assert diagnosed("block", output).named == ()


def test_a_factor_that_is_a_mistake_of_its_own_is_not_named_twice():
    output = broken("blackhole", "products-halved")
    noise = np.random.default_rng(0).standard_normal(output.shape)
    noisy = output + 0.01 * noise * output.std(axis=(0, 1, 2))
    assert diagnosed("blackhole", noisy).named == ("products-halved",)


def test_exchanged_weights_are_listed():
    plan = layer("blackhole")
    x, w, bias = tensors("blackhole")
    order = np.arange(96)
    order[[2, 50, 7]] = 50, 7, 2
    output = jd.run(plan, jd.make_maps(plan), x, w[order], bias).output
    found = diagnosed("blackhole", output)
    assert found.named == ("weights-swapped",)
    moved = {2: 50, 7: 2, 50: 7}
    listed = ", ".join(f"channel {c} has those of {of}" for c, of in moved.items())
    assert found.causes[0].details == (listed,)


def test_all_of_a_kind_that_give_the_same_are_named():
    plan = layer("block")
    x, w, bias = tensors("block")
    w = np.rint(w * 4) / 4  # of few bits: HiFi2 multiplies all that HiFi4 does
    compute = dataclasses.replace(plan.compute, math_fidelity="HiFi4")
    high = jd.make_plan(plan.conv, plan.shard, compute)
    output = jd.run(high, jd.make_maps(high), x, w, bias).output
    found = jd.diagnose(plan, x, w, bias, output)
    assert found.causes[0].match == "exact"
    assert {"fidelity-too-high", "fidelity-hifi2"} <= set(found.named)


def test_two_mistakes_of_the_host_are_named_in_the_order_of_the_data_path():
    launch = lay_out(layer("blackhole"))
    for fault in ("input-left-nchw", "products-doubled"):
        launch = FAULTS[fault].inject(launch)
    output = run_launch(launch, tensors("blackhole"))
    both = set(diagnosed("blackhole", output).named[0].split(" + "))
    assert both == {"input-left-nchw", "products-doubled"}
    launch = FAULTS["flipped-kernel"].inject(lay_out(layer("blackhole")))
    output = run_launch(FAULTS["bias-missing"].inject(launch), tensors("blackhole"))
    assert diagnosed("blackhole", output).named == ("flipped-kernel + bias-missing",)


def test_minus_zero_is_zero():
    output = broken("width")
    assert (output == 0).any()
    assert diagnosed("width", np.where(output == 0, -0.0, output)).is_right


def test_nothing_is_possible_or_nearest_beside_a_cause():
    found = diagnosed("blackhole", broken("blackhole", "start-tile-zero"))
    assert "start-tile-zero" in found.named
    assert (found.possible, found.nearest) == ((), None)
    found = diagnosed("blackhole", broken("blackhole", "byte-offset"))
    assert len(found.possible) == 1
    assert (found.causes, found.nearest) == ((), None)


def test_a_cause_that_is_no_rounding_makes_it_some_places():
    plan = layer("blackhole")
    x, w, bias = tensors("blackhole")
    assert bias is not None
    little = bias * np.float32(0.0004)
    output = run_launch(
        FAULTS["bias-missing"].inject(lay_out(plan)), Operands(x, w, little)
    )
    found = jd.diagnose(plan, x, w, little, output)
    assert "bias-missing" in found.named
    assert found.comparison.equal > found.comparison.outputs / 2
    assert found.comparison.kind == "some places"
