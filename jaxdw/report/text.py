"""Facts and rows as tables; tiles as the face view that engineers read."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float
from rich.table import Table

from jaxdw.plan.plan import Plan
from jaxdw.plan.units import FACE, TILE
from jaxdw.report import facts

_SHOWN = 4  # values of a face row


def markdown(rows: list[dict[str, object]]) -> Iterator[str]:
    """Yields a Markdown table, a column for each key of the first row."""
    yield "| " + " | ".join(name.replace("_", " ") for name in rows[0]) + " |"
    yield "|---" * len(rows[0]) + "|"
    for row in rows:
        yield "| " + " | ".join(map(str, row.values())) + " |"


def facts_table(title: str, named: dict[str, object]) -> Table:
    """Returns a two-column table of named values."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in named.items():
        table.add_row(name.replace("_", " "), shown(value))
    return table


def plan_tables(plan: Plan) -> tuple[Table, ...]:
    """Returns what a plan decides: sizes, L1, cycle bounds, traffic."""
    return (
        facts_table("Plan", facts.plan_facts(plan)),
        rows_table("L1 of one core", facts.l1_rows(plan)),
        facts_table("L1", facts.l1_facts(plan)),
        facts_table("Cycles, lower bounds", facts.cycle_facts(plan)),
        facts_table("Traffic", dataclasses.asdict(plan.traffic)),
    )


def rows_table(title: str, rows: Sequence[Mapping[str, object]]) -> Table:
    """Returns a table with a column for each key of the first row."""
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        numbers = all(_is_number(row[name]) for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if numbers else "left")
    for row in rows:
        table.add_row(*map(shown, row.values()))
    return table


def _is_number(value: object) -> bool:
    return str(value).lstrip("-+")[:1].isdigit() or value == ""


def shown(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name}: {one}" for name, one in value.items())
    if isinstance(value, list | tuple):
        values = [str(v) for v in value]
        if len(values) > 16:
            values = [*values[:8], "...", *values[-2:]]
        return "[" + ", ".join(values) + "]"
    return str(value)


def face_view(tile: Float[np.ndarray, "32 32"]) -> Iterator[str]:
    """Yields a tile row by row, the halves of a row by the faces they lie in.

    Args:
      tile: rows and columns of the matrix it comes from.
    """
    row = 0
    while row < TILE:
        left, right = tile[row, :FACE], tile[row, FACE:]
        if not tile[row].any():
            last = row
            while last + 1 < TILE and not tile[last + 1].any():
                last += 1
            span = f"Row {row}" if last == row else f"Rows {row}-{last}"
            yield f"{span}: zeros"
            row = last + 1
            continue
        face = row // FACE * 2
        yield f"Row {row}: F{face}{_lanes(left)} F{face + 1}{_lanes(right)}"
        row += 1


def _lanes(values: Float[np.ndarray, " 16"]) -> str:
    shown = values[:1] if (values == values[0]).all() else values[:_SHOWN]
    if np.isnan(values).all():
        return "[never written]"
    if len(shown) == 1:
        shown = values[:2]
    return "[" + ", ".join(f"{value:g}" for value in shown) + ", ...]"
