"""Drawings of a plan's weights: the tile grid, faces, and DRAM banks.

Each returns a matplotlib Figure in the colours of `jaxdw.report.drawing`.
"""

import itertools
from collections.abc import Iterator

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxdw.plan.plan import Plan
from jaxdw.plan.units import FACE, FACE_ELEMS, TILE, tile_place
from jaxdw.report.drawing import (
    COLOURS,
    MOST_LABELS,
    POINTS,
    STYLE,
    WIDTH,
    fill,
    new_axes,
    number_axes,
    outline,
    tint,
)
from jaxdw.trace.pages import weight_table
from jaxdw.trace.provenance import NOTHING, provenance_of

MOST_FACE_TILES = 4  # drawn face by face, in one row
MOST_TILE_ROWS = 8
MOST_SLOTS = 16
_LEAST_BAND = 7  # points, of a band that can be labelled


def tile_shards(plan: Plan) -> list[int]:
    """Returns the channel shard that reads each weight tile; NOTHING for none."""
    provenance = provenance_of(plan)
    shards = np.full(len(provenance.tile_weights), NOTHING)
    for core in plan.weight_readers:
        held = provenance.held_tiles[core]
        shards[held[held != NOTHING]] = core % plan.num_channel_shards
    return shards.tolist()


def tile_roles(plan: Plan) -> list[str]:
    """Returns each weight tile's colour role: its shard's tint, `empty` for zeros."""
    weights = (provenance_of(plan).tile_weights != NOTHING).any(axis=1)
    return [
        tint(shard) if shard != NOTHING and weights[tile] else "empty"
        for tile, shard in enumerate(tile_shards(plan))
    ]


def _around(wanted: int, most: int, count: int) -> range:
    """Returns up to `most` of `count`, the first ones or those around `wanted`."""
    shown = min(most, count)
    first = max(0, min(wanted - shown // 2, count - shown))
    return range(first, first + shown)


def grid_rows(plan: Plan, tile: int | None = None) -> range:
    """Returns the tile rows that `draw_tile_grid` shows."""
    rows, columns = plan.weight_tile_grid
    return _around((tile or 0) // columns, MOST_TILE_ROWS, rows)


@matplotlib.rc_context(STYLE)
def draw_tile_grid(plan: Plan, tile: int | None = None) -> Figure:
    """Draws weight tiles as the matrix has them; `tile` is outlined."""
    rows, columns = grid_rows(plan, tile), plan.weight_tile_grid[1]
    cell = min(WIDTH / columns, 0.5)
    figure, axes = new_axes(cell * columns, min(0.35, cell * 2) * len(rows))
    roles = tile_roles(plan)
    for i in range(rows[0] * columns, (rows[-1] + 1) * columns):
        y, x = divmod(i - rows[0] * columns, columns)
        fill(axes, (x, y, 1, 1), roles[i])
        if columns <= MOST_LABELS:
            _label(axes, (x, y), i, roles[i])
        if i == tile:
            outline(axes, (x, y, 1, 1))
    number_axes(axes, columns, len(rows), rows[0])
    axes.set(xlabel="tile column", ylabel="tile row")
    return figure


def _label(axes: Axes, cell: tuple[int, int], tile: int, role: str) -> None:
    colour = COLOURS["muted" if role == "empty" else "ink"]
    x, y = cell
    axes.text(x + 0.5, y + 0.5, str(tile), ha="center", va="center", c=colour)


def face_tiles(plan: Plan, tile: int | None = None) -> range:
    """Returns the tiles that `draw_faces` shows: the first, or those around `tile`."""
    columns = plan.weight_tile_grid[1]
    row, column = divmod(tile or 0, columns)
    shown = _around(column, MOST_FACE_TILES, columns)
    return range(row * columns + shown[0], row * columns + shown[-1] + 1)


@matplotlib.rc_context(STYLE)
def draw_faces(
    plan: Plan, tile: int | None = None, element: int | None = None
) -> Figure:
    """Draws tiles of one tile row face by face, a band for each kernel position.

    Args:
      tile: outlined, in the middle of those shown; None for the first ones.
      element: of that tile, in memory order, is marked.
    """
    tiles, shards = face_tiles(plan, tile), tile_shards(plan)
    table = weight_table(plan, 0)
    side = min(3.2, (WIDTH - 0.2 * len(tiles)) / len(tiles))  # inches
    gap = TILE * 0.2 / side
    width = (TILE + gap) * len(tiles) - gap
    figure, axes = new_axes(side * width / TILE, side)
    for i, shown in enumerate(tiles):
        left, shard = i * (TILE + gap), shards[shown]
        _draw_tile(axes, plan, shown, left, tint(shard), side * POINTS / TILE)
        reader = "read by none" if shard == NOTHING else f"shard {shard}"
        axes.text(
            left + TILE / 2, -1, ha="center", va="bottom",
            s=f"tile {shown}, {reader}\n"
            f"bank {table.bank[shown]}, slot {table.slot[shown]}",
        )  # fmt: skip
        if shown == tile:
            outline(axes, (left, 0, TILE, TILE))
            if element is not None:
                y, x = tile_place(element)
                outline(axes, (left + x, y, 1, 1), "ink", 1.5)
    axes.set_xlim(0, width)
    axes.set_ylim(TILE, 0)
    axes.set_xticks([])
    axes.set_yticks([0, FACE, TILE])
    return figure


def _draw_tile(
    axes: Axes, plan: Plan, tile: int, left: float, role: str, row_points: float
) -> None:
    weights = provenance_of(plan).tile_weights[tile].reshape(-1, FACE, FACE)
    for face, held in enumerate(weights):
        y, column = tile_place(face * FACE_ELEMS)
        x = left + column
        fill(axes, (x, y, FACE, FACE), "empty")
        for begin, rows, lanes, tap in _bands(held, plan):
            fill(axes, (x, y + begin, lanes, rows), role)
            if rows * row_points >= _LEAST_BAND:
                kh, kw = divmod(tap, plan.conv.kernel[1])
                axes.text(
                    x + lanes / 2, y + begin + rows / 2, f"{kh},{kw}",
                    ha="center", va="center", size=7,
                )  # fmt: skip
        axes.text(
            x + FACE - 0.4, y + FACE - 0.4, f"F{face}",
            ha="right", va="bottom", size=7, c=COLOURS["muted"],
        )  # fmt: skip
        outline(axes, (x, y, FACE, FACE), "ink", 0.8)


def _bands(held: np.ndarray, plan: Plan) -> Iterator[tuple[int, int, int, int]]:
    """Yields a face's rows with equal kernel positions: first, count, lanes, tap."""
    lanes = (held != NOTHING).sum(axis=1)
    taps = np.where(lanes > 0, held[:, 0] % plan.conv.taps, NOTHING)
    breaks = np.flatnonzero(np.diff(taps) | np.diff(lanes)) + 1
    for begin, end in itertools.pairwise([0, *breaks.tolist(), FACE]):
        if lanes[begin]:
            yield begin, end - begin, int(lanes[begin]), int(taps[begin])


def bank_slots(plan: Plan, tile: int | None = None) -> range:
    """Returns the slots that `draw_banks` shows."""
    table = weight_table(plan, 0)
    return _around(int(table.slot[tile or 0]), MOST_SLOTS, table.num_slots)


@matplotlib.rc_context(STYLE)
def draw_banks(plan: Plan, base_address: int = 0, tile: int | None = None) -> Figure:
    """Draws the weight tiles as DRAM has them; `tile` is outlined."""
    table, banks = weight_table(plan, base_address), plan.arch.num_banks
    slots = bank_slots(plan, tile)
    figure, axes = new_axes(WIDTH * 0.86, 0.32 * len(slots))
    for y in range(len(slots)):
        for bank in range(banks):
            fill(axes, (bank, y, 1, 1), "empty")
    roles = tile_roles(plan)
    for i in np.flatnonzero(
        (table.slot >= slots[0]) & (table.slot <= slots[-1])
    ).tolist():
        bank, y = int(table.bank[i]), int(table.slot[i]) - slots[0]
        fill(axes, (bank, y, 1, 1), roles[i])
        _label(axes, (bank, y), i, roles[i])
        if i == tile:
            outline(axes, (bank, y, 1, 1))
    number_axes(axes, banks, len(slots))
    axes.xaxis.tick_top()
    axes.set_xticks(
        np.arange(banks) + 0.5,
        [f"bank {i}\nNoC {x},{y}" for i, (x, y) in enumerate(plan.arch.bank_noc_xy)],
    )
    in_bank_0 = table.local_address[::banks].tolist()
    axes.set_yticks(
        np.arange(len(slots)) + 0.5, [f"slot {i}, {in_bank_0[i]:#x}" for i in slots]
    )
    return figure
