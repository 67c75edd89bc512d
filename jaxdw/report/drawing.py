"""Figures in the colours of their page: what drawings share, and their way to SVG.

A figure is drawn in `COLOURS`, which stand for roles; `svg` turns each into a CSS
variable of that name, so that one drawing serves light and dark pages alike.
"""

import io
import re
from collections.abc import Iterable
from html import escape
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

WIDTH = 9.0  # inches, of the widest axes
POINTS = 72  # to the inch
MOST_LABELS = 26  # along the width

NUM_TINTS = 8
_ROLES = ("ink", "muted", "line", "empty", "accent")
COLOURS = {
    role: f"#{0xF00100 + i:06x}"
    for i, role in enumerate([*_ROLES, *(f"tint{i}" for i in range(NUM_TINTS))])
}
"""What each role is drawn in. `line` is for edges, `empty` for cells that hold nothing,
tints for fills that `ink` is readable on."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: searchable, read aloud, small
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana"],  # as wide as each other
    "font.size": 8,
    "text.parse_math": False,  # names of layers may hold a $
    "text.color": COLOURS["ink"],
    "axes.edgecolor": COLOURS["line"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.facecolor": "none",
    "xtick.color": COLOURS["ink"],
    "ytick.color": COLOURS["ink"],
    "figure.facecolor": "none",
    "legend.frameon": False,
}

Cell = tuple[float, float, float, float]  # x, y, width, height


def tint(category: int) -> str:
    """Returns the role that a category is drawn in; they repeat after eight."""
    return f"tint{category % NUM_TINTS}"


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Returns bare axes of that many inches, y downward."""
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure, axes


def number_axes(axes: Axes, columns: int, rows: int, first_row: int = 0) -> None:
    """Spans a grid of cells and numbers its columns and rows, every nth if many."""
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    for count, first, set_ticks in (
        (columns, 0, axes.set_xticks),
        (rows, first_row, axes.set_yticks),
    ):
        shown = range(0, count, -(-count // MOST_LABELS))
        set_ticks(np.array(shown) + 0.5, [str(first + i) for i in shown])


def fill(axes: Axes, cell: Cell, role: str) -> None:
    """Draws a cell in the colour of a role."""
    x, y, width, height = cell
    face, edge = COLOURS[role], COLOURS["line"]
    box = Rectangle((x, y), width, height, fc=face, ec=edge, lw=0.6, clip_on=False)
    axes.add_patch(box)


def outline(axes: Axes, cell: Cell, role: str = "accent", width: float = 2) -> None:
    """Frames a cell; wider frames lie above narrower ones."""
    x, y, across, down = cell
    frame = Rectangle((x, y), across, down, fill=False, clip_on=False)
    frame.set(edgecolor=COLOURS[role], linewidth=width, zorder=3 + width)
    axes.add_patch(frame)


def patch(role: str, label: str) -> Patch:
    """Returns the legend's handle of a fill."""
    return Patch(facecolor=COLOURS[role], edgecolor=COLOURS["line"], label=label)


def legend(axes: Axes, handles: Iterable[Patch | Line2D]) -> None:
    """Puts a legend under axes whose ticks are above."""
    axes.legend(
        handles=list(handles), loc="upper left", bbox_to_anchor=(0, -0.02),
        borderaxespad=0.4, ncols=4, handlelength=1.2,
    )  # fmt: skip


def svg(figure: Figure, name: str, label: str) -> str:
    """Returns a figure as an `<svg>` element for a page, the same text every time.

    Args:
      name: of the figure, the prefix of every id in it; unlike all others on its page.
      label: what the figure shows, for those who do not see it.
    """
    stream = io.StringIO()
    salted: dict[Any, Any] = STYLE | {"svg.hashsalt": name}  # no salt: random ids
    with matplotlib.rc_context(salted):
        figure.savefig(stream, format="svg", bbox_inches="tight")
    text = stream.getvalue()
    text = text[text.index("<svg") :].strip()
    for dropped in (
        r"\s*<metadata>.*?</metadata>",  # and the date in it
        r"<defs>\s*<style.*?</style>\s*</defs>",
        r' xmlns(:xlink)?="[^"]*"',
        r'(?<=<g) id="[^"]*"',  # of groups that nothing refers to
    ):
        text = re.sub(dropped, "", text, flags=re.DOTALL)
    text = text.replace(' id="', f' id="{name}-').replace("url(#", f"url(#{name}-")
    text = text.replace('xlink:href="#', f'href="#{name}-')
    for role, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{role})")
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
