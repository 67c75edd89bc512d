import functools
import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from diagnosed_layers import LAYERS, layer
from fault_examples import FAULTS, plan_of

import jaxdw as jd
from jaxdw.faults.catalogue import CATALOGUE
from jaxdw.faults.used_chip import Operands, lay_out, run_launch
from jaxdw.judge.draws import draw

GOLDEN = Path(__file__).parents[1] / "golden"
QUICK = ("two images", "regular", "conv1d")
UNNAMED = {  # 3 of 966: "no known cause", as few outputs tell
    "block": ["weights-scaled", "other-bias"],
    "HiFi2": ["halo-row-off"],
}


@functools.cache
def tensors(name: str) -> Operands:
    return draw(layer(name).conv, "random", 7)


def broken(name: str, *faults: str) -> np.ndarray:
    """An output after an earlier launch that the diagnosis knows nothing of."""
    launch = lay_out(layer(name))
    for fault in faults:
        launch = FAULTS[fault].inject(launch)
    return run_launch(launch, tensors(name), draw(layer(name).conv, "random", 8))


def diagnosed(name: str, output) -> jd.Diagnosis:
    return jd.diagnose(layer(name), *tensors(name), output)


@pytest.mark.parametrize(
    "name",
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in LAYERS],
)
def test_every_mistake_is_named_or_none_is(name):
    made, missed = 0, []
    for fault in CATALOGUE:
        if fault.applies(layer(name)):
            output = broken(name, fault.id)
            if (output == output[0, 0, 0, 0]).all():
                continue  # says nothing of what gave it
            found = diagnosed(name, output)
            made += not found.is_right  # some do not show in these tensors
            if not found.is_right and fault.id not in found.named:
                assert not found.named, (fault.id, str(found))
                missed.append(fault.id)
    assert made >= 60 * (name != "conv1d")
    assert missed == UNNAMED.get(name, [])


def test_the_layers_have_what_mistakes_need():
    plans = [layer(name) for name in LAYERS]
    assert len(plans) == 12
    assert {p.program for p in plans} == {"depthwise", "regular", "conv1d"}
    assert {p.scheme for p in plans} == {"height", "width", "block"}
    assert len({p.arch.name for p in plans}) == 2
    spoiled = {f.id for f in CATALOGUE if any(f.applies(p) for p in plans)}
    assert len(spoiled) >= 100


@pytest.mark.parametrize("name", LAYERS)
def test_a_right_output_is_identical(name):
    found = diagnosed(name, broken(name))
    assert found.is_right
    assert found.verdict == str(found).split(":")[0] + " to the emulation"
    assert (found.causes, found.possible, found.nearest) == ((), (), None)


def wide() -> jd.Plan:
    conv = jd.ConvConfig(channels=96, height=8, width=5, kernel=3, padding=1, bias=True)
    return jd.make_plan(conv, jd.ShardConfig(scheme="width", grid=(3, 1)))


def _swap(axis, first, second):
    def change(output):
        order = np.arange(output.shape[axis])
        order[[first, second]] = second, first
        return np.take(output, order, axis=axis)

    return change


def _put(value, *index):
    def change(output):
        changed = output.copy()
        changed[index] = value
        return changed

    return change


HAND_MADE = {
    "channels-swapped": (_swap(3, 40, 41), "channels 40 and 41"),
    "channel-shards-swapped": (
        lambda y: np.concatenate([y[..., 32:64], y[..., :32], y[..., 64:]], axis=-1),
        "channel shards 0 and 1",
    ),
    "image-rows-rolled": (lambda y: np.roll(y, 1, axis=1), "image rows rolled by 1"),
    "sticks-late": (
        lambda y: np.concatenate(
            [np.ones((1, 1, 1, 96)), y.reshape(1, 1, -1, 96)[:, :, :-1]], axis=2
        ).reshape(y.shape),
        "sticks 1 late; nothing says what the first 1 hold",
    ),
    "zeros": (_put(0, slice(None), slice(3, 5)), "960 outputs"),
    "not-a-number": (_put(np.nan, 0, 3, 2, 17), "1 outputs"),
    "output-negated": (lambda y: -y, ""),
    "output-halved": (lambda y: y / 2, ""),
    "relu-too-many": (lambda y: np.maximum(y, 0), ""),
    "output-scaled": (
        lambda y: (y * 1.7).astype(ml_dtypes.bfloat16).astype("f4"),
        "factor 1.7",
    ),
    "file-is-nchw": (lambda y: y.transpose(0, 3, 1, 2).reshape(y.shape), ""),
    "repeated": (lambda y: y[:, [0, 1, 1, 3, 4, 5, 5, 7]], "image row 2 holds what 1"),
}


@pytest.mark.parametrize("fault", HAND_MADE)
def test_what_is_done_to_an_output_by_hand_is_named(fault):
    plan = wide()
    operands = draw(plan.conv, "random", 3)
    right = np.asarray(jd.run(plan, jd.make_maps(plan), *operands).output)
    change, detail = HAND_MADE[fault]
    found = jd.diagnose(plan, *operands, change(right))
    assert fault in found.named, str(found)
    where = found.causes[0].faults.index(fault)
    assert found.causes[0].details[where].startswith(detail)
    assert found.causes[0].match == "exact"


def test_other_bias_and_weights_are_told_apart():
    plan = wide()
    x, w, bias = draw(plan.conv, "random", 3)
    maps = jd.make_maps(plan)

    def named(x=x, w=w, bias=bias):
        output = jd.run(plan, maps, x, w, bias).output
        return jd.diagnose(plan, *draw(plan.conv, "random", 3), output)

    assert named(bias=2 * bias).named == ("bias-twice",)
    assert named(bias=0 * bias).named == ("bias-missing",)
    assert named(bias=bias + 7).named == ("other-bias",)
    assert named(w=-w).named == ("products-negated",)
    assert named(w=w / 2).named == ("products-halved",)
    assert named(w=w * 10).causes[0].details == ("factor 10",)
    order = np.random.default_rng(0).permutation(96)
    assert named(w=w[order]).named == ("weights-swapped",)
    other = draw(plan.conv, "random", 4).w
    found = named(w=other).causes[0]
    assert (found.faults, found.match) == (("stale-weights",), "weights")
    assert "not the plan's own in any order or scale" in found.text


def test_what_depends_on_unknown_memory_is_possible_not_proved():
    plan = layer("blackhole")
    found = diagnosed("blackhole", broken("blackhole", "byte-offset"))
    assert (found.causes, found.named) == ((), ("byte-offset",))
    others = plan.conv.channels - plan.output_shard.channels  # than core 0's
    assert found.possible[0].unknown == plan.window.num_outputs * others
    assert found.verdict.startswith("possible, not proved: byte-offset (start tile ad")
    noise = np.random.default_rng(0).standard_normal(plan.output_shape) * 3
    right = broken("blackhole")
    partly = np.where(np.arange(96) < 96 - others, right, noise)
    assert diagnosed("blackhole", partly).named == ()


@pytest.mark.parametrize(
    "pair",
    [
        ("flipped-kernel", "bias-missing"),
        ("bias-twice", "channels-swapped"),
        ("channels-rotated", "image-rows-rolled"),
        ("fidelity-too-high", "flipped-kernel"),
        ("start-tile-zero", "input-column-late"),
    ],
)
def test_two_mistakes_at_once_are_named(pair):
    found = diagnosed("blackhole", broken("blackhole", *pair))
    assert found.causes[0].match == "exact"
    assert set(pair) in [set(both.split(" + ")) for both in found.named]
    assert "bit for bit" in found.verdict


def test_other_weights_are_not_named_for_a_file_with_one_stick_of_something_else():
    plan = layer("height")
    x, _w, bias = tensors("height")
    other = draw(plan.conv, "random", 9).w
    output = np.array(jd.run(plan, jd.make_maps(plan), x, other, bias).output)
    assert diagnosed("height", output).named == ("stale-weights",)
    output[0, 4, 4] += 20
    assert diagnosed("height", output).named == ()


def test_arithmetic_that_rounds_otherwise_is_rounding_only():
    plan = layer("height")
    right = broken("height")
    bits = right.astype(ml_dtypes.bfloat16).view(np.uint16)
    rng = np.random.default_rng(0)
    nudged = np.where(rng.random(bits.shape) < 0.2, bits ^ 1, bits).astype(np.uint16)
    found = diagnosed("height", nudged.view(ml_dtypes.bfloat16))
    assert found.comparison.kind == "rounding only"
    assert str(found).startswith("rounding only: at most 1 ULP\n")
    assert (found.causes, found.possible, found.nearest) == ((), (), None)
    assert "no known cause reproduces it" in str(found)
    found = diagnosed("height", broken("height", "fidelity-too-high"))
    assert found.comparison.kind == "rounding only"
    assert found.named[0] == "fidelity-too-high"
    assert found.tried < len(CATALOGUE)
    assert plan.compute.math_fidelity == "LoFi"


def test_a_mistake_under_other_arithmetic_is_named_to_a_residue():
    output = broken("blackhole", "bias-rolled")
    noise = np.random.default_rng(0).standard_normal(output.shape)
    noisy = output + 0.01 * noise * output.std(axis=(0, 1, 2))
    found = diagnosed("blackhole", noisy)
    assert (found.causes[0].faults, found.causes[0].match) == (("bias-rolled",), "near")
    assert 0.001 < found.causes[0].residue < 0.05
    assert "on every channel" in found.causes[0].text
    one = noisy.copy()
    one[..., 5] = 0  # a channel that it does not explain
    assert diagnosed("blackhole", one).named == ()


def test_a_wormholes_own_output_is_rounding_only():
    golden = np.load(GOLDEN / "recorded_height.npz")
    x, w, output = (
        golden[name].view(ml_dtypes.bfloat16)
        for name in ("x_nchw", "w_oihw", "out_nhwc")
    )
    plan = plan_of("height", channels=64)  # in float32: the chip computed in LoFi
    found = jd.diagnose(plan, x.transpose(0, 2, 3, 1), w, None, output)
    assert found.comparison.kind == "rounding only"
    assert found.named[0] == "matrix-unit-lofi"


def strange(plan: jd.Plan, right: np.ndarray, kind: int, rng) -> np.ndarray:
    """Outputs that no mistake of the catalogue gives."""
    noise = rng.standard_normal(right.shape) * right.std()
    other = rng.permuted(right, axis=-1)
    if kind == 0:
        return noise
    if kind == 1:  # a mixture
        return rng.uniform(0.2, 0.8) * right + 0.5 * noise
    if kind == 2:  # a partial copy
        copied = rng.random(right.shape[3]) < rng.random()
        copied[rng.integers(len(copied))] = False
        return np.where(copied, right, noise)
    if kind == 3 and right.shape[1] > 1:
        part = int(rng.integers(1, right.shape[1]))
        return np.concatenate([right[:, :part], noise[:, part:]], axis=1)
    if kind == 4:
        return other
    if kind == 5:
        return np.where(rng.random(right.shape) < 0.3, noise, right)
    x, w, bias = draw(plan.conv, "random", int(rng.integers(1000, 2**31)))
    return jd.reference(plan.conv, x, w, bias).astype(np.float32)  # another layer's


def confident(name: str, count: int) -> list[str]:
    """Diagnoses strange outputs; returns reports that name a cause."""
    rng = np.random.default_rng(count)
    right = broken(name)
    wrong = []
    for number in range(count):
        found = diagnosed(name, strange(layer(name), right, number % 7, rng))
        if found.causes or found.is_right:
            wrong.append(f"{number % 7}: {found}")
    return wrong


def test_what_the_catalogue_does_not_hold_is_no_known_cause():
    for name in ("height", "blackhole"):
        assert not confident(name, 14)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_ten_thousand_strange_outputs_have_no_known_cause(name):
    assert not confident(name, 840)  # of each of twelve layers


def test_what_is_right_does_not_depend_on_unknown_memory():
    for name in ("block", "blackhole", "silu"):
        output = broken(name).copy()
        output[..., : layer(name).output_shard.channels] *= 2  # of core 0's column
        assert diagnosed(name, output).named == ()


def test_one_value_everywhere_is_just_that():
    for name in ("height", "block", "silu"):
        output = np.zeros(layer(name).output_shape, np.float32)
        assert diagnosed(name, output).named == ("zeros",)
        assert diagnosed(name, output + 2.5).named == ("one-value",)
        assert diagnosed(name, output * np.nan).named == ("not-a-number",)


def test_zeros_are_named_before_channels_that_hold_none():
    output = broken("block").copy()
    output[..., ::7] = 0
    assert diagnosed("block", output).named[0] == "zeros"


def test_weights_scaled_channel_by_channel_are_not_an_earlier_launch():
    scale = np.linspace(0.5, 1.5, 64, dtype=np.float32)
    assert diagnosed("height", broken("height") * scale).named == ()
    x, _w, bias = tensors("width")
    other = draw(layer("width").conv, "random", 9)
    maps = jd.make_maps(layer("width"))
    output = jd.run(layer("width"), maps, x, other.w, bias + 3).output
    assert diagnosed("width", output).named == ()  # another bias as well


def test_infinite_outputs_are_explained_by_nothing():
    output = np.full(layer("height").output_shape, np.inf)
    found = diagnosed("height", output)
    assert found.named == ("one-value",)
    mixed = np.where(np.arange(64) % 2, output, -output)
    assert diagnosed("height", mixed).named == ()


def test_a_diagnosis_is_text_json_and_html():
    found = diagnosed("block", broken("block", "flipped-kernel"))
    report = json.loads(json.dumps(found.to_json()))
    assert report["causes"][0]["faults"] == ["flipped-kernel"]
    assert report["verdict"] == found.verdict
    assert report["comparison"]["outputs"] == 5760
    assert repr(found) == str(found) == "\n".join(found.lines())
    assert "<strong>cause: flipped-kernel" in found._repr_html_()
    assert found._repr_html_().count("<pre>") == 1
    right = diagnosed("block", broken("block"))
    assert json.loads(json.dumps(right.to_json()))["right"] is True


def test_what_is_tried_is_told_on_the_way():
    told: list[str] = []
    plan = layer("block")
    jd.diagnose(plan, *tensors("block"), -broken("block") + 1, progress=told.append)
    assert "flipped-kernel" in told
    assert len(told) > 30


def test_arrays_of_other_shapes_are_refused_all_at_once():
    plan = plan_of("height", bias=True)
    x, w, _ = draw(plan.conv, "random", 0)
    output = np.zeros((1, 80, 8, 8), np.float32)
    with pytest.raises(jd.ConfigError) as refused:
        jd.diagnose(plan, x[..., :3], w, None, output)
    message = str(refused.value)
    assert "`x` (=(1, 8, 8, 3)) must have the planned shape (1, 8, 8, 80)" in message
    assert "`bias` (=None) must have the planned shape (80,)" in message
    assert "`output` (=(1, 80, 8, 8)) must have the planned" in message
    assert "`w`" not in message
