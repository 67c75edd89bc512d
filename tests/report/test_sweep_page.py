import io
import re

import pytest
from browser import Browser, chromium  # noqa: F401
from rich.console import Console

import jaxdw as jd
from jaxdw.report.facts import BOUNDS_MISLEAD
from jaxdw.report.sweep_figures import core_use
from jaxdw.report.sweep_page import sweep_page
from jaxdw.report.sweep_table import best_row, grouped, summary_table
from jaxdw.sweep.evaluate import evaluate
from jaxdw.sweep.rows import NAMES, Point
from jaxdw.sweep.space import Space

SPACE = Space(models=("mobilenet_v2",), schemes=("height", "width", "block"))


@pytest.fixture(scope="module", name="rows")
def planned_rows() -> list[dict]:
    rows = [
        dict.fromkeys(NAMES) | evaluate(point, plan_only=True)
        for point in SPACE.points()
    ]
    rows[3] |= {"status": "pass", "pcc": 0.9987654, "max_ulp": 7}
    return rows


def test_the_best_scheme_has_the_fewest_cycles_of_those_that_run(rows):
    layers = grouped(rows)
    assert len(layers) == 10
    for by_scheme in layers.values():
        best = best_row(by_scheme)["scheme"]
        ran = {s: r[0]["cycles"] for s, r in by_scheme.items() if r[0]["fits"]}
        assert ran[best] == min(ran.values())
    nothing = {"height": [{"status": "refused", "cycles": 1}]}
    assert best_row(nothing) is None


def test_the_terminal_table_marks_best_and_refused(rows):
    table = summary_table(rows)
    cells = [cell for column in table.columns for cell in column.cells]
    assert sum(str(cell).endswith(" *") for cell in cells) == 10
    refused = sum(row["status"] == "refused" for row in rows)
    assert sum(str(cell).rstrip().endswith(" -") for cell in cells) == refused > 0
    assert "0.998765" in cells


def test_cores_are_used_as_much_as_they_own():
    conv = jd.ConvConfig(channels=48, height=8, width=5, padding=1)
    plan = jd.make_plan(conv, jd.ShardConfig(scheme="block", cores=(2, 2)))
    assert core_use(plan) == [1.0, 0.5, 8 / 32, 8 / 64]


def test_the_page_holds_every_row_and_layer(rows):
    text = sweep_page(rows)
    assert text.count("<tr><td>mobilenet_v2</td>") == 30
    assert text.count("<h3>") == 10
    assert text.count("<figure>") == 4 + 2 * 10
    assert "0.998765" in text
    assert "https://" not in re.sub(r'xmlns="[^"]*"', "", text)
    assert "L1OutOfMemory" in text
    with pytest.raises(jd.ConfigError, match="at least one row"):
        sweep_page([])


def test_the_page_shows_the_axes_that_vary_and_names_the_others(rows):
    text = sweep_page(rows)
    heads = re.findall('<th scope="col">([^<]*)</th>', text)
    shown = ["model", "layer", "times", "program", "arch", "scheme"]
    assert heads[-17:-11] == shown
    assert "weights_dtype bfloat16, fidelity LoFi, arithmetic fpu" in text
    assert "program depthwise, arch wormhole_b0" in text
    assert '<th scope="row">compared</th><td>scheme height, width, block</td>' in text
    other = {"weights_dtype": "bfloat8_b", "program": "other", "status": "refused"}
    mixed = [rows[0] | other, *rows[1:]]
    text = sweep_page(mixed)
    heads = re.findall('<th scope="col">([^<]*)</th>', text)
    assert heads[-19:-11] == [
        "model", "layer", "times", "weights dtype", *shown[3:], "planned program",
    ]  # fmt: skip
    assert "weights_dtype bfloat16, bfloat8_b" not in text.split("compared")[0]
    assert "weights_dtype bfloat8_b, bfloat16; program other, depthwise" in text
    heights = [row for row in rows if row["scheme"] == "height"]
    assert '<th scope="col">scheme</th>' in sweep_page(heights)


SPACE_OF_TWO = Space(
    models=("mobilenet_v2",), schemes=("auto",), programs=("depthwise", "ttnn"),
    arches=("wormhole_b0", "blackhole"), filter="height == 7",
)  # fmt: skip


@pytest.fixture(scope="module", name="mixed")
def rows_of_two_programs_and_chips() -> list[dict]:
    points = SPACE_OF_TWO.points()
    return [dict.fromkeys(NAMES) | evaluate(p, plan_only=True) for p in points]


def test_the_page_compares_programs_and_says_what_bounds_leave_out(rows, mixed):
    assert '<section id="programs"' not in sweep_page(rows)
    planned = ["depthwise", "depthwise", "regular", "regular"]
    assert [row["planned_program"] for row in mixed] == planned
    text = sweep_page(mixed)
    section = text.split('<section id="programs"')[1].split("</section>")[0]
    assert BOUNDS_MISLEAD in section
    assert "All of them: batch 1, activation relu6, weights_dtype bfloat16" in section
    heads = re.findall('<th scope="col">([^<]*)</th>', section)
    assert heads == ["layer", "chip", "depthwise", "ttnn", "the branch would change"]
    cells = re.findall("<td>([^<]*)</td>", section)
    assert cells[1::5] == ["wormhole_b0", "blackhole"]
    for number, (branch, library) in enumerate(zip(mixed[:2], mixed[2:], strict=True)):
        layer, _, *said = cells[5 * number : 5 * number + 5]
        assert layer == "mobilenet_v2 blocks.5.1.depthwise\n1x960x7x7 k3 s1"
        for row, cell, name in zip(
            (branch, library), said, ("depthwise", "ttnn: regular"), strict=False
        ):
            bound = f"&gt;= {row['cycles']:,} cycles"
            want = f"{name}, {row['planned_scheme']}\nfits\nPCC not run\n{bound}"
            assert cell == want
        assert said[2].startswith("depthwise for regular\ncycle bound x0.")


def test_no_figure_is_without_its_chip_program_format_and_fidelity(mixed):
    text = sweep_page(mixed)
    assert text.count("All of them: batch 1, activation relu6, weights_dtype") == 6
    for name in ("fits", "pcc", "cycles", "waste"):
        section = text.split(f'<section id="{name}"')[1].split("</section>")[0]
        for column in ("depthwise", "ttnn", "wormhole_b0", "blackhole", "auto"):
            assert f">{column}<" in section.replace("<!-- ", ">").replace(" -->", "<")
        assert "fidelity LoFi" in section
    for program, chip in (("depthwise", "blackhole"), ("regular", "wormhole_b0")):
        assert f"<caption>Best plan of {program} on {chip}</caption>" in text
    layers = text.split('<section id="layers"')[1]
    titles = re.findall("<h3>([^<]*)</h3>", layers)
    assert titles == ["mobilenet_v2 blocks.5.1.depthwise x3"]
    assert re.findall("<summary>([^<]*)</summary>", layers) == [
        f"{program} on {chip}"
        for program in ("depthwise", "ttnn: regular")
        for chip in ("wormhole_b0", "blackhole")
    ]
    assert text.count("<td>weights bfloat16, LoFi, 16-bit Dst, fpu</td>") == 4
    assert "<td>regular of ttnn 0.81.1</td>" in text


def test_a_cell_of_many_formats_says_so(rows):
    assert "A cell holds" not in sweep_page(rows)
    # activations differ from layer to layer, which is no format
    others = [row | {"layer": "other", "activation": "silu"} for row in rows]
    assert "A cell holds" not in sweep_page([*rows, *others])
    more = [row | {"fidelity": "HiFi4"} for row in rows]
    assert "A cell holds every fidelity." in sweep_page([*rows, *more])


def test_a_card_says_that_the_layer_runs_by_another_program():
    conv = jd.ConvConfig(channels=32, height=1, width=20, kernel=(1, 3))
    point = Point(
        model="m", layer="l", times=1, conv=conv, shard=jd.ShardConfig(),
        compute=jd.ComputeConfig(), arch="wormhole_b0", program="regular",
    )  # fmt: skip
    row = dict.fromkeys(NAMES) | evaluate(point, plan_only=True)
    text = sweep_page([row])
    assert "gives this layer to its conv1d program; figures are of regular" in text
    assert "regular !, height\nfits" in text


def test_every_row_of_the_page_says_how_to_repeat_it(rows):
    text = sweep_page(rows)
    refused = [row for row in rows if row["status"] == "refused"]
    assert refused
    for row in rows:
        shown = 2 if row in refused else 1
        assert text.count(f"<td>{row['repeat']}</td>") == shown
    failed = [rows[0] | {"status": "fail", "pcc": 0.5, "pcc_needed": 0.985}]
    assert "<td>pcc 0.5, needed 0.985</td>" in sweep_page(failed)


def test_the_same_rows_make_the_same_page(rows):
    assert sweep_page(rows) == sweep_page(rows)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_and_sorts_by_keyboard(rows, browser: Browser, tmp_path, scheme):
    path = tmp_path / "page.html"
    path.write_text(sweep_page(rows), "utf-8")
    browser.open(path, scheme=scheme)
    heads = "[...document.querySelectorAll('table.sortable th')].map(h => h.innerText)"
    place = browser.evaluate(heads).index("cycles")
    column = "[...document.querySelectorAll('table.sortable tbody tr')].map(row =>"
    column += f"parseFloat(row.cells[{place}].textContent.replaceAll(',', '')))"
    before = browser.evaluate(column)
    path = f"table.sortable th:nth-child({place + 1}) button"
    button = browser.driver.find_element("css selector", path)
    button.send_keys("\n")
    assert browser.evaluate(column) == sorted(before) != before
    button.send_keys("\n")
    assert browser.evaluate(column) == sorted(before, reverse=True)
    drawings = "[...document.querySelectorAll('svg')]"
    sizes = browser.evaluate(f"{drawings}.map(s => s.getBoundingClientRect().width)")
    assert len(sizes) == 24
    assert min(sizes) > 50
    assert browser.complaints() == []
    shot = browser.screenshot()
    assert shot.std() > 5
    assert (shot.mean() > 128) == (scheme == "light")


def test_names_of_a_file_are_text_everywhere(rows):
    name = "a[/bold]$_{<b>&"
    odd = [row | {"model": name, "layer": name + "$"} for row in rows[:3]]
    table = summary_table(odd)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table)
    assert name in console.export_text()
    text = sweep_page(odd)
    assert "<b>&" not in text
    assert "a[/bold]$_{&lt;b&gt;&amp;" in text
