"""The constant tensors of an ONNX graph as NumPy arrays.

`onnx` is imported where it is used: it comes with an extra.
"""

import dataclasses
import math
import reprlib
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from jaxdw.errors import ConfigError
from jaxdw.escapes import visible

if TYPE_CHECKING:
    from onnx import AttributeProto, NodeProto, TensorProto

Shape = tuple[int | str, ...]  # a name, or "?", where the size is not fixed

MAX_CHAIN = 64  # nodes between a constant and its use
STANDARD = ("", "ai.onnx")  # the domain of the standard operators

# By TensorProto.DataType: what weights, scales and zero points may be.
# Source: onnx/onnx.proto @v1.23.2, TensorProto.
_DTYPES: dict[int, np.dtype] = {
    number: np.dtype(dtype)
    for number, dtype in {
        1: np.float32, 2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 6: np.int32,
        7: np.int64, 10: np.float16, 11: np.float64, 16: ml_dtypes.bfloat16,
    }.items()
}  # fmt: skip
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_NOT_FOLDED = {  # other outputs each time, or bodies that read what is no input
    "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
    "Multinomial", "Bernoulli", "Dropout", "If", "Loop", "Scan", "SequenceMap",
}  # fmt: skip

_repr = reprlib.Repr()
_repr.maxstring = 120


def quoted(name: str | bytes) -> str:
    """Returns a name out of a file for a message: escaped, not too long.

    Args:
      name: bytes if it is not UTF-8.
    """
    return _repr.repr(name)


def label_of(node: "NodeProto") -> str:
    """Returns the name of a node, or of its output if it has none, on one line."""
    label = node.name or next(filter(None, node.output), node.op_type)
    # bytes: not UTF-8
    return visible(label) if isinstance(label, str) else repr(label)


def shown(node: "NodeProto") -> str:
    """Returns what a message calls a node."""
    return f"node {quoted(label_of(node))}"


def written(shape: Shape | None) -> str:
    """Returns a shape as 1x3x224x224."""
    return "unknown" if shape is None else "x".join(map(str, shape)) or "scalar"


def attribute(node: "NodeProto", name: str) -> "AttributeProto | None":
    """Returns an attribute of a node, None if it has none of that name."""
    return next((a for a in node.attribute if a.name == name), None)


def int_of(node: "NodeProto", name: str, default: int) -> int:
    """Returns an integer attribute."""
    found = attribute(node, name)
    return default if found is None else found.i


def text_of(node: "NodeProto", name: str, default: str) -> str:
    """Returns an attribute of text."""
    found = attribute(node, name)
    return default if found is None else found.s.decode(errors="replace")


def input_of(node: "NodeProto", index: int) -> str:
    """Returns the name of an input, "" if it is left out."""
    return node.input[index] if index < len(node.input) else ""


@dataclasses.dataclass(frozen=True, slots=True)
class Constants:
    """What does not depend on the inputs of a graph.

    Attributes:
      initializers: by name.
      givers: the node that gives each tensor; without cycles.
      folder: resolved; data in other files must lie in it.
      opset: the version of the standard operators.
      folded: values that nodes gave so far.
    """

    initializers: "dict[str, TensorProto]"
    givers: "dict[str, NodeProto]"
    folder: Path
    opset: int
    folded: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def floats(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Returns a constant of that shape and any float type as float32.

        Raises:
          ConfigError: it is not constant, cannot be read, has another type or shape, or
            is not finite in float32.
        """
        values = self.values(name)
        if values.dtype.name not in _FLOATS or values.shape != shape:
            raise ConfigError(
                f"tensor {quoted(name)} (={values.dtype.name} "
                f"{written(values.shape)}) must be floats of shape {written(shape)}; "
                "export it again"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            values = values.astype(np.float32)
        bad = np.count_nonzero(~np.isfinite(values))
        if bad:
            raise ConfigError(
                f"tensor {quoted(name)} (={bad} of {values.size} NaN or infinite) must "
                "be finite in float32; give a trained model"
            )
        return values

    def values(self, name: str, depth: int = MAX_CHAIN) -> np.ndarray:
        """Returns a constant, through whatever nodes compute it of constants.

        Raises:
          ConfigError: it is not constant or cannot be read.
        """
        if name in self.initializers:
            return _array(self.initializers[name], self.folder)
        if name not in self.folded:
            node = self.givers.get(name)
            giver = "a graph input" if node is None else f"an output of {node.op_type}"
            folds = (
                node is not None
                and node.domain in STANDARD
                and node.op_type not in _NOT_FOLDED
            )
            if not folds or not depth:
                raise ConfigError(
                    f"tensor {quoted(name)} (={giver}) must be a constant, or computed "
                    f"of constants by at most {MAX_CHAIN} nodes in a row; fold "
                    "constants on export"
                )
            assert node is not None
            self.folded[name] = self._folded(node, name, depth - 1)
        return self.folded[name]

    def _folded(self, node: "NodeProto", name: str, depth: int) -> np.ndarray:
        """Returns an output of a standard node whose inputs are constants."""
        value = attribute(node, "value")
        dtype = _DTYPES.get(int_of(node, "to", 0))
        if node.op_type == "Constant" and value is not None:
            return _array(value.t, self.folder)
        inputs = {n: self.values(n, depth) for n in node.input if n}
        if node.op_type == "Cast" and dtype is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                return inputs[input_of(node, 0)].astype(dtype)
        by_blocks = int_of(node, "block_size", 0) > 0
        if node.op_type == "DequantizeLinear" and not by_blocks:
            return self._dequantized(node, depth)
        return self._evaluated(node, name, inputs)

    def _evaluated(
        self, node: "NodeProto", name: str, inputs: dict[str, np.ndarray]
    ) -> np.ndarray:
        """Returns what onnx's own evaluator gives."""
        from onnx.reference import ReferenceEvaluator

        try:
            with np.errstate(all="ignore"):
                evaluator = ReferenceEvaluator(node, opsets={"": self.opset})
                outputs: Any = evaluator.run(None, inputs)
            return np.asarray(outputs[list(node.output).index(name)])
        except Exception as error:  # whatever a node out of a file brings it to
            line = " ".join(str(error).split())[:200]
            raise ConfigError(
                f"tensor {quoted(name)} (=an output of {node.op_type}) must be one "
                f"that onnx can compute ({type(error).__name__}: {line}); fold "
                "constants on export"
            ) from None

    def _dequantized(self, node: "NodeProto", depth: int) -> np.ndarray:
        """Returns (values - zero point) * scale, by tensor or along an axis.

        Source: ONNX Operators.md, DequantizeLinear-21.
        """
        values = self.values(input_of(node, 0), depth).astype(np.float32)
        scale = self.values(input_of(node, 1), depth)
        zero = np.zeros(1, np.float32)
        if input_of(node, 2):
            zero = self.values(input_of(node, 2), depth)
        axis, is_given = int_of(node, "axis", 1), attribute(node, "axis") is not None
        along = [1] * values.ndim
        if -values.ndim <= axis < values.ndim:
            along[axis] = values.shape[axis]
        for part in (scale, zero):
            if part.ndim > 1 or part.size not in (1, math.prod(along)):
                fits = [a for a, size in enumerate(values.shape) if size == part.size]
                along_it = f"axis {axis}"
                if not is_given:
                    along_it = f"`axis` (left out, so {axis})"
                raise ConfigError(
                    f"the scale and zero point of tensor {quoted(node.output[0])} "
                    f"(={written(part.shape)}) must be one, or one each along "
                    f"{along_it} of {written(values.shape)}; "
                    + (f"write axis={fits[0]}" if fits else "quantize by channel")
                )
        along = [size if max(scale.size, zero.size) > 1 else 1 for size in along]
        with np.errstate(over="ignore", invalid="ignore"):
            steps = _spread(scale, along)
            return ((values - _spread(zero, along)) * steps).astype(scale.dtype)


def _spread(part: np.ndarray, along: list[int]) -> np.ndarray:
    """Returns the scales of one axis, or of all, shaped to be multiplied."""
    part = part.astype(np.float32)
    return part.reshape(along if part.size > 1 else [1] * len(along))


def _array(tensor: "TensorProto", folder: Path) -> np.ndarray:
    """Returns the values of a tensor, those in another file too."""
    from onnx import TensorProto, numpy_helper

    dtype, dims = _DTYPES.get(tensor.data_type), tuple(tensor.dims)
    if dtype is None or any(size < 1 for size in dims):
        raise ConfigError(
            f"tensor {quoted(tensor.name)} (=type {tensor.data_type}, {written(dims)}) "
            "must be floats, or integers of 8 bits or more, with sizes >= 1; export it "
            "again"
        )
    if tensor.data_location == TensorProto.EXTERNAL:
        data = _read_beside(tensor, folder, math.prod(dims) * dtype.itemsize)
        tensor = TensorProto(dims=dims, data_type=tensor.data_type, raw_data=data)
    try:
        return numpy_helper.to_array(tensor)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"tensor {quoted(tensor.name)} (={written(dims)}) must have as many values "
            f"as its sizes say ({error}); export it again"
        ) from None


def _read_beside(tensor: "TensorProto", folder: Path, num_bytes: int) -> bytes:
    """Returns the data of a tensor from a file in the model's folder.

    Refused are absolute paths, `..`, symbolic links out of the folder and files with
    a second hard link, which may be anywhere (onnx 1.23.2 refuses those too, and all
    symbolic links).
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    try:
        if Path(location).is_absolute() or ".." in Path(location).parts:
            raise OSError("the path leads out of it")
        path = (folder / location).resolve(strict=True)
        info = path.stat()
        if not path.is_relative_to(folder) or info.st_nlink > 1:
            raise OSError("a link leads out of it")
        if not stat.S_ISREG(info.st_mode):
            raise OSError("not a regular file")
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", info.st_size - offset))
        if length != num_bytes or not 0 <= offset <= info.st_size - length:
            raise OSError(f"{length} bytes from {offset} of {info.st_size}")
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"the data of tensor {quoted(tensor.name)} (={quoted(location)}) must be "
            f"{num_bytes} bytes of a file in the model's folder ({error}); copy it "
            "there"
        ) from None
