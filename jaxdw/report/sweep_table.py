"""The rows of a sweep as a table: a line for each layer, the best scheme marked."""

from typing import Any

from rich.markup import escape
from rich.table import Table

_MARKS = {
    "pass": "",
    "planned": "",
    "fail": " FAIL",
    "refused": " -",
    "error": " ERROR",
}


def grouped(rows: list[dict[str, Any]]) -> dict[tuple, dict[str, list[dict[str, Any]]]]:
    """Returns rows by model and layer, and inside a layer by scheme, in their order."""
    layers: dict[tuple, dict[str, list[dict[str, Any]]]] = {}
    for row in rows:
        layer = layers.setdefault((row["model"], row["layer"], row["batch"]), {})
        layer.setdefault(row["scheme"], []).append(row)
    return layers


def best_row(by_scheme: dict[str, list[dict[str, Any]]]) -> dict[str, Any] | None:
    """Returns the row with the fewest cycles by their bound, of those that run."""
    ran = (
        row
        for rows in by_scheme.values()
        for row in rows
        if row["status"] in ("pass", "planned")
    )
    return min(ran, key=lambda row: row["cycles"], default=None)


def summary_table(rows: list[dict[str, Any]]) -> Table:
    """Returns a table of layers: the cycle bound of each scheme, and the worst PCC.

    A star marks the best scheme; `-` what was refused in every format and fidelity.
    """
    schemes = list(dict.fromkeys(row["scheme"] for row in rows))
    table = Table(
        title="Cycles, lower bounds, the fewest of all formats",
        title_justify="left",
        caption="* the best scheme, - refused in all formats",
        caption_justify="left",
    )
    table.add_column("layer", overflow="fold")
    table.add_column("size", no_wrap=True)
    for name in (*schemes, "worst PCC"):
        table.add_column(name, justify="right", no_wrap=True)
    last = None
    for (model, layer, batch), by_scheme in grouped(rows).items():
        if model != last:
            table.add_section()
            table.add_row(f"[bold]{escape(model)}")
            last = model
        any_row = next(iter(by_scheme.values()))[0]
        best = (best_row(by_scheme) or {}).get("scheme")
        cells = [_cell(by_scheme.get(scheme, []), scheme == best) for scheme in schemes]
        size = f"{batch}x{any_row['channels']}x{any_row['height']}x{any_row['width']}"
        size += (
            f" k{any_row['kernel'].split('x')[0]} s{any_row['stride'].split('x')[0]}"
        )
        pccs = [
            row["pcc"]
            for found in by_scheme.values()
            for row in found
            if row.get("pcc") is not None
        ]
        worst = f"{min(pccs):.6f}" if pccs else ""
        table.add_row(escape(layer), size, *cells, worst)
    return table


def _cell(rows: list[dict[str, Any]], best: bool) -> str:
    if not rows:
        return ""
    rows = [row for row in rows if row["status"] != "refused"] or rows
    worst = max(rows, key=lambda row: list(_MARKS).index(row["status"]))
    cycles = [row["cycles"] for row in rows if row.get("cycles") is not None]
    text = f"{min(cycles):,}" if cycles else ""
    return text + _MARKS[worst["status"]] + (" *" if best else "  ")
