"""What a model file leaves out stands in rows, page, table and JSON of its sweep."""

import json

import numpy as np
import onnx_files
import pytest
from onnx_files import make, node

from jaxdw.cli import main
from jaxdw.sweep.results import read_rows

WHY = "node 'twice': a channel multiplier (=2)"


@pytest.fixture
def file(tmp_path):
    """Returns a file of a 1-D layer, HardSwish behind, and of a node that is none."""
    w = np.ones((4, 1, 5), np.float32)
    nodes = [
        node("Conv", "x w", "y", "line", group=4, strides=[2]),
        node("HardSwish", "y", "z", "swish"),
        node("Conv", "z m", "o", "twice", group=4),
    ]
    many = np.ones((8, 1, 1), np.float32)
    model = make(nodes, {"x": (1, 4, 60)}, "o", {"w": w, "m": many})
    return onnx_files.written(model, tmp_path)


def test_it_stands_in_rows_page_table_and_json(file, tmp_path, capsys):
    out, page = tmp_path / "rows", tmp_path / "page.html"
    line = ["sweep", "--models", str(file), "--scheme", "height", "--out", str(out)]
    line += ["--plan-only", "--processes", "1"]
    assert main([*line, "--html", str(page)]) == 0
    said = capsys.readouterr()
    assert f"NOT READ {file}: {WHY}" in said.out.replace("\n", "")
    assert "Warning" not in said.err
    (row,) = read_rows(out / "rows.jsonl")
    assert row["not_read"] == WHY
    assert row["left_out"] == "behind it: HardSwish"
    assert row["kernel"] == "1x5"
    html = page.read_text()
    assert "<li>node &#39;twice&#39;: a channel multiplier (=2)</li>" in html
    assert '<a href="#left">Not read</a>' in html
    assert "behind it: HardSwish" in html
    assert main([*line, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["not_read"] == {str(file): [WHY]}


def test_a_kernel_of_one_axis_is_1x5_everywhere(file, tmp_path, capsys):
    out, page = tmp_path / "rows", tmp_path / "page.html"
    line = f"sweep --models {file} --scheme height --plan-only --processes 1"
    assert main([*line.split(), "--out", str(out), "--html", str(page)]) == 0
    shown = capsys.readouterr().out + page.read_text()
    assert "1x4x1x60 k1x5 s1x2" in shown
    assert "kernel 1x5, stride 1x2" in shown
    for table in ([], ["--table"]):
        line = ["plan", "--models", str(file), "--program", "ttnn", *table]
        assert main(line) == 0
        said = capsys.readouterr()
        assert "1x5" in said.out
        assert "kernel 1x5 stride 1x2" in said.err
        assert "k5" not in said.out


def test_a_page_of_models_by_name_has_no_such_part(tmp_path):
    page = tmp_path / "page.html"
    line = "sweep --models mobilenet_v1 --scheme height --sample 1 --plan-only"
    more = ["--processes", "1", "--out", str(tmp_path / "r"), "--html", str(page)]
    assert main([*line.split(), *more]) == 0
    assert "Not read" not in page.read_text()
