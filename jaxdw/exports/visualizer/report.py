"""Writes the memory report of plans: a folder with `db.sqlite` and `config.json`."""

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxdw.arch.arch import Arch
from jaxdw.errors import ConfigError
from jaxdw.exports.visualizer import schema
from jaxdw.exports.visualizer.graph import captured_graph
from jaxdw.exports.visualizer.operations import Operation, Tensor, operations_of
from jaxdw.files import whole_file
from jaxdw.plan.plan import Plan

Rows = dict[str, list[tuple[Any, ...]]]


def write_report(
    plans: Sequence[tuple[str, Plan]],
    folder: str | Path,
    *,
    name: str = "jaxdw",
    weight_address: int = 0,
) -> None:
    """Writes a report of plans in their order, for `ttnn-visualizer --profiler-path`.

    Nothing in it is measured: durations are 0, bounds stand among the arguments.

    Args:
      plans: a label and a plan each; the label is part of its operations' names.
      folder: made if it is not there; what it held of an older report is replaced.
      name: that the viewer shows.
      weight_address: of every layer's weights in each DRAM bank.

    Raises:
      ConfigError: no plans, a folder that cannot be written.
    """
    if not plans:
        raise ConfigError("`plans` (=none) must hold at least one; give a layer")
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"`{folder}` must be a folder that can be made ({error.strerror}); name "
            "another"
        ) from error
    rows = report_rows(plans, name, weight_address)
    with whole_file(target / "db.sqlite") as draft:
        draft.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(draft)) as database, database:
            for table, columns in schema.TABLES.items():
                database.execute(f"CREATE TABLE {table} ({columns})")
                marks = ", ".join("?" * (columns.count(",") + 1))
                database.executemany(
                    f"INSERT INTO {table} VALUES ({marks})", rows.get(table, [])
                )
    with whole_file(target / "config.json") as draft:
        draft.write_text(json.dumps({"report_name": name}), "utf-8")


def report_rows(
    plans: Sequence[tuple[str, Plan]], name: str, weight_address: int
) -> Rows:
    """Returns the rows of every table that has any."""
    rows: Rows = {table: [] for table in schema.TABLES}
    chips = list(dict.fromkeys(plan.arch for _, plan in plans))
    rows["devices"] = [_device(index, chip) for index, chip in enumerate(chips)]
    ids: dict[tuple[int, Tensor], int] = {}
    operation_id = 0
    for number, (label, plan) in enumerate(plans):
        device = chips.index(plan.arch)
        own: dict[Tensor, int] = {}
        for operation in operations_of(label, plan, weight_address):
            operation_id += 1
            for tensor in (*operation.inputs, *operation.outputs):
                if tensor not in own:
                    own[tensor] = ids[number, tensor] = len(ids) + 1
                    _add_tensor(rows, own[tensor], tensor, device)
            _add_operation(rows, operation_id, operation, own, plan.arch, device)
    digest = hashlib.sha256(repr((name, plans)).encode()).hexdigest()
    rows["report_metadata"] = [
        ("schema_version", schema.VERSION),
        ("capture_timestamp_ns", str(int(digest[:14], 16))),  # a report's fingerprint
    ]
    return rows


def _device(device_id: int, arch: Arch) -> tuple[int, ...]:
    x, y = arch.grid
    base, capacity = arch.l1_unreserved_base_bytes, arch.l1_capacity_bytes
    everywhere = capacity * x * y
    return (
        device_id, y, x, y, x, arch.l1_size_bytes, x * y, capacity, base, base, 1,
        x * y, 0, arch.l1_size_bytes * x * y, everywhere, everywhere, everywhere,
        arch.l1_top_bytes,
    )  # fmt: skip


def _add_tensor(rows: Rows, tensor_id: int, tensor: Tensor, device: int) -> None:
    shape = f"Shape([{', '.join(map(str, tensor.shape))}])"
    rows["tensors"].append(
        (
            tensor_id, shape, f"DataType::{tensor.dtype}", f"Layout::{tensor.layout}",
            tensor.memory_config, device, tensor.address, tensor.buffer_type,
        )
    )  # fmt: skip
    rows["device_tensors"].append((tensor_id, device, tensor.address))


def _add_operation(
    rows: Rows,
    operation_id: int,
    operation: Operation,
    ids: dict[Tensor, int],
    arch: Arch,
    device: int,
) -> None:
    rows["operations"].append((operation_id, operation.name, 0.0))
    rows["operation_arguments"] += [
        (operation_id, name, value) for name, value in operation.arguments.items()
    ]
    for table, tensors in (
        ("input_tensors", operation.inputs),
        ("output_tensors", operation.outputs),
    ):
        rows[table] += [
            (operation_id, index, ids[tensor]) for index, tensor in enumerate(tensors)
        ]
    for tensor in operation.held:
        rows["buffers"].append(
            (
                operation_id, device, tensor.address, tensor.bytes_per_bank,
                tensor.buffer_type, tensor.buffer_layout,
            )
        )  # fmt: skip
        rows["buffer_chunks"] += _chunks(operation_id, device, tensor, arch)
    rows["captured_graph"].append(
        (operation_id, captured_graph(operation, ids, device))
    )
    if operation.error is not None:
        kind, text = operation.error
        rows["errors"].append((operation_id, operation.name, kind, text, "", ""))


def _chunks(
    operation_id: int, device: int, tensor: Tensor, arch: Arch
) -> Iterator[tuple[int, ...]]:
    """Yields what each core holds of a tensor, a bank for each core."""
    pages = tensor.bytes_per_bank // max(1, tensor.page_bytes)
    for x, y in tensor.cores:
        yield (
            operation_id, device, tensor.address, y * arch.grid[0] + x, x, y,
            tensor.address, tensor.bytes_per_bank, tensor.page_bytes, pages,
            tensor.buffer_type,
        )  # fmt: skip
