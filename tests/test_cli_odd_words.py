"""What nobody should write, and somebody will: refused in one sentence, or taken."""

import csv
import json

import numpy as np
import pytest
from onnx_files import RELU, W, make, node, one

from jaxdw.cli import main

TURNED, NEWLINE = "\x1b[31mred\u202e[bold]", "a,b\nPASS"
LAYER = "--channels 32 --size 4"
SWEEP = "sweep --plan-only --out out --schemes height --models"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Makes the folder that commands stand in: networks, samples, a metric."""
    monkeypatch.chdir(tmp_path)
    files = {
        "-dash.onnx": one(RELU, pads=[1] * 4),
        "n[1]*.onnx": one(RELU, pads=[1] * 4),
        "net.onnx": one(RELU, pads=[1] * 4),
        "two.onnx": make(
            [
                node("Conv", "x w", "y", TURNED, group=4),
                node("Conv", "y w", "z", NEWLINE, group=4),
            ],
            {"x": (1, 4, 9, 8)},
            "z",
            {"w": W},
        ),
    }
    for name, model in files.items():
        (tmp_path / name).write_bytes(model.SerializeToString())
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "none").mkdir()
    x = np.random.default_rng(0).standard_normal((1, 4, 9, 8)).astype(np.float32)
    for name, values in (("x", x), ("nan", x * np.nan), ("huge", np.sign(x) * 3e38)):
        np.save(f"{name}.npy", values.astype(np.float32))
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04" + bytes(64))
    (tmp_path / "odd_metric.py").write_text(
        "def words(a, b): return 'x'\ndef breaks(a, b): raise KeyError('\\x1b')\n"
    )
    return tmp_path


def ran(capsys, words: list[str]) -> tuple[int, str, str]:
    try:
        status = main(words)
    except SystemExit as asked:
        status = int(asked.code or 0)
    return status, *capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("plan --models net.onnx --input x=", "`--input`: '' must be integers joined"),
        ("plan --models net.onnx --input x", "`--input`: 'x' must be NAME="),
        ("plan --models net.onnx --input x=0x4x9x8", "must be a name and sizes >= 1"),
        ("plan --models net.onnx --input x=1x-4x9x8", "a name and sizes >= 1"),
        ("plan --models -dash.onnx", "`--models`: nothing stands behind it; of a word"),
        ("rule JDW005 JDW006", "`JDW006` stands behind all that is taken"),
        (f"diagnose {LAYER}", "`--output` must be given; try --output FILE"),
        (f"diff {LAYER} --read-scheme wild", "`--read-scheme` (=wild) must be one of"),
        (f"diff {LAYER} --read-scheme width --read-grid 0x0", "`--read-grid` (=0x0)"),
        *(
            (f"{verb} {LAYER} --base-address 0xffffffffffffffe0{more}",
             "`--base-address` (=0xffffffffffffffe0) must lie below 0x1000000000")
            for verb, more in (
                ("run", ""), ("explain", ""), ("plan", " --args"),
                ("plan", " --visualizer out"),
            )
        ),
        (f"plan {LAYER} --visualizer=", "`--visualizer` (=) must be a folder; try ."),
        (f"plan {LAYER} --visualizer net.onnx", "must be a folder, not a file"),
        (f"explain {LAYER} --csv net.onnx", "`--csv` (=net.onnx) must be a folder"),
        (f"{SWEEP} net.onnx --seed {2**63}", f"`--seed` (={2**63}) must be below 2^63"),
        (f"{SWEEP} net.onnx --batches {2**63}", "`--batches` (=9223372036854775808)"),
        (f"{SWEEP} net.onnx --html none", "`--html` (=none) must be a file, not"),
        (f"{SWEEP} xception --input x=1", "module:function in --models, or --jax"),
        (f"{SWEEP} net.onnx --dask a --processes 2", "`--processes` (=2) must be left"),
    ],
)  # fmt: skip
def test_an_odd_word_is_refused_in_one_sentence(capsys, folder, words, sentence):
    before = sorted(folder.iterdir())
    status, out, err = ran(capsys, words.split())
    assert (status, out) == (2, "")
    assert sentence in err
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("net.onnx --input x=nan.npy", "`--input` (=nan.npy) must be finite"),
        ("net.onnx --input x=huge.npy", "the network's output 'z' must be finite in"),
        ("net.onnx --input x=bad.npz", "`--input` (=bad.npz) must be a .npy file of"),
        ("net.onnx --samples none", "`--samples` (=none) must hold a .npy or .npz"),
        ("net.onnx --input x=x.npy --metric=", "`--metric` (=) must be module:func"),
        ("net.onnx --input x=x.npy --metric odd_metric:words", "must give a number"),
        ("net.onnx --input x=x.npy --metric odd_metric:breaks", r"(KeyError: '\x1b')"),
        ("empty.onnx --input x=x.npy", "(it has no nodes)"),
        (
            "net.onnx --input x=x.npy --compensate gain --out out --calibration none",
            "`--calibration` (=none) must hold a .npy or .npz",
        ),
    ],
)
def test_accuracy_refuses_what_gives_no_figure(capsys, folder, words, sentence):
    status, out, err = ran(capsys, ["accuracy", *words.split()])
    assert (status, out) == (2, "")
    assert sentence in err
    assert not (folder / "out" / "accuracy.jsonl").exists()


def test_a_metric_that_changed_is_asked_again(capsys, folder):
    def found(text: str) -> set[float]:
        (folder / "own_metric.py").write_text(text)
        import importlib
        import sys

        sys.modules.pop("own_metric", None)
        importlib.invalidate_caches()
        command = "accuracy net.onnx --input x=x.npy --out out --json --metric"
        status, out, _ = ran(capsys, [*command.split(), "own_metric:own"])
        assert status == 0
        rows = map(json.loads, out.splitlines())
        return {row["metric"] for row in rows if row["kind"] == "output"}

    assert found("def own(a, b): return 0.25") == {0.25}
    assert found("def own(a, b): return 0.5  # longer") == {0.5}


def test_names_of_layers_are_one_line_and_can_be_typed(capsys):
    status, _, err = ran(capsys, ["plan", "--models", "two.onnx"])
    assert status == 2
    assert r"  \x1b[31mred\u202e[bold]: " in err.replace(r"\\", "\\")
    assert "\nPASS" not in err
    for name in (r"\x1b[31mred\u202e[bold]", r"a,b\nPASS"):
        words = ["plan", "--models", "two.onnx", "--layer", name, "--table"]
        assert ran(capsys, words)[0] == 0


@pytest.mark.parametrize("name", ["n[1]*.onnx", "-dash.onnx"])
def test_a_name_of_a_file_is_no_pattern(capsys, name):
    assert ran(capsys, ["plan", f"--models={name}", "--table"])[0] == 0


def test_a_value_named_twice_counts_once(capsys):
    status, _, err = ran(capsys, f"{SWEEP} net.onnx,net.onnx --batches 1,1".split())
    assert status == 0
    assert "1 points: 1 models" in err


def test_infinities_are_judged_without_a_warning(capsys):
    for x in ("nan", "huge"):
        words = f"run --models net.onnx --x {x}.npy --json"
        status, out, err = ran(capsys, words.split())
        assert status in (0, 1)
        assert json.loads(out)["result"]["outputs"] == 288
        assert "Warning" not in err


def test_a_formula_is_text_in_every_csv(folder):
    from jaxdw.exports.csv_files import write_csv

    (path,) = write_csv({"t": [{"a": "=1+1", "b": -5, "c": "+x"}]}, folder / "csv")
    (row,) = csv.DictReader(path.read_text().splitlines())
    assert row == {"a": "'=1+1", "b": "-5", "c": "'+x"}
