"""Results as they show themselves: repr, print, a notebook, and through pickle."""

import pickle
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from browser import Browser, chromium  # noqa: F401

import jaxdw as jd
from jaxdw import cli
from jaxdw.report.sweep_figures import draw_l1
from jaxdw.sweep.evaluate import evaluate
from jaxdw.sweep.rows import NAMES
from jaxdw.sweep.space import Space

CONV = jd.ConvConfig(channels=64, height=8, width=8, padding=1)
X = np.random.default_rng(0).standard_normal(CONV.input_shape).astype(np.float32)
W = np.random.default_rng(1).standard_normal(CONV.weight_shape).astype(np.float32)


@pytest.fixture(scope="module")
def results() -> dict[str, object]:
    shard = jd.ShardConfig(scheme="block", weight_layout="concatenated")
    plan = jd.make_plan(CONV, shard)
    maps = jd.make_maps(plan)
    result = jd.run(plan, maps, X, W, keep=("l1_weights", "haloed_shards"))
    return {
        "plan": plan,
        "maps": maps,
        "emulation": result,
        "verdict": jd.judge(
            result.output, jd.reference(CONV, X, W), CONV, plan.compute
        ),
        "l1": plan.l1,
        "findings": plan.findings,
        "finding": plan.findings[0],
    }


KINDS = ["plan", "maps", "emulation", "verdict", "l1", "findings", "finding"]


@pytest.mark.parametrize("kind", ["plan", "maps", "emulation"])
def test_a_repr_is_one_short_line_that_says_what_it_is(results, kind):
    said = repr(results[kind])
    assert len(said) < 220
    assert "\n" not in said
    assert {
        "plan": "64x8x8 k3x3",
        "maps": "32 channels a core",
        "emulation": "1x8x8x64",
    }[kind] in said


def test_the_repr_of_a_plan_names_what_its_figures_are_of(results):
    assert repr(results["plan"]) == (
        "<Plan 64x8x8 k3x3, depthwise, block, 4 cores 2x2 of wormhole_b0, LoFi, >= "
        f"{results['plan'].cycles.total:,} cycles, fits L1, 2 findings>"
    )
    big = jd.ConvConfig(channels=256, height=64, width=64, batch=2)
    plan = jd.make_plan(
        big, jd.ShardConfig(grid=(1, 1)), program="ttnn", must_fit=False
    )
    assert "k3x3 batch 2, regular, height, 1 cores 1x1" in repr(plan)
    assert "does not fit L1" in repr(plan)


def test_print_is_what_the_command_prints(results, capsys):
    line = "plan --channels 64 --size 8 --padding 1 --scheme block"
    assert cli.main([*line.split(), "--weight-layout", "concatenated"]) == 0
    assert capsys.readouterr().out.rstrip() == str(results["plan"])
    assert str(results["verdict"]).splitlines()[-1] == "FAIL"
    assert str(results["findings"]).startswith("JDW001 wrong values")
    assert str(results["finding"]).startswith("JDW001 wrong values")
    assert "memory l1 weights" in str(results["emulation"])
    assert "pre_tilize" in str(results["l1"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_notebook_shows_it_without_script_or_link(results, kind):
    html = results[kind]._repr_html_()
    assert html.startswith('<div class="jaxdw">')
    assert html.count("<div") == html.count("</div>")
    assert "<script" not in html
    assert "http" not in html
    for name in re.findall(r"var\((--\w+)", html):
        assert f"{name}:" in html, f"{name} has no colour"


def test_a_notebook_draws_grid_and_l1(results):
    html = results["plan"]._repr_html_()
    assert html.count("<svg") == 2
    assert "4 cores by use" in html
    assert "buffers of one core by address" in html
    assert "JDW001" in html
    again = results["plan"]._repr_html_()
    ids = re.findall(r' id="([^"]*)"', html + again)
    assert len({*ids}) == len(ids)


def test_the_drawing_of_l1_has_every_buffer_where_it_lies(results):
    l1 = results["l1"]
    (axes,) = draw_l1(l1).axes
    drawn = {(box.get_x(), box.get_width()) for box in axes.patches}
    assert {(b.address, b.num_bytes) for b in l1.buffers} <= drawn
    assert axes.get_xlim() == (l1.base, l1.top + l1.small_bytes)


def test_without_matplotlib_a_notebook_has_the_tables(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "jaxdw.report.drawing", None)
    html = results["plan"]._repr_html_()
    assert "<svg" not in html
    assert "pre_tilize" in html


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_goes_through_pickle(results, kind):
    thing = results[kind]
    again = pickle.loads(pickle.dumps(thing))
    assert type(again) is type(thing)
    assert repr(again) == repr(thing)
    if kind == "emulation":
        np.testing.assert_array_equal(again.output, thing.output)
        assert {*again.memories} == {*thing.memories} == {"l1_weights", "haloed_shards"}
        for name, memory in thing.memories.items():
            np.testing.assert_array_equal(again.memories[name], memory)
        with pytest.raises(TypeError):
            again.memories["x"] = 1
    elif kind == "maps":
        leaves = zip(jax.tree.leaves(again), jax.tree.leaves(thing), strict=True)
        assert all(np.array_equal(a, b) for a, b in leaves)
    else:
        assert again == thing


def test_maps_from_pickle_run(results):
    maps = pickle.loads(pickle.dumps(results["maps"]))
    output = jd.run(results["plan"], maps, X, W).output
    np.testing.assert_array_equal(output, results["emulation"].output)


def test_rows_show_themselves(tmp_path):
    from jaxdw.shown import ShownList

    points = Space(models=("mobilenet_v2",), filter="height == 7").points()
    rows = ShownList(dict.fromkeys(NAMES) | evaluate(p, plan_only=True) for p in points)
    assert "blocks.5.1.depthwise" in str(rows)
    html = rows._repr_html_()
    assert html.count("<tr>") == 1 + len(rows)
    assert "wormhole_b0" in html
    assert "<b>" not in ShownList([rows[0] | {"layer": "<b>"}])._repr_html_()
    assert "41 in all" in ShownList([rows[0]] * 41)._repr_html_()


def test_the_package_shows_its_public_names_only():
    names = dir(jd)
    assert {"judge", "enable_cache", "make_plan", "__version__"} <= {*names}
    assert not {"Any", "TYPE_CHECKING", "importlib", "annotations"} & {*names}
    assert all(hasattr(jd, name) for name in names)
    assert re.fullmatch(r"\d+\.\d+\.\d+", jd.__version__)
    assert callable(jd.judge)


def test_a_process_that_enables_the_cache_keeps_its_programs(tmp_path):
    code = f"""
import jaxdw as jd, numpy as np
print(jd.enable_cache({str(tmp_path)!r}))
conv = jd.ConvConfig(channels=32, height=4, width=4)
plan = jd.make_plan(conv)
x, w = np.ones(conv.input_shape), np.ones(conv.weight_shape)
jd.run(plan, jd.make_maps(plan), x, w).output.block_until_ready()
"""
    kept = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (0, f"{tmp_path}\n"), done.stderr
        kept.append({path.name for path in tmp_path.glob("*.program")})
    assert kept[0]
    assert kept[0] == kept[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_a_notebooks_cell(results, browser: Browser, tmp_path, scheme):
    path = tmp_path / "cell.html"
    body = "".join(results[kind]._repr_html_() for kind in KINDS)
    path.write_text(f'<!doctype html><meta charset="utf-8"><body>{body}', "utf-8")
    browser.open(path, scheme=scheme)
    assert browser.complaints() == []
    drawings = "[...document.querySelectorAll('svg')]"
    sizes = browser.evaluate(f"{drawings}.map(s => s.getBoundingClientRect().width)")
    assert len(sizes) == 4
    assert min(sizes) > 100
    colours = "getComputedStyle(document.querySelector('.jaxdw'))"
    ink = browser.evaluate(f"{colours}.color")
    assert ink == {"light": "rgb(27, 31, 36)", "dark": "rgb(233, 237, 241)"}[scheme]
