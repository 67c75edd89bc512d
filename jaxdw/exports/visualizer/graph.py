"""The captured graph of one operation: allocations, circular buffers, tensors.

Source: tt-metal ttnn/core/graph/graph_processor.cpp (2026), nodes and their params;
tried against ttnn-visualizer 0.108.0.
"""

import json
from typing import Any

from jaxdw.exports.visualizer.operations import Operation, Tensor


def captured_graph(operation: Operation, ids: dict[Tensor, int], device_id: int) -> str:
    """Returns an operation's graph as the JSON of a capture, all numbers as text.

    Args:
      ids: of the tensors.
    """
    nodes: list[dict[str, Any]] = []

    def add(kind: str, connections: list[int], level: int = 1, **params: str) -> int:
        counter = len(nodes)
        nodes.append(
            {
                "id": counter,
                "counter": counter,
                "node_type": kind,
                "params": params,
                "connections": connections,
                "arguments": [],
                "input_tensors": [],
                "stacking_level": level,
            }
        )
        return counter

    def add_tensor(tensor: Tensor, reader: list[int]) -> int:
        text = f"Shape([{', '.join(map(str, tensor.shape))}])"
        return add("tensor", reader, shape=text, tensor_id=str(ids[tensor]))

    start = add("capture_start", [1], 0)
    inputs = [add_tensor(tensor, []) for tensor in operation.inputs]
    function = add(
        "function_start", [], name=operation.name, inputs=str(len(operation.inputs))
    )
    nodes[start]["connections"] = [function]
    for index in inputs:
        nodes[index]["connections"] = [function]
    nodes[function]["input_tensors"] = inputs
    outputs = []
    for tensor in operation.outputs:
        place = {
            "address": str(tensor.address),
            "size": str(tensor.bytes_per_bank * max(1, len(tensor.cores))),
            "type": "L1" if tensor.cores else "DRAM",
            "layout": tensor.layout,
            "page_size": str(tensor.page_bytes),
            "num_cores": str(len(tensor.cores)),
            "device_id": str(device_id),
        }
        allocated = add("buffer_allocate", [], 2, **place)
        buffer = add("buffer", [], 2, **place)
        nodes[allocated]["connections"] = [buffer]
        made = add_tensor(tensor, [])
        nodes[buffer]["connections"] = [made]
        outputs.append(made)
    for circular in operation.circular_buffers:
        add(
            "circular_buffer_allocate", [], 2,
            address=str(circular.address),
            size=str(circular.num_bytes),
            core_range_set=operation.cores,
            device_id=str(device_id),
            globally_allocated="1" if circular.on_tensor else "0",
        )  # fmt: skip
    if operation.circular_buffers:
        add("circular_buffer_deallocate_all", [], 2)
    end = add("function_end", outputs, name=operation.name)
    nodes[function]["connections"] = [end]
    add("capture_end", [], 0)
    nodes[end]["connections"] = [*outputs, len(nodes) - 1]
    return json.dumps(nodes)
