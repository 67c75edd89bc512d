"""Drawings of a sweep: a core grid by use, DRAM banks.

Each returns a matplotlib Figure in the colours of `jaxdw.report.drawing`.
"""

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jaxdw.plan.l1 import L1Use
from jaxdw.plan.plan import Plan
from jaxdw.report.drawing import COLOURS, STYLE, WIDTH, fill, new_axes, patch, tint

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
def draw_l1(l1: L1Use) -> Figure:
    """Draws one core's buffers where they lie, from the base of L1 to its end."""
    end = l1.top + l1.small_bytes
    figure, axes = new_axes(WIDTH, 0.4)
    axes.set_xlim(l1.base, end)
    axes.set_ylim(0, 1)
    fill(axes, (l1.base, 0, end - l1.base, 1), "empty")
    least = (end - l1.base) / 60  # wide enough for a name
    for number, buffer in enumerate(l1.buffers):
        fill(axes, (buffer.address, 0, buffer.num_bytes, 1), tint(number))
        if buffer.num_bytes > least * len(buffer.name) / 3:
            middle = buffer.address + buffer.num_bytes / 2
            axes.text(middle, 0.5, buffer.name, ha="center", va="center", size=7)
    places = (l1.base, end)
    axes.set_xticks(list(places), [f"{place:,}" for place in places])
    axes.set_yticks([])
    handles = [
        patch(tint(number), f"{buffer.name} {buffer.num_bytes:,}")
        for number, buffer in enumerate(l1.buffers)
    ]
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0, -0.6), ncols=4,
        borderaxespad=0, handlelength=1.2,
    )  # fmt: skip
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
