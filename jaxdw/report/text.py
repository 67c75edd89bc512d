"""Plans, traffic and verdicts as tables; tiles as the face view engineers read."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from rich.table import Table

from jaxdw.plan.grid import TILE
from jaxdw.plan.layout import FACE
from jaxdw.plan.plan import Plan
from jaxdw.verify.compare import Verdict

_SHOWN = 4  # values of a face row


def plan_facts(plan: Plan) -> dict[str, object]:
    """Returns what a person asks of a plan first, as plain values."""
    cores = range(plan.num_cores)
    return {
        "arch": plan.arch.name,
        "scheme": plan.scheme,
        "grid": list(plan.grid),
        "cores": plan.num_cores,
        "input": list(plan.conv.input_shape),
        "output": list(plan.output_shape),
        "input_shard": list(plan.input_shard),
        "halo_shard": list(plan.halo_shard),
        "output_shard": list(plan.output_shard),
        "weight_layout": plan.shard.weight_layout,
        "weight_matrix": list(plan.weight_matrix_shape),
        "weight_tile_grid": list(plan.weight_tile_grid),
        "weight_tiles_per_core": plan.weight_tiles_per_core,
        "effective_tiles": plan.effective_tiles,
        "start_tiles": [plan.start_tile(core) for core in cores],
        "weight_readers": list(plan.weight_readers),
    }


def facts_table(title: str, facts: dict[str, object]) -> Table:
    """Returns a two-column table of named values."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), _shown(value))
    return table


def rows_table(title: str, rows: list[dict[str, object]]) -> Table:
    """Returns a table with a column for each key of the first row."""
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*map(_shown, row.values()))
    return table


def verdict_facts(verdict: Verdict) -> dict[str, object]:
    """Returns a verdict as plain values, the share of exact outputs spelt out."""
    share = verdict.exact / verdict.outputs
    return {
        "exact": f"{verdict.exact} of {verdict.outputs} outputs ({share:.4%})",
        "max_ulp": verdict.max_ulp,
        "mean_ulp": f"{verdict.mean_ulp:.6f}",
        "small_error": f"{verdict.small_error:.3g}",
        "pcc": repr(verdict.pcc),
        "rule": verdict.rule,
    }


def _shown(value: object) -> str:
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
