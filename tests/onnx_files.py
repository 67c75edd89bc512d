"""ONNX models built for the tests, and what reading them gives."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from examples import unchecked
from onnx import TensorProto, helper, numpy_helper

import jaxdw as jd
from jaxdw.models.onnx.file import OnnxLayer, read_onnx

X = (1, 4, 9, 8)  # what `one` convolves
W = np.random.default_rng(5).standard_normal((4, 1, 3, 3)).astype(np.float32)
RELU = helper.make_node("Relu", ["y"], ["z"])


def node(op, inputs, outputs, name="", **attributes) -> onnx.NodeProto:
    """Builds a node; names of tensors are parted by spaces."""
    return helper.make_node(op, inputs.split(), outputs.split(), name, **attributes)


def make(nodes, inputs, outputs, constants, opset=20, **fields) -> onnx.ModelProto:
    """Builds a model; shapes and constants by name."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(n, 1, shape) for n, shape in inputs.items()],
        [helper.make_tensor_value_info(n, 1, None) for n in outputs.split()],
        [
            value
            if isinstance(value, TensorProto)
            else numpy_helper.from_array(value, name)
            for name, value in constants.items()
        ],
    )
    opsets = [helper.make_opsetid(d, opset) for d in ("", "custom")]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, **fields)


def one(
    *nodes, shape=X, constants=None, group=4, outputs="", **attributes
) -> onnx.ModelProto:
    """Builds a model whose one convolution, `conv`, makes y of x by w."""
    conv = node("Conv", "x w", "y", "conv", group=group, **attributes)
    constants = {"w": W} if constants is None else constants
    outputs = outputs or (nodes[-1].output[0] if nodes else "y")
    return make([conv, *nodes], {"x": shape}, outputs, constants)


def read(
    model: onnx.ModelProto | bytes, folder: Path, inputs=None, isolated=False
) -> tuple[OnnxLayer, ...]:
    """Writes a model, or bytes, and reads the file."""
    return read_onnx(written(model, folder), inputs, isolated=isolated)


def written(model: onnx.ModelProto | bytes, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return path


def refusal(
    model: onnx.ModelProto | bytes, folder: Path, inputs=None, isolated=False
) -> str:
    """Returns what `read` is refused with."""
    with pytest.raises(jd.ConfigError) as caught:
        unchecked(read_onnx)(written(model, folder), inputs, isolated=isolated)
    return str(caught.value)


def external(folder: Path, data=W, **entries) -> onnx.ModelProto:
    """Builds a model whose weights lie in another file, with these entries."""
    (folder / "w.bin").write_bytes(b"head" + data.tobytes())
    tensor = TensorProto(name="w", dims=W.shape, data_type=1, data_location=1)
    entries = {"location": "w.bin", "offset": 4, "length": data.nbytes} | entries
    for key, value in entries.items():
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    return one(constants={"w": tensor})
