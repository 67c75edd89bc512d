"""The command and the device programs: which one runs, whether it fits, which gate."""

import json
import shlex

import numpy as np
import pytest

import jaxdw as jd
from jaxdw import cli
from jaxdw.plan.known import KNOWN
from jaxdw.plan.planner import PROGRAMS
from jaxdw.report.facts import BOUNDS_MISLEAD

ROW = "--channels 32 --size 1x32 --kernel 1x3 --padding 0x0x1x1"
ROW_CONV = jd.ConvConfig(
    channels=32, height=1, width=32, kernel=(1, 3), padding=(0, 0, 1, 1)
)
FP32 = "--dtype fp32 --weights-dtype fp32"
TREE = "tt-metal branch @002a3f41, not merged"


def said(capsys, line: str) -> tuple[int, str, str]:
    status = cli.main(shlex.split(line))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def report_of(capsys, line: str) -> dict:
    status, out, _ = said(capsys, line + " --json")
    assert status == 0
    return json.loads(out)


def notice(tree: str, runs: str, planned: str) -> str:
    return (
        f"NOT THE PROGRAM THAT RUNS: {tree} gives this layer to its {runs} program; "
        f"figures are of {planned}."
    )


# What ttnn did with layers of public reports: #46025, PR #49694, #54564, #53303; by its
# program before May 2026, a dense matmul, #45392.
@pytest.mark.parametrize(
    ("program", "arch", "layer", "fits"),
    [
        ("conv1d", "blackhole", f"768 --size 1x1641 --kernel 1x12 {FP32}", 245824),
        (
            "conv1d",
            "blackhole",
            f"768 --size 1x1611 --kernel 1x12 --stride 1x2 {FP32}",
            245824,
        ),
        ("conv1d", "blackhole", f"384 --size 1x3241 --kernel 1x12 {FP32}", 122944),
        (
            "conv1d",
            "blackhole",
            f"384 --size 1x3211 --kernel 1x12 --stride 1x2 {FP32}",
            122944,
        ),
        (
            "conv1d",
            "blackhole",
            f"192 --size 1x6441 --kernel 1x12 {FP32}",
            "use --scheme height --memory dram, which takes 2 launches",
        ),
        (
            "conv1d",
            "blackhole",
            "8192 --size 1x7 --kernel 1x4",
            "no sharding of this layer fits the chip",
        ),
        (
            "conv1d",
            "blackhole",
            "8192 --size 1x20 --kernel 1x4 --padding 0x0x3x3",
            "no sharding of this layer fits the chip",
        ),
        (
            "conv1d",
            "blackhole",
            "10240 --size 1x12 --kernel 1x4 --padding 0x0x3x3",
            "no sharding of this layer fits the chip",
        ),
        (
            "regular",
            "wormhole_b0",
            "512 --size 1x512 --kernel 1x4 --padding 0x0x1x2",
            "use --scheme auto",
        ),
    ],
)
def test_a_layer_of_one_row_fits_or_not_as_upstream_saw(
    capsys, program, arch, layer, fits
):
    line = f"plan --channels {layer} --arch {arch} --program {program}"
    status, out, err = said(capsys, line)
    if isinstance(fits, int):
        assert (status, err) == (0, "")
        assert f"circular buffers │ {fits} " in out
        return
    assert (status, out) == (2, "")
    lines = err.splitlines()
    assert any(
        line.startswith("in tt-metal's own words: Statically allocated circular")
        for line in lines
    )
    assert f"planned by the program {program} of ttnn 0.81.1" in lines
    assert lines[-1].startswith(fits)


def test_the_librarys_sentence_stands_in_the_refusal(capsys):
    line = f"plan --channels 192 --size 1x6441 --kernel 1x12 {FP32} --arch blackhole"
    status, _, err = said(capsys, f"{line} --program ttnn")
    assert status == 2
    assert (
        "own words: Statically allocated circular buffers on core range [0-0 - 12-7] "
        "grow to 1586368 B which is beyond max L1 size of 1572864 B\n"
    ) in err
    plan = report_of(capsys, f"{line} --program ttnn --memory dram")["plan"]
    assert (plan["program"], plan["slices"], plan["l1_fits"]) == ("conv1d", 2, True)


@pytest.mark.parametrize(
    ("layer", "runs"),
    [
        ("--size 1x64 --kernel 1x3 --bias", "regular"),
        ("--size 64x1 --kernel 3x1", "regular"),
        ("--size 1x64 --kernel 1x3", "conv1d"),
        ("--size 8 --kernel 3", "regular"),
    ],
)
def test_ttnn_is_the_program_that_the_library_takes(capsys, layer, runs):
    plan = report_of(capsys, f"plan --channels 32 {layer} --program ttnn")["plan"]
    assert (plan["program"], plan["upstream_program"]) == (runs, runs)
    assert plan["tree"] == "ttnn 0.81.1"
    assert plan["known"] == {name: by for name, (by, _) in KNOWN[runs].items()}
    _, out, _ = said(capsys, f"plan --channels 32 {layer} --program ttnn")
    assert out.startswith("Plan\n")


GATED = [  # tt-mlir #9276; tt-metal #47799, #55272; a program that is not ttnn's
    (f"{ROW}", "JDW021", "wrong-values"),
    (f"{ROW} --program ttnn --config-tensors-in-dram", "JDW041", "hang"),
    (f"{ROW} --program ttnn --activation silu", "JDW040", "wrong-values"),
    (f"{ROW} --program regular", "JDW021", "wrong-values"),
    (f"{ROW} --program ttnn --dilation 1x2", "JDW042", "wrong-values"),
]


@pytest.mark.parametrize(("line", "code", "severity"), GATED)
def test_a_gate_stops_what_upstream_computes_wrongly(capsys, line, code, severity):
    status, out, _ = said(capsys, f"plan {line} --fail-on {severity}")
    assert status == 1
    assert f"FINDING {code} {severity.replace('-', ' ')} (" in out
    report = report_of(capsys, f"plan {line}")
    assert {f["code"] for f in report["findings"]} - {"JDW023"} == {code}


def test_a_gate_lets_a_layer_pass_that_ttnn_runs_right(capsys):
    line = f"plan {ROW} --program ttnn --fail-on performance"
    assert said(capsys, line)[0] == 0


@pytest.mark.parametrize(
    ("command", "runs", "planned"),
    [
        (f"plan {ROW}", "conv1d", "depthwise"),
        (f"plan {ROW} --table", "conv1d", "depthwise"),
        (f"plan {ROW} --program regular", "conv1d", "regular"),
        (f"run {ROW} --arithmetic float32", "conv1d", "depthwise"),
        (f"certify {ROW}", "conv1d", "depthwise"),
        (f"explain {ROW} --weight 5,0,2", "conv1d", "depthwise"),
        (f"diff {ROW} --read-scheme width", "conv1d", "depthwise"),
        ("plan --channels 32 --size 8 --kernel 1 --padding 1", "regular", "depthwise"),
    ],
)
def test_the_first_line_says_that_another_program_runs(capsys, command, runs, planned):
    _, out, _ = said(capsys, command)
    tree = TREE if planned == "depthwise" else "ttnn 0.81.1"
    assert out.splitlines()[0] == notice(tree, runs, planned)


@pytest.mark.parametrize("command", ["plan", "explain", "run --arithmetic float32"])
def test_json_names_the_program_and_prints_nothing_else(capsys, command):
    plan = report_of(capsys, f"{command} {ROW}")["plan"]
    assert (plan["program"], plan["upstream_program"]) == ("depthwise", "conv1d")
    assert (plan["tree"], plan["known"]["L1"]) == (TREE, "source")
    record = report_of(capsys, f"certify {ROW}")
    assert (record["program"], record["upstream_program"]) == ("depthwise", "conv1d")


def test_a_layer_of_the_matmul_is_told_first(capsys):
    _, out, _ = said(capsys, "plan --channels 32 --size 8 --kernel 1 --program ttnn")
    assert out.splitlines()[0] == (
        "NOT THE PROGRAM THAT RUNS: ttnn runs this layer with its matmul, which is not "
        "planned here."
    )


def test_outputs_of_other_programs_are_diagnosed(capsys, tmp_path):
    layer = "--channels 32 --size 8 --program regular"
    assert said(capsys, f"run {layer} --save {tmp_path}/o.npy")[0] == 0
    status, out, _ = said(capsys, f"diagnose {layer} --output {tmp_path}/o.npy")
    assert (status, out.splitlines()[-1]) == (0, "identical: all 1,152 outputs equal")
    output = np.load(tmp_path / "o.npy")
    np.save(tmp_path / "o.npy", -output)
    status, out, _ = said(capsys, f"diagnose {layer} --output {tmp_path}/o.npy")
    assert status == 1
    assert "cause 1: output-negated (the output with the other sign)" in out


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "plan --channels 32 --size 8 --program winograd",
            "`--program` (=winograd) must be one of depthwise, regular, conv1d, ttnn",
        ),
        (
            "plan --channels 32 --size 8 --program conv1d",
            "--program conv1d must have one row and no bias (kernel (3, 3), height 8",
        ),
        (
            "certify --models mobilenet_v1 --program ttnn",
            "`--program` must be left out with --models",
        ),
        ("plan --channels 32 --size 8 --pcc", "`--pcc` must come with --program all"),
        (
            "plan --channels 32 --size 8 --program all --fail-on hang",
            "`--fail-on` must come with one program",
        ),
        (
            "plan --channels 32 --size 8 --program all --args",
            "`--args` must come with one program",
        ),
        ("plan --channels 0 --size 8 --program all", "`--channels` (=0)"),
        (
            "run --channels 32 --size 8 --program all",
            "`--program` (=all) must be one of depthwise, regular, conv1d, ttnn",
        ),
    ],
)
def test_what_no_program_can_do_is_refused(capsys, line, sentence):
    status, out, err = said(capsys, line)
    assert (status, out) == (2, "")
    assert sentence in err


UNKNOWN = {
    "input-layout tile": "`--input-layout` (=tile) must be row_major",
    "memory dram": "`--memory` (=dram) must be l1",
    "config-tensors-in-dram": "`--config-tensors-in-dram` (=True) must be False",
    "full-inner-dim": "`--full-inner-dim` (=True) must be False",
    "act-block-w-div 2": "`--act-block-w-div` (=2) must be 1",
    "force-split-reader": "`--force-split-reader` (=True) must be False",
    "enable-activation-reuse": "`--enable-activation-reuse` (=True) must be False",
    "packer-l1-acc": "`--packer-l1-acc` (=True) must be False",
}


def test_options_that_the_branch_does_not_have_arrive_together(capsys):
    options = " ".join(f"--{option}" for option in UNKNOWN)
    status, _, err = said(capsys, f"plan --channels 64 --size 8 {options}")
    assert status == 2
    lines = err.removeprefix("jaxdw: ").splitlines()
    want = [f"{s} for the depthwise program, which has no" for s in UNKNOWN.values()]
    assert [line.split(" such option")[0] for line in lines] == want
    assert all(line.endswith("--program ttnn or leave it out") for line in lines)


@pytest.mark.parametrize("option", sorted({*UNKNOWN} - {"enable-activation-reuse"}))
def test_ttnns_programs_take_each_of_them(capsys, option):
    line = f"plan --channels 4096 --size 4 --padding 1 --scheme width --{option}"
    assert said(capsys, f"{line} --program ttnn")[0] == 0


def test_programs_stand_side_by_side(capsys):
    line = f"plan {ROW} --program all"
    found = report_of(capsys, line)
    assert list(found["programs"]) == list(PROGRAMS)
    assert found["note"] == BOUNDS_MISLEAD
    for name, column in found["programs"].items():
        plan = jd.make_plan(ROW_CONV, program=name)
        runs = "yes" if name == "conv1d" else "no, conv1d does"
        assert column == {
            "tree": plan.tree,
            "outcome": "fits",
            "runs": runs,
            "math_fidelity": "LoFi",
            "scheme": "height",
            "input_grid": "x".join(map(str, plan.grid)),
            "output_grid": f"{plan.output_grid.x}x{plan.output_grid.y}",
            "cores": plan.num_cores,
            "cores_that_compute": plan.num_output_cores,
            "launches": 1,
            "l1_static_bytes": plan.l1.static_bytes,
            "l1_region_end": plan.l1.region_end,
            "l1_lowest_buffer": plan.l1.lowest_buffer,
            "fits": True,
            "cycles_halo": plan.cycles.halo,
            "cycles_dram": plan.cycles.dram,
            "cycles_multicast": plan.cycles.multicast,
            "cycles_l1_reads": plan.cycles.l1_reads,
            "cycles_matrix_unit": plan.cycles.matrix_unit,
            "cycles_total": plan.cycles.total,
            "findings": "JDW023" if name == "conv1d" else "JDW021",
        }
    _, out, _ = said(capsys, line)
    assert out.splitlines()[0] == "Programs side by side"
    assert out.splitlines()[-1] == BOUNDS_MISLEAD
    _, out, _ = said(capsys, line + " --table")
    lines = out.splitlines()
    assert lines[0] == "| fact | depthwise | regular | conv1d |"
    assert "| cycles total | " in out
    assert lines[-1] == BOUNDS_MISLEAD


def test_what_one_program_refuses_is_said_in_its_column(capsys):
    line = "plan --channels 64 --size 512 --padding 1 --program all --memory dram"
    columns = report_of(capsys, line)["programs"]
    assert columns["regular"]["launches"] > 1
    assert "scheme" not in columns["depthwise"]
    assert columns["depthwise"]["outcome"].startswith("refused: `memory` (='dram')")
    assert columns["conv1d"]["outcome"].startswith("refused: program='conv1d'")
    line = "plan --channels 512 --size 512 --padding 1 --program all"
    columns = report_of(capsys, line)["programs"]
    assert columns["regular"]["outcome"].startswith("Out of Memory: ")
    assert columns["depthwise"]["outcome"] == (
        "L1 buffers (=9457664 bytes) must fit the 1360544 bytes of one core"
    )
    assert columns["regular"]["fits"] is columns["depthwise"]["fits"] is False


def test_the_pcc_of_each_program_is_that_of_its_own_run(capsys):
    columns = report_of(capsys, f"plan {ROW} --program all --pcc")["programs"]
    pccs = {name: column["pcc"] for name, column in columns.items()}
    assert len({*pccs.values()}) == 3
    for name, pcc in pccs.items():
        found = report_of(capsys, f"run {ROW} --program {name}")
        assert found["result"]["pcc"] == pcc > 0.999


def test_grids_of_input_and_output_stand_apart(capsys):
    line = "plan --channels 144 --size 56x56 --padding 1 --scheme block --program all"
    column = report_of(capsys, line)["programs"]["regular"]
    assert (column["input_grid"], column["output_grid"]) == ("6x8", "5x8")
    assert (column["cores"], column["cores_that_compute"]) == (48, 40)


def test_the_scheme_that_ttnn_chooses_is_the_only_plan_shown(capsys):
    line = "plan --channels 144 --size 56x56 --padding 1 --scheme auto --program"
    report = report_of(capsys, f"{line} regular")
    assert (report["plan"]["scheme"], report["alternatives"]) == ("block", [])
    assert report_of(capsys, f"{line} depthwise")["alternatives"]


def test_an_unknown_option_and_a_wrong_shard_arrive_together(capsys):
    line = "plan --channels 64 --size 8 --cores 2 --input-shard 1x32 --full-inner-dim"
    _, _, err = said(capsys, line)
    assert "`--full-inner-dim` (=True)" in err
    assert "`--input-shard` (=1 rows, 32 channels)" in err


@pytest.mark.parametrize("programs", ["depthwise,ttnn", "regular,ttnn"])
def test_a_sweep_of_programs_says_what_bounds_leave_out(capsys, tmp_path, programs):
    line = f"sweep --models mobilenet_v2 --schemes auto --programs {programs}"
    line += f" --filter height==7 --plan-only --processes 1 --out {tmp_path}"
    status, out, _ = said(capsys, line)
    assert status == 0
    compared = BOUNDS_MISLEAD in " ".join(out.split())
    assert compared == programs.startswith("depthwise")
    assert "ttnn: regular" in out
