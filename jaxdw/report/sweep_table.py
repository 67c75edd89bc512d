"""The rows of a sweep as a table: a line for each layer, the best scheme marked."""

from rich.markup import escape
from rich.table import Table

from jaxdw.report.facts import BY_MATMUL
from jaxdw.sweep.axes import AXES
from jaxdw.sweep.rows import Row

_APART = tuple(axis for axis in AXES if axis.apart)
_CAPTION = "* the best scheme, - refused in all formats"
ELSEWHERE = "! the tree itself runs the layer otherwise"
_MARKS = {
    "pass": "",
    "planned": "",
    "fail": " FAIL",
    "refused": " -",
    "error": " ERROR",
}


def grouped(rows: list[Row]) -> dict[tuple, dict[str, list[Row]]]:
    """Returns rows by model, layer and what is told apart, and then by scheme."""
    layers: dict[tuple, dict[str, list[Row]]] = {}
    for row in rows:
        key = (row["model"], row["layer"], *(row[axis.column] for axis in _APART))
        layer = layers.setdefault(key, {})
        layer.setdefault(row["scheme"], []).append(row)
    return layers


def layer_label(row: Row) -> str:
    """Returns a layer's name with what tells it apart, where that is not usual."""
    apart = [
        str(row[axis.column])
        if axis.kind is str
        else f"{axis.column} {row[axis.column]}"
        for axis in _APART
        if row[axis.column] not in axis.default
    ]
    return " ".join((row["layer"], *apart))


def best_row(by_scheme: dict[str, list[Row]]) -> Row | None:
    """Returns the row with the fewest cycles by their bound, of those that run."""
    ran = (
        row
        for rows in by_scheme.values()
        for row in rows
        if row["status"] in ("pass", "planned")
    )
    return min(ran, key=lambda row: row["cycles"], default=None)


def program_of(row: Row) -> str:
    """Returns the program asked for, the one planned, and whether the layer runs so."""
    said, planned = row["program"], row.get("planned_program")
    if planned not in (None, said):
        said += f": {planned}"
    codes = (row.get("findings") or "").split()
    return said + (" !" if {"JDW021", BY_MATMUL} & {*codes} else "")


def tells_programs(rows: list[Row]) -> bool:
    """Whether a table has to say by which program each layer is planned."""
    return any(program_of(row) != "depthwise" for row in rows)


def program_rows(rows: list[Row]) -> list[dict[str, object]]:
    """Returns a row for each layer: what each program makes of it, side by side.

    A cell is of the scheme with the fewest cycles among those that run.
    """
    programs = list(dict.fromkeys(row["program"] for row in rows))
    layers: dict[tuple, dict[str, object]] = {}
    for by_scheme in grouped(rows).values():
        found = [row for some in by_scheme.values() for row in some]
        shown = best_row(by_scheme) or found[0]
        plain = shown | {"program": "depthwise"}
        key = tuple(shown[name] for name in ("model", "layer", *_TOLD))
        name = f"{shown['model']} {layer_label(plain)}"
        line = layers.setdefault(key, {"layer": name, **dict.fromkeys(programs, "")})
        line[shown["program"]] = _of_program(shown)
    return list(layers.values())


_TOLD = tuple(axis.column for axis in _APART if axis.column != "program")


def _of_program(row: Row) -> str:
    """Returns program, sharding, whether it fits, bound and PCC of one row."""
    if row["fits"] is None:
        return f"{program_of(row)}, refused"
    said = [program_of(row), row["planned_scheme"]]
    said.append("fits" if row["fits"] else "does not fit")
    said.append(f"{row['cycles']:,} cycles at least")
    said += [] if row["pcc"] is None else [f"PCC {row['pcc']:.6f}"]
    return ", ".join(said)


def summary_table(rows: list[Row]) -> Table:
    """Returns a table of layers: the cycle bound of each scheme, and the worst PCC.

    A star marks the best scheme; `-` what was refused in every format and fidelity.
    The program has a column where it is not depthwise alone.
    """
    schemes = list(dict.fromkeys(row["scheme"] for row in rows))
    told = tells_programs(rows)
    table = Table(
        title="Cycles, lower bounds, the fewest of all formats",
        title_justify="left",
        caption=_CAPTION + (f"; {ELSEWHERE}" if told else ""),
        caption_justify="left",
    )
    table.add_column("layer", overflow="fold")
    table.add_column("size", no_wrap=True)
    if told:
        table.add_column("program", no_wrap=True)
    for name in (*schemes, "worst PCC"):
        table.add_column(name, justify="right", no_wrap=True)
    last = None
    for by_scheme in grouped(rows).values():
        any_row = next(iter(by_scheme.values()))[0]
        if any_row["model"] != last:
            last = any_row["model"]
            table.add_section()
            table.add_row(f"[bold]{escape(last)}")
        best = (best_row(by_scheme) or {}).get("scheme")
        cells = [_cell(by_scheme.get(scheme, []), scheme == best) for scheme in schemes]
        sizes = ("batch", "channels", "height", "width")
        size = "x".join(str(any_row[name]) for name in sizes)
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
        programs = {
            program_of(row): None for some in by_scheme.values() for row in some
        }
        cells = [*([", ".join(programs)] if told else []), *cells]
        table.add_row(escape(layer_label(any_row)), size, *cells, worst)
    return table


def _cell(rows: list[Row], best: bool) -> str:
    if not rows:
        return ""
    rows = [row for row in rows if row["status"] != "refused"] or rows
    worst = max(rows, key=lambda row: list(_MARKS).index(row["status"]))
    cycles = [row["cycles"] for row in rows if row.get("cycles") is not None]
    text = f"{min(cycles):,}" if cycles else ""
    return text + _MARKS[worst["status"]] + (" *" if best else "  ")
