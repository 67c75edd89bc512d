"""`--models` with `--layer` on the commands that take a layer."""

import json
import shlex

import numpy as np
import onnx_files
import pytest
from onnx_files import W, make, node

from jaxdw.cli import main
from jaxdw.models import zoo

LAYER = "blocks.1.1.depthwise"  # of MobileNetV2


def planned(capsys, line: str) -> dict:
    assert main([*shlex.split(line), "--json"]) == 0
    return json.loads(capsys.readouterr().out)["plan"]


@pytest.fixture
def two(tmp_path):
    """Returns a file of two layers, one with a bias, and of a node that is none."""
    b = np.arange(4, dtype=np.float32)
    nodes = [
        node("Conv", "x w b", "y", "first", group=4, pads=[1, 1, 1, 1]),
        node("Conv", "y w", "z", "second/conv", group=4, strides=[2, 2]),
        node("Conv", "z m", "o", "twice", group=4),
    ]
    many = np.ones((8, 1, 1, 1), np.float32)
    model = make(nodes, {"x": (1, 4, 9, 8)}, "o", {"w": W, "b": b, "m": many})
    return onnx_files.written(model, tmp_path)


@pytest.fixture
def one(tmp_path):
    return onnx_files.written(onnx_files.one(), tmp_path)


def test_a_layer_of_a_network_by_name_is_planned(capsys):
    plan = planned(capsys, f"plan --models mobilenet_v2 --layer {LAYER}")
    conv = next(x.conv for x in zoo.layers("mobilenet_v2") if x.name == LAYER)
    assert plan == planned(
        capsys, "plan --channels 144 --size 56 --padding 1 --activation relu6"
    )
    assert plan["input"] == [*conv.input_shape]


@pytest.mark.parametrize(
    "words", ["--batch 2 --scheme block {}", "{} --batch=2 --scheme=block"]
)
def test_options_beside_it_win_wherever_they_stand(capsys, words):
    model = f"--models=mobilenet_v2 --layer={LAYER}"
    plan = planned(capsys, "plan " + words.format(model))
    assert (plan["input"], plan["scheme"]) == ([2, 56, 56, 144], "block")


def test_a_layer_of_a_file_is_planned_and_what_is_not_read_is_said(capsys, two):
    line = f"plan --models {two} --layer second/conv --table"
    assert main(line.split()) == 0
    said = capsys.readouterr()
    assert "read second/conv, 1x4x9x8 kernel 3x3 stride 2x2\n" in said.err
    assert "not read: node 'twice': a channel multiplier (=2)" in said.err
    assert "| 71x32 | 32x32 |" in said.out


def test_run_takes_weights_and_bias_of_the_file(capsys, two, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("w.npy", W)
    np.save("b.npy", np.arange(4, dtype=np.float32))
    np.save("x.npy", np.random.default_rng(0).standard_normal((1, 9, 8, 4)))
    own = "--channels 4 --size 9x8 --padding 1 --bias --w w.npy --bias-values b.npy"
    assert main(shlex.split(f"run {own} --x x.npy --save own.npy")) == 0
    model = f"--models {two} --layer first --x x.npy --save model.npy"
    assert main(shlex.split(f"run {model}")) == 0
    np.testing.assert_array_equal(np.load("model.npy"), np.load("own.npy"))
    assert len(np.unique(np.load("own.npy"))) > 50


@pytest.mark.parametrize("x", ["", "--x x.npy"])
def test_diagnose_takes_them_too(capsys, two, tmp_path, monkeypatch, x):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).standard_normal((1, 9, 8, 4)))
    layer = f"--models {two} --layer first {x}"
    assert main(shlex.split(f"run {layer} --save right.npy")) == 0
    capsys.readouterr()
    assert main(shlex.split(f"diagnose {layer} --output right.npy")) == 0
    assert "identical" in capsys.readouterr().out
    np.save("w.npy", W)
    assert main(shlex.split(f"diagnose {layer} --w w.npy --output right.npy")) == 2
    assert "`--w` (=w.npy) must be left out with" in capsys.readouterr().err


def test_a_file_of_one_layer_needs_no_name(capsys, one):
    assert planned(capsys, f"plan --models {one}")["input"] == [1, 9, 8, 4]
    assert main(["run", "--models", str(one), "--json"]) == 0


def test_the_old_name_works_as_it_did_with_a_note(capsys, two):
    line = f"--channels 4 --size 9x8 --padding 1 --bias --layer first --json run {two}"
    line = line.replace(f"run {two}", "")
    assert main(["run", "--onnx", str(two), *line.split()]) == 0
    old = capsys.readouterr()
    assert "--onnx is called --models now; the old name goes with the next" in old.err
    assert main(["run", "--models", str(two), *line.split()]) == 0
    assert capsys.readouterr().out == old.out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "--models {two}",
            "has 2 layers; `--layer` must name one:\n  first: 1x4x9x8 kernel 3x3\n",
        ),
        ("--models {two} --layer frist", "(='frist') must be one of the 2 of"),
        ("--models {two} --layer frist", "; try first"),
        ("--models {two} --layer conv", "; try second/conv"),
        ("--models mobilenet_v2 --layer 2.1.d", "try blocks.2.1.depthwise"),
        (
            "--models mobilenet_v2",
            "`--models` (='mobilenet_v2') has 17 layers",
        ),
        ("--models mobilenet_v2,xception", "(=mobilenet_v2,xception) must name one"),
        ("--models all --layer a", "(=all) must name one network"),
        ("--models mobilnet_v2 --layer a", "try mobilenet_v2"),
        ("--models missing.onnx", "(='missing.onnx') must be a file that exists"),
        ("--layer first", "`--layer` must come with `--models`; add it"),
        ("--input x=1x4x9x8", "`--input` must come with `--models`; add it"),
        ("--models mobilenet_v2 --layer a --input x=1x2", "`--input` must be of the"),
        ("--models {two} --layer first --input other.onnx:x=1x4x9x8", "must be of the"),
        (
            "--models {two} --layer first --from test_x",
            "must be left out with `--from`",
        ),
    ],
)
@pytest.mark.parametrize("verb", ["plan", "run", "explain"])
def test_what_names_no_layer_is_refused(capsys, two, verb, words, sentence):
    assert main([verb, *words.format(two=two).split()]) == 2
    assert sentence.format(two=two) in capsys.readouterr().err


def test_weights_come_from_one_place(capsys, two, tmp_path):
    np.save(tmp_path / "w.npy", W)
    line = f"run --models {two} --layer first --w {tmp_path / 'w.npy'}"
    assert main(line.split()) == 2
    assert "must be left out with an .onnx file in `--models`" in (
        capsys.readouterr().err
    )
    before = two.read_bytes()
    line = f"run --models {two} --layer first --save {tmp_path / 'x.npy'}"
    (tmp_path / "x.npy").symlink_to(two)
    assert main(line.split()) == 2
    assert "which it would replace" in capsys.readouterr().err
    assert two.read_bytes() == before


def test_layers_of_a_file_are_certified_all_or_one(capsys, two):
    assert main(["certify", "--models", str(two), "--scheme", "width"]) == 0
    said = capsys.readouterr()
    assert "4 layouts, 4 hold, 0 fail" in said.out  # two layers, two chips
    assert "a channel multiplier (=2)" in said.err
    assert main(["certify", "--models", str(two), "--layer", "first"]) == 0
    assert "1 layouts, 1 hold" in capsys.readouterr().out
    line = ["certify", "--models", "mobilenet_v1", "--input", "x=1x4x9x8"]
    assert main(line) == 2
    assert "`--input` must come with an .onnx file" in capsys.readouterr().err


def test_shapes_of_a_dynamic_input_are_given(capsys, tmp_path):
    path = onnx_files.written(onnx_files.one(shape=(1, 4, "h", "w")), tmp_path)
    assert main(["plan", "--models", str(path)]) == 2
    assert "'x'" in capsys.readouterr().err
    for verb in ("plan", "certify"):
        line = [verb, "--models", str(path), "--input", "x=1x4x20x9"]
        assert main([*line, "--scheme", "width"]) == 0
        assert "20" in capsys.readouterr().out or verb == "certify"


def test_a_repeated_row_of_a_file_says_what_a_sweep_changed(capsys, two):
    from jaxdw.sweep.repeat import repeat_line
    from jaxdw.sweep.space import Space

    with pytest.warns(UserWarning, match="channel multiplier"):
        (point,) = Space(
            models=(str(two),), schemes=("width",), batches=(1,), activations=(False,),
            filter="stride == 2",
        ).points()  # fmt: skip
    line = repeat_line(point, 3)
    assert "--batch 1 " in line
    assert "--activation none" in line
    assert main([*shlex.split(line)[1:], "--json"]) == 0
