"""The shapes of an ONNX graph, and what its inputs and names must be.

`onnx` is imported where it is used: it comes with an extra.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jaxdw.errors import ConfigError, refuse
from jaxdw.models.onnx.tensors import Shape, quoted, shown, written

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TypeProto, ValueInfoProto

SMALL_BYTES = 1024  # of a constant that shape inference may ask for


def shape_of(of: "TypeProto") -> Shape | None:
    """Returns the shape of a tensor, None if it is no tensor or has no known rank."""
    if not of.HasField("tensor_type") or not of.tensor_type.HasField("shape"):
        return None
    return tuple(
        dim.dim_value if dim.dim_value > 0 else _plain(dim.dim_param) or "?"
        for dim in of.tensor_type.shape.dim
    )


def _plain(name: str) -> str:
    """Returns a name of letters, digits and the like, "" for another."""
    return name if isinstance(name, str) and name.isprintable() else ""


def fixed(shape: Shape | None) -> tuple[int, ...] | None:
    """Returns a shape whose sizes are all known, else None."""
    sizes = tuple(size for size in shape or () if isinstance(size, int))
    return sizes if shape is not None and len(sizes) == len(shape) else None


def graph_inputs(graph: "GraphProto") -> "list[ValueInfoProto]":
    """Returns the inputs without the initializers, which early versions list too."""
    initializers = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in initializers]


def set_inputs(graph: "GraphProto", given: Mapping[str, Sequence[int]]) -> None:
    """Gives the graph's inputs these shapes.

    Raises:
      ConfigError: no such input, or other sizes than the file's where it has them.
    """
    inputs = {value.name: value for value in graph_inputs(graph)}
    problems = []
    for name, sizes in given.items():
        value = inputs.get(name)
        if value is None or value.type.WhichOneof("value") != "tensor_type":
            names = ", ".join(map(quoted, itertools.islice(inputs, 8))) or "none"
            problems.append(
                f"`inputs` (={quoted(name)}) must name a tensor that the graph takes; "
                f"use one of {names}"
            )
        elif not _agree(shape_of(value.type), sizes):
            problems.append(
                f"`inputs[{quoted(name)}]` (={written(tuple(sizes))}) must agree with "
                f"the file (={written(shape_of(value.type))}), whose numbers are part "
                "of the model; export it for other sizes"
            )
        else:
            value.type.tensor_type.shape.Clear()
            for size in sizes:
                value.type.tensor_type.shape.dim.add(dim_value=size)
    refuse(problems)


def _agree(shape: Shape | None, sizes: Sequence[int]) -> bool:
    if shape is None:
        return True
    pairs = zip(shape, sizes, strict=False)
    return len(shape) == len(sizes) and all(
        isinstance(size, str) or size == other for size, other in pairs
    )


def dynamic_problem(name: str, shape: Shape | None) -> str:
    """Returns the refusal of a graph's input, with a shape to try."""
    usual = (1, 3, 224, 224) if shape is None or len(shape) == 4 else (1,) * len(shape)
    tried = tuple(
        size if isinstance(size, int) else usual[axis]
        for axis, size in enumerate(usual if shape is None else shape)
    )
    return (
        f"input {quoted(name)} (={written(shape)}) must have a fixed shape; try "
        f"--input {_plain(name)}={written(tried)}, in Python inputs="
        f"{{{quoted(name)}: {tried}}}"
    )


def check_names(graph: "GraphProto") -> None:
    """Holds that each tensor is given once, and before it is read.

    Raises:
      ConfigError: one is not, as in a cycle; a name is no text.
    """
    again = "export it again"
    weights = [*graph.initializer, *(s.values for s in graph.sparse_initializer)]
    names = [weight.name for weight in weights]
    given = {value.name for value in graph.input} | set(names)
    if len(set(names)) < len(names):
        raise ConfigError(f"initializers must have names of their own; {again}")
    for node in graph.node:
        if not node.output:
            raise ConfigError(
                f"a node (={node.op_type!r}) must have an output; {again}"
            )
        for name in filter(None, node.input):
            if name not in given:
                raise ConfigError(
                    f"tensor {quoted(name)} (=an input of {shown(node)}) must be given "
                    f"by an earlier node, in an order without cycles; {again}"
                )
        for name in filter(None, node.output):
            if name in given:
                raise ConfigError(
                    f"tensor {quoted(name)} (=an output of {shown(node)}) must be "
                    f"given by one node only; {again}"
                )
            given.add(name)
    if not all(isinstance(name, str) for name in given):
        raise ConfigError(f"names of tensors must be text in UTF-8; {again}")


def infer(model: "ModelProto") -> "tuple[list[NodeProto], dict[str, Shape | None]]":
    """Returns the nodes, functions inlined, and the shapes of their tensors.

    Raises:
      Exception: whatever onnx's binding makes of a C++ exception.
    """
    from onnx import ModelProto, TensorProto, inliner, shape_inference

    graph = model.graph
    bare = ModelProto(
        ir_version=model.ir_version,
        opset_import=model.opset_import,
        functions=model.functions,
    )
    bare.graph.name = "bare"
    bare.graph.node.extend(graph.node)
    bare.graph.input.extend(graph.input)
    for value in graph.output:
        bare.graph.output.add(name=value.name)
    for tensor in graph.initializer:
        if tensor.ByteSize() <= SMALL_BYTES:
            bare.graph.initializer.append(tensor)
        else:
            bare.graph.initializer.add(
                name=tensor.name,
                dims=tensor.dims,
                data_type=tensor.data_type,
                data_location=TensorProto.EXTERNAL,
            )
    if model.functions:
        bare = inliner.inline_local_functions(bare)
    declared = [*graph.value_info, *graph.output]
    shapes: dict[str, Shape | None] = {}
    for _ in range(2):  # the second time with what the first did not find
        inferred = shape_inference.infer_shapes(bare, data_prop=True).graph
        values = [*inferred.input, *inferred.output, *inferred.value_info]
        shapes = {value.name: shape_of(value.type) for value in values}
        missing = [
            value
            for value in declared
            if fixed(shapes.get(value.name)) is None
            and fixed(shape_of(value.type)) is not None
        ]
        if not missing:
            break
        bare.graph.value_info.extend(missing)
    return list(bare.graph.node), shapes
