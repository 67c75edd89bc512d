"""The page, its figures, and both as a browser shows them."""

import re
from collections import Counter
from html import unescape
from html.parser import HTMLParser
from importlib import resources

import numpy as np
import pytest
from browser import Browser, chromium  # noqa: F401
from matplotlib.figure import Figure
from selenium.webdriver.common.keys import Keys

import jaxdw as jd
from jaxdw.report import core_figures, figures, html
from jaxdw.report.drawing import COLOURS, NUM_TINTS, new_axes, outline, svg
from jaxdw.report.plan_page import explain_page
from jaxdw.trace.weight import explain_weight

TEMPLATE = resources.files("jaxdw.report").joinpath("page.html").read_text("utf-8")
LIGHT, DARK = (
    dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]{6})", css))
    for css in TEMPLATE.split("@media (prefers-color-scheme: dark)")
)


def plan_of(scheme: str, **fields) -> jd.Plan:
    conv = {"channels": 64, "height": 8, "width": 8, "padding": 1} | fields
    return jd.make_plan(
        jd.ConvConfig(**conv), jd.ShardConfig(scheme=scheme), must_fit=False
    )


def page_of(scheme: str, **fields) -> str:
    plan = plan_of(scheme, **fields)
    weight = explain_weight(plan, 40, 1, 2, 0x1D4DA0, output=(0, 5, 7))
    assert weight.product is not None
    return explain_page(
        plan, core=weight.product.core, base_address=0x1D4DA0, weight=weight
    )


@pytest.fixture(scope="module")
def block_page() -> str:
    return page_of("block")


class Elements(HTMLParser):
    """Collects every start tag of a page; fails on one that is closed wrongly."""

    VOID = ("meta", "path", "use", "rect")

    def __init__(self, page: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag == name]


def test_the_page_reaches_nowhere_and_runs_nothing(block_page):
    assert "://" not in block_page
    assert "<script" not in block_page
    assert "default-src 'none'" in block_page
    links = [a["href"] for a in Elements(block_page).all("a")]
    uses = [use["href"] for use in Elements(block_page).all("use")]
    assert links
    assert uses
    assert all(link and link.startswith("#") for link in links + uses)
    assert all(ref.startswith("#") for ref in re.findall(r"url\(([^)]*)", block_page))


def test_every_reference_has_its_one_target(block_page):
    ids = Counter(
        attributes["id"]
        for _, attributes in Elements(block_page).found
        if "id" in attributes
    )
    assert set(ids.values()) == {1}
    wanted = re.findall(r'(?:href="|url\()#([^")]+)', block_page)
    wanted += re.findall(r'aria-labelledby="([^"]+)', block_page)
    assert len(set(wanted)) > 6
    assert set(wanted) <= set(ids)


def test_every_figure_is_named_and_every_scroller_takes_focus(block_page):
    elements = Elements(block_page)
    drawings = elements.all("svg")
    assert len(drawings) == 5
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in drawings)
    assert len({svg["aria-label"] for svg in drawings}) == 5
    scrollers = [d for d in elements.all("div") if d.get("role") == "group"]
    assert [d["tabindex"] for d in scrollers] == ["0"] * 5
    assert len(elements.all("figcaption")) == 5
    assert elements.all("html") == [{"lang": "en"}]
    headings = [tag for tag, _ in elements.found if tag in ("h1", "h2", "h3")]
    assert headings == ["h1"] + ["h2"] * 5


def test_the_same_plan_gives_the_same_bytes(block_page):
    assert page_of("block") == block_page
    assert page_of("width") != block_page


def test_only_the_page_knows_colours(block_page):
    body = block_page[block_page.index("<body>") :]
    assert not re.findall(r"#[0-9a-f]{6}\b", body)
    used = set(re.findall(r"var\(--([a-z0-9]+)\)", body))
    assert {"ink", "line", "empty", "accent", "tint0", "tint1"} <= used
    assert used <= set(COLOURS)
    assert set(COLOURS) <= set(LIGHT)
    assert set(COLOURS) <= set(DARK)
    assert set(LIGHT) == set(DARK)


def luminance(colour: str) -> float:
    """Returns the relative luminance of WCAG 2.2."""
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    least, most = sorted((luminance(one), luminance(other)))
    return (most + 0.05) / (least + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_edges_stand_out_in_both_schemes(colours):
    tints = [colours[f"tint{i}"] for i in range(NUM_TINTS)]
    assert len(set(tints)) == NUM_TINTS
    for fill in (*tints, colours["paper"], colours["empty"]):
        assert contrast(colours["ink"], fill) >= 4.5
        assert contrast(colours["accent"], fill) >= 3
    for fill in (colours["paper"], colours["empty"]):
        assert contrast(colours["muted"], fill) >= 4.5
        assert contrast(colours["line"], fill) >= 2.5
    assert contrast(colours["link"], colours["paper"]) >= 4.5


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_faces_show_the_kernel_positions_where_the_weights_are():
    shown = texts(figures.draw_faces(plan_of("width"), 1, 40))
    # two rows of a face to each of nine positions of 32 channels: eight in face 0
    bands = [text for text in shown if "," in text and "tile" not in text]
    assert bands == [f"{k // 3},{k % 3}" for k in range(9)] * 2
    assert "tile 1, shard 1\nbank 1, slot 0" in shown


def test_faces_lie_left_to_right_and_top_to_bottom():
    places = {
        text.get_text(): (text.get_position()[0] > 16, text.get_position()[1] > 16)
        for text in figures.draw_faces(plan_of("width")).axes[0].texts
        if text.get_text()[0] == "F" and text.get_position()[0] < 32
    }
    assert places == {
        "F0": (False, False),
        "F1": (True, False),
        "F2": (False, True),
        "F3": (True, True),
    }


def test_tiles_are_coloured_by_the_shard_that_reads_them():
    plan = plan_of("block", channels=96, kernel=(1, 2))
    assert figures.tile_roles(plan) == ["tint0", "tint1", "tint2"]
    plan = plan_of("height")
    assert figures.tile_roles(plan) == ["tint0", "empty", "empty", "empty"]


def test_banks_show_every_tile_in_its_slot():
    plan = plan_of("width", channels=480)
    figure = figures.draw_banks(plan, 0x1D4DA0, 14)
    placed = {
        text.get_text(): tuple(np.floor(text.get_position()))
        for text in figure.axes[0].texts
    }
    assert placed == {str(i): (i % 12, i // 12) for i in range(15)}
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows == ["slot 0, 0x1d4da0", "slot 1, 0x1d55a0"]


def test_cores_show_their_role_where_they_are():
    plan = plan_of("height", channels=32, height=20, width=20)
    figure = core_figures.draw_cores(plan, 3, holders=[0, 12])
    placed = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert len(placed) == plan.num_cores == 13
    assert placed[(0.5, 0.5)] == "core 0*\nsender\nshard 0"
    assert placed[(4.5, 1.5)] == "core 12*\nreceiver\nshard 0"
    frames = [
        patch.get_bbox().bounds
        for patch in figure.axes[0].patches
        if not patch.get_fill() and patch.get_linewidth() == 1.8
    ]
    ((x, y, width, height),) = frames  # around the bounding box of 8 + 5 cores
    assert (np.floor([x, y, x + width, y + height]) == [0, 0, 7, 1]).all()


def outlined(figure: Figure) -> list[tuple[int, int]]:
    return [
        (int(patch.get_x()), int(patch.get_y()))
        for patch in figure.axes[0].patches
        if not patch.get_fill()
    ]


def test_a_window_is_drawn_around_the_pixels_it_reads():
    plan = plan_of("block", dilation=(2, 1), padding=2)
    window = outlined(core_figures.draw_halo(plan, 0, (10,)))
    # output 10 of 8x10 starts at padded row 1, column 0; rows are two apart
    assert window == [(x, y) for y in (1, 3, 5) for x in (0, 1, 2)]
    both = outlined(core_figures.draw_halo(plan, 0))
    assert len(both) == 18


def test_a_shard_that_starts_inside_an_image_row_is_drawn_from_there():
    plan = plan_of("height", width=7)
    axes = core_figures.draw_halo(plan, 1, (0,)).axes[0]
    cells = {
        (int(patch.get_x()), int(patch.get_y()))
        for patch in axes.patches
        if patch.get_fill()
    }
    # its first output is number 32 of 8x7: padded row 4, column 4 of 9
    part = plan.shard_ranges[1]
    rows = part.last_padded - part.first_padded + 1
    position = [divmod(4 + row, 9) for row in range(rows)]
    assert cells == {(x, y) for y, x in position}
    assert outlined(axes.figure) == [(x, y) for y in range(3) for x in (4, 5, 6)]
    assert axes.get_yticklabels()[0].get_text() == "4"
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == [
        "from core 0", "padding", "the core's own sticks", "window start",
        "window of an output",
    ]  # fmt: skip


def test_the_window_drawn_is_that_of_the_output_asked_for(block_page):
    plan = plan_of("block")
    row = core_figures.draw_halo(plan, 3, (15,))  # output (0, 5, 7) is its row 15
    other = core_figures.draw_halo(plan, 3, (14,))
    drawn = [svg(figure, "halo", "").partition(">")[2] for figure in (row, other)]
    assert [text in block_page for text in drawn] == [True, False]


def test_what_is_too_much_to_draw_is_left_out_and_said():
    plan = plan_of("height", channels=640, height=60, width=60, kernel=5)
    rows, columns = plan.weight_tile_grid
    assert rows > figures.MOST_TILE_ROWS
    page = explain_page(plan, core=0, base_address=0, tile=rows * columns - 1)
    assert f"{rows - figures.MOST_TILE_ROWS} more tile rows." in page
    assert "more slots." in page
    assert figures.grid_rows(plan, rows * columns - 1)[-1] == rows - 1
    assert rows * columns - 1 in figures.face_tiles(plan, rows * columns - 1)
    tall = plan_of("width", height=60)
    page = explain_page(tall, core=0, base_address=0)
    left_out = 62 - core_figures.MOST_PADDED_ROWS
    assert f"{left_out} more padded rows." in page


def test_svg_escapes_its_label_and_keeps_its_ids_apart():
    figure, axes = new_axes(1, 1)
    outline(axes, (0, 0, 1, 1))
    axes.plot([0, 1], [0, 1], ".")
    one, other = (svg(figure, name, 'a "<b>" & c') for name in ("one", "other"))
    assert 'aria-label="a &quot;&lt;b&gt;&quot; &amp; c"' in one
    ids = [set(re.findall(r'id="([^"]*)"', text)) for text in (one, other)]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_text_is_escaped_in_every_part_of_a_page():
    nasty = "<b>&\"'"
    page = html.page(
        nasty,
        nasty,
        [
            html.Section("a", nasty, html.facts(nasty, {nasty: nasty})),
            html.Section("b", "b", html.table(nasty, [{nasty: nasty}])),
            html.Section("c", "c", html.folded_table(nasty, [{nasty: nasty}])),
            html.Section("d", "d", html.figure("<svg></svg>", nasty)),
        ],
    )
    assert "<b>" not in page
    assert unescape(page).count(nasty) == 15
    assert nasty not in page
    Elements(page)


@pytest.mark.parametrize(("scheme", "colours"), [("light", LIGHT), ("dark", DARK)])
def test_a_browser_shows_every_figure(
    browser: Browser, tmp_path, block_page, scheme, colours
):
    target = tmp_path / "page.html"
    target.write_text(block_page, "utf-8")
    browser.open(target, scheme=scheme)
    assert browser.complaints() == []
    boxes = browser.evaluate(
        "[...document.querySelectorAll('svg')].map(s => {"
        "const b = s.getBoundingClientRect();"
        "return [b.x, b.y + scrollY, b.width, b.height]})"
    )
    shot = browser.screenshot() / 255
    paper = [int(colours["paper"][i : i + 2], 16) for i in (1, 3, 5)]
    assert (shot[2, 2] * 255).round().tolist() == paper
    assert len(boxes) == 5
    for box in boxes:
        x, y, width, height = (round(side) for side in box)
        assert width > 80
        assert height > 40
        drawn = shot[y : y + height, x : x + width]
        share = np.abs(drawn - shot[2, 2]).max(axis=2) > 0.03
        assert 0.05 < share.mean() < 0.999  # neither blank nor flooded
        ink = np.abs(drawn.mean(axis=2) - shot[2, 2].mean()) > 0.6
        assert ink.mean() > 0.002  # its text, readable on the page's own ground


def test_a_narrow_window_scrolls_figures_and_not_the_page(
    browser: Browser, tmp_path, block_page
):
    target = tmp_path / "page.html"
    target.write_text(block_page, "utf-8")
    browser.open(target, width=400)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 400
    wide = "[...document.querySelectorAll('figure .wide')]"
    assert browser.evaluate(f"{wide}.some(d => d.scrollWidth > d.clientWidth)")


def test_the_page_is_read_without_a_mouse(browser: Browser, tmp_path, block_page):
    target = tmp_path / "page.html"
    target.write_text(block_page, "utf-8")
    browser.open(target)

    def focused() -> str:
        return browser.evaluate(
            "document.activeElement.getAttribute('href') || "
            "document.activeElement.tagName"
        )

    order = []
    for _ in range(16):
        browser.press(Keys.TAB)
        order.append(focused())
    sections = ["#weights", "#banks", "#cores", "#halo", "#plan"]
    assert order[:6] == ["#main", *sections]
    assert order[6:].count("DIV") == 5
    assert order[6:].count("SUMMARY") == 3
    browser.open(target)
    while focused() != "SUMMARY":
        browser.press(Keys.TAB)
    opened = "document.querySelector('details').open"
    assert not browser.evaluate(opened)
    browser.press(Keys.ENTER)
    assert browser.evaluate(opened)
