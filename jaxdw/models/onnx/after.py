"""What follows a depthwise Conv: what the layer takes in, and what it leaves out."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxdw.errors import ConfigError
from jaxdw.models.onnx.tensors import (
    STANDARD,
    Constants,
    attribute,
    input_of,
    text_of,
)
from jaxdw.plan.config import Activation

if TYPE_CHECKING:
    from onnx import NodeProto

Readers = Mapping[str, "Sequence[NodeProto | None]"]

FLOAT32_MAX = float(np.finfo(np.float32).max)
_MOST_NAMED = 8  # nodes between two convolutions
_NAMED = {  # what is no layer of its own
    "BatchNormalization", "InstanceNormalization", "LayerNormalization", "Relu",
    "Clip", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "HardSigmoid", "HardSwish",
    "Sigmoid", "Tanh", "Softplus", "Mish", "Swish", "Gelu", "Erf", "Mul", "Add", "Sub",
    "Div", "QuantizeLinear", "DequantizeLinear", "Cast", "Identity",
}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class After:
    """How the output of a Conv goes on.

    Attributes:
      total: the tensor after the bias; output: after the activation, too.
      added: what a constant Add or Sub adds, `[channels]`; None for nothing.
      dropped: operators inside the layer that it is read without.
      next: operators behind the layer, up to the next that has two readers.
    """

    total: str
    output: str
    added: np.ndarray | None
    activation: Activation | None
    dropped: tuple[str, ...]
    next: tuple[str, ...]

    @property
    def left_out(self) -> str:
        """What of the network is no part of the layer, in words; "" for nothing."""
        parts = []
        if self.dropped:
            parts.append(f"inside, not emulated: {', '.join(self.dropped)}")
        if self.next:
            parts.append(f"behind it: {', '.join(self.next)}")
        return "; ".join(parts)


def after(
    name: str, channels: int, ndim: int, readers: Readers, constants: Constants
) -> After:
    """Follows the output of a Conv.

    A bias is a constant Add or Sub; an activation may come after a QuantizeLinear and
    DequantizeLinear, through which it is read.

    Args:
      name: of that tensor, which has so many channels and axes.
    """
    walk = _Walk(readers, constants)
    total, added = walk.past_identity(name), None
    found = walk.bias(total, channels, ndim)
    if found is not None:
        total, added = found
        total = walk.past_identity(total)
    behind, dropped = walk.past_quantised(total)
    activation, output = walk.activation(behind)
    if activation is None:
        output, dropped = total, ()
    return After(total, output, added, activation, dropped, walk.named(output))


@dataclasses.dataclass(frozen=True, slots=True)
class _Walk:
    """Steps from a tensor to the next one that alone goes on."""

    readers: Readers
    constants: Constants

    def alone(self, name: str, *operators: str) -> "NodeProto | None":
        """Returns the one reader of a tensor if it is one of these operators."""
        nodes = self.readers.get(name, ())
        if len(nodes) != 1 or nodes[0] is None or nodes[0].domain not in STANDARD:
            return None
        return nodes[0] if nodes[0].op_type in operators else None

    def past_identity(self, name: str) -> str:
        while (node := self.alone(name, "Identity")) is not None:
            name = node.output[0]
        return name

    def past_quantised(self, name: str) -> tuple[str, tuple[str, ...]]:
        quantised = self.alone(name, "QuantizeLinear")
        if quantised is None or quantised.input[0] != name:
            return name, ()
        back = self.alone(quantised.output[0], "DequantizeLinear")
        if back is None or back.input[0] != quantised.output[0]:
            return name, ()
        return back.output[0], ("QuantizeLinear", "DequantizeLinear")

    def bias(
        self, name: str, channels: int, ndim: int
    ) -> tuple[str, np.ndarray] | None:
        """Returns the tensor behind a constant that is added by channel, and it."""
        node = self.alone(name, "Add", "Sub")
        if node is None or len(node.input) != 2:
            return None
        first, second = node.input
        if first == second or (node.op_type == "Sub" and first != name):
            return None
        try:
            values = self.constants.values(second if first == name else first)
        except ConfigError:
            return None
        shape = (1,) * (ndim - values.ndim) + values.shape
        by_channel = (1, channels, *(1,) * (ndim - 2))
        if shape not in (by_channel, (1,) * ndim) or values.dtype.kind not in "fV":
            return None
        values = values.astype(np.float32).reshape(-1)
        sign = -1 if node.op_type == "Sub" else 1
        return node.output[0], np.broadcast_to(sign * values, (channels,))

    def activation(self, name: str) -> tuple[Activation | None, str]:
        """Returns what alone reads a tensor and gives; None if that is not known."""
        nodes = [node for node in self.readers.get(name, ()) if node is not None]
        if len(nodes) != len(self.readers.get(name, ())):
            return None, name
        if any(node.domain not in STANDARD for node in nodes):
            return None, name
        found: Activation | None = None
        match sorted(str(node.op_type) for node in nodes):
            case ["Relu"]:
                found = "relu"
            case ["Clip"] if (bounds := self._bounds(nodes[0])) is not None:
                if bounds[0] == 0:
                    found = "relu6" if bounds[1] == 6 else None
                    found = "relu" if bounds[1] >= FLOAT32_MAX else found
            case ["Max"] if self._is_max_of_zero(nodes[0], name):
                found = "relu"
            case ["Gelu"] if text_of(nodes[0], "approximate", "none") == "none":
                found = "gelu"
            case ["Swish"]:
                alpha = attribute(nodes[0], "alpha")
                found = "silu" if alpha is None or alpha.f == 1 else None
            case ["Mul", "Sigmoid"]:
                nodes.sort(key=lambda node: node.op_type)
                multiply, gate = nodes
                if list(self.readers[gate.output[0]]) == [multiply]:
                    found = "silu"
        return found, name if found is None else nodes[0].output[0]

    def _bounds(self, clip: "NodeProto") -> tuple[float, float] | None:
        """Returns the bounds of a Clip, None if one is no constant number."""
        bounds = []
        for index, name in ((1, "min"), (2, "max")):
            given = attribute(clip, name)  # before operator set 11
            if given is not None:
                bounds.append(given.f)
            elif input_of(clip, index):
                try:
                    value = self.constants.values(input_of(clip, index))
                except ConfigError:
                    return None
                if value.size != 1:
                    return None
                bounds.append(float(value.reshape(())))
            else:
                bounds.append(-np.inf if name == "min" else np.inf)
        return bounds[0], bounds[1]

    def _is_max_of_zero(self, node: "NodeProto", name: str) -> bool:
        others = [other for other in node.input if other != name]
        if len(node.input) != 2 or len(others) != 1:
            return False
        try:
            value = self.constants.values(others[0])
        except ConfigError:
            return False
        return value.size == 1 and float(value.reshape(())) == 0

    def named(self, name: str) -> tuple[str, ...]:
        """Returns the operators behind a tensor that are no layers of their own."""
        found: list[str] = []
        while len(found) < _MOST_NAMED:
            nodes = self.readers.get(name, ())
            named = [n for n in nodes if n is not None and n.op_type in _NAMED]
            if not named or len(named) < len(nodes):
                break
            found += [n.op_type for n in named]
            if len(named) == 2:  # x * gate(x)
                ends = [n for n in named if n.op_type == "Mul"]
                gates = [n for n in named if n.op_type != "Mul"]
                if len(ends) != 1 or gates[0].output[0] not in ends[0].input:
                    break
                name = ends[0].output[0]
            elif len(named) == 1:
                name = named[0].output[0]
            else:
                break
        return tuple(found)
