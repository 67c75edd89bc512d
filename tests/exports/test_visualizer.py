"""The memory report: its tables agree with the plans, and the real viewer shows it."""

import contextlib
import json
import re
import sqlite3

import pytest
from browser import chromium  # noqa: F401
from visualizer import serve

import jaxdw as jd
from jaxdw.cli import main
from jaxdw.exports.visualizer import schema
from jaxdw.exports.visualizer.report import write_report
from jaxdw.models import zoo

SCHEMES = ("height", "width", "block")


def too_large() -> jd.Plan:
    conv = jd.ConvConfig(channels=96, height=112, width=112, padding=1, bias=True)
    shard = jd.ShardConfig(scheme="block", cores=(3, 1))
    return jd.make_plan(conv, shard, must_fit=False)


@pytest.fixture(scope="module")
def plans() -> list[tuple[str, jd.Plan]]:
    """MobileNetV2 in three schemes, one that does not fit, both programs of a layer."""
    found = [
        (f"{scheme} {layer.name}", jd.make_plan(layer.conv, shard, must_fit=False))
        for layer in zoo.layers("mobilenet_v2")
        for scheme in SCHEMES
        for shard in [jd.ShardConfig(scheme=scheme)]
    ]
    conv = zoo.layers("mobilenet_v2")[2].conv
    shard = jd.ShardConfig(scheme="height")
    found += [
        (f"by {program}", jd.make_plan(conv, shard, program=program, must_fit=False))
        for program in ("depthwise", "regular")
    ]
    return [*found, ("too large", too_large())]


@pytest.fixture(scope="module")
def report(plans, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_report(plans, folder, name="MobileNetV2", weight_address=0x1000)
    return folder


def rows(folder, table: str) -> list[dict]:
    with contextlib.closing(sqlite3.connect(folder / "db.sqlite")) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(f"SELECT * FROM {table}")]


def conv_of(folder, label: str) -> int:
    (found,) = [
        row["operation_id"]
        for row in rows(folder, "operations")
        if row["name"] == f"conv {label}"
    ]
    return found


def test_operations_follow_the_data_path(report, plans):
    names = [row["name"] for row in rows(report, "operations")]
    want = []
    for label, plan in plans:
        steps = ("halo", "move", "conv") if plan.has_halo else ("conv",)
        want += [f"{step} {label}" for step in steps]
    assert names == want
    ids = [row["operation_id"] for row in rows(report, "operations")]
    assert ids == list(range(1, len(want) + 1))


@pytest.mark.parametrize("program", ["depthwise", "regular", "conv1d"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_memory_of_a_conv_is_that_of_the_plan(tmp_path, program, scheme):
    if program == "conv1d" and scheme != "height":
        return
    conv = jd.ConvConfig(
        channels=100, height=1 if program == "conv1d" else 9, width=40,
        kernel=(1, 3) if program == "conv1d" else 3, padding=(0, 0, 1, 1),
        bias=program != "conv1d",
    )  # fmt: skip
    plan = jd.make_plan(conv, jd.ShardConfig(scheme=scheme), program=program)
    write_report([("x", plan)], tmp_path, weight_address=0x1000)
    conv_id = conv_of(tmp_path, "x")
    held = [row for row in rows(tmp_path, "buffers") if row["operation_id"] == conv_id]
    placed = {(r["buffer_type"], r["address"], r["max_size_per_bank"]) for r in held}
    l1 = {b.role: b for b in plan.l1.buffers}
    for role in ("source", "output"):
        assert (schema.L1, l1[role].address, l1[role].num_bytes) in placed
    assert (schema.L1_SMALL, plan.l1.top, l1["indices"].num_bytes) in placed
    (dram, *bias) = sorted(r for r in placed if r[0] == schema.DRAM)
    tiles = plan.weight_tile_grid[0] * plan.weight_tile_grid[1]
    assert dram[1:] == (0x1000, -(-tiles // 12) * 2048)
    assert [address for _, address, _ in bias] == [0x1000 + dram[2]] * conv.bias

    (graph,) = [
        json.loads(row["captured_graph"])
        for row in rows(tmp_path, "captured_graph")
        if row["operation_id"] == conv_id
    ]
    circular = [
        (int(p["address"]), int(p["size"]), p["globally_allocated"])
        for node in graph
        for p in [node["params"]]
        if node["node_type"] == "circular_buffer_allocate"
    ]
    assert circular == [
        (b.address, b.num_bytes, "01"[b.place != "circular buffer"])
        for b in plan.l1.buffers
    ]
    own = [size for _, size, on_tensor in circular if on_tensor == "0"]
    assert sum(own) <= plan.l1.region_end - plan.l1.base


def test_tensors_go_from_halo_through_move_into_conv(report, plans):
    label, plan = plans[0]
    last = conv_of(report, label)
    tensors = {row["tensor_id"]: row for row in rows(report, "tensors")}

    def of(table: str, operation: int) -> list[dict]:
        found = [row for row in rows(report, table) if row["operation_id"] == operation]
        index = table.replace("tensors", "index")
        assert [row[index] for row in found] == list(range(len(found)))
        return [tensors[row["tensor_id"]] for row in found]

    (given,) = of("input_tensors", last - 2)
    (gathered,) = of("output_tensors", last - 2)
    assert of("input_tensors", last - 1) == [gathered]
    (moved,) = of("output_tensors", last - 1)
    read, weights, bias = of("input_tensors", last)
    (output,) = of("output_tensors", last)
    assert read == moved
    assert gathered["shape"] == moved["shape"] != given["shape"]
    assert gathered["address"] != moved["address"] == plan.l1.address_of("source")
    rows_, columns = plan.weight_matrix_shape
    assert weights["shape"] == f"Shape([1, 1, {rows_}, {columns}])"
    assert (weights["address"], weights["buffer_type"]) == (0x1000, 0)
    assert bias["shape"] == f"Shape([1, 1, 32, {plan.bias_columns}])"
    n, height, width, channels = plan.output_shape
    assert output["shape"] == f"Shape([1, 1, {n * height * width}, {channels}])"
    assert (output["dtype"], output["layout"]) == ("DataType::BFLOAT16", "Layout::TILE")
    assert output["address"] == plan.l1.address_of("output")


def test_a_graph_leads_from_its_inputs_to_what_is_allocated(report, plans):
    conv_id = conv_of(report, plans[0][0])
    (graph,) = [
        json.loads(row["captured_graph"])
        for row in rows(report, "captured_graph")
        if row["operation_id"] == conv_id
    ]
    assert [node["id"] for node in graph] == list(range(len(graph)))
    kinds = [node["node_type"] for node in graph]
    assert (kinds[0], kinds[-1]) == ("capture_start", "capture_end")
    (start,) = [node for node in graph if node["node_type"] == "function_start"]
    (end,) = [node for node in graph if node["node_type"] == "function_end"]
    assert graph[0]["connections"] == [start["id"]]
    assert start["connections"] == [end["id"]]
    read = [graph[index] for index in start["input_tensors"]]
    assert all(node["connections"] == [start["id"]] for node in read)
    (made,) = [
        graph[index]
        for index in end["connections"]
        if graph[index]["node_type"] == "tensor"
    ]
    (buffer,) = [node for node in graph if made["id"] in node["connections"]
                 and node["node_type"] == "buffer"]  # fmt: skip
    plan = plans[0][1]
    held = plan.l1.of("output")
    assert int(buffer["params"]["address"]) == held.address
    assert int(buffer["params"]["size"]) == held.num_bytes * plan.num_output_cores
    for node in graph:
        assert all(isinstance(value, str) for value in node["params"].values())


def test_types_and_layouts_have_the_librarys_numbers(report):
    """Source: ttnn-visualizer 0.108.0, as it names them."""
    buffers = rows(report, "buffers")
    assert {row["buffer_type"] for row in buffers} == {0, 1, 3}
    layouts = {
        scheme: {
            row["buffer_layout"]
            for row in buffers
            if row["operation_id"] == conv_of(report, f"{scheme} blocks.0.0.depthwise")
            and row["buffer_type"] == 1
        }
        for scheme in SCHEMES
    }
    assert layouts == {"height": {2}, "width": {3}, "block": {4}}
    dram = {row["buffer_layout"] for row in buffers if row["buffer_type"] == 0}
    assert dram == {0}


def test_chunks_lie_on_the_cores_of_the_plan_once_each(report, plans):
    label, plan = plans[2]  # BLOCK
    conv_id = conv_of(report, label)
    where: dict[int, list] = {}
    for row in rows(report, "buffer_chunks"):
        if row["operation_id"] == conv_id:
            assert row["bank_id"] == row["core_y"] * 8 + row["core_x"]
            assert row["chunk_address"] == row["address"]
            at = (row["core_x"], row["core_y"])
            where.setdefault(row["address"], []).append(at)
    cores = sorted(plan.core_grid.xy(core) for core in range(plan.num_cores))
    assert len(where) == 3  # the haloed input, the output, the readers' indices
    for found in where.values():
        assert sorted(found) == cores


def test_shard_specs_name_the_grid_and_the_shard(report, plans):
    label, plan = plans[0]
    conv_id = conv_of(report, label)
    (text,) = [
        row["value"]
        for row in rows(report, "operation_arguments")
        if row["operation_id"] == conv_id and row["name"] == "memory_config"
    ]
    shape = re.search(r"shape=\{(\d+), (\d+)\}", text)
    assert tuple(map(int, shape.groups())) == tuple(plan.output_shard)
    boxes = re.findall(r"\(x=(\d+),y=(\d+)\) - \(x=(\d+),y=(\d+)\)", text)
    cores = {
        (x, y)
        for x0, y0, x1, y1 in [map(int, box) for box in boxes]
        for x in range(x0, x1 + 1)
        for y in range(y0, y1 + 1)
    }
    assert cores == {plan.core_grid.xy(core) for core in range(plan.num_cores)}
    assert "TensorMemoryLayout::HEIGHT_SHARDED" in text


def test_the_halo_stands_below_its_input_and_then_in_its_place(report, plans):
    label, plan = plans[0]
    first = conv_of(report, label) - 2
    held = {
        step: sorted(
            (r["address"], r["max_size_per_bank"])
            for r in rows(report, "buffers")
            if r["operation_id"] == first + step and r["buffer_type"] == schema.L1
        )
        for step in range(3)
    }
    (halo, given) = held[0]
    assert given[0] + given[1] == plan.l1.top
    assert halo[0] + halo[1] == given[0]
    (moved,) = held[1]
    assert moved == (plan.l1.top - halo[1], halo[1])
    assert moved in held[2]


def test_findings_bounds_and_what_does_not_fit_are_said(report, plans):
    conv_id = conv_of(report, "too large")
    plan = plans[-1][1]
    errors = {row["operation_id"]: row for row in rows(report, "errors")}
    assert errors[conv_id]["error_type"] == "L1 out of memory"
    assert plan.l1.problems()[0] in errors[conv_id]["error_message"]
    for label, other in plans[:-1]:
        found = conv_of(report, label)
        wrong = [f.code for f in other.findings if f.fails("wrong values")]
        assert (found in errors) == (bool(wrong) or not other.l1.fits)
        told = {
            row["name"]: row["value"]
            for row in rows(report, "operation_arguments")
            if row["operation_id"] == found
        }
        for finding in other.findings:
            key = f"{finding.code} {finding.severity} ({finding.basis})"
            assert told[key]
        assert told["cycles, lower bound"].startswith(f"{other.cycles.total}, ")
        assert f"program {other.program} of" in told["planned by"]


def test_numbers_are_typed_and_nothing_is_measured(report):
    for row in rows(report, "operations"):
        assert row["duration"] == 0
    with contextlib.closing(sqlite3.connect(report / "db.sqlite")) as database:
        for table in schema.TABLES:
            columns = list(database.execute(f"PRAGMA table_info({table})"))
            assert all(kind in ("INT", "TEXT", "FLOAT", "int", "text", "float")
                       for _, _, kind, *_ in columns)  # fmt: skip


def test_the_commands_write_it(tmp_path, capsys):
    layer = ["--channels", "96", "--size", "28", "--padding", "1", "--bias"]
    folder = tmp_path / "both"
    words = ["plan", *layer, "--program", "all", "--visualizer", str(folder)]
    assert main(words) == 0
    names = {row["name"] for row in rows(folder, "operations")}
    assert {"conv height by depthwise", "conv height by regular"} <= names
    large = ["--channels", "96", "--size", "112", "--padding", "1", "--scheme", "block"]
    folder = tmp_path / "large"
    assert main(["plan", *large, "--cores", "3x1", "--visualizer", str(folder)]) == 2
    (error,) = rows(folder, "errors")
    assert error["error_type"] == "L1 out of memory"
    capsys.readouterr()
    folder = tmp_path / "sweep"
    words = ["sweep", "--models", "mobilenet_v3_small", "--schemes", "width,block"]
    words += ["--plan-only", "--processes", "1", "--out", str(tmp_path / "rows")]
    assert main([*words, "--visualizer", str(folder)]) == 0
    names = [row["name"] for row in rows(folder, "operations")]
    assert "conv width blocks.0.depthwise" in names
    assert "conv block blocks.0.depthwise" in names
    assert json.loads((folder / "config.json").read_text()) == {
        "report_name": str(tmp_path / "rows")
    }


@pytest.fixture(scope="module")
def server(report, tmp_path_factory):
    yield from serve(report, tmp_path_factory.mktemp("viewer"))


def test_the_real_viewer_answers_for_every_operation(server, report, plans):
    operations = server.ask("operations")
    assert len(operations) == len(rows(report, "operations"))
    assert server.ask("report-metadata")["schema_version"] == schema.VERSION
    assert server.ask("config") == {"report_name": "MobileNetV2"}
    for operation in operations:
        found = server.ask(f"operations/{operation['id']}")
        own = [
            row for row in rows(report, "buffers")
            if row["operation_id"] == operation["id"]
        ]  # fmt: skip
        assert len(found["buffers"]) == len(own)
        assert found["inputs"]
        assert found["outputs"]
        for tensor in found["inputs"] + found["outputs"]:
            assert tensor["address"] is not None
        is_conv = operation["name"].startswith("conv ")
        kinds = [node["node_type"] for node in found["device_operations"]]
        assert kinds.count("circular_buffer_allocate") > 0 or not is_conv
    (device,) = server.ask("devices")
    assert (device["num_x_cores"], device["num_y_cores"]) == (8, 8)
    large = server.ask(f"operations/{conv_of(report, 'too large')}")
    assert large["error"]["error_type"] == "L1 out of memory"


def spec_of(tensor: dict) -> str:
    return json.dumps(tensor["memory_config"])


def test_the_real_viewer_reads_shard_specs(server, report, plans):
    label, plan = plans[2]
    found = server.ask(f"operations/{conv_of(report, label)}")
    (output,) = found["outputs"]
    assert "BLOCK_SHARDED" in spec_of(output)
    rows_, channels = plan.output_shard
    assert f"{rows_}, {channels}" in spec_of(output)


def test_the_real_viewers_pages_show_l1_cores_and_buffers(
    server, report, plans, browser
):
    def open_page(path: str, until: str) -> str:
        browser.driver.get(server.page(path))
        return wait_for(until)

    def wait_for(until: str) -> str:
        from selenium.webdriver.support.ui import WebDriverWait

        def text(_=None) -> str:
            return browser.evaluate("document.body.innerText")

        WebDriverWait(browser.driver, 30).until(lambda driver: until in text())
        return text()

    shown = open_page("operations", "Showing")
    assert f"Showing {len(rows(report, 'operations'))} operations" in shown

    label, plan = plans[0]
    shown = open_page(f"operations/{conv_of(report, label)}", "L1 START")
    assert f"{plan.arch.l1_unreserved_base_bytes:07}" in shown
    for role in ("source", "output"):
        assert str(plan.l1.address_of(role)) in shown
    assert "L1 SMALL" in shown

    from selenium.webdriver.common.by import By

    button = browser.driver.find_element(
        By.XPATH, "//*[contains(text(), 'All allocations per core')]"
    )
    browser.driver.execute_script("arguments[0].click()", button)
    wait_for("per core")
    assert browser.screenshot().std() > 10

    shown = open_page(f"operations/{conv_of(report, 'too large')}", "L1 START")
    assert "View operation error" in shown

    shown = open_page("buffer-summary", "Buffers by operation")
    assert "Table view" in shown
    assert browser.screenshot().std() > 10
    severe = [
        line for line in browser.complaints()
        if "SEVERE" in line and "127.0.0.1" in line and "favicon" not in line
    ]  # fmt: skip
    assert not severe
