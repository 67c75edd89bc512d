"""The tables of a memory report, and how its values are spelt.

Types of columns matter: a viewer binds the ids of its pages as text.
Source: tt-metal ttnn/ttnn/graph_report.py @00b0fa3f, schema 2.1; tried against
ttnn-visualizer 0.108.0.
"""

from collections.abc import Iterable

from jaxdw.plan.grid import Shard

VERSION = "2.1"
DRAM, L1, L1_SMALL = 0, 1, 3  # buffer types
INTERLEAVED, HEIGHT, WIDTH, BLOCK = 0, 2, 3, 4  # buffer layouts
LAYOUTS = {"height": HEIGHT, "width": WIDTH, "block": BLOCK}
_TYPES = {DRAM: "DRAM", L1: "L1"}

TABLES = {
    "operations": "operation_id int, name text, duration float",
    "operation_arguments": "operation_id int, name text, value text",
    "tensors": (
        "tensor_id int, shape text, dtype text, layout text, memory_config text, "
        "device_id int, address int, buffer_type int"
    ),
    "buffers": (
        "operation_id int, device_id int, address int, max_size_per_bank int, "
        "buffer_type int, buffer_layout int"
    ),
    "input_tensors": "operation_id int, input_index int, tensor_id int",
    "output_tensors": "operation_id int, output_index int, tensor_id int",
    "local_tensor_comparison_records": (
        "tensor_id int, golden_tensor_id int, matches int, desired_pcc float, "
        "actual_pcc float"
    ),
    "global_tensor_comparison_records": (
        "tensor_id int, golden_tensor_id int, matches int, desired_pcc float, "
        "actual_pcc float"
    ),
    "devices": (
        "device_id int, num_y_cores int, num_x_cores int, num_y_compute_cores int, "
        "num_x_compute_cores int, worker_l1_size int, l1_num_banks int, "
        "l1_bank_size int, address_at_first_l1_bank int, "
        "address_at_first_l1_cb_buffer int, num_banks_per_storage_core int, "
        "num_compute_cores int, num_storage_cores int, total_l1_memory int, "
        "total_l1_for_tensors int, total_l1_for_interleaved_buffers int, "
        "total_l1_for_sharded_buffers int, cb_limit int"
    ),
    "captured_graph": "operation_id int, captured_graph text",
    "buffer_chunks": (
        "operation_id int, device_id int, address int, bank_id int, core_x int, "
        "core_y int, chunk_address int, chunk_size int, page_size int, num_pages int, "
        "buffer_type int"
    ),
    "device_tensors": "tensor_id int, device_id int, address int",
    "errors": (
        "operation_id int, operation_name text, error_type text, error_message text, "
        "stack_trace text, timestamp text"
    ),
    "stack_traces": "operation_id int, stack_trace text",
    "report_metadata": "key text, value text",
}


def core_set(ranges: Iterable[tuple[int, int, int, int]]) -> str:
    """Returns rectangles of cores as the library prints them."""
    boxes = (f"[(x={x0},y={y0}) - (x={x1},y={y1})]" for x0, y0, x1, y1 in ranges)
    return f"{{{', '.join(boxes)}}}"


def memory_config(
    buffer_type: int,
    scheme: str | None = None,
    cores: str = "",
    shard: Shard | None = None,
    orientation: str = "row_major",
) -> str:
    """Returns a memory config in the one form whose shard spec the viewer shows."""
    layout, spec = "INTERLEAVED", "std::nullopt"
    if scheme is not None and shard is not None:
        layout = f"{scheme.upper()}_SHARDED"
        spec = (
            f"ShardSpec(grid={cores},shape={{{shard.rows}, {shard.channels}}},"
            f"orientation=ShardOrientation::{orientation.upper()},halo=0)"
        )
    return (
        f"MemoryConfig(memory_layout=TensorMemoryLayout::{layout},"
        f"buffer_type=BufferType::{_TYPES[buffer_type]},shard_spec={spec})"
    )
