"""The page of a sweep: summary, heat maps, every layer's table and its best plan."""

from collections import Counter
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from jaxdw.errors import ConfigError
from jaxdw.report import html
from jaxdw.report.drawing import svg
from jaxdw.report.facts import BOUNDS_MISLEAD, elsewhere
from jaxdw.report.sweep_figures import draw_bank_balance, draw_heat, draw_use
from jaxdw.report.sweep_table import (
    ELSEWHERE,
    alike,
    best_row,
    by_column,
    compared,
    grouped,
    layer_label,
    program_of,
    program_rows,
    tells_programs,
    varied,
)
from jaxdw.sweep.rows import Row, name_of_row, plan_of_row, why_of_row

_ALWAYS = ("program", "arch", "scheme")  # of a row, however few values they have
_FOUND = (
    "grid", "cores", "padding_waste", "l1_free_bytes", "cycles", "cycles_binding",
    "pcc", "max_ulp", "status", "findings", "repeat",
)  # fmt: skip


def sweep_page(rows: Sequence[Row]) -> str:
    """Returns the page of a sweep's rows.

    Raises:
      ConfigError: no rows.
    """
    if not rows:
        raise ConfigError("a page needs at least one row; run a sweep that has points")
    names = dict.fromkeys((row["model"], row["layer"]) for row in rows)
    models = Counter(row["model"] for row in rows)
    return html.page(
        "Depthwise layers of " + ", ".join(models),
        f"{len(rows)} configurations of {len(names)} layers, planned and emulated by "
        f"jaxdw sweep {rows[0]['jaxdw']}.",
        [
            html.Section("summary", "Summary", _summary(rows)),
            *_programs(rows),
            *_heat_maps(rows),
            html.Section("rows", "All configurations", _rows_table(rows)),
            html.Section("layers", "Layers", _cards(rows)),
        ],
    )


def _summary(rows: Sequence[Row]) -> str:
    statuses = Counter(row["status"] for row in rows)
    findings = Counter(code for row in rows for code in (row["findings"] or "").split())
    several = "; ".join(
        f"{name} {', '.join(dict.fromkeys(str(row[name]) for row in rows))}"
        for name in compared(rows)
    )
    facts = {
        "configurations": len(rows),
        "all of them": alike(rows),
        "compared": several or "nothing",
        **{status: count for status, count in statuses.items()},
        "XLA compilations": sum(row["compilations"] or 0 for row in rows),
        "known defects met": ", ".join(
            f"{code} ({count})" for code, count in findings.most_common()
        )
        or "none",
    }
    failures = [
        {
            "configuration": name_of_row(row),
            "why": why_of_row(row),
            "repeat": row["repeat"] or "",
        }
        for row in rows
        if row["status"] in ("refused", "error", "fail")
    ]
    body = html.facts("What came out", facts)
    if failures:
        caption = f"{len(failures)} configurations that did not pass, and why"
        body += html.folded_table(caption, failures)
    return body


def _programs(rows: Sequence[Row]) -> list[html.Section]:
    """Returns what each program makes of each layer, if there is anything to tell."""
    if not tells_programs(rows):
        return []
    said = (
        f"The best scheme of each program; {ELSEWHERE}. {BOUNDS_MISLEAD} {_all(rows)}"
    )
    table = html.lined_table("Each layer on each chip", program_rows(rows))
    return [html.Section("programs", "Programs", html.note(said) + table)]


def _all(rows: Sequence[Row]) -> str:
    """Returns what all figures are of, and what a figure is the best or worst of."""
    return f"All of them: {alike(rows)}."


def _label(row: Row) -> str:
    times = f" x{row['times']}" if row["times"] > 1 else ""
    return f"{row['model']} {layer_label(row)}{times}"


def _share(value: float, least: float, most: float) -> float:
    return (value - least) / (most - least) if most > least else 0.0


def _heat_maps(rows: Sequence[Row]) -> list[html.Section]:
    layers = by_column(rows)
    columns = list(dict.fromkeys(c for found in layers.values() for c in found))
    known = [row["cycles"] for row in rows if row["cycles"] is not None] or [1]

    def fits(rows: list[Row]) -> tuple[str, float | None]:
        fitting = sum(bool(row["fits"]) for row in rows)
        text = "no" if not fitting else f"{fitting} of {len(rows)}"
        text = "fits" if fitting == len(rows) else text
        return text, 0.9 * (1 - fitting / len(rows))

    def worst_pcc(rows: list[Row]) -> tuple[str, float | None]:
        pccs = [row["pcc"] for row in rows if row["pcc"] is not None]
        if not pccs:
            return "", None
        return f"{min(pccs):.6f}", 0.9 * min(1.0, (1 - min(pccs)) / 0.015)

    def fewest_cycles(rows: list[Row]) -> tuple[str, float | None]:
        found = [row["cycles"] for row in rows if row["cycles"] is not None]
        if not found:
            return "", None
        share = _share(min(found) ** 0.5, min(known) ** 0.5, max(known) ** 0.5)
        return f"{min(found):,}", 0.9 * share

    def waste(rows: list[Row]) -> tuple[str, float | None]:
        found = [row["padding_waste"] for row in rows if row["fits"] is not None]
        return (f"{min(found):.0%}", 0.9 * min(found)) if found else ("", None)

    correlation = "Lowest correlation with float64 by tt-metal's function; full tint "
    correlation += "at 0.985."
    bound = "Lower bound of all launches, the best of a cell; a chip takes longer."
    maps: list[tuple[str, str, str, Callable]] = [
        ("fits", "Fits L1", "Configurations that fit one core's L1.", fits),
        ("pcc", "Worst PCC", correlation, worst_pcc),
        ("cycles", "Cycle bounds", bound, fewest_cycles),
        ("waste", "Padding waste", "Share of computed outputs that is padding.", waste),
    ]
    apart = ("batch", *_ALWAYS)
    inside = [name for name in compared(rows) if name not in apart]
    over = f" A cell holds every {', '.join(inside)}." if inside else ""
    sections = []
    for name, title, caption, value in maps:
        cells = [
            [value(found[c]) if c in found else ("", None) for c in columns]
            for found in layers.values()
        ]
        labels = [_label(next(iter(found.values()))[0]) for found in layers.values()]
        heads = ["\n".join(column) for column in columns]
        drawn = svg(
            draw_heat(labels, heads, cells),
            name,
            f"{title} by layer; scheme, program and chip",
        )
        said = f"{caption} {_all(rows)}{over}"
        sections.append(html.Section(name, title, html.figure(drawn, said)))
    return sections


def _rows_table(rows: Sequence[Row]) -> str:
    planned = ("planned_program",) if tells_programs(rows) else ()
    axes = [n for n in varied(rows) if n not in _ALWAYS]
    names = ("model", "layer", "times", *axes, *_ALWAYS, *planned, *_FOUND)
    shown = [
        {name: "" if row[name] is None else _shown(row[name]) for name in names}
        for row in rows
    ]
    caption = "Press a heading to sort; again to turn round."
    return html.note(_all(rows)) + html.sortable_table(caption, shown)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _cards(rows: Sequence[Row]) -> str:
    """Returns each layer's best plans; several of one layer are folded."""
    layers: dict[str, list[dict[str, list[Row]]]] = {}
    for by_scheme in grouped(rows).values():
        name = _label(next(iter(by_scheme.values()))[0])
        layers.setdefault(name, []).append(by_scheme)
    found = []
    for number, (name, parts) in enumerate(layers.items()):
        found.append(f"<h3>{escape(name)}</h3>")
        for place, by_scheme in enumerate(parts):
            row = best_row(by_scheme)
            card = "<p>No configuration of it ran.</p>"
            if row is not None:
                card = _card(row, f"layer{number}-{place}")
            row = row or next(iter(by_scheme.values()))[0]
            said = f"{program_of(row)} on {row['arch']}"
            found.append(html.folded(said, card) if len(parts) > 1 else card)
    return "\n".join(found)


def _card(row: Row, name: str) -> str:
    plan = plan_of_row(row)
    conv, cycles = plan.conv, plan.cycles
    facts = {
        "layer": f"{conv.batch}x{conv.channels}x{conv.height}x{conv.width}, kernel "
        f"{conv.kernel[0]}x{conv.kernel[1]}, stride {conv.stride[0]}x{conv.stride[1]}",
        "chip": plan.arch.name,
        "program": elsewhere(plan) or f"{plan.program} of {plan.tree}",
        "computed": f"weights {conv.weights_dtype}, {plan.compute.math_fidelity}, "
        f"{32 if plan.compute.fp32_dest_acc else 16}-bit Dst, {row['arithmetic']}",
        "best plan": f"{plan.scheme}, {plan.num_cores} cores, {plan.grid[0]}x"
        f"{plan.grid[1]}",
        "PCC": "not run" if row["pcc"] is None else f"{row['pcc']:.6f}",
        "cycles at least": f"{cycles.total:,}, bound by {cycles.binding}",
        "L1 free": f"{plan.l1.free_bytes:,} of {plan.l1.capacity_bytes:,} bytes",
        "known defects": "; ".join(f"{f.code} {f.text}" for f in plan.findings)
        or "none",
    }
    use = svg(draw_use(plan), f"{name}-use", f"{plan.num_cores} cores by use")
    banks = svg(
        draw_bank_balance(plan),
        f"{name}-banks",
        f"tiles read from each bank: {', '.join(map(str, plan.tiles_per_bank))}",
    )
    return (
        html.facts(f"Best plan of {plan.program} on {plan.arch.name}", facts)
        + html.figure(use, "Cores of the chip; the stronger, the more is real work.")
        + html.figure(banks, "Tiles of weights and bias read from each DRAM bank.")
    )
