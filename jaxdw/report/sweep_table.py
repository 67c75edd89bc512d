"""The rows of a sweep as a table: a line for each layer, the best scheme marked."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from jaxdw.escapes import visible
from jaxdw.plan.program import TTNN
from jaxdw.report.facts import BY_MATMUL
from jaxdw.sweep.axes import AXES
from jaxdw.sweep.rows import Row, plan_of_row

_APART = tuple(axis for axis in AXES if axis.apart)
_OWN_COLUMNS = ("program", "arch")  # of what is told apart, not named by a layer
_OWN_ROWS = tuple(axis for axis in _APART if axis.column not in _OWN_COLUMNS)
_OF_NUMBERS = {a.column for a in AXES if a.part == "compute"} | {"weights_dtype"}
_IN_A_LINE = ("scheme",)  # what a line holds every value of
_CAPTION = "* the best scheme, - refused, a bound in cycles: a chip takes longer"
ELSEWHERE = "! the tree itself runs the layer otherwise"
_MARKS = {
    "pass": "",
    "planned": "",
    "fail": " FAIL",
    "refused": " -",
    "error": " ERROR",
}


def varied(rows: Sequence[Row]) -> list[str]:
    """Returns the columns of the axes that have several values; of a model no axis."""
    return [
        axis.column
        for axis in AXES[1:]
        if len({row.get(axis.column) for row in rows}) > 1
    ]


def compared(rows: Sequence[Row]) -> list[str]:
    """Returns the columns of the axes that have several values on one layer.

    Formats and fidelities too that only differ between layers: no figure goes without.
    """
    layers: dict[tuple, list[Row]] = {}
    for row in rows:
        layers.setdefault((row["model"], row["layer"]), []).append(row)
    found = {name for of_layer in layers.values() for name in varied(of_layer)}
    found |= {*varied(rows)} & _OF_NUMBERS
    return [axis.column for axis in AXES if axis.column in found]


def alike(rows: Sequence[Row]) -> str:
    """Returns the axes that have one value, and it: what all figures are of."""
    names, first = varied(rows), rows[0] if rows else {}
    return ", ".join(
        f"{axis.column} {first[axis.column]}"
        for axis in AXES[1:]
        if axis.column not in names and first.get(axis.column) is not None
    )


def told_apart(rows: Sequence[Row]) -> tuple[str, ...]:
    """Returns the columns that give a layer lines of its own: all but the scheme."""
    found = {axis.column for axis in _APART} | {*compared(rows)}
    return tuple(a.column for a in AXES if a.column in found.difference(_IN_A_LINE))


def grouped(rows: Sequence[Row]) -> dict[tuple, dict[str, list[Row]]]:
    """Returns rows by model, layer and what is told apart, and then by scheme."""
    layers: dict[tuple, dict[str, list[Row]]] = {}
    told = told_apart(rows)
    for row in rows:
        key = (row["model"], row["layer"], *(row[name] for name in told))
        layer = layers.setdefault(key, {})
        layer.setdefault(row["scheme"], []).append(row)
    return layers


def by_column(rows: Sequence[Row]) -> dict[tuple, dict[tuple, list[Row]]]:
    """Returns rows by layer, and then by scheme, program and chip."""
    layers: dict[tuple, dict[tuple, list[Row]]] = {}
    told = [name for name in told_apart(rows) if name not in _OWN_COLUMNS]
    for row in rows:
        key = (row["model"], row["layer"], *(row[name] for name in told))
        column = (row["scheme"], *(row[name] for name in _OWN_COLUMNS))
        layers.setdefault(key, {}).setdefault(column, []).append(row)
    return layers


def layer_label(row: Row) -> str:
    """Returns a layer's name with what tells it apart, where that is not usual."""
    apart = [
        f"{axis.column} {row[axis.column]}"
        for axis in _OWN_ROWS
        if row[axis.column] not in (axis.usual or axis.default)
    ]
    return " ".join((visible(row["layer"]), *apart))


def label_of(row: Row) -> str:
    """Returns model and layer, what tells it apart, and how often the model has it."""
    times = f" x{row['times']}" if row["times"] > 1 else ""
    return f"{row['model']} {layer_label(row)}{times}"


def tags_of(row: Row) -> dict[str, str]:
    """Returns what a page can be filtered by."""
    return {
        "arch": row["arch"],
        "program": row["program"],
        "weights": row["weights_dtype"],
        "fidelity": row["fidelity"],
    }


def not_read(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Returns what files hold that is in no row, by the file: a node and why."""
    found = {row["model"]: row["not_read"] for row in rows if row["not_read"]}
    return {model: lines.splitlines() for model, lines in found.items()}


def size_of(row: Row) -> str:
    """Returns batch, channels, height and width, kernel and stride."""
    sizes = "x".join(
        str(row[name]) for name in ("batch", "channels", "height", "width")
    )
    return f"{sizes} k{_one(row['kernel'])} s{_one(row['stride'])}"


def _one(sizes: str) -> str:
    """Returns sizes joined by x, one if both are the same."""
    first, second = sizes.split("x")
    return first if first == second else sizes


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


def tells_programs(rows: Sequence[Row]) -> bool:
    """Whether a table has to say by which program each layer is planned."""
    return any(program_of(row) != "depthwise" for row in rows)


def program_rows(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Returns a row for each layer and chip: what each program makes of it.

    A cell is of the scheme with the fewest cycles among those that run. Formats,
    fidelities and the like that are compared have rows of their own.
    """
    programs = list(dict.fromkeys(row["program"] for row in rows))
    told = [name for name in compared(rows) if name not in _OWN_CELLS]
    lines: dict[tuple, dict[str, list[Row]]] = {}
    for row in rows:
        names = ("model", "layer", "batch", "arch", *told)
        line = lines.setdefault(tuple(row.get(name) for name in names), {})
        line.setdefault(row["program"], []).append(row)
    return [_program_row(found, programs, told) for found in lines.values()]


_OWN_CELLS = ("program", "arch", "batch", "scheme", "grid_limit")


def _program_row(
    found: dict[str, list[Row]], programs: list[str], told: list[str]
) -> dict[str, object]:
    shown = {name: best_row({"": of}) or of[0] for name, of in found.items()}
    one = next(iter(shown.values()))
    line: dict[str, object] = {
        "layer": f"{visible(one['model'])} {layer_label(one)}\n{size_of(one)}",
        "chip": one["arch"],
        **{name: one[name] for name in told},
        **{name: _of_program(shown.get(name)) for name in programs},
    }
    library = next((shown[n] for n in (TTNN, "regular", "conv1d") if n in shown), None)
    if "depthwise" in programs and len(programs) > 1:
        line["the branch would change"] = _change(shown.get("depthwise"), library)
    return line


def _of_program(row: Row | None) -> str:
    """Returns program, sharding, whether it fits, PCC and bound of one row."""
    if row is None:
        return ""
    if row["fits"] is None:
        return f"{program_of(row)}, refused"
    said = [f"{program_of(row)}, {row['planned_scheme']}"]
    said.append("fits" if row["fits"] else "does not fit" + _instead(row))
    said.append("PCC not run" if row["pcc"] is None else f"PCC {row['pcc']:.6f}")
    said.append(f">= {row['cycles']:,} cycles")
    return "\n".join(said)


def _instead(row: Row) -> str:
    """Returns how the tree's default path takes a layer that does not fit."""
    plan = plan_of_row(row)
    if plan.launches_instead:
        return f" at once\nfrom DRAM in {plan.launches_instead} launches"
    return ", from DRAM neither" if plan.chooses_scheme else ""


def _change(branch: Row | None, library: Row | None) -> str:
    """Returns what a layer would gain and lose by the depthwise branch."""
    if branch is None or library is None or branch["planned_program"] is None:
        return ""
    plan = plan_of_row(branch)
    if plan.upstream_program != plan.program:
        return f"nothing: the branch gives the layer to {plan.upstream_program}"
    said = [f"{plan.program} for {library['planned_program'] or 'what is refused'}"]
    if branch["fits"] != library["fits"]:
        said.append("fits" if branch["fits"] else "no longer fits")
    if branch["pcc"] is not None and library["pcc"] is not None:
        said.append(f"PCC by {branch['pcc'] - library['pcc']:+.6f}")
    if library["cycles"]:
        said.append(f"cycle bound x{branch['cycles'] / library['cycles']:.2f}")
    defects = {f.severity: f.code for f in plan.findings if f.fails("wrong values")}
    said += [f"known: {what} ({code})" for what, code in defects.items()]
    return "\n".join(said)


def summary_table(rows: Sequence[Row]) -> Table:
    """Returns a table of layers: the cycle bound of each scheme, and the worst PCC.

    A star marks the best scheme, `-` what was refused. The program has a column where
    it is not depthwise alone; chip, format, fidelity and the like where there are
    several: no figure is of two of them.
    """
    schemes = list(dict.fromkeys(row["scheme"] for row in rows))
    told = tells_programs(rows)
    columns = _columns(rows)
    several = [name for name in varied(rows) if name in columns]
    legend = f"; {ELSEWHERE}" if told else ""
    table = Table(
        title="Cycles, lower bounds",
        title_justify="left",
        caption=f"{_CAPTION}{legend}\nall of them: {visible(alike(rows))}",
        caption_justify="left",
    )
    table.add_column("layer", overflow="fold")
    table.add_column("size", no_wrap=True)
    for name in ["program"] * told + several:
        table.add_column(_HEADS.get(name, name.replace("_", " ")), no_wrap=True)
    for name in (*schemes, "worst PCC"):
        table.add_column(name, justify="right", no_wrap=True)
    last = None
    for by_scheme in grouped(rows).values():
        any_row = next(iter(by_scheme.values()))[0]
        if any_row["model"] != last:
            last = any_row["model"]
            table.add_section()
            table.add_row(Text(visible(last), style="bold"))
        best = (best_row(by_scheme) or {}).get("scheme")
        cells = [_cell(by_scheme.get(scheme, []), scheme == best) for scheme in schemes]
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
        own = [", ".join(programs)] * told + [str(any_row[n]) for n in several]
        names = layer_label(any_row), size_of(any_row)
        table.add_row(*names, *own, *cells, worst)
    return table


_HEADS = {"arch": "chip", "weights_dtype": "weights"}


def _columns(rows: Sequence[Row]) -> list[str]:
    """Returns what is told apart in columns of its own, the program left out."""
    named = {"program", *(axis.column for axis in _OWN_ROWS)}
    return [name for name in told_apart(rows) if name not in named]


def _cell(rows: list[Row], best: bool) -> str:
    if not rows:
        return ""
    rows = [row for row in rows if row["status"] != "refused"] or rows
    worst = max(rows, key=lambda row: list(_MARKS).index(row["status"]))
    cycles = [row["cycles"] for row in rows if row.get("cycles") is not None]
    text = f"{min(cycles):,}" if cycles else ""
    return text + _MARKS[worst["status"]] + (" *" if best else "  ")
