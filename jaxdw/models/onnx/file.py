"""The depthwise layers of an ONNX file, with their weights (extra `onnx`).

A file is not trusted. Its protobuf can fill a hundred times its size, and onnx's shape
inference can be made to fill memory (the rank doubles with every `Gather(x, x)`) or to
crash (`GatherND` with an index of size -1; both measured with onnx 1.23.2). So a
process of its own reads it, limited in memory and time. Weights in other files are read
from the model's folder only.

A shape that the file declares is believed only where inference finds none: onnx itself
prefers a stale one. No protobuf may pass 2 GB, so larger models keep their weights in
other files, which inference does not need.
"""

import contextlib
import dataclasses
import importlib.util
import json
import math
import os
import stat
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from jaxdw.errors import ConfigError, refuse
from jaxdw.models.onnx.graph import make_graph, unique_names
from jaxdw.models.onnx.shapes import set_inputs
from jaxdw.models.onnx.tensors import shown
from jaxdw.models.zoo import Layer
from jaxdw.plan.config import ConvConfig

if TYPE_CHECKING:
    from onnx import ModelProto

MAX_FILE_BYTES = 2**31 - 1  # of a protobuf
MAX_SECONDS = 120  # of processor time
MAX_LISTED = 8  # problems in one message


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OnnxLayer(Layer):
    """One depthwise Conv node; its `name` is unique in its file.

    Equal, as any Layer, if name and convolution are.

    Attributes:
      weights, bias: read-only; other floats are converted. bias: None for none.
    """

    weights: Float32[np.ndarray, "c 1 kh kw"]
    bias: Float32[np.ndarray, " c"] | None


class SkippedLayersWarning(UserWarning):
    """A file has layers close to those of ConvConfig, which are left out."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Found:
    layers: tuple[OnnxLayer, ...]
    skipped: list[str]


def read_onnx(
    path: str | os.PathLike[str],
    inputs: Mapping[str, Sequence[int]] | None = None,
    *,
    isolated: bool = True,
) -> tuple[OnnxLayer, ...]:
    """Returns the depthwise layers of an ONNX file in the file's order.

    A layer is a Conv over two axes with group == in channels == out channels, in the
    main graph or in a model-local function. A node keeps its name; without one it has
    its output's, and the second of a name gets a number. `activation` is what alone
    reads the output: Relu, Clip to 0 and 6, x * Sigmoid(x), Swish, Gelu by erf; else
    None, HardSwish too. A BatchNormalization is not folded in. Weights are
    initializers or Constant nodes, also through Identity, Cast and DequantizeLinear
    (not in blocks).

    Args:
      inputs: shapes of graph inputs, for those with dynamic ones.
      isolated: read in a process of its own (0.4 s); False is for files you trust.

    Raises:
      ConfigError: no extra `onnx`; a file that cannot be read, is not ONNX or
        contradicts itself; weights that are not constant, not finite in float32, or
        outside the folder; dynamic shapes; no depthwise layer.

    Warns:
      SkippedLayersWarning: lists what has a channel multiplier, one or three axes, or
        is a grouped convolution that is quantized, fused, transposed or in the body of
        an If, Loop or Scan.
    """
    if importlib.util.find_spec("onnx") is None:
        raise ConfigError(
            f"`path` (={path}) must be read with the extra `onnx`; "
            "pip install 'jaxdw[onnx]'"
        )
    given = {name: tuple(shape) for name, shape in (inputs or {}).items()}
    refuse(
        [
            f"`inputs[{name!r}]` (={shape}) must be integers >= 1; try (1, 3, 224, 224)"
            for name, shape in given.items()
            if not all(type(size) is int and 1 <= size < 2**63 for size in shape)
        ]
    )
    found = (_read_apart if isolated else _read)(os.path.abspath(path), given)
    if found.skipped:
        lines = "\n".join(_listed(found.skipped))
        warnings.warn(
            f"`path` (={path}): layers left out:\n{lines}",
            SkippedLayersWarning,
            stacklevel=2,
        )
    return found.layers


def _read_apart(path: str, given: Mapping[str, Sequence[int]]) -> _Found:
    """Calls `_read` in a limited process."""
    roots = [str(Path(__file__).parents[2]), *filter(None, sys.path)]
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(roots),
        "OPENBLAS_NUM_THREADS": "1",  # each would reserve some of the address space
    }
    process = subprocess.run(
        [sys.executable, "-P", "-m", "jaxdw.models.onnx.file"],
        input=json.dumps({"path": path, "given": given}).encode(),
        capture_output=True,
        env=env,
        check=False,
    )
    if process.returncode:
        raise ConfigError(
            f"`path` (={path}) must be read without a crash (status "
            f"{process.returncode}), in {MAX_SECONDS} s and 1 GiB and 8 times its "
            "size; export it again, or only the part with the layers"
        )
    head, _, data = process.stdout.partition(b"\n")
    answer = json.loads(head)
    if "refused" in answer:
        raise ConfigError(answer["refused"])
    layers, values = [], np.frombuffer(data, np.float32)
    for name, fields in answer["layers"]:
        conv = ConvConfig(**fields)
        ends = np.cumsum([math.prod(conv.weight_shape), conv.channels * conv.bias])
        weights, bias, values = np.split(values, ends)
        layers.append(_layer(name, conv, weights, bias if conv.bias else None))
    return _Found(tuple(layers), answer["skipped"])


def _serve() -> None:
    """Answers one request of `_read_apart`, under its limits."""
    request = json.load(sys.stdin)
    with contextlib.suppress(ImportError, OSError, ValueError):  # `_read` tells
        import resource

        size = min(os.path.getsize(request["path"]), MAX_FILE_BYTES)
        for limited, most in (
            (resource.RLIMIT_AS, 2**30 + 8 * size),
            (resource.RLIMIT_CPU, MAX_SECONDS),
            (resource.RLIMIT_CORE, 0),
        ):
            with contextlib.suppress(OSError, ValueError):  # there is a lower one
                resource.setrlimit(limited, (most, most))
    layers: tuple[OnnxLayer, ...] = ()
    try:
        found = _read(request["path"], request["given"])
        layers = found.layers
        convs = [(layer.name, dataclasses.asdict(layer.conv)) for layer in layers]
        head: dict[str, Any] = {"layers": convs, "skipped": found.skipped}
    except ConfigError as error:
        head = {"refused": str(error)}
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n")
    for layer in layers:
        sys.stdout.buffer.write(layer.weights.tobytes())
        if layer.bias is not None:
            sys.stdout.buffer.write(layer.bias.tobytes())


def _layer(
    name: str, conv: ConvConfig, weights: np.ndarray, bias: np.ndarray | None
) -> OnnxLayer:
    weights = weights.reshape(conv.weight_shape)
    for array in (weights, bias):
        if array is not None:
            array.setflags(write=False)
    return OnnxLayer(name=name, conv=conv, weights=weights, bias=bias)


def _read(path: str, given: Mapping[str, Sequence[int]]) -> _Found:
    """Returns the layers of a file, read in this process."""
    model = _parse(path)
    set_inputs(model.graph, given)
    graph = make_graph(model, Path(path).parent.resolve())
    skipped, nodes, problems = graph.in_bodies(), [], []
    for node in graph.nodes:
        try:
            reason = graph.left_out(node)
        except ConfigError as error:
            problems.append(f"{shown(node)}: {error}")
            continue
        if reason is None:
            nodes.append(node)
        elif reason:
            skipped.append(f"{shown(node)}: {reason}")
    refuse(_listed(problems))
    refuse(_listed(graph.shape_problems(nodes)))
    if not nodes:
        raise ConfigError(
            f"`path` (={path}, {len(graph.nodes)} nodes) must have a depthwise layer, "
            "a Conv with group == in channels == out channels; give another model"
            + "".join(f"\n{line}" for line in _listed(skipped))
        )
    layers = []
    for name, node in zip(unique_names(nodes), nodes, strict=True):
        try:
            layers.append(_layer(name, *graph.layer(node)))
        except ConfigError as error:
            problems += [f"{shown(node)}: {line}" for line in str(error).split("\n")]
    refuse(_listed(problems))
    return _Found(tuple(layers), skipped)


def _parse(path: str) -> "ModelProto":
    """Returns the model of a file, without data from other files."""
    from google.protobuf.message import DecodeError
    from onnx import ModelProto

    try:
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode):
            raise OSError("it is not a regular file")
        if info.st_size > MAX_FILE_BYTES:
            raise OSError(f"it has {info.st_size} bytes")
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"`path` (={path}) must be a readable file of at most {MAX_FILE_BYTES} "
            f"bytes ({error}); give a .onnx file, a large one with external data"
        ) from None
    rule = f"`path` (={path}, {len(data)} bytes) must be a whole ONNX model"
    try:
        model = ModelProto.FromString(data)
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{rule} ({error}); export it again") from None
    if not model.graph.node or not model.opset_import:
        raise ConfigError(
            f"{rule}, with nodes and an operator set; export or download it again"
        )
    return model


def _listed(lines: list[str]) -> list[str]:
    more = len(lines) - MAX_LISTED
    return lines if more <= 0 else [*lines[:MAX_LISTED], f"and {more} more"]


if __name__ == "__main__":
    _serve()
