"""Drawings of a sweep: a core grid by use, DRAM banks.

Each returns a matplotlib Figure in the colours of `jaxdw.report.drawing`.
"""

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jaxdw.plan.plan import Plan
from jaxdw.report.drawing import COLOURS, STYLE, fill, new_axes, tint

_CELL = 0.22  # inches of one core


def core_use(plan: Plan) -> list[float]:
    """Returns each core's share of output elements that are real, not padding."""
    rows, padded = plan.output_shard
    uses = []
    for core in range(plan.num_cores):
        nhw, column = divmod(core, plan.num_channel_shards)
        channels = min(padded, max(0, plan.conv.channels - column * padded))
        uses.append(plan.shard_ranges[nhw].num_outputs * channels / (rows * padded))
    return uses


@matplotlib.rc_context(STYLE)
def draw_use(plan: Plan) -> Figure:
    """Draws the chip's cores; the stronger the tint, the more of it is real work."""
    columns, rows = plan.arch.grid
    figure, axes = new_axes(_CELL * columns, _CELL * rows)
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    for y in range(rows):
        for x in range(columns):
            fill(axes, (x, y, 1, 1), "empty")
    for core, use in enumerate(core_use(plan)):
        x, y = plan.core_grid.xy(core)
        axes.add_patch(Rectangle((x, y), 1, 1, fc=COLOURS[tint(0)], alpha=use))
    axes.set_xticks([])
    axes.set_yticks([])
    return figure


@matplotlib.rc_context(STYLE)
def draw_bank_balance(plan: Plan) -> Figure:
    """Draws how many weight and bias tiles are read from each DRAM bank."""
    tiles = plan.tiles_per_bank
    figure, axes = new_axes(_CELL * len(tiles) * 1.4, _CELL * 5)
    most = max(tiles)
    axes.set_xlim(0, len(tiles))
    axes.set_ylim(0, most * 1.25)
    for bank, count in enumerate(tiles):
        fill(axes, (bank + 0.1, 0, 0.8, count), tint(2) if count else "empty")
        axes.text(bank + 0.5, count + most * 0.04, str(count), ha="center", size=7)
    axes.set_xticks(
        [bank + 0.5 for bank in range(len(tiles))],
        [str(bank) for bank in range(len(tiles))],
    )
    axes.set_yticks([])
    return figure
