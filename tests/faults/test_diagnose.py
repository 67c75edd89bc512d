import functools
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from fault_examples import EXAMPLES, FAULTS, FLOAT32, example, plan_of

import jaxdw as jd
from jaxdw.faults.diagnose import candidates, diagnose, other_weights, rank
from jaxdw.faults.used_chip import lay_out, run_launch
from jaxdw.judge.draws import draw

GOLDEN = Path(__file__).parents[1] / "golden"


@functools.cache
def known(name: str):
    """A plan, a user's tensors and what every fault would give."""
    plan = example(name)
    operands = draw(plan.conv, "witness", 7)
    return plan, operands, candidates(plan, operands)


def broken(name: str, fault: str | None) -> np.ndarray:
    """An output after an earlier launch that the diagnosis knows nothing of."""
    plan, operands, _ = known(name)
    launch = lay_out(plan)
    if fault is not None:
        launch = FAULTS[fault].inject(launch)
    return run_launch(launch, operands, draw(plan.conv, "random", 8))


def diagnosis(name: str, output: np.ndarray):
    plan, operands, found = known(name)
    return rank(plan, found, operands, output)


PAIRS = [(n, f) for n in EXAMPLES for f in FAULTS if FAULTS[f].applies(example(n))]


def test_the_injected_fault_is_named_first():
    firsts = {(n, f): diagnosis(n, broken(n, f))[0] for n, f in PAIRS}
    missed = {pair for pair in PAIRS if pair[1] not in firsts[pair].faults}
    assert not missed
    assert {fault for _, fault in PAIRS} == set(FAULTS)
    alone = sum(len(firsts[pair].faults) == 1 for pair in PAIRS)
    assert alone > 0.9 * len(PAIRS)
    assert not any(first.intact for first in firsts.values())
    assert {first.match for first in firsts.values()} == {"exact", "other weights"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_noise_is_none_of_these(name):
    plan, *_ = known(name)
    noise = np.random.default_rng(0).standard_normal(plan.output_shape)
    scaled = noise * broken(name, None).std()
    for output in (noise, np.maximum(scaled, 0), np.zeros_like(noise)):
        (only,) = diagnosis(name, output)
        assert (only.match, only.faults, only.intact) == ("none", (), False)
        assert only.text.startswith("none of these")


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_intact_output_has_no_fault(name):
    (only,) = diagnosis(name, broken(name, None))
    assert (only.match, only.faults, only.intact) == ("exact", (), True)
    assert only.text.startswith("no fault: the emulation, equal on all")


def test_faults_that_do_not_show_are_named_with_the_intact_one():
    plan = plan_of("height")
    x, w, _ = draw(plan.conv, "random", 0)  # bf16 values: nothing to truncate
    output = jd.emulate(plan.conv, plan.shard, x, w, compute=FLOAT32).output
    (only,) = diagnose(plan, x, w, None, np.asarray(output))
    assert only.intact
    assert only.faults == ("host-truncates",)
    assert only.text.endswith("would not show: host-truncates")


def test_faults_with_one_outcome_are_listed_together():
    first, *_ = diagnosis("36 taps", broken("36 taps", "layout-overrun"))
    assert first.faults == ("tile-chunks-layout", "layout-overrun")
    assert " or layout-overrun (" in first.text


def test_what_depends_on_unknown_memory_is_left_out():
    first, second = diagnosis("width", broken("width", "byte-offset"))
    assert (first.faults, first.match) == (("byte-offset",), "exact")
    assert first.unknown == 64 * 48  # all channels but those of core 0
    assert first.text.endswith("3072 depend on memory nobody knows")
    assert (second.faults, second.match) == (("stale-weights",), "other weights")
    third = diagnosis("block", broken("block", "receiver-missing"))
    assert [d.faults[0] for d in third] == [
        "receiver-missing", "rectangle-short", "byte-offset",
    ]  # fmt: skip
    assert [d.unknown for d in third] == [512, 2560, 3072]


@pytest.mark.parametrize(
    "fault", [None, "padding-of-ones", "columns-swapped", "receiver-missing"]
)
def test_arithmetic_may_be_nearly_that_of_the_emulation(fault):
    rng = np.random.default_rng(0)
    output = broken("block", fault)
    bits = output.astype(ml_dtypes.bfloat16).view(np.uint16)
    nudged = np.where(rng.random(bits.shape) < 0.2, bits ^ 1, bits)
    nudged = nudged.astype(np.uint16).view(ml_dtypes.bfloat16)
    noisy = output * (1 + 0.02 * rng.standard_normal(output.shape))
    for values, match in ((nudged, "1 ULP"), (noisy, "near")):
        first = diagnosis("block", values)[0]
        assert first.match == match
        assert first.intact == (fault is None)
        assert fault in (None, *first.faults)
        assert first.faults == () or len(first.faults) == 1
        assert 0 < first.differing < first.outputs
        assert f"{match}: {first.differing} of " in first.text


def test_a_wormholes_own_output_has_no_fault():
    golden = np.load(GOLDEN / "recorded_height.npz")
    x, w, output = (
        golden[name].view(ml_dtypes.bfloat16)
        for name in ("x_nchw", "w_oihw", "out_nhwc")
    )
    first = diagnose(
        plan_of("height", channels=64), x.transpose(0, 2, 3, 1), w, None, output
    )[0]
    assert (first.intact, first.match) == (True, "near")  # LoFi against float32
    assert 0.01 < first.distance < 0.05


def test_other_weights_are_recognised_by_a_fit():
    for name, activation in (("width", "relu"), ("25 taps", None)):
        plan, operands, _ = known(name)
        assert plan.conv.activation == activation
        other = broken(name, "stale-weights").copy()
        assert other_weights(plan.conv, operands.x, other) > 0.99
        noise = np.random.default_rng(0).standard_normal(plan.output_shape)
        assert other_weights(plan.conv, operands.x, noise) < 0.2
        other[0, 0, 0, 0] = np.nan
        assert other_weights(plan.conv, operands.x, other) == 0
    few = jd.ConvConfig(channels=64, height=8, width=8, kernel=7, padding=3)
    operands = draw(few, "random", 0)  # 64 outputs of a channel for 49 weights
    output = jd.reference(few, *operands).astype(np.float32)
    assert other_weights(few, operands.x, output) == 0
    curved = jd.ConvConfig(channels=4, height=8, width=8, activation="gelu")
    x = draw(curved, "witness", 0).x
    assert other_weights(curved, x, np.ones((1, 6, 6, 4), np.float32)) == 0


def test_strided_and_dilated_windows_are_fitted_too():
    conv = jd.ConvConfig(
        channels=5, height=19, width=23, kernel=(3, 2), stride=(1, 2),
        padding=(1, 0, 2, 1), dilation=(2, 3), bias=True,
    )  # fmt: skip
    operands = draw(conv, "witness", 0)
    output = jd.reference(conv, *operands).astype(np.float32)
    assert other_weights(conv, operands.x, output) > 0.999


def test_infinite_outputs_are_explained_by_nothing():
    output = np.full_like(broken("width", None), np.inf)
    (only,) = diagnosis("width", output)
    assert only.match == "none"


def test_arrays_of_other_shapes_are_refused_all_at_once():
    plan = plan_of("height", bias=True)
    x, w, _ = draw(plan.conv, "random", 0)
    output = np.zeros((1, 80, 8, 8), np.float32)
    with pytest.raises(jd.ConfigError) as refused:
        diagnose(plan, x[..., :3], w, None, output)
    message = str(refused.value)
    assert "`x` (=(1, 8, 8, 3)) must have the planned shape (1, 8, 8, 80)" in message
    assert "`bias` (=None) must have the planned shape (80,)" in message
    assert "`output` (=(1, 80, 8, 8)) must have the planned" in message
    assert "`w`" not in message
