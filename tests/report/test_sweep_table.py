"""The table of a sweep: the fewest cycles of what runs, and what does not."""

from rich.console import Console

import jaxdw as jd
from jaxdw.report import sweep_table
from jaxdw.report.sweep_table import (
    alike,
    by_column,
    compared,
    grouped,
    layer_label,
    program_of,
    program_rows,
    size_of,
    summary_table,
    tells_programs,
    varied,
)
from jaxdw.sweep.evaluate import evaluate
from jaxdw.sweep.rows import NAMES, Point
from jaxdw.sweep.space import Space


def row(scheme: str, status: str, cycles: int | None, **more) -> dict:
    layer = {"model": "m", "layer": "l", "batch": 1, "channels": 32}
    layer |= {"program": "depthwise", "arch": "wormhole_b0", "memory": "l1"}
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


def test_layers_are_told_apart_by_batch_program_and_chip():
    rows = [
        row("height", "pass", 9),
        row("height", "pass", 5, program="other"),
        row("height", "pass", 7, batch=2),
        row("height", "pass", 3, arch="blackhole"),
    ]
    assert [list(found) for found in grouped(rows).values()] == [["height"]] * 4
    assert [layer_label(r) for r in rows] == ["l", "l", "l batch 2", "l"]
    assert by_column(rows) == {
        ("m", "l", 1, "l1"): {
            ("height", "depthwise", "wormhole_b0"): [rows[0]],
            ("height", "other", "wormhole_b0"): [rows[1]],
            ("height", "depthwise", "blackhole"): [rows[3]],
        },
        ("m", "l", 2, "l1"): {("height", "depthwise", "wormhole_b0"): [rows[2]]},
    }
    size = "1x32x8x8 k3 s1"
    assert lines_of(rows, 110) == [
        ["l", size, "depthwise", "wormhole_b0", "9 *", ""],
        ["l", size, "other", "wormhole_b0", "5 *", ""],
        ["l batch 2", "2" + size[1:], "depthwise", "wormhole_b0", "7 *", ""],
        ["l", size, "depthwise", "blackhole", "3 *", ""],
    ]


def lines_of(rows: list[dict], width: int) -> list[list[str]]:
    """Returns the cells of a summary table's lines of layers."""
    console = Console(width=width)
    with console.capture() as capture:
        console.print(summary_table(rows))
    lines = [line for line in capture.get().splitlines() if "x32x8x8" in line]
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]


def test_what_all_figures_are_of_is_said_and_what_is_compared():
    rows = [
        row("height", "pass", 9, fidelity="LoFi", activation="relu"),
        row("block", "pass", 5, fidelity="LoFi", activation="relu"),
        row("height", "pass", 5, fidelity="LoFi", layer="k", activation=None),
    ]
    assert alike(rows) == (
        "batch 1, fidelity LoFi, program depthwise, arch wormhole_b0, memory l1"
    )
    # layers have an activation of their own, which nobody compares
    assert varied(rows) == ["activation", "scheme"]
    assert compared(rows) == ["scheme"]
    console = Console(width=110)
    with console.capture() as capture:
        console.print(summary_table(rows))
    assert "all of them: batch 1, fidelity LoFi, program depthwise" in capture.get()


def test_a_kernel_and_a_stride_are_one_number_where_they_are_square():
    assert size_of(row("height", "pass", 1)) == "1x32x8x8 k3 s1"
    oblong = row("height", "pass", 1, kernel="1x4", stride="2x1")
    assert size_of(oblong) == "1x32x8x8 k1x4 s2x1"


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
        ["l", size, "ttnn: regular", "2,000 *", "0.990000"],
    ]
    legend = " ".join(capture.get().split())
    assert "! the tree itself runs the layer otherwise" in legend
    with console.capture() as capture:
        console.print(summary_table(rows[:1]))
    assert "program " not in capture.get().split("* the best scheme")[0]
    assert "runs the layer otherwise" not in capture.get()


def test_programs_of_a_layer_and_chip_stand_side_by_side(monkeypatch):
    monkeypatch.setattr(sweep_table, "_instead", lambda row: "")
    rows = [
        of_program("regular", "regular"),
        of_program("regular", "regular", scheme="height", cycles=1500),
        of_program("ttnn", "regular", fits=False, status="refused", pcc=None),
        of_program("ttnn", "regular", batch=2, pcc=None),
        of_program("conv1d", None, fits=None, status="refused", batch=2),
        of_program("ttnn", "regular", arch="blackhole", cycles=7),
    ]
    size = "x32x8x8 k3 s1"
    bound = ">= 2,000 cycles"
    assert program_rows(rows) == [
        {
            "layer": f"m l\n1{size}",
            "chip": "wormhole_b0",
            "regular": "regular, block\nfits\nPCC 0.990000\n>= 1,500 cycles",
            "ttnn": f"ttnn: regular, block\ndoes not fit\nPCC not run\n{bound}",
            "conv1d": "",
        },
        {
            "layer": f"m l batch 2\n2{size}",
            "chip": "wormhole_b0",
            "regular": "",
            "ttnn": f"ttnn: regular, block\nfits\nPCC not run\n{bound}",
            "conv1d": "conv1d, refused",
        },
        {
            "layer": f"m l\n1{size}",
            "chip": "blackhole",
            "regular": "",
            "ttnn": "ttnn: regular, block\nfits\nPCC 0.990000\n>= 7 cycles",
            "conv1d": "",
        },
    ]


def test_formats_that_are_compared_have_rows_of_their_own():
    rows = [
        of_program("regular", "regular", weights_dtype="bfloat16"),
        of_program("ttnn", "regular", weights_dtype="bfloat16", cycles=5),
        of_program("ttnn", "regular", weights_dtype="bfloat8_b", cycles=4),
    ]
    found = program_rows(rows)
    assert [line["weights_dtype"] for line in found] == ["bfloat16", "bfloat8_b"]
    assert [line["ttnn"].splitlines()[-1] for line in found] == [
        ">= 5 cycles", ">= 4 cycles",
    ]  # fmt: skip
    assert [bool(line["regular"]) for line in found] == [True, False]


def evaluated(program: str, model: str, layer: str, **more) -> dict:
    space = Space(models=(model,), programs=(program,), schemes=("auto",))
    (point,) = [p for p in space.points() if p.layer == layer]
    return dict.fromkeys(NAMES) | evaluate(point, plan_only=True) | more


def test_what_the_branch_would_change_is_said_of_each_layer():
    def change(model: str, layer: str, branch: dict, library: dict) -> list[str]:
        rows = [
            evaluated("depthwise", model, layer, **branch),
            evaluated("ttnn", model, layer, **library),
        ]
        (line,) = program_rows(rows)
        return line["the branch would change"].splitlines()

    cycles = {"cycles": 500}, {"cycles": 2000}
    found = change("mobilenet_v2", "blocks.5.1.depthwise", *cycles)
    assert found == ["depthwise for regular", "cycle bound x0.25"]
    pccs = {"pcc": 0.9995, "cycles": 30}, {"pcc": 0.99975, "cycles": 20}
    found = change("convnext_t", "stages.3.0.depthwise", *pccs)
    assert found == [
        "depthwise for regular",
        "PCC by -0.000250",
        "cycle bound x1.50",
        "known: hang (JDW002)",
        "known: wrong values (JDW003)",
    ]
    fits = {"fits": True, "cycles": 1}, {"fits": False, "cycles": 1}
    name = "blocks.5.1.depthwise"
    assert change("mobilenet_v2", name, *fits)[1] == "fits"
    assert change("mobilenet_v2", name, *fits[::-1])[1] == "no longer fits"
    found = change("mamba_like", "conv1d.2560.12", *cycles)
    assert found == ["nothing: the branch gives the layer to conv1d"]
    alone = evaluated("depthwise", "mobilenet_v2", name)
    assert "the branch would change" not in program_rows([alone])[0]


def test_a_layer_that_does_not_fit_at_once_says_how_the_default_path_takes_it():
    large = jd.ConvConfig(channels=64, height=512, width=512, padding=1)
    point = Point(
        model="m", layer="l", times=1, conv=large, shard=jd.ShardConfig(),
        compute=jd.ComputeConfig(), arch="wormhole_b0", program="ttnn",
    )  # fmt: skip
    (line,) = program_rows([dict.fromkeys(NAMES) | evaluate(point, plan_only=True)])
    assert line["ttnn"].splitlines()[1:3] == [
        "does not fit at once",
        "from DRAM in 4 launches",
    ]
    (line,) = program_rows([evaluated("ttnn", "mamba_like", "conv1d.10240.12")])
    assert line["ttnn"].splitlines()[1] == "does not fit, from DRAM neither"
    (line,) = program_rows([of_program("depthwise", "depthwise") | TOO_LARGE])
    assert line["depthwise"].splitlines()[1] == "does not fit"


TOO_LARGE = evaluated("depthwise", "mamba_like", "conv1d.10240.4096")
