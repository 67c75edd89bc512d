"""The table of a sweep: the fewest cycles of what runs, and what does not."""

from rich.console import Console

from jaxdw.report.sweep_table import (
    grouped,
    layer_label,
    program_of,
    program_rows,
    summary_table,
    tells_programs,
)


def row(scheme: str, status: str, cycles: int | None, **more) -> dict:
    layer = {"model": "m", "layer": "l", "batch": 1, "channels": 32}
    layer |= {"program": "depthwise"}
    size = {"height": 8, "width": 8, "kernel": "3x3", "stride": "1x1"}
    return {
        **layer,
        **size,
        "scheme": scheme,
        "status": status,
        "cycles": cycles,
    } | more


def cells_of(*rows: dict) -> list[str]:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(summary_table(list(rows)))
    (line,) = [line for line in capture.get().splitlines() if "1x32x8x8" in line]
    return [cell.strip() for cell in line.split("│")[3:-1]]


def test_a_scheme_shows_the_fewest_cycles_of_what_runs():
    found = cells_of(
        row("height", "refused", 50),
        row("height", "pass", 300, pcc=0.99),
        row("height", "pass", 200, pcc=0.98),
        row("block", "pass", 100, pcc=0.999),
    )
    assert found == ["200", "100 *", "0.980000"]


def test_what_never_runs_or_fails_is_marked():
    found = cells_of(
        row("height", "refused", 50),
        row("width", "fail", 70, pcc=0.1),
        row("width", "pass", 60, pcc=0.99),
        row("block", "error", None),
        row("auto", "planned", 80),
    )
    assert found == ["50 -", "60 FAIL *", "ERROR", "80", "0.100000"]


def test_layers_are_told_apart_by_batch_and_program():
    rows = [
        row("height", "pass", 9),
        row("height", "pass", 5, program="other"),
        row("height", "pass", 7, batch=2),
    ]
    assert [list(found) for found in grouped(rows).values()] == [["height"]] * 3
    assert [layer_label(r) for r in rows] == ["l", "l other", "l batch 2"]
    console = Console(width=100)
    with console.capture() as capture:
        console.print(summary_table(rows))
    shown = capture.get()
    assert [text in shown for text in ("9 *", "5 *", "7 *")] == [True] * 3
    assert ["l other" in shown, "l batch 2" in shown] == [True, True]


def of_program(program: str, planned: str | None, **more) -> dict:
    found = {"planned_program": planned, "planned_scheme": "block", "fits": True}
    return row("auto", "pass", 2000, program=program, pcc=0.99, **found) | more


def test_a_row_says_its_program_and_whether_the_layer_runs_so():
    assert program_of(of_program("depthwise", "depthwise")) == "depthwise"
    assert program_of(of_program("ttnn", "conv1d", findings="JDW040")) == "ttnn: conv1d"
    other = of_program("regular", "regular", findings="JDW001 JDW021")
    assert program_of(other) == "regular !"
    assert program_of(of_program("ttnn", "regular", findings="JDW036")) == (
        "ttnn: regular !"
    )
    assert program_of(of_program("conv1d", None)) == "conv1d"
    assert not tells_programs([of_program("depthwise", "depthwise")])
    assert tells_programs([of_program("depthwise", "depthwise", findings="JDW021")])


def test_the_table_has_a_column_of_programs_where_there_is_something_to_tell():
    rows = [of_program("depthwise", "depthwise"), of_program("ttnn", "regular")]
    console = Console(width=120)
    with console.capture() as capture:
        console.print(summary_table(rows))
    lines = [line for line in capture.get().splitlines() if "1x32x8x8" in line]
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]
    size = "1x32x8x8 k3 s1"
    assert cells == [
        ["l", size, "depthwise", "2,000 *", "0.990000"],
        ["l ttnn", size, "ttnn: regular", "2,000 *", "0.990000"],
    ]
    legend = " ".join(capture.get().split())
    assert "! the tree itself runs the layer otherwise" in legend
    with console.capture() as capture:
        console.print(summary_table(rows[:1]))
    assert "program" not in capture.get()
    assert "runs the layer otherwise" not in capture.get()


def test_programs_of_a_layer_stand_side_by_side():
    rows = [
        of_program("depthwise", "depthwise"),
        of_program("depthwise", "depthwise", scheme="height", cycles=1500),
        of_program("ttnn", "regular", fits=False, status="refused", pcc=None),
        of_program("ttnn", "regular", batch=2, pcc=None),
        of_program("conv1d", None, fits=None, status="refused", batch=2),
    ]
    assert program_rows(rows) == [
        {
            "layer": "m l",
            "depthwise": "depthwise, block, fits, 1,500 cycles at least, PCC 0.990000",
            "ttnn": "ttnn: regular, block, does not fit, 2,000 cycles at least",
            "conv1d": "",
        },
        {
            "layer": "m l batch 2",
            "depthwise": "",
            "ttnn": "ttnn: regular, block, fits, 2,000 cycles at least",
            "conv1d": "conv1d, refused",
        },
    ]
