"""What is told of layers and outputs, and how it is kept."""

import concurrent.futures
import json

import numpy as np
import pytest
from onnx_files import W, make, node
from onnx_files import written as write_model

import jaxdw as jd
from jaxdw.networks import measure, runner
from jaxdw.networks.figures import (
    argmax_agreement,
    layer_figures,
    load_metric,
    output_figures,
)
from jaxdw.networks.measure import Question, Task, answer, samples_of
from jaxdw.networks.rows import COLUMNS, NAMES, RowStore, key_of, whole

SHAPE = (1, 4, 9, 8)
PADS = {"group": 4, "pads": [1, 1, 1, 1]}
AXES = {"fidelities": ("LoFi", "HiFi2"), "weights_dtypes": ("bf16", "bfp4")}


@pytest.fixture
def question(tmp_path) -> Question:
    """Two layers on real activations: positive, with one channel hardly there."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((4, 1, 3, 3)).astype(np.float32)
    weights[3] *= 1e-4  # which a shared exponent drops
    nodes = [
        node("Conv", "x w", "y", "first", **PADS), node("Relu", "y", "r"),
        node("Conv", "r v", "z", "second", **PADS), node("HardSwish", "z", "out"),
    ]  # fmt: skip
    model = make(nodes, {"x": SHAPE}, "out", {"w": weights, "v": W})
    path = write_model(model, tmp_path)
    np.save(tmp_path / "x.npy", np.abs(rng.standard_normal(SHAPE)).astype(np.float32))
    np.save(tmp_path / "y.npy", rng.standard_normal(SHAPE).astype(np.float32))
    samples = samples_of([("x", str(tmp_path / "x.npy"))], None, ["x"])
    return runner.question_of(str(path), samples, AXES)


def by(rows, **fields):
    return [row for row in rows if all(row[n] == v for n, v in fields.items())]


def test_layers_are_judged_as_everywhere_on_what_they_read(question):
    rows = runner.ask(question, RowStore(None))
    net = runner.network(question.path, question.inputs)
    sample = question.samples[0].load()
    images = net.run(sample, net.in_float32).images
    for number, layer in enumerate(net.layers):
        for setting in question.settings:
            point = setting.points[number]
            (row,) = by(rows, kind="layer", layer=layer.name, **setting.values)
            plan, conv = point.plan(), point.conv
            x = measure.bf16(images[number])
            w = layer.weights
            if conv.weights_dtype == "bfloat16":
                w = measure.bf16(w)
            got = np.asarray(jd.run(plan, jd.make_maps(plan), x, w).output)
            want = jd.reference(conv, x, w)
            assert row["gain"] == pytest.approx(jd.gain(want, got), rel=1e-9)
            assert row["snr_db"] == pytest.approx(jd.snr_db(want, got), rel=1e-9)
            assert row["outputs"] == got.size
            assert row["cycles"] == plan.cycles.total
            random = measure.operands_of(point, 0)
            got = np.asarray(jd.run(plan, jd.make_maps(plan), *random).output)
            want = jd.reference(conv, *random)
            assert row["random_snr_db"] == pytest.approx(jd.snr_db(want, got))
            assert row["random_snr_db"] != pytest.approx(row["snr_db"], rel=1e-3)
    assert {r["left_out"] for r in by(rows, layer="second", kind="layer")} == {
        "behind it: HardSwish"
    }


def test_kernels_that_a_format_drops_are_counted(question):
    rows = by(runner.ask(question, RowStore(None)), kind="layer", layer="first")
    counts = {row["weights_dtype"]: row["channels_zeroed"] for row in rows}
    assert counts == {"bfloat16": 0, "bfloat4_b": 1}
    (row,) = by(rows, weights_dtype="bfloat4_b", fidelity="LoFi")
    assert row["worst_channel"] == 3
    assert row["worst_snr_db"] == pytest.approx(0, abs=0.01)


def test_outputs_are_those_of_the_network_on_the_chip(question):
    rows = runner.ask(question, RowStore(None))
    net = runner.network(question.path, question.inputs)
    sample = question.samples[0].load()
    want = net.uncut(sample)["out"]
    for setting in question.settings:
        got = net.run(sample, measure.chip(net, setting)).outputs["out"]
        (row,) = by(rows, kind="output", **setting.values)
        assert row["pcc"] == jd.pcc(want, got)
        assert row["snr_db"] == jd.snr_db(want, got)
        plans = [point.plan() for point in setting.points]
        assert row["cycles"] == sum(plan.cycles.total for plan in plans)
    plain, rounded = by(rows, kind="control")
    assert (plain["way"], plain["pcc"], plain["snr_db"]) == ("float32", 1.0, None)
    assert rounded["way"] == "bf16"
    lofi = by(rows, kind="output", fidelity="LoFi", weights_dtype="bfloat16")[0]
    assert rounded["snr_db"] > lofi["snr_db"] + 10


def test_blame_is_each_layer_alone_and_all_but_it(question):
    rows = runner.ask(question, RowStore(None), blame=True)
    net = runner.network(question.path, question.inputs)
    sample = question.samples[0].load()
    want = net.uncut(sample)["out"]
    setting = question.settings[0]
    on_chip = measure.chip(net, setting)
    for number, other in ((0, 1), (1, 0)):
        name = net.layers[number].name
        for kind, chosen in (("only", number), ("without", other)):
            got = net.run(sample, {chosen: on_chip}).outputs["out"]
            (row,) = by(rows, kind=kind, layer=name, **setting.values)
            assert row["snr_db"] == jd.snr_db(want, got)


def test_rows_go_on_where_they_stopped(question, tmp_path, monkeypatch):
    done = []

    def counted(*arguments):
        done.append(arguments[1])
        return answer(*arguments)

    monkeypatch.setattr(runner, "answer", counted)
    rows = runner.ask(question, RowStore(tmp_path / "out"))
    first = len(done)
    assert runner.ask(question, RowStore(tmp_path / "out")) == rows
    assert len(done) == first
    path = tmp_path / "out" / "accuracy.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3]) + lines[3][:50])  # as a kill leaves it
    assert runner.ask(question, RowStore(tmp_path / "out")) == rows
    assert len(done) == first + len(lines) - 3
    assert sorted(path.read_text().splitlines(keepends=True)) == sorted(lines)
    np.save(question.samples[0].files[0][1], np.zeros(SHAPE, np.float32))
    again = runner.ask(question, RowStore(tmp_path / "out"))
    assert len(done) == 2 * first + len(lines) - 3
    assert again != rows


def test_processes_and_executors_give_the_same_rows(question):
    rows = runner.ask(question, RowStore(None))
    assert runner.ask(question, RowStore(None), processes=2) == rows
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert runner.ask(question, RowStore(None), executor=pool) == rows
        assert pool.submit(int).result() == 0  # it was left open
    with pytest.raises(jd.ConfigError, match=r"`processes` .=0. must be"):
        runner.ask(question, RowStore(None), processes=0)


def test_a_program_that_a_layer_does_not_run_by_gives_no_figure(question):
    other = runner.question_of(
        question.path, question.samples, {"programs": ("conv1d",)}
    )
    rows = runner.ask(other, RowStore(None), blame=True)
    assert not by(rows, kind="only")
    (output,) = by(rows, kind="output")
    assert (output["pcc"], output["cycles"]) == (None, None)
    assert "layer 'first'" in output["error"]
    assert all(row["pcc"] is None and row["error"] for row in by(rows, kind="layer"))


def test_a_key_is_of_what_is_asked(question, tmp_path):
    task = Task("output", 0, 0)
    key = task.key(question)
    assert key == Task("output", 0, 0).key(question)
    assert key != Task("output", 0, 1).key(question)
    assert Task("layer", 0, 0).key(question) != Task("layer", 0, 1).key(question)
    assert key_of(1, "a") != key_of(1, "b")


def test_rows_hold_no_nan_and_all_columns():
    row = whole({"kind": "layer"})
    assert tuple(row) == NAMES
    assert len(NAMES) == len(set(NAMES)) == len(COLUMNS)
    plain = measure._plain({"a": np.float32("nan"), "b": np.int64(3), "c": np.inf})
    assert json.dumps(plain) == '{"a": null, "b": 3, "c": null}'
    with pytest.raises(AssertionError):
        whole({"unknown": 1})


def test_folders_that_hold_something_else_are_refused(tmp_path):
    (tmp_path / "accuracy.jsonl").write_text('{"a": 1}\n[]\n')
    with pytest.raises(jd.ConfigError, match=r"line 1 must be rows"):
        RowStore(tmp_path)
    (tmp_path / "accuracy.jsonl").write_text('[{"schema": 99, "key": "k"}]\n')
    with pytest.raises(jd.ConfigError, match=r"line 1.*schema 1"):
        RowStore(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(jd.ConfigError, match=r"`--out`.*must be a folder"):
        RowStore(tmp_path / "file")


def test_samples_are_of_every_input_once(tmp_path):
    for name in ("b", "a"):
        np.save(tmp_path / f"{name}.npy", np.zeros((1, 2)))
    np.savez(tmp_path / "c.npz", x=np.ones((1, 2)), y=np.ones(3))
    (tmp_path / "note.txt").write_text("")
    files = [("x", str(tmp_path / "a.npy"))]
    found = samples_of(files, str(tmp_path), ["x"])
    assert [sample.name for sample in found] == ["input", "a.npy", "b.npy", "c.npz"]
    assert found[3].load()["x"].sum() == 2
    with pytest.raises(jd.ConfigError, match=r"\(=x, sample 'input'\).*: x, y"):
        samples_of(files, None, ["x", "y"])
    with pytest.raises(jd.ConfigError, match=r"--input x=x.npy"):
        samples_of([], None, ["x"])
    with pytest.raises(jd.ConfigError, match=r"`--samples` .*must be a folder"):
        samples_of([], str(tmp_path / "none"), ["x"])
    with pytest.raises(jd.ConfigError, match=r"must be a .npy file of numbers"):
        samples_of([("x", str(tmp_path / "note.txt"))], None, ["x"])[0].load()
    np.save(tmp_path / "d.npy", np.zeros((1, 3)))
    first, *_, last = (
        s for s in samples_of([], str(tmp_path), ["x"]) if s.name.endswith(".npy")
    )
    assert runner.shapes_of([first, first]) == (("x", (1, 2)),)
    with pytest.raises(jd.ConfigError, match=r"sample 'd.npy' .*shapes of 'a.npy'"):
        runner.shapes_of([first, last])


def test_axes_of_the_network_are_no_settings(question):
    for axis in ("batches", "activations", "models", "kernels"):
        with pytest.raises(jd.ConfigError, match=rf"`{axis}` must be an axis that"):
            runner.question_of(question.path, question.samples, {axis: (1,)})


def test_figures_of_outputs():
    want = np.array([[1.0, 2, 3], [4, 5, 0]], np.float32)
    got = np.array([[1.0, 2, 3], [6, 5, 0]], np.float32)
    figures = output_figures(want, got)
    assert figures["argmax"] == 0.5
    assert figures["snr_db"] == pytest.approx(10 * np.log10(55 / 4))
    image = np.stack([want, got])[None]  # classes are the second axis
    assert argmax_agreement(image, image[:, ::-1]) == pytest.approx(5 / 6)
    assert argmax_agreement(want[:, :1], got[:, :1]) is None
    numbers = np.array([1, 2, 3])
    assert output_figures(numbers, np.array([1, 2, 4]))["argmax"] == pytest.approx(
        2 / 3
    )
    assert output_figures(want, got[:1]) == {
        "pcc": 0.0, "gain": None, "snr_db": None, "argmax": 0.0,
    }  # fmt: skip


def test_the_worst_channel_is_the_one_with_most_noise():
    conv = jd.ConvConfig(channels=3, height=4, width=4)
    want = np.random.default_rng(0).standard_normal((1, 4, 4, 3))
    got = want * [1.001, 0.9, 1.01]
    figures = layer_figures(got, want, conv, jd.ComputeConfig())
    assert figures["worst_channel"] == 1
    assert figures["worst_snr_db"] == pytest.approx(20)
    want[..., 2] = 0
    assert layer_figures(got, want, conv, jd.ComputeConfig())["worst_channel"] == 1


def test_a_metric_is_a_function_of_python(question, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "def worst(got, want):\n"
        "    return max(abs(got[n] - want[n]).max() for n in want)\n"
        "number = 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    asked = runner.question_of(question.path, question.samples, {}, metric="mine:worst")
    rows = runner.ask(asked, RowStore(None))
    plain, rounded = by(rows, kind="control")
    assert (
        plain["metric"] == 0 < rounded["metric"] < by(rows, kind="output")[0]["metric"]
    )
    for name in ("mine", "mine:none", "absent:worst", "mine:number"):
        with pytest.raises(jd.ConfigError, match=rf"`--metric` .='{name}'"):
            load_metric(name)
