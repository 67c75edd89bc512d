"""Heat maps of a sweep: a row for each layer, a column for scheme, program and chip."""

from collections.abc import Callable, Sequence
from typing import Any

from jaxdw.report.sweep_table import best_row, by_column, compared, label_of, tags_of
from jaxdw.sweep.rows import Row

Cell = tuple[str, float | None]  # text, and how bad it is, 0 to 1; None for no value
_PCC_BAD = 0.015  # below 1: what tt-metal's own tests let pass


def heat_maps(rows: Sequence[Row], cards: dict[tuple, str]) -> list[dict[str, Any]]:
    """Returns the maps as a template draws them: heads, rows, cells, tints.

    Args:
      cards: by model, layer and batch, the anchor of its card.
    """
    layers = by_column(rows)
    columns = list(dict.fromkeys(c for found in layers.values() for c in found))
    heads = [{"text": "\n".join(column), "tags": _tags(column)} for column in columns]
    several = [n for n in ("weights_dtype", "fidelity") if n in compared(rows)]
    return [
        {
            "name": name,
            "title": title,
            "caption": caption,
            "heads": heads,
            "rows": [
                _row(found, columns, value, cards, several) for found in layers.values()
            ],
        }
        for name, (title, caption, value) in _MAPS.items()
    ]


def _tags(column: tuple[str, str, str]) -> dict[str, str]:
    return {"program": column[1], "arch": column[2]}


def _row(
    found: dict[tuple, list[Row]],
    columns: list[tuple],
    value: Callable[[list[Row], list[Row]], Cell],
    cards: dict[tuple, str],
    several: list[str],
) -> dict[str, Any]:
    one = next(iter(found.values()))[0]
    cells = []
    for column in columns:
        # the schemes of one program on one chip are compared
        alike = [r for c, rows in found.items() if c[1:] == column[1:] for r in rows]
        text, bad = value(found[column], alike) if column in found else ("", None)
        best = best_row({"": alike}) if value is _cycles else None
        is_best = best is not None and best in found.get(column, ())
        cells.append({"text": text, "bad": bad, "best": is_best, "tags": _tags(column)})
    label = label_of(one)
    if len({model for model, *_ in cards}) == 1:
        label = label.removeprefix(f"{one['model']} ")
    tags = tags_of(one)
    return {
        "label": " ".join([label, *(str(one[name]) for name in several)]),
        "card": cards[one["model"], one["layer"], one["batch"]],
        "cells": cells,
        "tags": {name: tags[name] for name in ("weights", "fidelity")},
    }


def _cycles(rows: list[Row], alike: list[Row]) -> Cell:
    known = [row["cycles"] for row in rows if row["cycles"] is not None]
    if not known:
        return "", None
    best = best_row({"": alike})
    least = best["cycles"] if best else min(known)
    if all(row["status"] not in ("pass", "planned") for row in rows):
        return f"{min(known):,} -", 0.9
    return f"{min(known):,}", min(0.9, max(0.0, 0.9 * (min(known) / least - 1)))


def _free(rows: list[Row], alike: list[Row]) -> Cell:
    planned = [row for row in rows if row["fits"] is not None]
    if not planned:
        return "", None
    free = min(row["l1_free_bytes"] for row in planned)
    return f"{free:,}", 0.9 * (not all(row["fits"] for row in planned))


def _pcc(rows: list[Row], alike: list[Row]) -> Cell:
    found = [row["pcc"] for row in rows if row["pcc"] is not None]
    if not found:
        return "", None
    return f"{min(found):.6f}", 0.9 * min(1.0, (1 - min(found)) / _PCC_BAD)


def _waste(rows: list[Row], alike: list[Row]) -> Cell:
    found = [row["padding_waste"] for row in rows if row["fits"] is not None]
    return (f"{min(found):.0%}", 0.9 * min(found)) if found else ("", None)


_MAPS: dict[str, tuple[str, str, Callable[[list[Row], list[Row]], Cell]]] = {
    "cycles": (
        "Which scheme",
        (
            "Bounds in cycles, coloured row by row for each program and chip: the best "
            "scheme is outlined, full tint is twice as many or more, - was refused."
        ),
        _cycles,
    ),
    "fits": (
        "Fits L1",
        "Bytes of one core's L1 left free; tinted where the layer does not fit.",
        _free,
    ),
    "pcc": (
        "Worst PCC",
        "Correlation with float64 by tt-metal's function; full tint at 0.985.",
        _pcc,
    ),
    "waste": (
        "Padding waste",
        "Share of computed outputs that is padding.",
        _waste,
    ),
}
