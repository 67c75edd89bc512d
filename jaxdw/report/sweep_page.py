"""The page of a sweep: best plans first, then what is wrong, maps, rows, layers."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from jaxdw.errors import ConfigError
from jaxdw.plan.rules import BASIS, rules
from jaxdw.report import html
from jaxdw.report.drawing import svg
from jaxdw.report.facts import BOUNDS_MISLEAD, elsewhere
from jaxdw.report.sweep_figures import draw_bank_balance, draw_use
from jaxdw.report.sweep_heat import heat_maps
from jaxdw.report.sweep_table import (
    ELSEWHERE,
    alike,
    best_row,
    compared,
    grouped,
    label_of,
    not_read,
    program_of,
    program_rows,
    size_of,
    tags_of,
    tells_programs,
    told_apart,
    varied,
)
from jaxdw.sweep.rows import Row, plan_of_row, why_of_row

_SECTIONS = {
    "best": "Best plans", "misfits": "Does not fit", "left": "Not read",
    "findings": "Wrong upstream", "programs": "Programs", "cycles": "Which scheme",
    "fits": "Fits L1", "pcc": "PCC", "waste": "Padding waste",
    "rows": "All configurations", "layers": "Layers", "summary": "This sweep",
}  # fmt: skip
_FILTERS = {
    "arch": "chip", "program": "program", "weights": "weights", "fidelity": "fidelity",
}  # fmt: skip
_FOUND = (
    "grid", "cores", "padding_waste", "l1_free_bytes", "cycles", "cycles_binding",
    "pcc", "max_ulp", "status", "findings", "repeat",
)  # fmt: skip
_LEGEND = (
    "Cycles are lower bounds of one core grid, all launches: a chip takes longer. L1 "
    "in bytes of one core. PCC by tt-metal's own function. "
)


def sweep_page(rows: Sequence[Row]) -> str:
    """Returns the page of a sweep's rows.

    Raises:
      ConfigError: no rows.
    """
    if not rows:
        raise ConfigError("a page needs at least one row; run a sweep that has points")
    cards = _card_names(rows)
    shown = {
        "best": _best(rows, cards),
        "misfits": _misfits(rows, cards),
        "left": not_read(rows),
        "rules": _rules(rows),
        "programs": _programs(rows),
        "heats": heat_maps(rows, cards),
    }
    missing = {name for name in ("misfits", "left", "programs") if not shown[name]}
    layers = {(row["model"], row["layer"]) for row in rows}
    return html.render(
        "sweep.html",
        script="sweep.js",
        title="Depthwise layers of "
        + ", ".join(dict.fromkeys(r["model"] for r in rows)),
        lead=f"{len(rows)} configurations of {len(layers)} layers, {_done(rows)} by "
        f"jaxdw sweep {rows[0]['jaxdw']}.",
        sections=[
            {"name": name, "title": title}
            for name, title in _SECTIONS.items()
            if name not in missing
        ],
        filters=[
            {"name": name, "label": label, "choices": _values(rows, name)}
            for name, label in _FILTERS.items()
        ],
        told="".join(f", {name.replace('_', ' ')}" for name in _formats(rows)),
        legend=f"{_LEGEND}All of them: {alike(rows)}.",
        mislead=f"The best scheme of each program; {ELSEWHERE}. {BOUNDS_MISLEAD}",
        rows=_all_rows(rows, cards),
        cards=_cards(rows, cards),
        summary=html.markup(_summary(rows)),
        **shown,
    )


def _done(rows: Sequence[Row]) -> str:
    ran = sum(row["pcc"] is not None for row in rows)
    done = {0: "planned", len(rows): "planned and emulated"}
    return done.get(ran, f"planned, {ran} of them emulated,")


def _values(rows: Sequence[Row], name: str) -> list[str]:
    return list(dict.fromkeys(tags_of(row)[name] for row in rows))


def _formats(rows: Sequence[Row]) -> list[str]:
    """Returns what else than chip and program gives a layer lines of its own."""
    return [n for n in told_apart(rows) if n in compared(rows) and n not in _FILTERS]


def _card_names(rows: Sequence[Row]) -> dict[tuple, str]:
    layers = dict.fromkeys((row["model"], row["layer"], row["batch"]) for row in rows)
    return {layer: f"layer-{number}" for number, layer in enumerate(layers)}


def _card_of(row: Row, cards: dict[tuple, str]) -> str:
    return cards[row["model"], row["layer"], row["batch"]]


def _label(row: Row, cards: dict[tuple, str]) -> str:
    """Returns a layer's label, without its model where there is but one."""
    label = label_of(row)
    one = len({model for model, *_ in cards}) == 1
    return label.removeprefix(f"{row['model']} ") if one else label


def _line(row: Row, cards: dict[tuple, str], cells: dict[str, Any]) -> dict[str, Any]:
    return {
        "tags": tags_of(row),
        "card": _card_of(row, cards),
        "cells": {name: _shown(value) for name, value in cells.items()},
        "numbers": {n: type(v) in (int, float) for n, v in cells.items()},
    }


def _best(rows: Sequence[Row], cards: dict[tuple, str]) -> list[dict[str, Any]]:
    """Returns a line for each layer, chip, program and what else is compared."""
    lines = []
    more = [name for name in told_apart(rows) if name in compared(rows)]
    for by_scheme in grouped(rows).values():
        row = best_row(by_scheme)
        asked = row or next(iter(by_scheme.values()))[0]
        cells = {
            "layer": _label(asked, cards),
            "chip": asked["arch"],
            "program": program_of(asked),
            "scheme": row["planned_scheme"] if row else "none fits",
            "cycles": row["cycles"] if row else None,
            "margin": _margin(by_scheme, row),
            "weights": asked["weights_dtype"],
            "fidelity": asked["fidelity"],
        }
        cells |= {n: str(asked[n]) for n in more if n not in (*_FILTERS, *_NAMED)}
        cells |= {
            "PCC": "not run" if row is None or row["pcc"] is None else row["pcc"],
            "cores": row["cores"] if row else None,
            "grid": row["grid"] if row else "",
            "L1 free": row["l1_free_bytes"] if row else None,
            "size": size_of(asked),
            "findings": (row["findings"] if row else "") or "",
        }
        lines.append(_line(asked, cards, cells))
    return lines


_NAMED = ("weights_dtype", "batch", "grid_limit")  # said elsewhere in a line


def _margin(by_scheme: dict[str, list[Row]], best: Row | None) -> str:
    """Returns how many more cycles the next best scheme needs."""
    if best is None:
        return ""
    others = (best_row({s: r}) for s, r in by_scheme.items() if s != best["scheme"])
    ran = [row for row in others if row is not None]
    if not ran:
        return "no other fits" if len(by_scheme) > 1 else ""
    near = min(ran, key=lambda row: row["cycles"])
    more = near["cycles"] / best["cycles"] - 1
    return f"{more:+.0%} by {near['planned_scheme']}"


def _misfits(rows: Sequence[Row], cards: dict[tuple, str]) -> list[dict[str, Any]]:
    return [
        _line(
            row,
            cards,
            {
                "layer": _label(row, cards),
                "chip": row["arch"],
                "program": program_of(row),
                "weights": row["weights_dtype"],
                "fidelity": row["fidelity"],
                "scheme": row["scheme"],
                "status": row["status"],
                "why": why_of_row(row).splitlines()[0],
                "repeat": row["repeat"] or "",
            },
        )
        for row in rows
        if row["status"] in ("refused", "error", "fail")
    ]


def _rules(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Returns the text of every finding met, and by how many rows of which layers."""
    met: dict[str, list[Row]] = {}
    for row in rows:
        for code in (row["findings"] or "").split():
            met.setdefault(code, []).append(row)
    found = []
    for rule in rules():
        of = met.pop(rule.code, None)
        if of is not None:
            layers = list(dict.fromkeys(row["layer"] for row in of))
            more = f" and {len(layers) - 4} more" if len(layers) > 4 else ""
            said = f"{len(of)} configurations of {', '.join(layers[:4])}{more}"
            found.append(
                {
                    "code": rule.code,
                    "severity": rule.severity,
                    "title": rule.title,
                    "why": rule.why,
                    "do": rule.do,
                    "tree": rule.tree,
                    "source": rule.source,
                    "basis": f"{rule.basis}: {BASIS[rule.basis]}",
                    "met": said,
                }
            )
    return found


def _programs(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Returns what each program makes of each layer, if there is anything to tell."""
    if not tells_programs(rows):
        return []
    return [
        {"cells": line, "tags": {"arch": line["chip"]}} for line in program_rows(rows)
    ]


def _all_rows(rows: Sequence[Row], cards: dict[tuple, str]) -> list[dict[str, Any]]:
    always = ("arch", "program", "scheme", "weights_dtype", "fidelity")
    planned = ("planned_program",) if tells_programs(rows) else ()
    axes = [name for name in varied(rows) if name not in always]
    lines = []
    for row in rows:
        cells = {"layer": _label(row, cards), "times": row["times"]}
        cells |= {name: row[name] for name in (*always, *axes, *planned, *_FOUND)}
        lines.append(_line(row, cards, cells))
    return lines


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _summary(rows: Sequence[Row]) -> str:
    several = "; ".join(
        f"{name} {', '.join(dict.fromkeys(str(row[name]) for row in rows))}"
        for name in compared(rows)
    )
    facts = {
        "configurations": len(rows),
        "all of them": alike(rows),
        "compared": several or "nothing",
        **Counter(row["status"] for row in rows),
        "XLA compilations": sum(row["compilations"] or 0 for row in rows),
    }
    return html.facts("What came out", facts)


def _cards(rows: Sequence[Row], cards: dict[tuple, str]) -> list[dict[str, Any]]:
    """Returns each layer's best plans, by chip, program and what is compared."""
    found: dict[str, dict[str, Any]] = {}
    for number, by_scheme in enumerate(grouped(rows).values()):
        row = best_row(by_scheme)
        asked = row or next(iter(by_scheme.values()))[0]
        name = _card_of(asked, cards)
        card = found.setdefault(
            name, {"id": name, "title": label_of(asked), "parts": []}
        )
        formats = [str(asked[n]) for n in _formats(rows) if n != "batch"]
        title = f"{program_of(asked)} on {asked['arch']}"
        title += f", {asked['weights_dtype']}, {asked['fidelity']}"
        title += "".join(f", {f}" for f in formats if f not in title)
        body = "<p>No configuration of it ran.</p>"
        if row is not None:
            body = _card(row, f"layer{number}")
        card["parts"].append(
            {"title": title, "body": html.markup(body), "tags": tags_of(asked)}
        )
    return list(found.values())


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
        "repeat": row["repeat"] or "",
    }
    if row["left_out"]:
        facts["no part of it"] = row["left_out"]
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
