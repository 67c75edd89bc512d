"""The table of a sweep: the fewest cycles of what runs, and what does not."""

from rich.console import Console

from jaxdw.report.sweep_table import grouped, layer_label, summary_table


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
