"""Commands on one's own tensors: files in any layout, all of them or none."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import jaxdw as jd
from jaxdw import cli

CONV = jd.ConvConfig(channels=40, height=9, width=7, padding=1, bias=True)
LAYER = ["--channels", "40", "--size", "9x7", "--padding", "1", "--bias"]
RNG = np.random.default_rng(5)
X = RNG.standard_normal(CONV.input_shape).astype(np.float32)
W = RNG.standard_normal(CONV.weight_shape).astype(np.float32)
BIAS = RNG.standard_normal(40).astype(np.float32)


def run(capsys, command: str, *arguments: str) -> tuple[int, str, str]:
    status = cli.main([command, *LAYER, *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture(scope="module")
def output():
    return np.asarray(jd.emulate(CONV, None, X, W, BIAS).output)


@pytest.fixture
def files(tmp_path, output) -> dict[str, str]:
    """Returns the options of the launch's tensors, each in another kind of file."""
    np.save(tmp_path / "x.npy", X.transpose(0, 3, 1, 2))
    np.savez(tmp_path / "p.npz", w=W.transpose(2, 3, 1, 0), b=BIAS)
    sticks = np.pad(output.reshape(63, 40), [(0, 1), (0, 24)])
    save_file({"o": sticks.astype(ml_dtypes.bfloat16)}, tmp_path / "o.safetensors")
    return {
        "--x": f"{tmp_path}/x.npy",
        "--w": f"{tmp_path}/p.npz:w",
        "--bias-values": f"{tmp_path}/p.npz:b",
        "--against": f"{tmp_path}/o.safetensors",
    }


def words(files: dict[str, str]) -> list[str]:
    return [word for pair in files.items() for word in pair]


def test_a_layer_is_run_on_files_saved_and_compared(capsys, tmp_path, files, output):
    save = str(tmp_path / "out.npy")
    status, out, _ = run(capsys, "run", *words(files), "--save", save)
    assert (status, out.splitlines()[-1]) == (0, "PASS")
    lines = out.splitlines()
    assert "x: [1, 40, 9, 7] taken as [N, C, H, W] of [1, 9, 7, 40]" in lines
    assert "w: [3, 3, 1, 40] taken as [kh, kw, 1, C] of [40, 1, 3, 3]" in lines
    assert "x: 2520 of 2520 values rounded to bfloat16, as the host" in out
    assert any(line.startswith("against: [64, 64] taken as [N*H*W") for line in lines)
    assert "identical: all 2,520 outputs equal" in out
    saved = np.load(save)
    assert (saved.shape, saved.dtype) == (output.shape, np.float32)
    np.testing.assert_array_equal(saved, output)


def test_what_was_saved_is_what_it_is_compared_with(capsys, tmp_path, files):
    files["--against"] = save = str(tmp_path / "out.npy")
    del files["--against"]
    assert run(capsys, "run", *words(files), "--save", save)[0] == 0
    files["--against"] = save
    status, out, _ = run(capsys, "run", *words(files), "--json")
    report = json.loads(out)
    assert status == 0
    assert report["against"]["kind"] == "identical"
    assert report["against"]["outputs"] == report["against"]["equal"] == 2520
    assert report["notes"][0].startswith("x: [1, 40, 9, 7] taken as")


def test_an_output_that_differs_fails(capsys, tmp_path, files, output):
    wrong = output.copy()
    wrong[0, 3, 2, 5] = -wrong[0, 3, 2, 5]
    files["--against"] = str(tmp_path / "wrong.npy")
    np.save(files["--against"], wrong)
    status, out, _ = run(capsys, "run", *words(files), "--json")
    report = json.loads(out)
    assert (status, report["result"]["passed"]) == (1, True)
    assert report["against"]["equal"] == 2519
    assert report["against"]["max_ulp"] > 1000
    status, out, _ = run(capsys, "run", *words(files))
    assert (status, out.splitlines()[-1]) == (1, "FAIL")


def test_drawn_tensors_are_those_of_the_seed(capsys, tmp_path):
    paths = [str(tmp_path / f"{n}.npy") for n in range(3)]
    for path, seed in zip(paths, (["--seed", "0"], [], ["--seed", "1"]), strict=True):
        assert run(capsys, "run", *seed, "--save", path)[0] == 0
    first, same, other = map(np.load, paths)
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
    assert run(capsys, "run", "--seed", "1", "--against", paths[2])[0] == 0
    assert run(capsys, "run", "--against", paths[2])[0] == 1


@pytest.mark.parametrize("command", ["run", "diagnose"])
@pytest.mark.parametrize(
    ("left_out", "named"),
    [
        (["--bias-values"], ["--bias-values"]),
        (["--w"], ["--w"]),
        (["--x"], ["--x"]),
        (["--w", "--bias-values"], ["--w", "--bias-values"]),
        (["--x", "--bias-values"], ["--x", "--bias-values"]),
    ],
)
def test_files_are_never_mixed_with_drawn_tensors(
    capsys, files, command, left_out, named
):
    for option in left_out:
        del files[option]
    if command == "diagnose":
        files["--output"] = files.pop("--against")
    status, out, err = run(capsys, command, *words(files))
    assert (status, out) == (2, "")
    lines = err.strip().split("\n")
    assert len(lines) == len(named)
    for line, option in zip(lines, named, strict=True):
        assert f"`{option}` must be given with" in line
        assert "not mixed with drawn ones" in line


def test_a_right_output_in_any_layout_is_no_fault(capsys, files):
    files["--output"] = files.pop("--against")
    status, out, _ = run(capsys, "diagnose", *words(files))
    assert status == 0
    assert "identical: all 2,520 outputs equal" in out
    assert "x: [1, 40, 9, 7] taken as [N, C, H, W]" in out


def test_values_that_the_host_sends_as_they_are_get_no_note(capsys, tmp_path, files):
    del files["--against"]
    for option, values in (("--x", X), ("--w", W), ("--bias-values", BIAS)):
        files[option] = str(tmp_path / f"held{option}.npy")
        np.save(files[option], values.astype(ml_dtypes.bfloat16).astype(np.float32))
    _, out, _ = run(capsys, "run", *words(files), "--json")
    assert "notes" not in json.loads(out)


@pytest.mark.parametrize("command", ["run", "diagnose"])
def test_options_that_nothing_would_use_are_refused(capsys, files, command, tmp_path):
    if command == "diagnose":
        files["--output"] = files.pop("--against")
    given = words(files)
    status, _, err = run(capsys, command, *given, "--seed", "3")
    assert (status, "`--seed` (=3) must be left out" in err) == (2, True)
    status, _, err = run(capsys, command, *given, "--file-dtype", "float32")
    assert (status, "(='float32') must be left out" in err) == (2, True)
    status, _, err = run(capsys, command, *given, "--layout", "w=oihw")
    assert (status, "`--w` (=3x3x1x40) must have a oihw shape" in err) == (2, True)
    if command == "run":
        status, _, err = run(capsys, command, *given, "--draw", "random")
        assert (status, "`--draw` (=random) must be left out" in err) == (2, True)
        status, _, err = run(capsys, command, *given, "--layer", "a")
        assert (status, "`--layer` must come with `--models`" in err) == (2, True)


@pytest.mark.parametrize("option", ["--x", "--w", "--bias-values", "--against"])
def test_nothing_is_written_over_what_is_read(capsys, tmp_path, files, option):
    path = files[option].partition(":")[0]
    if not path.endswith(".npy"):
        named = tmp_path / "linked.npy"
        named.symlink_to(path)
        path = str(named)
    before = Path(path).read_bytes()
    status, _, err = run(capsys, "run", *words(files), "--save", path)
    assert status == 2
    first = "--w" if option == "--bias-values" else option  # both lie in one file
    assert f"must not be the file of `{first}` (=" in err
    assert Path(path).read_bytes() == before


def test_nothing_half_written_stays(capsys, tmp_path, files, monkeypatch):
    save = tmp_path / "out.npy"
    save.write_text("before")

    def full(file, values):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    status, _, err = run(capsys, "run", *words(files), "--save", str(save))
    assert (status, "No space left" in err) == (2, True)
    assert save.read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {
        "x.npy", "p.npz", "o.safetensors", "out.npy",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["out.bin", "out"])
def test_a_file_to_save_is_called_npy(capsys, tmp_path, name):
    status, _, err = run(capsys, "run", "--save", str(tmp_path / name))
    assert (status, "must end in .npy" in err) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_float32_outputs_are_saved_exactly(capsys, tmp_path):
    save = str(tmp_path / "out.npy")
    own = ["--output-dtype", "fp32", "--arithmetic", "float32"]
    run(capsys, "run", *own, "--save", save)
    saved = np.load(save)
    assert (saved != saved.astype(ml_dtypes.bfloat16).astype(np.float32)).any()
    _, out, _ = run(capsys, "run", *own, "--against", save, "--json")
    assert json.loads(out)["against"]["equal"] == 2520


def test_an_output_of_another_shape_is_refused_with_what_would_do(capsys, tmp_path):
    np.save(tmp_path / "o.npy", np.zeros((1, 7, 9, 40)))
    status, _, err = run(capsys, "run", "--against", str(tmp_path / "o.npy"))
    assert status == 2
    assert "`--against` (=1x7x9x40) must have one of the shapes" in err
    assert "[N*H*W, C] [63, 40]" in err


def test_raw_files_are_read_as_the_layers_dtypes(capsys, tmp_path, files, output):
    raw = tmp_path / "o.bin"
    output.astype(ml_dtypes.bfloat16).tofile(raw)
    files["--against"] = str(raw)
    status, _, err = run(capsys, "run", *words(files))
    assert (status, "`--layout nchw`" in err) == (2, True)
    status, out, _ = run(capsys, "run", *words(files), "--layout", "output=nhwc")
    assert status == 0
    assert "against: raw values read as bfloat16" in out
    output.tofile(raw)
    more = ["--layout", "output=nhwc", "--file-dtype", "fp32"]
    assert run(capsys, "run", *words(files), *more)[0] == 0
