"""Copies of ONNX files whose nodes carry the plans of a sweep."""

import numpy as np
import onnx
import pytest
from onnx_files import make, node, read

import jaxdw as jd
from jaxdw.cli import main
from jaxdw.exports.onnx_notes import annotate

W = np.random.default_rng(1).standard_normal((40, 1, 3, 3)).astype(np.float32)


def network() -> onnx.ModelProto:
    pads = {"pads": [1, 1, 1, 1], "group": 40}
    return make(
        [
            node("Conv", "image dense", "x", "first"),  # no layer, of the same name
            node("Conv", "x w", "y", "first", **pads),
            node("Relu", "y", "z"),
            node("Conv", "z w", "v", "", **pads),
            node("Conv", "v w", "u", "first", **pads),
            node("Conv", "u one", "t", "pointwise"),
        ],
        {"image": (1, 8, 14, 14)},
        "t",
        {
            "w": W,
            "one": np.ones((8, 40, 1, 1), np.float32),
            "dense": np.ones((40, 8, 1, 1), np.float32),
        },
    )


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(network(), path)
    return path


def notes(path) -> dict[str, dict[str, str]]:
    return {
        (n.name or n.output[0]) + {"u": " again", "x": " dense"}.get(n.output[0], ""): {
            entry.key: entry.value for entry in n.metadata_props
        }
        for n in onnx.load(path).graph.node
    }


def test_every_layer_gets_its_best_plan_and_all_rows(source, tmp_path, capsys):
    target = tmp_path / "noted.onnx"
    words = ["sweep", "--models", str(source), "--schemes", "height,width,block"]
    words += ["--out", str(tmp_path / "rows"), "--plan-only", "--processes", "1"]
    assert main([*words, "--annotate", str(target)]) == 0
    assert "3 nodes in" in capsys.readouterr().err
    found = notes(target)
    assert set(found) == {
        "first dense", "first", "z", "v", "first again", "pointwise",
    }  # fmt: skip
    assert found["z"] == found["pointwise"] == found["first dense"] == {}
    rows = jd.read_rows(tmp_path / "rows")
    for name, layer in (("first", "first"), ("v", "v"), ("first again", "first.2")):
        own = [row for row in rows if row["layer"] == layer]
        best = min(own, key=lambda row: (row["cycles"], row["cores"]))
        told = found[name]
        assert told["jaxdw cycles"] == str(best["cycles"])
        assert told["jaxdw planned_scheme"] == best["planned_scheme"]
        assert told["jaxdw grid"] == best["grid"]
        assert [key for key in told if "row" in key] == [
            "jaxdw row 1", "jaxdw row 2", "jaxdw row 3",
        ]  # fmt: skip
        assert "height depthwise wormhole_b0 bfloat16 LoFi: fits" in told["jaxdw row 1"]
    copy, original = onnx.load(target), onnx.load(source)
    for n in copy.graph.node:
        del n.metadata_props[:]
    assert copy == original
    (tmp_path / "again").mkdir()
    assert len(read(copy, tmp_path / "again")) == 3


def test_a_copy_of_a_copy_has_new_notes_only(source, tmp_path):
    rows = [row(source, cycles=7), row(source, cycles=5)]
    annotate(source, tmp_path / "a.onnx", rows)
    again = [dict(r, model=str(tmp_path / "a.onnx")) for r in rows[:1]]
    annotate(tmp_path / "a.onnx", tmp_path / "b.onnx", again)
    assert notes(tmp_path / "a.onnx")["first"]["jaxdw cycles"] == "5"
    told = notes(tmp_path / "b.onnx")["first"]
    assert told["jaxdw cycles"] == "7"
    assert "jaxdw row 2" not in told


def row(source, **more) -> dict:
    names = (
        "planned_scheme planned_program arch grid cores out_shard l1_free_bytes cycles "
        "cycles_binding weights_dtype fidelity pcc max_ulp findings scheme program"
    ).split()
    plain = dict.fromkeys(names, "x") | {"error": None, "fits": True, "cores": 1}
    return plain | {"model": str(source), "layer": "first", "status": "pass"} | more


def test_what_fits_nowhere_is_said(source, tmp_path):
    rows = [row(source, fits=False), row(source, error="refused: why", fits=None)]
    annotate(source, tmp_path / "a.onnx", rows)
    told = notes(tmp_path / "a.onnx")["first"]
    assert told["jaxdw"] == "no plan of these fits L1"
    assert "does not fit, at least x cycles" in told["jaxdw row 1"]
    assert told["jaxdw row 2"].endswith("refused: why")


def test_what_cannot_be_written_is_refused_before_the_work(source, tmp_path, capsys):
    words = ["sweep", "--models", str(source), "--out", str(tmp_path / "rows")]
    words += ["--plan-only", "--annotate"]
    with pytest.raises(SystemExit, match="2"):
        main([*words, str(tmp_path / "none" / "a.onnx")])
    assert "must be in a folder that exists" in capsys.readouterr().err
    words[2] = "mobilenet_v2"
    assert main([*words, str(tmp_path / "a.onnx")]) == 2
    assert "must come with one .onnx file in --models, not 0" in capsys.readouterr().err
    assert not (tmp_path / "rows").exists()
    with pytest.raises(jd.ConfigError, match="must be another file than the one read"):
        annotate(source, source, [row(source)])
    with pytest.raises(jd.ConfigError, match="no row is of"):
        annotate(source, tmp_path / "a.onnx", [])


def test_weights_in_other_files_keep_the_copy_beside_them(source, tmp_path):
    onnx.save(
        network(),
        source,
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
    )
    away = tmp_path / "away"
    away.mkdir()
    with pytest.raises(jd.ConfigError, match="must lie beside"):
        annotate(source, away / "a.onnx", [row(source)])
    annotate(source, tmp_path / "a.onnx", [row(source)])
    kept = onnx.load(tmp_path / "a.onnx").graph.initializer[0]
    assert np.array_equal(onnx.numpy_helper.to_array(kept), W)
