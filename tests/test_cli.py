import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import jaxdw as jd
from jaxdw import cli
from jaxdw.cli import options
from jaxdw.cli import run as run_command
from jaxdw.plan import config

EXAMPLE = ["run", "--channels", "64", "--size", "8x8", "--kernel", "3x3"]
EXAMPLE += ["--padding", "1"]


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    status = cli.main([*EXAMPLE, *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("scheme", ["height", "width", "block"])
def test_the_plans_example_passes(capsys, scheme):
    status, out, _ = run(capsys, "--scheme", scheme)
    assert (status, out.splitlines()[-1]) == (0, "PASS")
    assert "0x2c00001d4da0" in out
    assert "0x400401d4da0" in out


def test_json_is_one_object_with_the_same_facts(capsys):
    status, out, _ = run(
        capsys, "--scheme", "block", "--bias", "--json", "--arithmetic", "float32"
    )
    report = json.loads(out)
    assert status == 0
    assert report["plan"]["grid"] == [2, 2]
    assert report["plan"]["halo_shard"] == [60, 32]
    assert report["plan"]["start_tiles"] == [0, 1, 0, 1]
    assert report["addresses"][1]["noc_address"] == "0x400401d4da0"
    assert report["traffic"]["tiles_per_bank"][:3] == [3, 3, 0]
    assert report["result"]["passed"] is True
    assert report["result"]["max_ulp"] <= 1


def test_a_wrong_layout_fails_and_says_why(capsys):
    status, out, _ = run(capsys, "--scheme", "width", "--weight-layout", "concatenated")
    assert (status, out.splitlines()[-1]) == (1, "FAIL")
    assert "JDW001 wrong values" in out


@pytest.mark.parametrize("dump", ["weights", "tiles", "l1"])
def test_pattern_weights_show_the_plans_dump(capsys, dump):
    arguments = ["--scheme", "width", "--weights", "pattern", "--dump", dump]
    status, out, _ = run(capsys, *arguments)
    assert status == 0
    lines = out.splitlines()
    first = lines.index("Row 0: F0[1, 1, ...] F1[9, 9, ...]")
    head = {
        "weights": "Matrix rows 0-31, columns 0-31:",
        "tiles": "Tile 0 (tile row 0, column 0; bank 0, slot 0):",
        "l1": "Core (0, 0) L1 tile 0 (DRAM tile 0):",
    }
    assert lines[first - 1] == head[dump]
    assert lines[first + 15] == "Row 15: F0[8, 8, ...] F1[0, 0, ...]"
    assert lines[first + 16] == "Rows 16-31: zeros"


def test_dump_as_json(capsys):
    _, out, _ = run(capsys, "--weights", "pattern", "--dump", "tiles", "--json")
    assert json.loads(out)["dump"]["tiles"][1].startswith("Row 0: F0[1, 1, ...]")


def test_seed_changes_the_inputs(capsys):
    dumps = [
        run(capsys, "--dump", "tiles", "--seed", seed)[1] for seed in ("0", "0", "1")
    ]
    assert dumps[0] == dumps[1] != dumps[2]


def test_all_problems_arrive_with_exit_status_2(capsys):
    status, out, err = run(
        capsys, "--channels", "0", "--scheme", "rows", "--grid", "9x9"
    )
    assert (status, out) == (2, "")
    for name in ("`--channels` (=0)", "`--scheme` (=rows)", "`--grid` (=9x9, x and y)"):
        assert name in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--stride", "1.5"],
            "`--stride` (=1.5) must be integers joined by x; try 3x3",
        ),
        (["--channels", "x"], "`--channels` (=x) must be an integer >= 0; try 0"),
    ],
)
def test_words_that_are_no_numbers_are_refused_by_name(capsys, arguments, sentence):
    with pytest.raises(SystemExit, match="2"):
        run(capsys, *arguments)
    assert sentence in capsys.readouterr().err


def test_three_sizes_are_refused(capsys):
    status, _, err = run(capsys, "--size", "8x8x8")
    assert status == 2
    assert "`--size` (=8x8x8) must be HxW" in err


def test_help_does_not_import_jax():
    code = "import sys; from jaxdw import cli\n"
    code += "try:\n    cli.main(['--help'])\n"
    code += "finally:\n    assert 'jax' not in sys.modules\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "jaxdw plan " in done.stdout


def test_every_flag_reaches_its_config():
    line = (
        "run --channels 40 --size 9x7 --batch 2 --kernel 3x2 --stride 2x1 "
        "--padding 1x0 --dilation 1x2 --dtype fp32 --weights-dtype bfp4 "
        "--output-dtype bfp8 --bias --activation relu --scheme block --grid 4x2 "
        "--act-block-h-override 64 --weight-layout tile_chunks --cores 4x2 "
        "--orientation col_major --input-shard 64x32 --reshard-if-not-optimal "
        "--output-layout row_major --enable-act-double-buffer "
        "--enable-weights-double-buffer --program-cache "
        "--arithmetic float32 --math-fidelity HiFi4 --fp32-dest-acc "
        "--arch n150 --program ttnn --input-layout tile --memory dram "
        "--act-block-w-div 2 --config-tensors-in-dram --full-inner-dim "
        "--force-split-reader --enable-activation-reuse --packer-l1-acc"
    )
    args = cli.make_parser().parse_args(line.split())
    conv = jd.ConvConfig(
        channels=40,
        height=9,
        width=7,
        batch=2,
        kernel=(3, 2),
        stride=(2, 1),
        padding=(1, 0),
        dilation=(1, 2),
        dtype="float32",
        weights_dtype="bfloat4_b",
        output_dtype="bfloat8_b",
        bias=True,
        activation="relu",
    )
    shard = jd.ShardConfig(
        scheme="block",
        grid=(4, 2),
        cores=(4, 2),
        orientation="col_major",
        act_block_h_override=64,
        input_shard=(64, 32),
        reshard_if_not_optimal=True,
        output_layout="row_major",
        enable_act_double_buffer=True,
        enable_weights_double_buffer=True,
        program_cache=True,
        weight_layout="tile_chunks",
        input_layout="tile",
        memory="dram",
        act_block_w_div=2,
        config_tensors_in_dram=True,
        full_inner_dim=True,
        force_split_reader=True,
        enable_activation_reuse=True,
    )
    compute = jd.ComputeConfig(
        arithmetic="float32",
        math_fidelity="HiFi4",
        fp32_dest_acc=True,
        packer_l1_acc=True,
    )
    assert options.configs(args) == (conv, shard, compute)
    assert (args.arch, args.program) == ("n150", "ttnn")


def report_of(capsys, line: str) -> dict:
    assert cli.main([*line.split(), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_tiles_over_more_than_one_slot_are_shown_where_they_lie(capsys):
    line = "run --channels 320 --size 3 --grid 1x1 --arithmetic float32"
    line += " --weights pattern --base-address 64 --dump tiles --dump l1"
    report = report_of(capsys, line)
    assert len(report["addresses"]) == 12
    assert report["addresses"][1] == {
        "tile": 1,
        "bank": 1,
        "slot": 0,
        "local_address": "0x40000040",
        "noc_address": "0x40040000040",
    }
    place = "Tile 14 (tile row 1, column 4; bank 2, slot 1):"
    assert place in report["dump"]["tiles"]
    assert sum(line.startswith("Core") for line in report["dump"]["l1"]) == 3


def test_the_other_chip_takes_the_plans_base_aligned_to_its_own_dram(capsys):
    line = "run --channels 64 --size 8 --padding 1 --scheme width --arch blackhole"
    report = report_of(capsys, line + " --arithmetic float32 --dump l1")
    assert report["plan"]["arch"] == "blackhole"
    assert report["addresses"][0]["local_address"] == "0x1d4d80"
    assert "Core (1, 0) L1 tile 0 (DRAM tile 1):" in report["dump"]["l1"]


def test_what_is_not_supported_is_refused_with_exit_status_2(monkeypatch, capsys):
    def refuse(args):
        raise jd.UnsupportedError("later")

    monkeypatch.setattr(run_command, "_run", refuse)
    status, _, err = run(capsys)
    assert (status, err) == (2, "jaxdw: later\n")


PLAN = ["plan", *EXAMPLE[1:]]


def test_a_plan_needs_no_jax_and_says_what_it_found():
    code = "import sys; from jaxdw import cli\n"
    code += f"status = cli.main({[*PLAN, '--scheme', 'auto']})\n"
    code += "assert (status, 'jax' in sys.modules) == (0, False)\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("pre_tilize", "lower bounds", "plans that fit", "microseconds"):
        assert words in done.stdout
    assert done.stdout.splitlines()[-1].startswith("FINDING JDW023 accuracy")


def test_a_plan_as_json_holds_everything(capsys):
    assert cli.main([*PLAN, "--scheme", "auto", "--json", "--batch", "2"]) == 0
    report = json.loads(capsys.readouterr().out)
    plans = jd.rank_plans(
        jd.ConvConfig(batch=2, channels=64, height=8, width=8, padding=1)
    )
    assert len(report["alternatives"]) == len(plans) - 1 > 3
    assert report["plan"]["grid"] == list(plans[0].grid)
    assert report["cycles"]["total"] == plans[0].cycles.total
    assert report["cycles"]["microseconds"] == plans[0].cycles.total / 1000
    assert [b["bytes"] for b in report["l1"]["buffers"]] == [
        buffer.num_bytes for buffer in plans[0].l1.buffers
    ]
    assert report["l1"]["fits"] is True
    assert [f["code"] for f in report["findings"]] == ["JDW023"]


def test_a_table_has_a_row_for_each_plan_that_fits(capsys):
    assert cli.main([*PLAN, "--scheme", "block", "--table"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith(
        "| 1x64x8x8 k3 s1 | depthwise | block | 2x2 | 4 | 32x32 | 60x32 |"
    )
    assert len(lines) == 3
    assert cli.main([*PLAN, "--scheme", "auto", "--table"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(
        jd.rank_plans(jd.ConvConfig(channels=64, height=8, width=8, padding=1))
    )


def test_the_arguments_of_the_plans_block_example(capsys):
    assert cli.main([*PLAN, "--scheme", "block", "--args", "--bias"]) == 0
    out = capsys.readouterr().out
    assert "core 3, logical (1, 1), NoC (19, 19):" in out
    assert (
        "0 weight_addr=0x1d4da0, 1 is_sender=1, 2 mcast_start_x=19, "
        "3 mcast_start_y=18, 4 mcast_end_x=19, 5 mcast_end_y=19, 6 num_dests=1"
    ) in out
    assert "11 bias_addr=0x1d55a0" in out
    assert "  52 bias_accessor = interleaved DRAM" in out
    assert cli.main([*PLAN, "--kernel", "1", "--args"]) == 2
    assert "regular" in capsys.readouterr().err


def test_arguments_come_row_by_row_and_bias_after_the_weights(capsys):
    line = ["--scheme", "block", "--orientation", "col_major", "--args", "--bias"]
    assert cli.main([*PLAN, *line, "--weights-dtype", "bfp8"]) == 0
    out = capsys.readouterr().out
    assert "core 1, logical (1, 0), NoC (19, 18):" in out
    assert f"11 bias_addr={0x1D4DA0 + 1088:#x}" in out


def test_a_number_of_cores_is_a_number():
    line = ["plan", "--channels", "32", "--size", "20", "--cores"]
    for text, cores in (("13", 13), ("4x3", (4, 3))):
        args = cli.make_parser().parse_args([*line, text])
        assert options.configs(args)[1].cores == cores


def test_every_plan_that_fits_is_shown(capsys):
    assert cli.main([*PLAN, "--scheme", "auto", "--grid", "1x1"]) == 0
    out = capsys.readouterr().out
    assert "Best 3 of 3 plans that fit" in out
    shown = out.split("plans that fit")[1]
    assert all(shown.count(scheme) == 1 for scheme in ("height", "width", "block"))


def test_l1_and_time_are_those_of_the_chip(capsys):
    report = report_of(capsys, " ".join([*PLAN, "--arch", "p150"]))
    plan = jd.make_plan(
        jd.ConvConfig(channels=64, height=8, width=8, padding=1), arch="p150"
    )
    del report["l1"]["buffers"]
    assert report["l1"] == {
        "circular_buffers": plan.l1.static_bytes,
        "l1_buffers": plan.l1.buffer_bytes,
        "region_end": plan.l1.region_end,
        "lowest_buffer": plan.l1.lowest_buffer,
        "capacity": 1_428_352,
        "free": plan.l1.free_bytes,
        "fits": True,
    }
    assert report["cycles"]["microseconds"] == round(plan.cycles.total / 1350, 3)


@pytest.mark.parametrize(
    ("gate", "status"),
    [("performance", 1), ("wrong-values", 1), ("memory-corruption", 1), ("hang", 0)],
)
def test_a_gate_decides_the_exit_status(capsys, gate, status):
    line = "plan --channels 32 --size 20 --padding 1 --fail-on"
    assert cli.main([*line.split(), gate]) == status
    assert "FINDING JDW007 memory corruption (read):" in capsys.readouterr().out
    assert cli.main([*PLAN, "--fail-on", gate]) == 0


def test_a_layer_too_big_is_refused_by_plan_and_emulated_by_run(capsys):
    line = "--channels 256 --size 64 --padding 1 --grid 1x1 --arithmetic float32"
    assert cli.main(["plan", *line.split()]) == 2
    err = capsys.readouterr().err
    assert "halo output: 4356 x 512" in err
    assert "use --scheme height --grid 8x8" in err
    assert report_of(capsys, "run " + line)["plan"]["l1_fits"] is False


@pytest.mark.parametrize("command", [["run"], ["plan", "--args"]])
def test_a_base_address_off_the_chips_alignment_is_refused(capsys, command):
    line = [*command, *EXAMPLE[1:], "--base-address"]
    assert cli.main([*line, "0x1d4da1"]) == 2
    assert "multiple of the chip's 32 bytes; try 0x1d4da0" in capsys.readouterr().err
    assert cli.main([*line, "-64"]) == 2
    capsys.readouterr()


def test_a_second_process_compiles_nothing(tmp_path):
    command = Path(sys.executable).with_name("jaxdw")
    kept = []
    for _ in range(2):
        done = subprocess.run(
            [command, *EXAMPLE, "--scheme", "block"],
            env=os.environ | {"JAXDW_CACHE": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        kept.append({file.name for file in tmp_path.iterdir()})
    assert kept[0]
    assert kept[0] == kept[1]


def test_a_reader_that_has_enough_is_no_error():
    code = "import sys; from jaxdw.cli import command; sys.exit(command())"
    arguments = ["plan", "--channels", "32", "--size", "8", "--args"]
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (cli.BROKEN_PIPE, "")


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"jaxdw {importlib.metadata.version('jaxdw')}\n"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "run --channels 32 --size 8 --seed -1",
            "`--seed` (=-1) must be an integer >= 0",
        ),
        ("explain --channels 32 --size 8 --html nowhere/p", "in a folder that exists"),
        (
            "certify --models all --check nothere",
            "must be a file that exists",
        ),
    ],
)
def test_what_would_fail_at_the_end_is_refused_at_once(capsys, line, sentence):
    with pytest.raises(SystemExit, match="2"):
        cli.main(line.split())
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("activation", get_args(config.Activation))
def test_every_activation_is_judged(capsys, activation):
    line = f"run --channels 32 --size 4 --padding 1 --activation {activation}"
    assert cli.main([*line.split(), "--arithmetic", "float32"]) == 0
    assert capsys.readouterr().out.endswith("PASS\n")


def test_a_page_lies_in_a_folder_that_exists_or_that_the_sweep_makes(capsys, tmp_path):
    sweep = "sweep --models mobilenet_v2 --filter channels==32 --plan-only --out"
    line = f"{sweep} {tmp_path}/demo/rows --report {tmp_path}"
    assert cli.main(f"{line}/nowhere/page.html".split()) == 2
    assert "in a folder that exists" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()
    assert cli.main(f"{line}/demo/page.html".split()) == 0
    assert (tmp_path / "demo" / "page.html").exists()
