"""Drawings of a plan's cores: the grid with its multicasts, and one haloed shard.

Each returns a matplotlib Figure in the colours of `jaxdw.report.drawing`.
"""

import itertools
from collections.abc import Collection

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxdw.plan.plan import Plan
from jaxdw.report.drawing import (
    COLOURS,
    STYLE,
    WIDTH,
    fill,
    legend,
    new_axes,
    number_axes,
    outline,
    patch,
    tint,
)
from jaxdw.trace.core import CoreTrace, explain_core
from jaxdw.trace.provenance import provenance_of

MOST_PADDED_ROWS = 40
_SMALLEST_CELL = 0.15  # inches; a run of smaller ones is drawn as one

ROLES = {"sender": tint(1), "reader": tint(2), "receiver": tint(0), "idle": "empty"}


@matplotlib.rc_context(STYLE)
def draw_cores(
    plan: Plan, core: int | None = None, holders: Collection[int] = ()
) -> Figure:
    """Draws the chip's cores by role and every multicast rectangle.

    Args:
      core: outlined; holders: cores whose number bears an asterisk.
    """
    columns, rows = plan.arch.grid
    figure, axes = new_axes(WIDTH, 0.5 * rows)
    traces = [explain_core(plan, x, y) for y in range(rows) for x in range(columns)]
    for trace in traces:
        x, y = trace.xy
        cell = (x + 0.06, y + 0.08, 0.88, 0.84)
        fill(axes, cell, ROLES[trace.role])
        if trace.core is not None:
            star = "*" if trace.core in holders else ""
            name = f"core {trace.core}{star}\n{trace.role}"
            name += f"\nshard {trace.core % plan.num_channel_shards}"
            axes.text(
                x + 0.5, y + 0.5, name,
                ha="center", va="center", size=7, linespacing=1.15,
            )  # fmt: skip
            if trace.core == core:
                outline(axes, cell, "ink")
        if trace.rectangle is not None:
            box = trace.rectangle
            across, down = box.x1 - box.x0 + 0.96, box.y1 - box.y0 + 0.94
            outline(axes, (box.x0 + 0.02, box.y0 + 0.03, across, down), width=1.8)
    number_axes(axes, columns, rows)
    worker = plan.arch.worker_noc_xy
    axes.set_xticks(
        axes.get_xticks(), [f"x {x}\nNoC {worker((x, 0))[0]}" for x in range(columns)]
    )
    axes.set_yticks(
        axes.get_yticks(), [f"y {y}, NoC {worker((0, y))[1]}" for y in range(rows)]
    )
    axes.xaxis.tick_top()
    present = {trace.role for trace in traces}
    handles = [patch(tone, role) for role, tone in ROLES.items() if role in present]
    line = Line2D([], [], color=COLOURS["accent"], linewidth=1.8)
    line.set_label("multicast rectangle")
    legend(axes, [*handles, line] if plan.broadcasts else handles)
    return figure


def padded_rows(plan: Plan, core: int) -> range:
    """Returns the padded image rows that a core's haloed shard touches."""
    shard = core // plan.num_channel_shards
    first = plan.shard_ranges[shard].first_padded
    runs = explain_core(plan, *provenance_of(plan).xy(core)).runs
    end = max((run.row + run.length for run in runs), default=1)
    width = plan.window.padded_width
    return range(first // width, (first + end - 1) // width + 1)


@matplotlib.rc_context(STYLE)
def draw_halo(
    plan: Plan, core: int, output_rows: tuple[int, ...] | None = None
) -> Figure:
    """Draws a core's haloed shard over the padded image, with windows of outputs.

    Args:
      output_rows: of the core's output shard, whose windows are outlined; None for the
        first and the last.
    """
    provenance, width = provenance_of(plan), plan.window.padded_width
    shard = core // plan.num_channel_shards
    image_rows = padded_rows(plan, core)[:MOST_PADDED_ROWS]
    cell = min(WIDTH * 0.9 / width, 0.3)
    figure, axes = new_axes(cell * width, cell * len(image_rows))
    before = plan.shard_ranges[shard].first_padded - image_rows[0] * width
    trace = explain_core(plan, *provenance.xy(core))
    kinds = _draw_runs(axes, trace, before, (width, len(image_rows)), cell)
    starts = np.concatenate(
        [np.arange(a, b + 1, plan.conv.stride[1]) for a, b in trace.window_starts]
        or [np.empty(0, np.int64)]
    )
    y, x = np.divmod(before + starts, width)
    shown = y < len(image_rows)
    axes.plot(
        x[shown] + 0.5, y[shown] + 0.5,
        ".", c=COLOURS["ink"], markersize=max(1.5, 9 * cell),
    )  # fmt: skip
    if output_rows is None:
        output_rows = (0, len(starts) - 1) if len(starts) else ()
    for output in output_rows:
        for halo_row in provenance.window_rows[shard, :, output].tolist():
            y, x = divmod(before + halo_row, width)
            if y < len(image_rows):
                outline(axes, (x, y, 1, 1), width=1.4)
    number_axes(axes, width, len(image_rows), image_rows[0])
    axes.set(xlabel="padded column", ylabel="padded row")
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    dot = Line2D([], [], color=COLOURS["ink"], marker=".", linestyle="none")
    dot.set_label("window start")
    ring = Line2D([], [], color=COLOURS["accent"], marker="s", linestyle="none")
    ring.set(markerfacecolor="none", label="window of an output")
    legend(axes, [*(patch(tone, label) for label, tone in kinds.items()), dot, ring])
    return figure


def _draw_runs(
    axes: Axes, trace: CoreTrace, before: int, size: tuple[int, int], cell: float
) -> dict[str, str]:
    """Draws each run of a haloed shard, cut where an image row ends.

    Args:
      before: cells of the first image row that come before the shard.
      size: of the grid, columns and rows; cell: inches of one.

    Returns:
      What each kind of stick is drawn in.
    """
    width, rows = size
    kinds: dict[str, str] = {}
    for run in trace.runs:
        kind, tone = _kind(trace, run.source)
        first, end = before + run.row, before + run.row + run.length
        ends = range(first - first % width + width, end, width)
        for begin, stop in itertools.pairwise([first, *ends, end]):
            y, x = divmod(begin, width)
            if y >= rows:
                break
            kinds[kind] = tone
            step = 1 if cell >= _SMALLEST_CELL else stop - begin
            for left in range(x, x + stop - begin, step):
                fill(axes, (left, y, step, 1), tone)
    return kinds


def _kind(trace: CoreTrace, source: int | None) -> tuple[str, str]:
    if source is None:
        return "padding", "empty"
    if source == trace.core:
        return "the core's own sticks", tint(0)
    others = sorted(core for core in trace.rows_from if core != trace.core)
    return f"from core {source}", tint(1 + others.index(source) % 7)
