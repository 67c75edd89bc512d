"""An ONNX network, cut at its depthwise layers into stages for onnxruntime.

A stage holds what lies between layers: each node belongs to the number of layers on
the longest way to it. What only depends on constants is in every stage that reads it.
onnxruntime runs the file in this process: give it files that you trust.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdw.errors import ConfigError, needing
from jaxdw.models.onnx.file import OnnxLayer

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Tensors = dict[str, np.ndarray]


def cut_layers(layers: Iterable[OnnxLayer]) -> tuple[OnnxLayer, ...]:
    """Returns layers that compute what the network does between two of its tensors.

    One that was read through a QuantizeLinear ends before it: activation and
    quantisation stay in the network.
    """
    return tuple(
        dataclasses.replace(
            layer,
            conv=dataclasses.replace(layer.conv, activation=None),
            output=layer.total,
        )
        if layer.dropped
        else layer
        for layer in layers
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """What onnxruntime computes at once.

    Attributes:
      nodes: in order; inputs, outputs: tensors of other stages and for them.
      layers: of the network, by number, which run behind it.
    """

    nodes: "list[NodeProto]"
    inputs: list[str]
    outputs: list[str]
    layers: list[int]


def _read_by(node: "NodeProto") -> Iterator[str]:
    """Yields what a node reads, the bodies of control flow too."""
    yield from filter(None, node.input)
    for held in node.attribute:
        for body in (held.g, *held.graphs):
            for inner in body.node:
                yield from _read_by(inner)


class _Cut:
    """Deals the nodes of a graph to stages."""

    def __init__(self, model: "ModelProto", layers: Sequence[OnnxLayer]):
        graph = model.graph
        self.layers = layers
        self.made = {layer.output: n for n, layer in enumerate(layers)}
        self.givers = {name: node for node in graph.node for name in node.output}
        self.weights = {tensor.name for tensor in graph.initializer}
        self.weights |= {s.values.name for s in graph.sparse_initializer}
        given = {value.name for value in graph.input} - self.weights
        self.outputs = [value.name for value in graph.output]
        self.level: dict[str, int] = dict.fromkeys(given, 0)  # none of a constant
        for node in graph.node:
            levels = [self.level[n] for n in _read_by(node) if n in self.level]
            for name in filter(None, node.output):
                if name in self.made:
                    before = self.level.get(layers[self.made[name]].input, 0)
                    self.level[name] = before + 1
                elif levels:
                    self.level[name] = max(levels)

    def stages(self) -> list[Stage]:
        """Returns the stages in order."""
        wanted = [*self.outputs, *(layer.input for layer in self.layers)]
        needed = self._needed(wanted)
        count = 1 + max(self.level.get(name, 0) for name in wanted)
        own: list[list[NodeProto]] = [[] for _ in range(count)]
        for node in needed:
            level = self._level_of(node)
            if level is not None:
                own[level].append(node)
        reads = [
            {n for node in nodes for n in _read_by(node) if n in self.level}
            for nodes in own
        ]
        found = []
        for level, nodes in enumerate(own):
            later = set(wanted).union(*reads[level + 1 :])
            fixed = {n for node in nodes for n in _read_by(node)} - self.level.keys()
            if level == count - 1:  # outputs that depend on no input, too
                fixed |= set(self.outputs) - self.level.keys()
            constants = self._needed(fixed)
            members = {id(node) for node in (*nodes, *constants)}
            gives = {name for node in nodes for name in node.output}
            gives |= {name for name in self.outputs if name in fixed}
            found.append(
                Stage(
                    nodes=[node for node in self._in_order() if id(node) in members],
                    inputs=sorted(reads[level] - gives),
                    outputs=sorted(gives & later),
                    layers=[
                        n
                        for n, layer in enumerate(self.layers)
                        if self.level.get(layer.input, 0) == level
                    ],
                )
            )
        return found

    def _in_order(self) -> "list[NodeProto]":
        return list({id(node): node for node in self.givers.values()}.values())

    def _level_of(self, node: "NodeProto") -> int | None:
        levels = [self.level[n] for n in node.output if n in self.level]
        made = [n for n in node.output if n in self.made]
        return None if made or not levels else levels[0]

    def _needed(self, names: Iterable[str]) -> "list[NodeProto]":
        """Returns the nodes that give these tensors, layers taken as given."""
        todo, seen, found = list(names), set(), {}
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in self.made:
                todo.append(self.layers[self.made[name]].input)
            elif (node := self.givers.get(name)) is not None:
                found[id(node)] = node
                todo += _read_by(node)
        return [node for node in self._in_order() if id(node) in found]


class Runner:
    """A model, or a part of it, in onnxruntime."""

    def __init__(self, model: "ModelProto", threads: int = 0):
        with needing("accuracy", "onnxruntime"):
            import onnxruntime
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # fused nodes would round otherwise in parts than in the whole
        levels = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_DISABLE_ALL
        # threads of a stage would keep the processors that the next one needs
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, ["CPUExecutionProvider"]
            )
        except Exception as error:  # its own kinds, one for each status
            line = " ".join(str(error).split())[:300]
            raise ConfigError(
                f"the network (={len(model.graph.node)} nodes) must be one that "
                f"onnxruntime runs ({line}); export it again"
            ) from None
        self.inputs = [value.name for value in self._session.get_inputs()]
        self.types = {v.name: v.type for v in self._session.get_outputs()}
        self.types |= {v.name: v.type for v in self._session.get_inputs()}
        self._outputs = [value.name for value in self._session.get_outputs()]

    def run(self, values: Mapping[str, np.ndarray]) -> Tensors:
        """Returns the outputs by name."""
        given = {name: values[name] for name in self.inputs}
        try:
            found: Sequence[Any] = self._session.run(None, given)
        except Exception as error:
            line = " ".join(str(error).split())[:300]
            shapes = {name: value.shape for name, value in given.items()}
            raise ConfigError(
                f"the network must run on its inputs (={shapes}): {line}; give arrays "
                "of the shapes and types that it takes"
            ) from None
        return dict(zip(self._outputs, found, strict=True))


def stage_runners(model: "ModelProto", stages: Sequence[Stage]) -> list[Runner | None]:
    """Returns each stage in onnxruntime; None for one that computes nothing."""
    from onnx import ValueInfoProto

    wanted = {name for s in stages for name in (*s.inputs, *s.outputs)}
    whole = type(model)()
    whole.CopyFrom(model)
    known = {value.name for value in (*model.graph.output, *model.graph.input)}
    whole.graph.output.extend(ValueInfoProto(name=n) for n in sorted(wanted - known))
    types = Runner(whole).types
    return [_stage_runner(model, stage, types) for stage in stages]


def _stage_runner(
    model: "ModelProto", stage: Stage, types: Mapping[str, str]
) -> Runner | None:
    from onnx import ModelProto, ValueInfoProto

    if not stage.nodes:
        return None
    part = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    part.graph.name = "stage"
    part.graph.node.extend(stage.nodes)
    reads = {name for node in stage.nodes for name in _read_by(node)}
    reads |= set(stage.outputs)
    for tensor in model.graph.initializer:
        if tensor.name in reads:
            part.graph.initializer.append(tensor)
    for tensor in model.graph.sparse_initializer:
        if tensor.values.name in reads:
            part.graph.sparse_initializer.append(tensor)
    for name in stage.inputs:
        value = part.graph.input.add(name=name)
        value.type.tensor_type.elem_type = _elem_type(name, types[name])
    part.graph.output.extend(ValueInfoProto(name=name) for name in stage.outputs)
    return Runner(part)


_ELEM_TYPES = {
    "float": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6,
    "int64": 7, "string": 8, "bool": 9, "float16": 10, "double": 11, "uint32": 12,
    "uint64": 13, "bfloat16": 16,
}  # fmt: skip


def _elem_type(name: str, kind: str) -> int:
    """Returns onnx's number of a type as onnxruntime writes it."""
    found = _ELEM_TYPES.get(kind.removeprefix("tensor(").removesuffix(")"))
    if found is None:
        raise ConfigError(
            f"tensor {name!r} (={kind}) must not cross a depthwise layer; export the "
            "network without sequences and optional values"
        )
    return found


def cut(model: "ModelProto", layers: Sequence[OnnxLayer]) -> list[Stage]:
    """Returns the stages of a model, functions inlined, at these layers."""
    return _Cut(model, layers).stages()
