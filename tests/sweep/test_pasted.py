"""Pasted layers are swept as they are, but for the axes given."""

import dataclasses
import json
import shlex

import pytest
from artefacts import ARTEFACTS, EMITPY, NODE_ID, ROW, SCRIPT

import jaxdw as jd
from jaxdw.cli import main
from jaxdw.inputs.paste import read_paste
from jaxdw.sweep.results import read_rows
from jaxdw.sweep.rows import config_row, point_of_row
from jaxdw.sweep.space import Space

CLASH = (
    "Statically allocated circular buffers on core range [(x=0,y=0) - (x=7,y=7)] grow "
    "to 1613440 B which is beyond max L1 size of 1499136 B"
)


@pytest.mark.parametrize(
    "text", [text for text, _ in ARTEFACTS.values()], ids=ARTEFACTS
)
def test_a_row_holds_all_that_a_paste_says(text):
    layers = read_paste(text).layers
    points = Space().points_of_pasted(layers, "paste", ())
    assert len(points) == len(layers)
    for number, (point, layer) in enumerate(zip(points, layers, strict=True), 1):
        assert (point.model, point.layer, point.times) == ("paste", str(number), 1)
        assert (point.conv, point.shard) == (layer.conv, layer.shard)
        assert point.compute == layer.compute
        assert (point.program, point.arch) == ("ttnn", "wormhole_b0")
        assert point_of_row(config_row(point)) == point


def test_only_axes_that_are_named_vary():
    layers = read_paste(NODE_ID).layers
    space = Space(fidelities=("LoFi", "HiFi4"), arches=("blackhole",))
    first, second = space.points_of_pasted(layers, "paste", {"fidelities"})
    assert first.compute.math_fidelity == "LoFi"
    assert second.compute == dataclasses.replace(
        layers[0].compute, math_fidelity="HiFi4"
    )
    assert first.shard == second.shard == layers[0].shard
    assert (first.conv, first.arch) == (layers[0].conv, "blackhole")


@pytest.mark.parametrize("more", ['{"conv": {"hight": 3}}', "[1]", "{", '{"a": {}}'])
def test_a_spoiled_cell_is_refused(more):
    (point,) = Space().points_of_pasted(read_paste(NODE_ID).layers, "paste", ())
    with pytest.raises(jd.ConfigError, match=r"`more`.*must be fields of conv"):
        point_of_row(config_row(point) | {"more": more})


def test_the_command_takes_every_layer_of_a_paste(tmp_path, capsys):
    file = tmp_path / "layers.py"
    file.write_text(ROW.replace("[ttnn.bfloat8_b]", "[ttnn.bfloat8_b, ttnn.bfloat16]"))
    out = tmp_path / "rows"
    line = ["sweep", "--from", str(file), "--plan-only", "--processes", "1"]
    assert main([*line, "--fidelities", "LoFi,HiFi2", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert all(said.count(shown) == 2 for shown in ("bfloat8_b", "HiFi2"))
    rows = read_rows(out / "rows.jsonl")
    assert [(r["model"], r["layer"], r["weights_dtype"], r["fidelity"]) for r in rows] \
        == [
            (str(file), layer, dtype, fidelity)
            for layer, dtype in (("1", "bfloat8_b"), ("2", "bfloat16"))
            for fidelity in ("LoFi", "HiFi2")
        ]  # fmt: skip
    for row in rows:
        assert json.loads(row["more"]) == {"shard": {"act_block_h_override": 64}}
        assert main([*shlex.split(row["repeat"])[1:], "--json"]) == 0
        plan = json.loads(capsys.readouterr().out)["plan"]
        assert plan["grid"] == [int(size) for size in row["grid"].split("x")]
        assert plan["program"] == row["planned_program"]


def test_options_that_depthwise_does_not_know_are_left_out_and_said(tmp_path, capsys):
    line = ["sweep", "--from", SCRIPT, "--plan-only", "--processes", "1"]
    line += ["--programs", "depthwise,ttnn", "--schemes", "height"]
    assert main([*line, "--out", str(tmp_path)]) == 0
    assert (
        "options of ttnn are left out of program depthwise" in capsys.readouterr().err
    )
    rows = {row["program"]: row for row in read_rows(tmp_path / "rows.jsonl")}
    assert rows["depthwise"]["memory"] == "l1"
    assert json.loads(rows["depthwise"]["more"]) == {
        "shard": {"output_layout": "row_major"}
    }
    assert json.loads(rows["ttnn"]["more"])["compute"] == {"packer_l1_acc": True}
    assert rows["ttnn"]["memory"] == "dram"


def test_a_call_on_one_long_line_is_no_path(tmp_path):
    text = " ".join(EMITPY.split())
    assert len(text) > 255  # a name of a file has no more
    line = ["sweep", "--from", text, "--plan-only", "--processes", "1"]
    assert main([*line, "--out", str(tmp_path)]) == 0
    (row,) = read_rows(tmp_path / "rows.jsonl")
    assert (row["model"], row["channels"]) == ("paste", 384)


def test_a_memory_that_is_asked_for_is_refused_not_dropped(tmp_path):
    line = ["sweep", "--from", NODE_ID, "--plan-only", "--processes", "1"]
    line += ["--programs", "depthwise", "--memories", "l1,dram"]
    assert main([*line, "--out", str(tmp_path)]) == 0
    rows = read_rows(tmp_path / "rows.jsonl")
    assert [(r["model"], r["memory"], r["status"]) for r in rows] == [
        ("paste", "l1", "planned"),
        ("paste", "dram", "refused"),
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--from", NODE_ID, "--models", "xception", "--input", "x=1x2"],
            "`--models`, `--input` must be left out with `--from`, which has the",
        ),
        (["--from", CLASH], "`--from` holds an L1 message and no layer"),
        (["--from", "nothing"], "`--from` (=nothing) must hold a layer"),
    ],
)
def test_what_cannot_be_swept_is_refused(words, sentence, tmp_path, capsys):
    out = tmp_path / "rows"
    assert main(["sweep", *words, "--out", str(out)]) == 2
    assert sentence in capsys.readouterr().err
    assert not out.exists()
