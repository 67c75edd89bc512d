"""Plans, traffic and verdicts as tables; tiles as the face view engineers read."""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from rich.table import Table

from jaxdw.plan.plan import Plan
from jaxdw.plan.units import FACE, TILE

if TYPE_CHECKING:
    from jaxdw.judge.compare import Verdict

_SHOWN = 4  # values of a face row


def plan_facts(plan: Plan) -> dict[str, object]:
    """Returns what a person asks of a plan first, as plain values."""
    cores = range(plan.num_output_cores)
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
        "weight_matrix": list(plan.weight_matrix_shape),
        "weight_tile_grid": list(plan.weight_tile_grid),
        "weight_tiles_per_core": plan.weight_tiles_per_core,
        **plan.own_facts(),
        "start_tiles": [plan.start_tile(core) for core in cores],
        "weight_readers": list(plan.weight_readers),
        "upstream_program": plan.upstream_program,
        "l1_fits": plan.l1.fits,
    }


def l1_rows(plan: Plan) -> list[dict[str, object]]:
    """Returns a row for each buffer of one core."""
    return [
        {
            "buffer": buffer.name,
            "place": buffer.place,
            "cb": "" if buffer.cb is None else buffer.cb,
            "page_bytes": buffer.page_bytes,
            "pages": buffer.pages,
            "bytes": buffer.num_bytes,
            "address": buffer.address,
        }
        for buffer in plan.l1.buffers
    ]


def l1_facts(plan: Plan) -> dict[str, object]:
    """Returns the sums of one core's L1, in bytes."""
    l1 = plan.l1
    return {
        "circular_buffers": l1.static_bytes,
        "l1_buffers": l1.buffer_bytes,
        "capacity": l1.capacity_bytes,
        "free": l1.free_bytes,
        "fits": l1.fits,
    }


def cycle_facts(plan: Plan) -> dict[str, object]:
    """Returns the bounds of each resource, their sum in sequence, and the time."""
    cycles = plan.cycles
    return dataclasses.asdict(cycles) | {
        "total": cycles.total,
        "binding": cycles.binding,
        "microseconds": round(cycles.total / plan.arch.clock_hz * 1e6, 3),
    }


def plan_row(plan: Plan) -> dict[str, object]:
    """Returns a plan as one row: sizes in sticks x channels, L1 in bytes."""
    conv = plan.conv
    held, output = plan.l1.of("source"), plan.l1.of("output")
    case = "x".join(map(str, (conv.batch, conv.channels, conv.height, conv.width)))
    return {
        "case": f"{case} k{_one(conv.kernel)} s{_one(conv.stride)}",
        "scheme": plan.scheme,
        "grid": "x".join(map(str, plan.grid)),
        "cores": plan.num_cores,
        "in_shard": "x".join(map(str, plan.input_shard)),
        "halo_shard": "x".join(map(str, plan.halo_shard)),
        "out_shard": "x".join(map(str, plan.output_shard)),
        "tiles": plan.weight_tiles_per_core,
        "static_bytes": plan.l1.static_bytes,
        "halo_bytes": held.num_bytes if held else 0,
        "out_bytes": output.num_bytes if output else 0,
        "free_bytes": plan.l1.free_bytes,
        "cycles": plan.cycles.total,
        "binding": plan.cycles.binding,
        "findings": " ".join(finding.code for finding in plan.findings),
    }


def _one(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"


def markdown(rows: list[dict[str, object]]) -> Iterator[str]:
    """Yields a Markdown table, a column for each key of the first row."""
    yield "| " + " | ".join(name.replace("_", " ") for name in rows[0]) + " |"
    yield "|---" * len(rows[0]) + "|"
    for row in rows:
        yield "| " + " | ".join(map(str, row.values())) + " |"


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


def verdict_facts(verdict: "Verdict") -> dict[str, object]:
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
