"""What an ONNX graph says of its depthwise layers: shapes, padding, activations.

`onnx` is imported where it is used: it comes with an extra.
"""

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxdw.errors import ConfigError, refuse
from jaxdw.models.onnx.after import After, after
from jaxdw.models.onnx.shapes import (
    check_names,
    dynamic_problem,
    fixed,
    graph_inputs,
    infer,
    shape_of,
)
from jaxdw.models.onnx.tensors import (
    STANDARD,
    Constants,
    Shape,
    attribute,
    input_of,
    int_of,
    label_of,
    quoted,
    shown,
    text_of,
    written,
)
from jaxdw.plan.config import ConvConfig

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


def unique_names(nodes: "Sequence[NodeProto]") -> list[str]:
    """Returns each node's name, or its output's; the second of a name is numbered."""
    labels = [label_of(node) for node in nodes]
    taken = set(labels)
    names: dict[str, None] = {}
    for label in labels:
        name = label
        if label in names:
            numbered = (f"{label}.{number}" for number in itertools.count(2))
            name = next(n for n in numbered if n not in taken)
        taken.add(name)
        names[name] = None
    return list(names)


def _ints(node: "NodeProto", name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    found = attribute(node, name)
    return default if found is None else tuple(found.ints)


class Read(NamedTuple):
    """One depthwise layer, and what follows its Conv."""

    conv: ConvConfig
    weights: np.ndarray
    bias: np.ndarray | None
    after: After


@dataclasses.dataclass(frozen=True, slots=True)
class Graph:
    """A graph with its shapes.

    Attributes:
      nodes: in order, those of model-local functions in place of their calls.
      inputs, shapes: of the graph's inputs, of all tensors.
      readers: the nodes that read each tensor; None for an output of the graph or the
        body of a control-flow node.
    """

    nodes: "list[NodeProto]"
    inputs: dict[str, Shape | None]
    shapes: dict[str, Shape | None]
    readers: "dict[str, list[NodeProto | None]]"
    constants: Constants

    def in_bodies(self) -> list[str]:
        """Returns a sentence for each grouped convolution in a control-flow body."""
        return [
            f"{shown(node)}: a grouped {inner.op_type} in its body, {shown(inner)}"
            for node in self.nodes
            for inner in _bodies(node)
            if _is_convolution(inner) and int_of(inner, "group", 1) > 1
        ]

    def left_out(self, node: "NodeProto") -> str | None:
        """Returns None for a depthwise layer, why not if it is close, "" otherwise.

        Raises:
          ConfigError: a convolution that contradicts itself.
        """
        if not _is_convolution(node):
            return ""
        group = int_of(node, "group", 1)
        if node.op_type != "Conv" or node.domain not in STANDARD:
            return f"a grouped {node.op_type}, not a Conv" if group > 1 else ""
        shape = self.shapes.get(input_of(node, 1))
        sizes = fixed(shape)
        if group < 1:
            raise ConfigError(f"`group` (={group}) must be >= 1; export it again")
        if sizes is None:
            if group == 1:
                return ""
            sizes = shape = self.constants.values(input_of(node, 1)).shape
        if len(sizes) < 3 or min(sizes) < 1 or sizes[0] % group:
            raise ConfigError(
                f"the weights (={written(shape)}) must be out channels x in channels x "
                f"kernel, the first a multiple of `group` (={group}); export it again"
            )
        out, per_group, *kernel = sizes
        if per_group != 1 or out > group == 1:
            return ""
        if len(kernel) > 2:
            return f"a kernel of {len(kernel)} axes (={written(tuple(kernel))})"
        return None if out == group else f"a channel multiplier (={out // group})"

    def shape_problems(self, node: "NodeProto") -> list[str]:
        """Returns a sentence for each cause of an input without fixed shape."""
        name = node.input[0]
        if not self._is_unknown(name):
            return []
        dynamic = {n: s for n, s in self.inputs.items() if fixed(s) is None}
        if dynamic:
            return [dynamic_problem(*item) for item in dynamic.items()]
        cause = self._cause(name)
        rule = "must have an output of fixed shape; write the shape into the file"
        return [f"{cause} {rule}, or keep only the part of the model behind it"]

    def _is_unknown(self, name: str) -> bool:
        return fixed(self.shapes.get(name)) is None

    def _cause(self, name: str) -> str:
        """Returns the first place without a shape on the way to a tensor."""
        while (node := self.constants.givers.get(name)) is not None:
            before = next(filter(self._is_unknown, filter(None, node.input)), None)
            if before is None:
                return f"{shown(node)} (={quoted(node.op_type)})"
            name = before
        return f"tensor {quoted(name)} (={written(self.shapes.get(name))})"

    def layer(self, node: "NodeProto") -> "Read":
        """Returns what a node that is not left out says, and what follows it.

        A convolution over one axis is one over rows of height 1.

        Raises:
          ConfigError: lists all that is wrong with it.
        """
        image = fixed(self.shapes[node.input[0]])
        weights_shape = fixed(self.shapes.get(node.input[1]))
        if weights_shape is None:
            weights_shape = self.constants.values(node.input[1]).shape
        assert image is not None  # or `shape_problems` would have told
        channels, kernel = weights_shape[0], weights_shape[2:]
        axes = len(kernel)
        if len(image) != 2 + axes or image[1] != channels:
            raise ConfigError(
                f"its input (={written(image)}) must be batch x channels x "
                f"{'height x width' if axes == 2 else 'width'}, with the {channels} "
                "channels of its weights; export it again"
            )
        declared = _ints(node, "kernel_shape", kernel)
        if declared != kernel:
            raise ConfigError(
                f"`kernel_shape` (={declared}) must be that of its weights, {kernel}; "
                "export it again"
            )
        row = (1,) * (2 - axes)
        stride = _ints(node, "strides", (1,) * axes)
        dilation = _ints(node, "dilations", (1,) * axes)
        window: Any = {"kernel": kernel, "stride": stride, "dilation": dilation}
        padding = _padding(node, image[2:], **window)
        window = {name: row + sizes for name, sizes in window.items()}
        bias = None
        if input_of(node, 2):
            bias = self.constants.floats(node.input[2], (channels,))
        behind = after(node.output[0], channels, 2 + axes, self.readers, self.constants)
        if behind.added is not None:
            bias = behind.added if bias is None else bias + behind.added
        height, width = row + image[2:]
        window["padding"] = (0, 0) * len(row) + padding
        conv = ConvConfig(
            batch=image[0],
            channels=channels,
            height=height,
            width=width,
            bias=bias is not None,
            activation=behind.activation,
            **window,
        )
        refuse(conv.problems())
        weights = self.constants.floats(node.input[1], weights_shape)
        return Read(conv, weights.reshape(conv.weight_shape), bias, behind)


def _is_convolution(node: "NodeProto") -> bool:
    return isinstance(node.op_type, str) and "Conv" in node.op_type


def _padding(
    node: "NodeProto",
    image: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[int, ...]:
    """Returns before and after of each axis, computed for any `auto_pad`.

    SAME gives ceil(size / stride) outputs; its odd pixel comes last (UPPER) or first.
    Source: ONNX Operators.md, Conv.
    """
    axes = len(image)
    auto = text_of(node, "auto_pad", "NOTSET")
    pads = _ints(node, "pads", (0, 0) * axes)
    known = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
    if len(pads) != 2 * axes or auto not in known:
        raise ConfigError(
            f"`pads` (={pads}) must be {2 * axes} integers, and `auto_pad` "
            f"(={quoted(auto)}) NOTSET, VALID, SAME_UPPER or SAME_LOWER; export it "
            "again"
        )
    given = tuple(pads[axes * end + axis] for axis in range(axes) for end in (0, 1))
    for name, sizes in (("strides", stride), ("dilations", dilation)):
        if len(sizes) != axes or min(sizes) < 1:
            raise ConfigError(
                f"`{name}` (={sizes}) must be {axes} integers >= 1; export it again"
            )
    if auto == "NOTSET":
        return given
    padding = []
    for size, taps, step, spread in zip(image, kernel, stride, dilation, strict=True):
        reach = (-(-size // step) - 1) * step + (taps - 1) * spread + 1
        total = 0 if auto == "VALID" else max(reach - size, 0)
        before = -(-total // 2) if auto == "SAME_LOWER" else total // 2
        padding += [before, total - before]
    if attribute(node, "pads") is not None and given != tuple(padding):
        raise ConfigError(
            f"`pads` (={pads}) must be left out where `auto_pad` is {auto}; "
            "export it again"
        )
    return tuple(padding)


def _bodies(node: "NodeProto") -> "Iterator[NodeProto]":
    """Yields the nodes in the bodies of a control-flow node, at any depth."""
    for held in node.attribute:
        for body in (held.g, *held.graphs):
            for inner in body.node:
                yield inner
                yield from _bodies(inner)


def make_graph(model: "ModelProto", folder: Path) -> Graph:
    """Returns the graph of a model, its functions inlined and its shapes inferred.

    Args:
      folder: where the model lies, resolved.

    Raises:
      ConfigError: tensors that nothing gives first, as in a cycle, or two things give;
        names that are no text; what onnx itself refuses.
    """
    check_names(model.graph)
    try:
        nodes, shapes = infer(model)
    except Exception as error:  # whatever the binding makes of a C++ exception
        line = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"the graph (={len(model.graph.node)} nodes) must be one that onnx can "
            f"infer shapes of ({line}); export it again"
        ) from None
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    shapes |= {name: tuple(tensor.dims) for name, tensor in initializers.items()}
    readers = defaultdict(list)
    for value in model.graph.output:
        readers[value.name].append(None)
    for node in nodes:
        for name in filter(None, node.input):
            readers[name].append(node)
        for inner in _bodies(node):
            for name in inner.input:
                readers[name].append(None)
    return Graph(
        nodes=nodes,
        inputs={
            value.name: shape_of(value.type) for value in graph_inputs(model.graph)
        },
        shapes=shapes,
        readers=readers,
        constants=Constants(
            initializers=initializers,
            givers={name: node for node in nodes for name in node.output},
            folder=folder,
            opset=next(
                (o.version for o in model.opset_import if o.domain in STANDARD), 1
            ),
        ),
    )
