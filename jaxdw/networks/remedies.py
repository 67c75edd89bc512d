"""What the host can do about a network's layers: written as ONNX files, and verified.

Nothing here is applied by itself: a file is written where it is asked for.
"""

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float32

from jaxdw.errors import ConfigError
from jaxdw.files import whole_file
from jaxdw.judge.reference import reference
from jaxdw.models.onnx.file import OnnxLayer
from jaxdw.models.onnx.graph import make_graph
from jaxdw.models.onnx.tensors import STANDARD, Constants, attribute
from jaxdw.networks.cut import Tensors
from jaxdw.networks.measure import Question, Sample, baseline, bf16, chip, network
from jaxdw.networks.network import Network, largest_change
from jaxdw.networks.settings import Setting, emulated
from jaxdw.sweep.rows import Inputs

if TYPE_CHECKING:
    from onnx import ModelProto

ROUNDS = 3  # of measuring a gain: scaled weights are truncated otherwise
FOLDED = 1e-4  # of the largest output: what folding may change in float32


class Sums(NamedTuple):
    """How a layer's sums on the chip compare with float64, over all images."""

    gain: float
    snr: float  # a ratio of powers


def layer_sums(
    setting: Setting,
    number: int,
    layer: OnnxLayer,
    images: Sequence[Float32[np.ndarray, "n h w c"]],
    w: Float32[np.ndarray, "c one kh kw"],
) -> Sums:
    """Returns gain and SNR of a layer's sums, without bias and activation.

    Gain in least squares, sum(want * got) / sum(want^2), where `want` is the float64
    convolution with the layer's own weights, and `got` the chip's with `w`.
    """
    plain = {"bias": False, "activation": None}
    conv = dataclasses.replace(layer.conv, **plain)
    point = setting.points[number]
    point = dataclasses.replace(point, conv=dataclasses.replace(point.conv, **plain))
    product = power = noise = 0.0
    for image in images:
        want = reference(conv, bf16(image), layer.weights)
        got = emulated(point, image, w, None)
        product += float(np.sum(want * got))
        power += float(np.sum(want * want))
        noise += float(np.sum((got - want) ** 2))
    if not power:
        return Sums(1.0, math.inf)
    return Sums(product / power, power / noise if noise else math.inf)


def compensated_weights(
    net: Network, setting: Setting, images: Sequence[dict[int, np.ndarray]]
) -> list[tuple[Float32[np.ndarray, "..."], float]]:
    """Returns each layer's weights times 1/gain, and the gain that it had.

    A scaled weight is truncated otherwise, so that the gain is measured again and what
    is left of it divided out, `ROUNDS` times; the weights with the best SNR are kept,
    those given too. The bias is not scaled: it is added to the sums as it is.

    Args:
      images: of each calibration sample, what each layer read in float32.
    """
    found = []
    for number, layer in enumerate(net.layers):
        seen = [each[number] for each in images]
        tried = [layer.weights]
        sums = [layer_sums(setting, number, layer, seen, layer.weights)]
        while len(tried) <= ROUNDS and 0.5 < sums[-1].gain < 2:
            tried.append((tried[-1] / sums[-1].gain).astype(np.float32))
            sums.append(layer_sums(setting, number, layer, seen, tried[-1]))
        best = max(range(len(tried)), key=lambda n: sums[n].snr)
        found.append((tried[best], sums[0].gain))
    return found


def with_weights(
    net: Network, weights: Sequence[Float32[np.ndarray, "..."]]
) -> "ModelProto":
    """Returns the network's model with other weights in its layers."""
    from onnx import numpy_helper

    model = type(net.model)()
    model.CopyFrom(net.model)
    held = {t.name: t for t in model.graph.initializer}
    taken = {*held, *(name for node in model.graph.node for name in node.output)}
    convs = {node.output[0]: node for node in model.graph.node}
    for layer, w in zip(net.layers, weights, strict=True):
        node = convs[layer.conv_output]
        old = held.get(node.input[1])
        values = w if layer.axes == 2 else w[:, :, 0]
        if old is not None:
            values = values.astype(numpy_helper.to_array(old).dtype)
        name = _free(f"{layer.conv_output}.weights", taken)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
        node.input[1] = name
    return model


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def write(model: "ModelProto", path: str | os.PathLike[str]) -> None:
    """Writes a model as one whole file.

    Raises:
      ConfigError: a path that cannot be written, a model past 2 GB.
    """
    try:
        data = model.SerializeToString()
    except Exception as error:  # protobuf's own, past 2 GB
        raise ConfigError(
            f"`{path}` must hold a model of at most 2 GB ({error}); compensate fewer "
            "layers"
        ) from None
    with whole_file(Path(path)) as draft:
        draft.write_bytes(data)


def compensate(
    question: Question,
    setting: Setting,
    path: str | os.PathLike[str],
    calibration: Sequence[Sample],
) -> dict[str, float]:
    """Writes a network whose weights make up for the gain of its layers on the chip.

    Returns:
      the gain that each layer had, by name.
    """
    net = network(question.path, question.inputs)
    traces = [baseline(question.path, question.inputs, s).images for s in calibration]
    found = compensated_weights(net, setting, traces)
    write(with_weights(net, [w for w, _ in found]), path)
    return {
        layer.name: gain for layer, (_, gain) in zip(net.layers, found, strict=True)
    }


def verified(
    question: Question, setting: Setting, samples: Sequence[Sample]
) -> list[Tensors]:
    """Returns the outputs of a written file on the chip, sample by sample.

    Raises:
      ConfigError: as `Network` and `Network.control`.
    """
    net = network(question.path, question.inputs)
    outputs = []
    for sample in samples:
        net.control(sample.load())
        outputs.append(net.run(sample.load(), chip(net, setting)).outputs)
    return outputs


def fold(
    source: str,
    inputs: Inputs,
    path: str | os.PathLike[str],
    samples: Sequence[Sample],
) -> dict[str, str]:
    """Writes a network whose layers hold what scales and shifts them.

    BatchNormalization, and Mul, Div, Add and Sub by constants of each channel or of
    all, where they alone read a layer's sums, become part of its weights and bias. In
    float64, rounded once.

    Returns:
      what was folded into each layer, by name; "" for nothing.

    Raises:
      ConfigError: outputs in float32 that are others than those of the file.
    """
    net = network(source, inputs)
    model = type(net.model)()
    model.CopyFrom(net.model)
    graph = make_graph(net.model, Path(source).parent.resolve())
    told = {}
    for layer in net.layers:
        told[layer.name] = _fold_layer(model, layer, graph.readers, graph.constants)
    write(model, path)
    for sample in samples:
        values = sample.load()
        folded = network(str(path), inputs).uncut(values)
        share = largest_change(net.uncut(values), folded)
        if not share <= FOLDED:
            Path(path).unlink()
            raise ConfigError(
                f"the folded network (={share:.3g} of the largest output) must agree "
                f"with the file within {FOLDED:g} in float32; leave `--fold` out"
            )
    return told


def _fold_layer(model: "ModelProto", layer: OnnxLayer, readers, constants) -> str:
    """Folds what follows one layer into it; returns the operators, in words."""
    from onnx import numpy_helper

    conv = next(n for n in model.graph.node if layer.conv_output in n.output)
    scale, shift, end, gone = np.float64(1), np.float64(0), layer.total, []
    if layer.conv.activation is not None:
        return ""
    while (step := _affine(end, layer, readers, constants)) is not None:
        node, factor, offset = step
        scale, shift = scale * factor, shift * factor + offset
        end = node.output[0]
        gone.append(node)
    if not gone:
        return ""
    w = layer.weights * np.broadcast_to(scale, (layer.conv.channels,)).reshape(
        -1, 1, 1, 1
    )
    bias = np.zeros(layer.conv.channels) if layer.bias is None else layer.bias
    bias = (bias * scale + shift).astype(np.float32)
    w = w.astype(np.float32)
    w = w if layer.axes == 2 else w[:, :, 0]
    taken = {t.name for t in model.graph.initializer}
    taken |= {name for node in model.graph.node for name in node.output}
    names = [_free(f"{end}.{part}", taken) for part in ("weights", "bias")]
    for name, values in zip(names, (w, bias), strict=True):
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    lost = {layer.conv_output, layer.total, *(node.output[0] for node in gone)}
    lost |= _between(layer, readers)
    conv.input[1:] = names
    conv.output[0] = end
    kept = [n for n in model.graph.node if n is conv or not lost & set(n.output)]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return ", ".join(node.op_type for node in gone)


def _between(layer: OnnxLayer, readers) -> set[str]:
    """Returns the tensors from a Conv to its bias, which become none."""
    found, name = set(), layer.conv_output
    while name != layer.total:
        (node,) = readers[name]
        name = node.output[0]
        found.add(name)
    return found


def _affine(name: str, layer: OnnxLayer, readers, constants: Constants):
    """Returns the node that alone scales and shifts a tensor by channel, and how."""
    nodes = readers.get(name, ())
    if len(nodes) != 1 or nodes[0] is None or nodes[0].domain not in STANDARD:
        return None
    node, channels = nodes[0], layer.conv.channels
    try:
        if node.op_type == "BatchNormalization" and len(node.output) == 1:
            scale, bias, mean, variance = (
                constants.values(n).astype(np.float64) for n in node.input[1:5]
            )
            epsilon = attribute(node, "epsilon")
            factor = scale / np.sqrt(
                variance + (1e-5 if epsilon is None else epsilon.f)
            )
            return node, factor, bias - mean * factor
        if node.op_type not in ("Mul", "Div", "Add", "Sub"):
            return None
        others = [n for n in node.input if n != name]
        if len(others) != 1 or (
            node.input[0] != name and node.op_type in ("Div", "Sub")
        ):
            return None
        values = constants.values(others[0]).astype(np.float64)
    except ConfigError:
        return None
    ndim = 2 + layer.axes
    shape = (1,) * (ndim - values.ndim) + values.shape
    if shape not in ((1, channels, *(1,) * (ndim - 2)), (1,) * ndim):
        return None
    flat = values.reshape(-1)
    one, zero = np.float64(1), np.float64(0)
    return {
        "Mul": (node, flat, zero),
        "Div": (node, 1 / flat, zero),
        "Add": (node, one, flat),
        "Sub": (node, one, -flat),
    }[node.op_type]
