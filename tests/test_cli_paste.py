"""`--from` on the commands that take a layer."""

import io
import json

import pytest
from artefacts import EMITPY, NODE_ID, ROW, SCRIPT, TTIR, TTNN

from jaxdw.cli import main
from jaxdw.cli.paste import expanded


def planned(capsys, *words: str) -> dict:
    assert main(["plan", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["plan"]


def test_text_file_and_standard_input_are_taken(capsys, tmp_path, monkeypatch):
    path = tmp_path / "issue.txt"
    path.write_text(SCRIPT)
    monkeypatch.setattr("sys.stdin", io.StringIO(SCRIPT))
    found = [planned(capsys, "--from", source) for source in (SCRIPT, str(path), "-")]
    assert found[0] == found[1] == found[2]
    assert found[0]["input"] == [1, 1, 20, 1280]
    assert found[0]["program"] == "conv1d"


def test_options_beside_it_win_wherever_they_stand(capsys):
    for words in (
        ["--from", NODE_ID, "--channels", "64", "--scheme", "block"],
        ["--channels=64", "--scheme=block", f"--from={NODE_ID}"],
    ):
        plan = planned(capsys, *words, "--program", "depthwise", "--arch", "blackhole")
        assert plan["input"] == [2, 20, 18, 64]
        assert (plan["scheme"], plan["arch"]) == ("block", "blackhole")
        assert plan["program"] == "depthwise"


def test_what_was_read_and_what_is_left_out_is_said(capsys):
    main(["plan", "--from", SCRIPT, "--program", "depthwise", "--table"])
    said = capsys.readouterr().err
    assert "read 1x1280x1x20 kernel 1x4 auto, the ttnn.conv2d call; program" in said
    assert "memory=dram, config_tensors_in_dram=True, packer_l1_acc=True" in said
    main(["plan", "--from", TTNN, "--table"])
    assert "not known to the depthwise" not in capsys.readouterr().err


def test_one_of_several_layers_is_picked(capsys):
    two = ROW.replace("[ttnn.bfloat8_b]", "[ttnn.bfloat8_b, ttnn.bfloat16]")
    assert main(["plan", "--from", two]) == 2
    said = capsys.readouterr().err
    assert (
        "holds 2 layers; `--pick` must be 1 to 2:\n  1: 1x320x40x40 kernel 3x3" in said
    )
    assert main(["plan", "--from", two, "--pick", "3"]) == 2
    assert "`--pick` (=3) must be 1 to 2" in capsys.readouterr().err
    words = [expanded(["plan", "--from", two, "--pick", n]) for n in ("1", "2")]
    assert "bfloat8_b" in words[0]
    assert "bfloat8_b" not in words[1]


@pytest.mark.parametrize("verb", ["explain", "run", "certify"])
def test_other_commands_take_it_too(verb, capsys):
    conv = EMITPY.replace("384", "32").replace("_size=8", "_size=1")
    words = [verb, "--from", conv.replace("CoreCoord(5, 6)", "CoreCoord(0, 1)")]
    assert main([*words, "--program", "depthwise"]) == 0
    captured = capsys.readouterr()
    assert "32" in captured.out
    assert "read 1x32x14x14 kernel 3x3 block" in captured.err


def test_a_message_is_set_beside_both_programs(capsys):
    assert main(["plan", "--from", TTIR, "--table"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("Yours says: circular buffers end at 465952, the lowest")
    assert out[1].startswith("ttnn 0.81.1, program regular, height on 8x8 cores, would")
    assert out[2].startswith("tt-metal branch @002a3f41, not merged, program depthwise")
    message = TTIR.partition("module")[0]
    layer = ["--channels", "64", "--size", "8", "--padding", "1", "--table"]
    assert main(["plan", "--from", message, *layer]) == 0
    assert capsys.readouterr().out.startswith("Yours says: circular buffers end at 465")
    assert main(["plan", "--l1-message", "L1 is full", *layer]) == 2
    assert "(=L1 is full) must be the library's" in capsys.readouterr().err
    assert main(["explain", "--from", TTIR, "--json"]) == 0
    assert "compared by `jaxdw plan`" in capsys.readouterr().err


def test_a_file_that_is_not_there_and_one_of_no_text_are_refused(capsys, tmp_path):
    assert main(["plan", "--from", "missing.mlir"]) == 2
    assert "(='missing.mlir') must be a file that exists" in capsys.readouterr().err
    path = tmp_path / "x.txt"
    path.write_bytes(b"\xff\xfe\x00")
    assert main(["plan", "--from", str(path)]) == 2
    assert "must be text" in capsys.readouterr().err


def test_a_plan_is_printed_as_ttnn_takes_it_and_read_back(capsys):
    words = ["--channels", "64", "--size", "9x8", "--padding", "1", "--scheme", "block"]
    assert main(["plan", *words, "--ttnn"]) == 0
    out = capsys.readouterr().out
    call, _, rest = out.partition("# a row of tt-metal's conv tests\n")
    row, _, vector = rest.partition("# a vector of tt-metal's short sweep\n")
    for text in (call, row, vector):
        assert planned(capsys, "--from", text)["input"] == [1, 9, 8, 64]
    assert vector == "[1, 64, 64, 9, 8, 3, 3, 1, 1, 1, 1, 64, False, 1]\n"
    assert main(["plan", *words, "--ttnn", "--program", "all"]) == 2
    assert "`--ttnn` must come with one program" in capsys.readouterr().err


def test_a_layout_that_fails_is_printed_shrunk_as_ttnn_takes_it(capsys):
    words = ["--channels", "96", "--size", "8", "--padding", "1", "--scheme", "width"]
    assert main(["certify", *words, "--weight-layout", "concatenated"]) == 1
    out = capsys.readouterr().out
    assert "The smallest layer found that fails as well:\n" in out
    assert "in_channels=33,\n" in out  # one channel past a tile
    assert "kernel_size=(1, 1),\n" in out
    assert "weights prepared by the revision concatenated" in out


def test_notes_are_of_options_that_were_typed(capsys):
    line = ["explain", "--from", NODE_ID, "--weight", "0,0,0"]
    assert main(line) == 0
    assert "note:" not in capsys.readouterr().err
    assert main([*line, "--math-fidelity=hifi2"]) == 0
    notes = [s for s in capsys.readouterr().err.splitlines() if s.startswith("note:")]
    assert notes == [
        "note: --math-fidelity does not change what `jaxdw explain` answers"
    ]
