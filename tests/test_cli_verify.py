import json

import numpy as np
import pytest

import jaxdw as jd
from jaxdw import cli
from jaxdw.faults.catalogue import CATALOGUE

LAYER = ["--channels", "64", "--size", "8x8", "--padding", "1"]
CONV = jd.ConvConfig(channels=64, height=8, width=8, padding=1)
FLOAT32 = ["--arithmetic", "float32"]


def run(capsys, command: str, *arguments: str) -> tuple[int, str, str]:
    status = cli.main([command, *LAYER, *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_layout_is_certified_with_its_counts(capsys):
    status, out, _ = run(capsys, "certify", "--scheme", "block", "--schedule")
    assert status == 0
    assert out.startswith("HOLDS channels=64")
    assert "576 weights" in out
    assert "1 layouts, 1 hold, 0 fail" in out


def test_an_older_layout_fails_its_certificate(capsys):
    status, out, _ = run(
        capsys, "certify", "--scheme", "width", "--weight-layout", "concatenated"
    )
    assert status == 1
    assert out.startswith("FAILS")


def test_the_schedule_of_a_partial_row_is_no_certificate(capsys):
    line = ["certify", "--channels", "32", "--size", "20", "--padding", "1"]
    assert cli.main(line) == 0
    assert cli.main([*line, "--schedule"]) == 1
    out = capsys.readouterr().out
    assert "stray write" in out


def test_a_lockfile_shows_what_changed(capsys, tmp_path):
    lock = str(tmp_path / "lock.json")
    assert run(capsys, "certify", "--scheme", "block", "--lock", lock)[0] == 0
    assert run(capsys, "certify", "--scheme", "block", "--check", lock)[0] == 0
    text = (tmp_path / "lock.json").read_text()
    (tmp_path / "lock.json").write_text(text.replace("scheme=block", "scheme=width"))
    status, out, _ = run(capsys, "certify", "--scheme", "block", "--check", lock)
    assert (status, out.splitlines()[-1]) == (1, f"2 differences from {lock}")


def test_a_model_is_certified_in_three_schemes(capsys):
    assert cli.main(["certify", "--models", "mobilenet_v1", "--arch", "n300"]) == 0
    assert "27 layouts, 27 hold, 0 fail" in capsys.readouterr().out
    assert cli.main(["certify", "--models", "mobilenet_v1", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(json.loads(line)["holds"] for line in lines)
    assert cli.main(["certify"]) == 2
    assert "--models" in capsys.readouterr().err


def test_prepared_weights_are_told_apart(capsys, tmp_path):
    w = np.random.default_rng(0).standard_normal(CONV.weight_shape)
    files = ["--w", str(tmp_path / "w.npy"), "--prepared"]
    np.save(tmp_path / "w.npy", w)
    for scheme in ("height", "width"):
        plan = jd.make_plan(CONV, jd.ShardConfig(scheme=scheme))
        matrix = np.asarray(jd.prepare_weights(plan, w), np.float32)
        np.save(tmp_path / f"{scheme}.npy", matrix)
    arguments = ["--scheme", "width", *files]
    status, out, _ = run(capsys, "diff", *arguments, str(tmp_path / "width.npy"))
    assert status == 0
    status, out, _ = run(capsys, "diff", *arguments, str(tmp_path / "height.npy"))
    assert status == 1
    assert "HEIGHT" in out.upper()
    with pytest.raises(SystemExit, match="2"):
        run(capsys, "diff", *arguments, str(tmp_path / "absent.npy"))
    near = f"absent.npy) must be a file that exists; try {tmp_path / 'height.npy'}"
    assert near in capsys.readouterr().err


def test_two_plans_are_compared(capsys):
    status, out, _ = run(capsys, "diff", "--scheme", "height", "--read-scheme", "width")
    assert status == 1
    assert out.startswith("2 of 2 cores misread their weights: 32 of 576")
    status, _, _ = run(capsys, "diff", "--scheme", "block", "--read-scheme", "width")
    assert status == 0
    status, _, err = run(capsys, "diff")
    assert (status, "--read-scheme" in err) == (2, True)


def test_the_catalogue_says_which_check_notices(capsys):
    status, out, _ = run(capsys, "faults", "--scheme", "width", "--json", *FLOAT32)
    rows = {row["fault"]: row for row in map(json.loads, out.splitlines())}
    assert status == 0
    assert all(row["witness"] for row in rows.values())
    assert "flipped-kernel" in rows
    assert not all(row["pcc_0_99"] for row in rows.values())
    status, out, _ = run(capsys, "faults", "--scheme", "width", *FLOAT32)
    last = out.splitlines()[-1]
    assert last.startswith(
        f"{len(rows)} of {len(CATALOGUE)} faults apply to this layer; PCC above"
    )


@pytest.mark.parametrize("wrong", [False, True])
def test_a_wrong_output_is_diagnosed(capsys, tmp_path, wrong):
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal(CONV.input_shape), rng.standard_normal(CONV.weight_shape)
    compute = jd.ComputeConfig(arithmetic="float32")
    plan = jd.make_plan(CONV, jd.ShardConfig(scheme="width"), compute)
    given = w.swapaxes(2, 3) if wrong else w
    output = jd.run(plan, jd.make_maps(plan), x, given).output
    for name, values in (("x", x), ("w", w), ("output", output)):
        np.save(tmp_path / f"{name}.npy", np.asarray(values, np.float32))
    files = [f"--{n}={tmp_path / n}.npy" for n in ("x", "w", "output")]
    status, out, _ = run(capsys, "diagnose", "--scheme", "width", *files, *FLOAT32)
    assert status == wrong
    if wrong:
        assert "cause 1: transposed-kernel (kernel positions counted" in out
    else:
        assert out == "identical: all 4,096 outputs equal\n"
    status, out, _ = run(
        capsys, "diagnose", "--scheme", "width", *files, *FLOAT32, "--json"
    )
    report = json.loads(out)
    assert (status, report["right"]) == (int(wrong), not wrong)
    assert report["notes"] == []


def test_a_difference_is_json_too(capsys, tmp_path):
    line = ["diff", "--scheme", "height", "--read-scheme", "width", "--json"]
    status, out, _ = run(capsys, *line)
    report = json.loads(out)
    assert (status, report["matches"]) == (1, False)
    assert report["places"]
    w = np.random.default_rng(0).standard_normal(CONV.weight_shape).astype("f4")
    plan = jd.make_plan(CONV, jd.ShardConfig(scheme="height"))
    matrix = np.asarray(jd.prepare_weights(plan, w), np.float32)
    np.save(tmp_path / "w.npy", w)
    np.save(tmp_path / "m.npy", -matrix.reshape(plan.weight_matrix_shape))
    files = ["--prepared", f"{tmp_path}/m.npy", "--w", f"{tmp_path}/w.npy"]
    status, out, _ = run(capsys, "diff", "--scheme", "height", *files, "--json")
    report = json.loads(out)
    assert (status, report["matches"], report["note"]) == (1, False, "")
    assert "the plan's layout, values with the other sign" in report["hypotheses"]
    assert report["first"]["found_weight"] is None
