"""A network whose depthwise layers are computed by whatever one likes."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from jaxdw.errors import ConfigError, needing
from jaxdw.models.onnx.file import OnnxLayer, read_onnx
from jaxdw.networks.cut import Runner, Tensors, cut, cut_layers, stage_runners
from jaxdw.sweep.rows import Inputs

# computes a layer, by number, on an image [N, H, W, C]
Compute = Callable[[int, Float32[np.ndarray, "n h w c"]], np.ndarray]

CONTROL = 1e-5  # of the largest output: what the cuts may change in float32


@dataclasses.dataclass(frozen=True, slots=True)
class Trace:
    """One run of a network on one sample.

    Attributes:
      outputs: of the network, by name.
      images: what each layer read, `[N, H, W, C]` float32; results: what each gave.
      values: the tensors at hand before each stage; () if they were not kept.
    """

    outputs: Tensors
    images: dict[int, np.ndarray]
    results: dict[int, np.ndarray]
    values: tuple[Tensors, ...]


class Network:
    """A file cut at its depthwise layers.

    Attributes:
      layers: in the file's order, as the cuts leave them.
    """

    def __init__(self, path: str | os.PathLike[str], inputs: Inputs):
        """Reads and cuts a file.

        Args:
          inputs: shapes of its inputs, names and sizes.

        Raises:
          ConfigError: as `read_onnx`, and a network that onnxruntime does not run.
        """
        with needing("accuracy", "onnxruntime"):
            import onnxruntime  # noqa: F401
        self.path = Path(path)
        self.model = loaded(path)
        self.layers = cut_layers(read_onnx(path, dict(inputs)))
        self._stages = cut(self.model, self.layers)
        self._runners = stage_runners(self.model, self._stages)
        self._whole = Runner(self.model)
        self._float = [float_runner(layer) for layer in self.layers]
        self._level = {n: k for k, s in enumerate(self._stages) for n in s.layers}

    @property
    def output_names(self) -> list[str]:
        return [value.name for value in self.model.graph.output]

    def level(self, layer: int) -> int:
        """Returns the number of the stage behind which a layer runs."""
        return self._level[layer]

    def uncut(self, sample: Tensors) -> Tensors:
        """Returns what onnxruntime makes of the whole network."""
        return self._whole.run(sample)

    def in_float32(self, layer: int, image: np.ndarray) -> np.ndarray:
        """Computes a layer in float32, by onnxruntime."""
        of = self.layers[layer]
        shape = image.transpose(0, 3, 1, 2)
        (found,) = self._float[layer].run({"x": np.ascontiguousarray(shape)}).values()
        assert found.shape[1] == of.conv.channels
        return found.transpose(0, 2, 3, 1)

    def run(
        self,
        sample: Tensors,
        compute: Compute | Mapping[int, Compute],
        *,
        since: Trace | None = None,
        first: int = 0,
        keep: bool = False,
    ) -> Trace:
        """Runs the network on a sample.

        Args:
          compute: what computes the layers; of a mapping, float32 those it lacks.
          since, first: a run whose values were kept, and the stage to go on from.
          keep: values, to go on from later.
        """

        def own(number: int) -> Compute:
            if isinstance(compute, Mapping):
                return compute.get(number, self.in_float32)
            return compute

        values = dict(sample if since is None else since.values[first])
        images, results, kept = {}, {}, []
        for level in range(first, len(self._stages)):
            if keep:
                kept.append(dict(values))
            stage, runner = self._stages[level], self._runners[level]
            if runner is not None:
                values |= runner.run(values)
            for number in stage.layers:
                layer = self.layers[number]
                tensor = values[layer.input]
                image = as_image(tensor)
                result = own(number)(number, image)
                images[number], results[number] = image, result
                values[layer.output] = as_tensor(result, tensor)
        outputs = {name: values[name] for name in self.output_names}
        return Trace(outputs, images, results, tuple(kept))

    def control(self, sample: Tensors) -> float:
        """Returns what the cuts change in float32, as a share of the largest output.

        Raises:
          ConfigError: more than `CONTROL`; an output that is not finite.
        """
        cut_outputs = self.run(sample, self.in_float32).outputs
        whole = self.uncut(sample)
        for name, values in whole.items():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise ConfigError(
                    f"the network's output {name!r} must be finite in float32: of NaN "
                    "and infinities no figure would mean anything; give another sample"
                )
        share = largest_change(whole, cut_outputs)
        if not share <= CONTROL:
            raise ConfigError(
                f"the network cut at its {len(self.layers)} depthwise layers gives "
                f"other outputs in float32 (={share:.3g} of the largest) than uncut; "
                f"they must agree within {CONTROL:g}: no figure would mean anything"
            )
        return share


def largest_change(want: Tensors, got: Tensors) -> float:
    """Returns the largest difference, each as a share of its tensor's largest value."""
    shares = [0.0]
    for name, values in want.items():
        if values.dtype.kind not in "fiub" or not values.size:
            shares.append(0.0 if np.array_equal(values, got[name]) else np.inf)
            continue
        one, other = values.astype(np.float64), got[name].astype(np.float64)
        largest = float(np.abs(one).max())
        shares.append(float(np.abs(one - other).max()) / (largest or 1.0))
    return float(np.max(shares))  # NaN stays


def as_image(tensor: np.ndarray) -> Float32[np.ndarray, "n h w c"]:
    """Returns a tensor of channels x height x width, or of channels x width."""
    axes = (0, 2, 3, 1) if tensor.ndim == 4 else (0, 2, 1)
    image = tensor.astype(np.float32, copy=False).transpose(axes)
    image = image if tensor.ndim == 4 else image[:, None]
    return np.ascontiguousarray(image)


def as_tensor(image: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Returns an image as the network has it, in the dtype and rank of its input."""
    image = np.asarray(image)
    found = image.transpose(0, 3, 1, 2)
    found = found if like.ndim == 4 else found[:, :, 0]
    return np.ascontiguousarray(found.astype(like.dtype, copy=False))


def loaded(path: str | os.PathLike[str]):
    """Returns a model with all its weights, functions inlined.

    Raises:
      ConfigError: a file that cannot be read.
    """
    with needing("onnx", "onnx"):
        import onnx
        from onnx import inliner
    try:
        model = onnx.load(path)
        if not model.graph.node:
            raise ValueError("it has no nodes")
        return inliner.inline_local_functions(model) if model.functions else model
    except Exception as error:  # of protobuf, of files beside, of C++
        raise ConfigError(
            f"`path` (={str(path)!r}) must be an ONNX file with its weights beside it "
            f"({' '.join(str(error).split())[:200]}); export it again"
        ) from None


def float_runner(layer: OnnxLayer) -> Runner:
    """Returns a layer by itself, with the weights, bias and activation read of it."""
    from onnx import TensorProto, helper, numpy_helper

    conv = layer.conv
    top, bottom, left, right = conv.padding
    constants = {"w": np.asarray(layer.weights)}
    if layer.bias is not None:
        constants["b"] = np.asarray(layer.bias)
    nodes = [
        helper.make_node(
            "Conv",
            ["x", *constants],
            ["y"],
            group=conv.channels,
            pads=[top, left, bottom, right],
            strides=list(conv.stride),
            dilations=list(conv.dilation),
        ),
        *_activation_nodes(conv.activation),
    ]
    if conv.activation == "relu6":
        constants |= {"zero": np.float32(0), "six": np.float32(6)}
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None] * 4)],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [None] * 4)],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()],
    )
    opset = [helper.make_opsetid("", 20)]
    return Runner(helper.make_model(graph, opset_imports=opset, ir_version=9))


def _activation_nodes(activation: str | None) -> Sequence:
    from onnx import helper

    match activation:
        case "relu":
            return [helper.make_node("Relu", ["y"], ["z"])]
        case "relu6":
            return [helper.make_node("Clip", ["y", "zero", "six"], ["z"])]
        case "gelu":
            return [helper.make_node("Gelu", ["y"], ["z"])]
        case "silu":
            gate = helper.make_node("Sigmoid", ["y"], ["s"])
            return [gate, helper.make_node("Mul", ["y", "s"], ["z"])]
    return [helper.make_node("Identity", ["y"], ["z"])]
