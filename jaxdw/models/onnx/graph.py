"""What an ONNX graph says of its depthwise layers: shapes, padding, activations.

`onnx` is imported where it is used: it comes with an extra.
"""

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdw.errors import ConfigError, refuse
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
    written,
)
from jaxdw.plan.config import Activation, ConvConfig

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


def _text(node: "NodeProto", name: str, default: str) -> str:
    found = attribute(node, name)
    return default if found is None else found.s.decode(errors="replace")


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
            f"{shown(node)}: a grouped {inner.op_type} in its body"
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
            raise ConfigError(
                f"tensor {quoted(input_of(node, 1))} (={written(shape)}) must have a "
                "fixed shape, as weights; fold constants on export"
            )
        if len(sizes) < 3 or min(sizes) < 1 or sizes[0] % group:
            raise ConfigError(
                f"the weights (={written(shape)}) must be out channels x in channels x "
                f"kernel, the first a multiple of `group` (={group}); export it again"
            )
        out, per_group, *kernel = sizes
        if per_group != 1 or out > group == 1:
            return ""
        if len(kernel) != 2:
            return f"a kernel of {len(kernel)} axes (={written(tuple(kernel))})"
        return None if out == group else f"a channel multiplier (={out // group})"

    def shape_problems(self, layers: "Sequence[NodeProto]") -> list[str]:
        """Returns a sentence for each cause of a layer's input without fixed shape."""
        unknown = [n.input[0] for n in layers if self._is_unknown(n.input[0])]
        if not unknown:
            return []
        dynamic = {n: s for n, s in self.inputs.items() if fixed(s) is None}
        if dynamic:
            return [dynamic_problem(*item) for item in dynamic.items()]
        return [
            f"{cause} must have an output of fixed shape; write the shape into the "
            "file, or keep only the part of the model behind it"
            for cause in dict.fromkeys(map(self._cause, unknown))
        ]

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

    def layer(
        self, node: "NodeProto"
    ) -> tuple[ConvConfig, np.ndarray, np.ndarray | None]:
        """Returns the convolution, weights and bias of a node that is not left out.

        Raises:
          ConfigError: lists all that is wrong with it.
        """
        image, weights_shape = (fixed(self.shapes[name]) for name in node.input[:2])
        assert image is not None  # or `shape_problems` would have told
        assert weights_shape is not None  # or `left_out` would have
        channels, kernel = weights_shape[0], weights_shape[2:]
        if len(image) != 4 or image[1] != channels:
            raise ConfigError(
                f"its input (={written(image)}) must be batch x channels x height x "
                f"width, with the {channels} channels of its weights; export it again"
            )
        declared = _ints(node, "kernel_shape", kernel)
        if declared != kernel:
            raise ConfigError(
                f"`kernel_shape` (={declared}) must be that of its weights, {kernel}; "
                "export it again"
            )
        stride = _ints(node, "strides", (1, 1))
        dilation = _ints(node, "dilations", (1, 1))
        window: Any = {"kernel": kernel, "stride": stride, "dilation": dilation}
        has_bias = input_of(node, 2) != ""
        conv = ConvConfig(
            batch=image[0],
            channels=channels,
            height=image[2],
            width=image[3],
            padding=_padding(node, image[2:], **window),
            bias=has_bias,
            activation=self._activation(node.output[0]),
            **window,
        )
        refuse(conv.problems())
        weights = self.constants.floats(node.input[1], conv.weight_shape)
        bias = self.constants.floats(node.input[2], (channels,)) if has_bias else None
        return conv, weights, bias

    def _activation(self, name: str) -> Activation | None:
        """Returns what alone reads a tensor, None if that is no known activation."""
        nodes = [node for node in self.readers[name] if node is not None]
        if len(nodes) != len(self.readers[name]):
            return None
        if any(node.domain not in STANDARD for node in nodes):
            return None
        match sorted(str(node.op_type) for node in nodes):
            case ["Relu"]:
                return "relu"
            case ["Clip"] if self._bounds(nodes[0]) == (0, 6):
                return "relu6"
            case ["Gelu"] if _text(nodes[0], "approximate", "none") == "none":
                return "gelu"
            case ["Swish"]:
                alpha = attribute(nodes[0], "alpha")
                return "silu" if alpha is None or alpha.f == 1 else None
            case ["Mul", "Sigmoid"]:
                multiply, gate = sorted(nodes, key=lambda node: node.op_type)
                alone = self.readers[gate.output[0]] == [multiply]
                return "silu" if alone else None
        return None

    def _bounds(self, clip: "NodeProto") -> tuple[float, ...]:
        """Returns the bounds of a Clip that are constants."""
        if len(clip.input) == 1:  # before operator set 11
            bounds = [attribute(clip, name) for name in ("min", "max")]
            return tuple(bound.f for bound in bounds if bound is not None)
        try:
            values = [self.constants.values(name) for name in clip.input[1:]]
        except ConfigError:
            return ()
        return tuple(float(value) for value in values if value.size == 1)


def _is_convolution(node: "NodeProto") -> bool:
    return isinstance(node.op_type, str) and "Conv" in node.op_type


def _padding(
    node: "NodeProto",
    image: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[int, int, int, int]:
    """Returns top, bottom, left and right, computed for any `auto_pad`.

    SAME gives ceil(size / stride) outputs; its odd pixel comes last (UPPER) or first.
    Source: ONNX Operators.md, Conv.
    """
    auto = _text(node, "auto_pad", "NOTSET")
    pads = _ints(node, "pads", (0, 0, 0, 0))
    if len(pads) != 4 or auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise ConfigError(
            f"`pads` (={pads}) must be 4 integers, and `auto_pad` (={quoted(auto)}) "
            "NOTSET, VALID, SAME_UPPER or SAME_LOWER; export it again"
        )
    given = (pads[0], pads[2], pads[1], pads[3])
    if auto == "NOTSET":
        return given
    for name, pair in (("strides", stride), ("dilations", dilation)):
        if len(pair) != 2 or min(pair) < 1:
            raise ConfigError(
                f"`{name}` (={pair}) must be 2 integers >= 1; export it again"
            )
    padding = []
    for size, taps, step, spread in zip(image, kernel, stride, dilation, strict=True):
        reach = (-(-size // step) - 1) * step + (taps - 1) * spread + 1
        total = 0 if auto == "VALID" else max(reach - size, 0)
        before = -(-total // 2) if auto == "SAME_LOWER" else total // 2
        padding += [before, total - before]
    top, bottom, left, right = padding
    if attribute(node, "pads") is not None and given != (top, bottom, left, right):
        raise ConfigError(
            f"`pads` (={pads}) must be left out where `auto_pad` is {auto}; "
            "export it again"
        )
    return top, bottom, left, right


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
        ),
    )
