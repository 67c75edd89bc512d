"""A small trained network, end to end: LoFi costs accuracy, and the remedy brings it
back; the recommendation keeps its target for fewer cycles."""

import dataclasses
import json
import tomllib

import numpy as np
import pytest
import trained
from onnx_files import W, make, node
from onnx_files import written as write_model

import jaxdw as jd
from jaxdw import cli
from jaxdw.networks import measure, recommend, remedies, runner, verify
from jaxdw.networks.advice import as_toml, as_ttnn
from jaxdw.networks.recommend import Target
from jaxdw.networks.rows import RowStore

AXES = {"fidelities": ("LoFi", "HiFi2", "HiFi4"), "weights_dtypes": ("bf16", "bfp8")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    trained.written(folder, 12)
    return folder


@pytest.fixture(scope="module")
def question(folder):
    samples = measure.samples_of([], str(folder / "samples"), ["image"])
    return runner.question_of(str(folder / "net.onnx"), samples, AXES)


@pytest.fixture(scope="module")
def rows(question):
    return runner.ask(question, RowStore(None))


def mean(rows, figure, **fields):
    found = [r[figure] for r in rows if all(r[n] == v for n, v in fields.items())]
    assert found
    return np.mean(found)


def test_the_network_is_trained(question):
    net = runner.network(question.path, question.inputs)
    scores = [net.uncut(sample.load())["scores"] for sample in question.samples]
    labels = trained.trained().labels[: len(scores)]
    assert np.mean([s.argmax() == n for s, n in zip(scores, labels)]) >= 0.75  # noqa: B905
    assert len(net.layers) == trained.BLOCKS


def test_lofi_costs_what_compensation_brings_back(question, rows, folder):
    lofi = {"fidelity": "LoFi", "weights_dtype": "bfloat16"}
    before = mean(rows, "argmax", kind="output", **lofi)
    assert before < 0.7
    assert mean(rows, "argmax", kind="output", fidelity="HiFi4") >= 0.9
    first = dataclasses.replace(question, settings=question.settings[:1])
    assert first.settings[0].values | lofi == first.settings[0].values
    calibration = question.samples[:4]
    found = verify.remedies(
        first, folder, folds=False, compensates=True, calibration=calibration
    )
    assert mean(found, "argmax", kind="remedy") >= 0.9 > before + 0.2
    gains = [row["conv_gain"] for row in found if row["kind"] == "gain"]
    assert len(gains) == trained.BLOCKS
    assert all(0.955 < gain < 0.967 for gain in gains)
    (path,) = {row["left_out"] for row in found if row["kind"] == "remedy"}
    assert "gain-bfloat16-LoFi" in path
    scaled = runner.network(path, question.inputs)
    given = runner.network(question.path, question.inputs)
    for one, other in zip(scaled.layers, given.layers, strict=True):
        ratio = one.weights / other.weights
        assert np.ptp(ratio) < 1e-6
        assert ratio.mean() == pytest.approx(1 / 0.96, abs=0.01)
        np.testing.assert_array_equal(one.bias, other.bias)


@pytest.mark.parametrize("target", ["argmax=0.9", "snr=18", "pcc=0.995"])
def test_a_recommendation_keeps_its_target_for_less(question, rows, target):
    asked = Target.read(target)
    found = recommend.recommend(question, asked, rows)
    assert found.kept
    net = runner.network(question.path, question.inputs)
    figures = []
    for sample in question.samples:
        want = net.uncut(sample.load())
        got = net.run(sample.load(), measure.chip(net, found.setting)).outputs
        figures.append(measure.output_rows(want, got, ""))
    assert asked.of(figures) == found.value >= asked.least
    plans = [point.plan() for point in found.setting.points]
    assert found.cycles == sum(plan.cycles.total for plan in plans)
    name = {"snr": "snr_db"}.get(asked.figure, asked.figure)
    uniform = []
    for setting in question.settings:
        own = [
            [r]
            for r in rows
            if r["kind"] == "output" and r.items() >= setting.values.items()
        ]
        assert all(r[0][name] is not None for r in own)
        if asked.of(own) >= asked.least:
            uniform.append(setting.cycles())
    assert found.uniform == min(uniform)
    assert found.cycles < found.uniform
    hifi2 = question.settings[list(AXES["fidelities"]).index("HiFi2")]
    assert found.cycles < hifi2.cycles()


def test_a_target_out_of_reach_is_said(question, rows):
    found = recommend.recommend(question, Target.read("snr=90"), rows)
    assert not found.kept
    assert found.uniform is None
    assert found.value < 90


def test_targets_are_read():
    assert Target.read("snr=30") == Target("snr", 30.0)
    for bad in ("snr", "speed=3", "pcc=x", "pcc=nan", "=1", "argmax=inf"):
        with pytest.raises(jd.ConfigError, match=rf"`--target` .='{bad}'.*argmax=1.0"):
            Target.read(bad)
    rows = [{"snr_db": None, "gain": 1.0, "argmax": None}]
    assert Target("snr", 30).of([rows]) == np.inf
    with pytest.raises(jd.ConfigError, match="must be a figure that an output has"):
        Target("argmax", 1).of([rows])
    two = [[{"argmax": 1.0}], [{"argmax": 0.5}]]
    assert Target("argmax", 1).of(two) == 0.75
    assert Target("pcc", 1).of([[{"pcc": 0.9}, {"pcc": 0.8}], [{"pcc": 1.0}]]) == 0.8


def test_advice_is_toml_and_python(question, rows):
    found = recommend.recommend(question, Target.read("snr=18"), rows)
    tables = tomllib.loads(as_toml(found))
    assert [t["name"] for t in tables["layers"]] == [
        point.layer for point in found.setting.points
    ]
    for table, point in zip(tables["layers"], found.setting.points, strict=True):
        assert table["math_fidelity"] == point.compute.math_fidelity
        assert table["weights_dtype"] == point.conv.weights_dtype
        assert table["scheme"] in ("height", "width", "block")
    text = as_ttnn(found)
    compile(text, "advice", "exec")
    assert text.count("ttnn.Conv2dConfig(") == len(found.setting.points)
    fidelities = [
        f"MathFidelity.{p.compute.math_fidelity}," for p in found.setting.points
    ]
    assert [
        line.split("ttnn.")[1] for line in text.splitlines() if "Fidelity." in line
    ] == (fidelities)


CHANNELS = 4


def normalised(tmp_path, *after, conv_bias=False, outputs="", **constants):
    conv = node("Conv", "x w b" if conv_bias else "x w", "y", "dw", group=CHANNELS)
    names = "scale shift mean variance"
    rng = np.random.default_rng(7)
    held = {n: rng.uniform(0.5, 2, CHANNELS).astype(np.float32) for n in names.split()}
    held |= {"w": W, "b": rng.standard_normal(CHANNELS).astype(np.float32)} | constants
    outputs = outputs or after[-1].output[0]
    model = make([conv, *after], {"x": (1, CHANNELS, 9, 8)}, outputs, held)
    path = write_model(model, tmp_path)
    x = rng.standard_normal((1, CHANNELS, 9, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    samples = measure.samples_of([("x", str(tmp_path / "x.npy"))], None, ["x"])
    return str(path), samples


NORM = node("BatchNormalization", "y scale shift mean variance", "n", epsilon=1e-3)
PER_CHANNEL = np.arange(1, 5, dtype=np.float32).reshape(1, 4, 1, 1)


@pytest.mark.parametrize(
    ("after", "told"),
    [
        ([NORM, node("HardSwish", "n", "z")], "BatchNormalization"),
        ([node("Mul", "y c", "m"), node("Add", "m c", "a"), node("Relu", "a", "z")],
         "Mul, Add"),
        ([node("Div", "y c", "d"), node("Sub", "d two", "z")], "Div, Sub"),
        ([node("Add", "y c", "a"), NORM.__class__.FromString(
            node("BatchNormalization", "a scale shift mean variance", "z")
            .SerializeToString())], "BatchNormalization"),
        ([node("Relu", "y", "r"), node("Mul", "r c", "z")], ""),
        ([node("Mul", "y x0", "z")], ""),
        ([node("Sub", "two y", "z")], ""),
        ([node("Mul", "y c", "m"), node("Neg", "y", "z")], ""),
    ],
    ids=range(8),
)  # fmt: skip
@pytest.mark.parametrize("conv_bias", [False, True])
def test_what_scales_and_shifts_is_folded(tmp_path, after, told, conv_bias):
    wide = np.random.default_rng(1).standard_normal((1, 4, 7, 6)).astype(np.float32)
    path, samples = normalised(
        tmp_path, *after, conv_bias=conv_bias, c=PER_CHANNEL, two=np.float32(2), x0=wide
    )
    inputs = runner.shapes_of(samples)
    folded = tmp_path / "folded.onnx"
    assert remedies.fold(path, inputs, folded, samples) == {"dw": told}
    one, other = runner.network(path, inputs), runner.network(str(folded), inputs)
    values = samples[0].load()
    want, got = one.uncut(values), other.uncut(values)
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-5, atol=1e-5)
    gone = len(one.model.graph.node) - len(other.model.graph.node)
    bias_add = told == "BatchNormalization" and after[0].op_type == "Add"
    assert gone == len(list(filter(None, told.split(", ")))) + bias_add
    if told:
        assert not set(told.split(", ")) & set(other.layers[0].left_out.split(", "))
        assert other.layers[0].conv.bias
    other.control(values)


def test_a_fold_that_changes_outputs_is_refused_and_leaves_no_file(
    tmp_path, monkeypatch
):
    path, samples = normalised(tmp_path, NORM)
    monkeypatch.setattr(remedies, "FOLDED", -1.0)
    with pytest.raises(jd.ConfigError, match=r"folded network .*leave `--fold` out"):
        remedies.fold(path, runner.shapes_of(samples), tmp_path / "f.onnx", samples)
    assert not (tmp_path / "f.onnx").exists()


def test_weights_shared_by_layers_are_scaled_apart(tmp_path):
    nodes = [
        node("Conv", f"x{i} w", f"x{i + 1}", group=4, pads=[1] * 4) for i in (0, 1)
    ]
    path = write_model(make(nodes, {"x0": (1, 4, 9, 8)}, "x2", {"w": W}), tmp_path)
    net = runner.network(str(path), (("x0", (1, 4, 9, 8)),))
    remedies.write(remedies.with_weights(net, [2 * W, 3 * W]), tmp_path / "two.onnx")
    other = runner.network(str(tmp_path / "two.onnx"), (("x0", (1, 4, 9, 8)),))
    np.testing.assert_array_equal(other.layers[0].weights, 2 * W)
    np.testing.assert_array_equal(other.layers[1].weights, 3 * W)


def test_the_command_end_to_end(folder, capsys, tmp_path):
    out, page = tmp_path / "out", tmp_path / "page.html"
    line = [
        "accuracy", str(folder / "net.onnx"), "--samples", str(folder / "samples"),
        "--fidelities", "lofi,hifi2", "--target", "argmax=0.9", "--compensate", "gain",
        "--fold", "--blame", "--out", str(out), "--html", str(page),
    ]  # fmt: skip
    assert cli.main(line) == 0
    shown = capsys.readouterr().out
    for words in (
        "Outputs against float32",
        "LoFi, weights times",
        "outputs are 4.",
        "verdicts: passes on random normals, fails on real",
        "One layer alone, and all but it",
        "argmax at least 0.9",
        "all of them: weights_dtype bfloat16",
    ):
        assert words in shown, words
    for name in ("accuracy.jsonl", "recommended.toml", "recommended_ttnn.py",
                 "net.folded.onnx"):  # fmt: skip
        assert (out / name).stat().st_size, name
    assert len(list(out.glob("net.folded.gain-*.onnx"))) == 2
    html = page.read_text()
    for words in ("Recommendation", "Remedies", "Which layer hurts", "block0/dw"):
        assert words in html
    assert cli.main([*line[:6], "--target", "snr=90", "--json"]) == 1
    found = [json.loads(one) for one in capsys.readouterr().out.splitlines()]
    assert found[-1]["end to end"].endswith("NOT KEPT")
    assert {row["kind"] for row in found[:-1]} == {"control", "output", "layer"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fold"], "`--fold` must come with `--out`"),
        (["--compensate", "gain"], "`--compensate` must come with `--out`"),
        (["--calibration", "d"], "`--calibration` must come with `--compensate"),
        (["--calibration", "d", "--fold"], "`--fold` must come"),
        (["--target", "metric=1"], "must come with `--metric`"),
        (["--metric", "none:none"], "`--metric` (=none:none)"),
        ([], "`--input` must be given, or `--samples`"),
    ],
)
def test_what_does_not_go_together_is_refused(folder, capsys, words, said):
    assert cli.main(["accuracy", str(folder / "net.onnx"), *words]) == 2
    assert said in capsys.readouterr().err
