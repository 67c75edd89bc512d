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
from typing import TYPE_CHECKING, Any, no_type_check

import numpy as np
from jaxtyping import Float32

from jaxdw.errors import ConfigError, refuse
from jaxdw.models.onnx.graph import Graph, make_graph, unique_names
from jaxdw.models.onnx.shapes import set_inputs
from jaxdw.models.onnx.tensors import shown
from jaxdw.models.zoo import Layer
from jaxdw.plan.config import ConvConfig

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

MAX_FILE_BYTES = 2**31 - 1  # of a protobuf
MAX_SECONDS = 120  # of processor time
MAX_LISTED = 8  # problems in one message


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OnnxLayer(Layer):
    """One depthwise Conv node; its `name` is unique in its file.

    Equal, as any Layer, if name and convolution are.

    Attributes:
      weights, bias: read-only; other floats are converted. bias: None for none.
      input, conv_output, total, output: names of the tensors that the node reads and
        gives, and that hold it after bias and after bias and activation.
      axes: over which the node goes, 1 or 2.
      dropped: whether a QuantizeLinear lies before its activation, unread.
      left_out: what is no part of it, inside and behind, in words; "" for nothing.
    """

    weights: Float32[np.ndarray, "c 1 kh kw"]
    bias: Float32[np.ndarray, " c"] | None
    input: str
    conv_output: str
    total: str
    output: str
    axes: int = 2
    dropped: bool = False
    left_out: str = ""


class SkippedLayersWarning(UserWarning):
    """A file has layers close to those of ConvConfig, which are left out."""


@dataclasses.dataclass(frozen=True, slots=True)
class OnnxFile:
    """What `read_onnx` reads of a file; `skipped` says why a node is no layer."""

    path: str
    layers: tuple[OnnxLayer, ...]
    skipped: tuple[str, ...]

    def warn(self) -> None:
        """Warns of what was left out, if anything was."""
        if self.skipped:
            lines = "\n".join(_listed(list(self.skipped)))
            warnings.warn(
                f"`path` (={self.path}): layers left out:\n{lines}",
                SkippedLayersWarning,
                stacklevel=3,
            )


_Found = tuple[tuple[OnnxLayer, ...], list[str]]  # and what was skipped


def read_onnx(
    path: str | os.PathLike[str],
    inputs: Mapping[str, Sequence[int]] | None = None,
    *,
    isolated: bool = True,
) -> tuple[OnnxLayer, ...]:
    """Returns the depthwise layers of an ONNX file in the file's order.

    A layer is a Conv over one or two axes with group == in channels == out channels,
    in the main graph or in a model-local function; one axis is 1xK. A node keeps its
    name; without one it has its output's, and the second of a name gets a number. The
    bias is the node's own and what a constant Add behind it adds by channel.
    `activation` is what then alone reads the output, through a QuantizeLinear and
    DequantizeLinear too: Relu (Clip or Max from 0 as well), Clip to 0 and 6,
    x * Sigmoid(x), Swish, Gelu by erf; else None, HardSwish too. A BatchNormalization
    is not folded in. Each layer names what it leaves out. Weights are constants, or
    computed of constants by standard operators.

    Args:
      inputs: shapes of graph inputs, for those with dynamic ones.
      isolated: read in a process of its own (0.4 s); False is for files you trust.

    Raises:
      ConfigError: no extra `onnx`; a file that cannot be read, is not ONNX or
        contradicts itself; no depthwise layer that can be read.

    Warns:
      SkippedLayersWarning: lists what has a channel multiplier or three axes, is a
        grouped convolution that is quantized, fused, transposed or in the body of
        an If, Loop or Scan, or cannot be read: weights that are not constant, not
        finite in float32 or outside the folder, dynamic shapes.
    """
    file = read_file(path, inputs, isolated=isolated)
    file.warn()
    return file.layers


@no_type_check  # refuses every value of `inputs` itself
def read_file(
    path: str | os.PathLike[str],
    inputs: Mapping[str, Sequence[int]] | None = None,
    *,
    isolated: bool = True,
) -> OnnxFile:
    """Returns what `read_onnx` reads, and what that warns of."""
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
    layers, skipped = (_read_apart if isolated else _read)(os.path.abspath(path), given)
    return OnnxFile(str(path), layers, tuple(skipped))


def _read_apart(path: str, given: Mapping[str, Sequence[int]]) -> _Found:
    """Calls `_read` in a limited process."""
    roots = [str(Path(__file__).parents[3]), *filter(None, sys.path)]
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(roots),
        "OPENBLAS_NUM_THREADS": "1",  # each would reserve some of the address space
    }
    process = subprocess.run(
        [sys.executable, "-P", "-c", _SERVER],
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
    for fields, conv_fields in answer["layers"]:
        conv = ConvConfig(**conv_fields)
        ends = np.cumsum([math.prod(conv.weight_shape), conv.channels * conv.bias])
        weights, bias, values = np.split(values, ends)
        arrays = weights, bias if conv.bias else None
        layers.append(_layer(conv, *arrays, **fields))
    return tuple(layers), answer["skipped"]


# Ends with the process that asked, however that ends: PR_SET_PDEATHSIG of Linux.
_SERVER = """
import ctypes
prctl = getattr(ctypes.CDLL(None), "prctl", None)
prctl and prctl(1, 9)
from jaxdw.models.onnx.file import _serve
_serve()
"""


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
        layers, skipped = _read(request["path"], request["given"])
        convs = [
            ({n: getattr(layer, n) for n in _WORDS}, dataclasses.asdict(layer.conv))
            for layer in layers
        ]
        head: dict[str, Any] = {"layers": convs, "skipped": skipped}
    except ConfigError as error:
        head = {"refused": str(error)}
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n")
    for layer in layers:
        sys.stdout.buffer.write(layer.weights.tobytes())
        if layer.bias is not None:
            sys.stdout.buffer.write(layer.bias.tobytes())


_WORDS = (
    "name",
    "input",
    "conv_output",
    "total",
    "output",
    "axes",
    "dropped",
    "left_out",
)


def _layer(
    conv: ConvConfig, weights: np.ndarray, bias: np.ndarray | None, **words: Any
) -> OnnxLayer:
    weights = weights.reshape(conv.weight_shape)
    for array in (weights, bias):
        if array is not None:
            array.setflags(write=False)
    return OnnxLayer(conv=conv, weights=weights, bias=bias, **words)


def _read(path: str, given: Mapping[str, Sequence[int]]) -> _Found:
    """Returns the layers of a file, read in this process."""
    model = _parse(path)
    set_inputs(model.graph, given)
    graph = make_graph(model, Path(path).parent.resolve())
    skipped, nodes = graph.in_bodies(), []
    problems: dict[str, None] = {}  # of what cannot be read, each told once
    for node in graph.nodes:
        try:
            reason = graph.left_out(node)
        except ConfigError as error:
            problems |= _by_node(node, error)
            continue
        if reason is None:
            nodes.append(node)
        elif reason:
            skipped.append(f"{shown(node)}: {reason}")
    layers = []
    for name, node in zip(unique_names(nodes), nodes, strict=True):
        causes = graph.shape_problems(node)
        problems |= dict.fromkeys(causes)
        try:
            if not causes:
                layers.append(_of_node(name, node, graph))
        except ConfigError as error:
            problems |= _by_node(node, error)
    if not layers:
        refuse(_listed(list(problems)))
        raise ConfigError(
            f"`path` (={path}, {len(graph.nodes)} nodes) must have a depthwise layer, "
            "a Conv with group == in channels == out channels; give another model"
            + "".join(f"\n{line}" for line in _listed(skipped))
        )
    return tuple(layers), [*skipped, *problems]


def _by_node(node: "NodeProto", error: ConfigError) -> dict[str, None]:
    return {f"{shown(node)}: {line}": None for line in str(error).split("\n")}


def _of_node(name: str, node: "NodeProto", graph: Graph) -> OnnxLayer:
    conv, weights, bias, behind = graph.layer(node)
    return _layer(
        conv,
        weights,
        bias,
        name=name,
        input=node.input[0],
        conv_output=node.output[0],
        total=behind.total,
        output=behind.output,
        axes=len(graph.shapes[node.input[0]] or ()) - 2,
        dropped=bool(behind.dropped),
        left_out=behind.left_out,
    )


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
