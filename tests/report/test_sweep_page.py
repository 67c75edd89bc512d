import io
import re
from html import unescape

import pytest
from browser import Browser, chromium  # noqa: F401

import jaxdw as jd
from jaxdw.plan.rules import rules
from jaxdw.report.facts import BOUNDS_MISLEAD
from jaxdw.report.sweep_figures import core_use
from jaxdw.report.sweep_page import sweep_page
from jaxdw.report.sweep_table import best_row, grouped, summary_table
from jaxdw.report.terminal import Terminal
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


def cells(text: str, section: str) -> list[list[str]]:
    """Returns the rows of a section's table, its heads first, as text."""
    body = text.split(f'<section id="{section}"')[1].split("</section>")[0]
    rows = re.findall("<tr[^>]*>(.*?)</tr>", body, re.DOTALL)
    return [
        [
            unescape(re.sub("<[^>]*>", "", cell)).strip()
            for cell in re.findall("<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
        ]
        for row in rows
    ]


def columns(text: str, section: str) -> list[dict[str, str]]:
    heads, *rows = cells(text, section)
    return [dict(zip(heads, row, strict=True)) for row in rows]


def test_the_page_holds_every_row_and_layer(rows):
    text = sweep_page(rows)
    assert len(columns(text, "rows")) == 30
    layers = text.split('<section id="layers"')[1]
    assert layers.count("<h3 ") == 10
    assert text.count("<figure>") == 2 * 10
    assert "0.998765" in text
    assert "https://" not in re.sub(r'xmlns="[^"]*"', "", text)
    assert "L1OutOfMemory" in text
    with pytest.raises(jd.ConfigError, match="at least one row"):
        sweep_page([])


def test_best_plans_come_first_with_chip_program_format_and_margin(rows, mixed):
    text = sweep_page(rows)
    sections = re.findall('<section id="([^"]*)"', text)
    assert sections == [
        "best", "misfits", "findings", "cycles", "fits", "pcc", "waste", "rows",
        "layers", "summary",
    ]  # fmt: skip
    found = columns(text, "best")
    assert len(found) == 10
    for line, by_scheme in zip(found, grouped(rows).values(), strict=True):
        best = best_row(by_scheme)
        assert (line["chip"], line["program"]) == ("wormhole_b0", "depthwise")
        assert (line["weights"], line["fidelity"]) == ("bfloat16", "LoFi")
        assert (line["scheme"], line["grid"]) == (best["scheme"], best["grid"])
        assert line["cycles"] == f"{best['cycles']:,}"
        others = [
            row["cycles"]
            for found in by_scheme.values()
            for row in found
            if row["scheme"] != best["scheme"] and row["status"] != "refused"
        ]
        if others:
            share = min(others) / best["cycles"] - 1
            assert line["margin"].startswith(f"{share:+.0%} by ")
        else:
            assert line["margin"] == "no other fits"
    found = columns(sweep_page(mixed), "best")
    keys = [(line["chip"], line["program"]) for line in found]
    assert keys == [
        (chip, program)
        for program in ("depthwise", "ttnn: regular")
        for chip in ("wormhole_b0", "blackhole")
    ]


def test_no_two_lines_read_the_same(rows):
    more = [row | {"weights_dtype": "bfloat8_b"} for row in rows]
    more += [row | {"arch": "blackhole", "cycles": 1} for row in rows]
    text = sweep_page([*rows, *more])
    for section in ("best", "misfits", "rows"):
        lines = [tuple(line.items()) for line in columns(text, section)]
        assert len({*lines}) == len(lines) > 3
    table = summary_table([*rows, *more])
    heads = [column.header for column in table.columns]
    assert heads[:4] == ["layer", "size", "weights", "chip"]
    cells = ([str(cell) for cell in column.cells] for column in table.columns)
    lines = [*zip(*cells, strict=True)]
    assert len({*lines}) == len(lines) == 1 + 3 * 10


def test_codes_lead_to_their_text(rows):
    text = unescape(sweep_page(rows))
    codes = {c for row in rows for c in (row["findings"] or "").split()}
    assert codes
    for code in codes:
        (rule,) = (r for r in rules() if r.code == code and r.program == "depthwise")
        assert f'<h3 id="{code}">{code} {rule.severity}: {rule.title}' in text
        assert f'<a href="#{code}">{code}</a>' in text
    assert "No known defect is met." in sweep_page(
        [row | {"findings": ""} for row in rows]
    )


def test_every_link_leads_somewhere(rows, mixed):
    for text in (sweep_page(rows), sweep_page(mixed)):
        anchors = re.findall(' id="([^"]*)"', text)
        assert len({*anchors}) == len(anchors)
        links = {*re.findall('href="#([^"]*)"', text)}
        assert links <= {*anchors}
        assert {f"layer-{n}" for n in range(len({r["layer"] for r in rows}))} & links


def test_maps_are_coloured_row_by_row(rows, mixed):
    text = sweep_page(rows)
    heads, *lines = cells(text, "cycles")
    assert heads[1:] == [f"{s}\ndepthwise\nwormhole_b0" for s in SPACE.schemes]
    body = text.split('<section id="cycles"')[1].split("</section>")[0]
    for line, by_scheme in zip(lines, grouped(rows).values(), strict=True):
        best = best_row(by_scheme)
        assert line[1:] == [
            f"{by_scheme[s][0]['cycles']:,}"
            + (" -" if by_scheme[s][0]["status"] == "refused" else "")
            for s in SPACE.schemes
        ]
        cell = f'<a href="#[^"]*">{best["cycles"]:,}</a>'
        tint = r'class="tagged best"[^>]* style="--bad:0.00">'
        assert re.search(tint + cell, body)
    assert body.count("tagged best") == 10
    body = sweep_page(mixed).split('<section id="cycles"')[1].split("</section>")[0]
    assert body.count("tagged best") == 4  # one of each program on each chip


def test_the_page_shows_the_axes_that_vary_and_names_the_others(rows):
    text = sweep_page(rows)
    assert "weights_dtype bfloat16, fidelity LoFi, arithmetic fpu" in text
    assert "program depthwise, arch wormhole_b0" in text
    assert '<th scope="row">compared</th><td>scheme height, width, block</td>' in text
    heads = cells(text, "rows")[0]
    assert heads[:7] == [
        "layer", "times", "arch", "program", "scheme", "weights dtype", "fidelity",
    ]  # fmt: skip
    assert "planned program" not in heads
    other = {"program": "other", "status": "refused", "arithmetic": "float32"}
    heads = cells(sweep_page([rows[0] | other, *rows[1:]]), "rows")[0]
    assert {"planned program", "arithmetic"} <= {*heads}


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
    assert BOUNDS_MISLEAD in text
    heads, *found = cells(text, "programs")
    assert heads == ["layer", "chip", "depthwise", "ttnn", "the branch would change"]
    assert [line[1] for line in found] == ["wormhole_b0", "blackhole"]
    for number, (branch, library) in enumerate(zip(mixed[:2], mixed[2:], strict=True)):
        layer, _, *said = found[number]
        assert layer == "mobilenet_v2 blocks.5.1.depthwise\n1x960x7x7 k3 s1"
        for row, cell, name in zip(
            (branch, library), said, ("depthwise", "ttnn: regular"), strict=False
        ):
            bound = f">= {row['cycles']:,} cycles"
            want = f"{name}, {row['planned_scheme']}\nfits\nPCC not run\n{bound}"
            assert cell == want
        assert said[2].startswith("depthwise for regular\ncycle bound x0.")


def test_no_figure_is_without_its_chip_program_format_and_fidelity(mixed):
    text = sweep_page(mixed)
    assert text.count("All of them: batch 1, activation relu6, weights_dtype") == 6
    for name in ("fits", "pcc", "cycles", "waste"):
        section = text.split(f'<section id="{name}"')[1].split("</section>")[0]
        for program in ("depthwise", "ttnn"):
            for chip in ("wormhole_b0", "blackhole"):
                assert f">auto\n{program}\n{chip}</th>" in section
        assert "fidelity LoFi" in section
    for program, chip in (("depthwise", "blackhole"), ("regular", "wormhole_b0")):
        assert f"<caption>Best plan of {program} on {chip}</caption>" in text
    layers = text.split('<section id="layers"')[1]
    titles = re.findall("<h3[^>]*>([^<]*)</h3>", layers)
    assert titles == ["mobilenet_v2 blocks.5.1.depthwise x3"]
    assert re.findall("<summary>([^<]*)</summary>", layers) == [
        f"{program} on {chip}, bfloat16, LoFi"
        for program in ("depthwise", "ttnn: regular")
        for chip in ("wormhole_b0", "blackhole")
    ]
    assert text.count("<td>weights bfloat16, LoFi, 16-bit Dst, fpu</td>") == 4
    assert "<td>regular of ttnn 0.81.1</td>" in text


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
    said = [line["repeat"] for line in columns(text, "rows")]
    assert said == [row["repeat"] for row in rows]
    misfits = columns(text, "misfits")
    assert [line["repeat"] for line in misfits] == [row["repeat"] for row in refused]
    assert all("\n" not in line["why"] for line in misfits)
    failed = [rows[0] | {"status": "fail", "pcc": 0.5, "pcc_needed": 0.985}]
    (line,) = columns(sweep_page(failed), "misfits")
    assert line["why"] == "pcc 0.5, needed 0.985"
    assert (line["chip"], line["weights"]) == ("wormhole_b0", "bfloat16")


def test_the_same_rows_make_the_same_page(rows):
    assert sweep_page(rows) == sweep_page(rows)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_and_sorts_by_keyboard(rows, browser: Browser, tmp_path, scheme):
    path = tmp_path / "page.html"
    path.write_text(sweep_page(rows), "utf-8")
    browser.open(path, scheme=scheme)
    heads = "[...document.querySelectorAll('#rows-table th[scope=col]')]"
    place = browser.evaluate(f"{heads}.map(h => h.innerText)").index("cycles")
    column = "[...document.querySelectorAll('#rows-table tbody tr')].map(row =>"
    column += f"parseFloat(row.cells[{place}].textContent.replaceAll(',', '')))"
    before = browser.evaluate(column)
    path = f"#rows-table th:nth-child({place + 1}) button"
    button = browser.driver.find_element("css selector", path)
    button.send_keys("\n")
    assert browser.evaluate(column) == sorted(before) != before
    button.send_keys("\n")
    assert browser.evaluate(column) == sorted(before, reverse=True)
    drawings = "[...document.querySelectorAll('svg')]"
    sizes = browser.evaluate(f"{drawings}.map(s => s.getBoundingClientRect().width)")
    assert len(sizes) == 20
    assert min(sizes) > 50
    assert browser.complaints() == []
    shot = browser.screenshot()
    assert shot.std() > 5
    assert (shot.mean() > 128) == (scheme == "light")


def seen(browser: Browser, table: str) -> int:
    rows = f"[...document.querySelectorAll('#{table}-table tbody tr')]"
    return browser.evaluate(f"{rows}.filter(r => r.offsetParent !== null).length")


def test_filters_hide_what_is_of_another_chip_program_or_text(
    mixed, rows, browser: Browser, tmp_path
):
    path = tmp_path / "page.html"
    path.write_text(sweep_page([*mixed, *rows]), "utf-8")
    browser.open(path)
    assert (seen(browser, "rows"), seen(browser, "best")) == (34, 13)
    chip = browser.driver.find_element("css selector", "select[name=arch]")
    chip.send_keys("black")
    assert (seen(browser, "rows"), seen(browser, "best")) == (2, 2)
    assert browser.evaluate("document.querySelector('[data-of=rows-table]').value") == (
        "2 of 34"
    )
    heads = "[...document.querySelectorAll('#cycles thead th')]"
    shown = f"{heads}.filter(h => h.offsetParent !== null).map(h => h.innerText)"
    assert {head.split("\n")[2] for head in browser.evaluate(shown)} == {"blackhole"}
    program = browser.driver.find_element("css selector", "select[name=program]")
    program.send_keys("ttnn")
    assert seen(browser, "rows") == 1
    browser.driver.find_element("css selector", "form.filters button").click()
    assert seen(browser, "rows") == 34
    text = browser.driver.find_element("css selector", "input[name=text]")
    text.send_keys("BLOCKS.5.1 width")
    kept = [r for r in [*mixed, *rows] if r["layer"] == "blocks.5.1.depthwise"]
    kept = [r for r in kept if "width" in (r["scheme"], *r["repeat"].split())]
    assert seen(browser, "rows") == len(kept) > 0
    assert browser.complaints() == []


def test_a_cell_leads_to_its_layer_and_a_code_to_its_text(
    rows, browser: Browser, tmp_path
):
    path = tmp_path / "page.html"
    path.write_text(sweep_page(rows), "utf-8")
    browser.open(path)
    for link in ("#cycles td.best a", "#best-table th a", "#best-table td a"):
        element = browser.driver.find_element("css selector", link)
        target = element.get_attribute("href").partition("#")[2]
        browser.evaluate("window.scrollTo(0, 0)")
        element.send_keys("\n")
        place = f"document.getElementById('{target}').getBoundingClientRect()"
        assert 0 <= browser.evaluate(f"{place}.top") < 900
    assert browser.complaints() == []


@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_is_as_wide_as_its_window(mixed, browser: Browser, tmp_path, width):
    path = tmp_path / "page.html"
    path.write_text(sweep_page(mixed), "utf-8")
    browser.open(path, width=width)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    small = "[...document.querySelectorAll('table.heat td, table.heat th')].filter("
    small += "c => parseFloat(getComputedStyle(c).fontSize) < 11).length"
    assert browser.evaluate(small) == 0
    # the first column stays in sight, however far the rest is scrolled
    place = "document.querySelector('#cycles tbody th').getBoundingClientRect().left"
    left = browser.evaluate(place)
    browser.evaluate("document.querySelector('#cycles .wide').scrollTo(500, 0)")
    assert abs(browser.evaluate(place) - left) < 10


def test_print_shows_every_column_and_every_card(mixed, browser: Browser, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(sweep_page(mixed), "utf-8")
    a4 = 1046  # pixels of 277 mm: the long side less its margins
    browser.open(path, width=a4, media="print")
    assert browser.evaluate("document.documentElement.scrollWidth") <= a4
    cut = "[...document.querySelectorAll('.wide')].filter(e => e.scrollWidth > 1046)"
    assert browser.evaluate(f"{cut}.length") == 0
    hidden = "[...document.querySelectorAll('details table')].filter("
    hidden += "t => !t.checkVisibility() || !t.offsetHeight).length"
    assert browser.evaluate(hidden) == 0
    shown = "getComputedStyle(document.querySelector('form.filters')).display"
    assert browser.evaluate(shown) == "none"
    browser.open(path)
    assert browser.evaluate(hidden) > 0


def test_the_page_says_what_was_run(rows):
    assert "3 configurations of 1 layers, planned by jaxdw" in sweep_page(rows[:3])
    assert (
        "2 configurations of 2 layers, planned, 1 of them emulated, by"
        in sweep_page(rows[2:4])
    )
    assert "1 configurations of 1 layers, planned and emulated by" in sweep_page(
        rows[3:4]
    )


def test_names_of_a_file_are_text_everywhere(rows):
    name = "a[/bold]$_{<b>&"
    odd = [row | {"model": name, "layer": name + "$"} for row in rows[:3]]
    table = summary_table(odd)
    shown = io.StringIO()
    Terminal(width=200, file=shown).print(table)
    assert name in shown.getvalue()
    text = sweep_page(odd)
    assert "<b>&" not in text
    assert "a[/bold]$_{&lt;b&gt;&amp;" in text
