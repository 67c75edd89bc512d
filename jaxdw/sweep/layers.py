"""The layers of a model, whichever way it is named: zoo, ONNX file, JAX function."""

import difflib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jaxdw.errors import ConfigError
from jaxdw.inputs.names import is_function_name
from jaxdw.models import zoo
from jaxdw.models.zoo import Layer
from jaxdw.plan.config import ConvConfig
from jaxdw.sweep.axes import is_onnx, joined
from jaxdw.sweep.rows import Inputs

if TYPE_CHECKING:
    from jaxdw.models.onnx.file import OnnxFile, OnnxLayer

MAX_LISTED = 100  # layers in one message
_NEAR = 3


@functools.lru_cache(maxsize=4)
def onnx_file(path: str, inputs: Inputs) -> "OnnxFile":
    """Returns a file's layers and what was left out, read once in a process."""
    if not Path(path).is_file():
        raise ConfigError(f"`models` (={path!r}) must be a file that exists")
    from jaxdw.models.onnx.file import read_file

    return read_file(path, dict(inputs))


def onnx_layer(path: str, inputs: Inputs, name: str) -> "OnnxLayer":
    """Returns the layer of that name.

    Raises:
      ConfigError: as `read_onnx`, and for a name that the file does not have.
    """
    layers = {layer.name: layer for layer in onnx_file(path, inputs).layers}
    return layers[_known(name, path, tuple(layers))]


def inputs_of(model: str, inputs: Inputs) -> Inputs:
    """Returns the inputs of a model: of no other file, none of a model by name."""
    if not is_onnx(model) and not is_function_name(model):
        return ()
    own = []
    for name, sizes in inputs:
        file, _, bare = name.rpartition(":")
        if not is_onnx(file):
            own.append((name, sizes))
        elif file == model:
            own.append((bare, sizes))
    return tuple(own)


def layers_of(model: str, inputs: Inputs = ()) -> tuple[Layer, ...]:
    """Returns every layer of a model, in its order.

    Raises:
      ConfigError: as `read_onnx` and `layers_of_function`.

    Warns:
      SkippedLayersWarning: lists what of a file was left out.
    """
    if is_onnx(model):
        file = onnx_file(model, inputs)
        file.warn()
        return file.layers
    if is_function_name(model):
        from jaxdw.inputs.named_function import layers_of_function

        return tuple(layers_of_function(model, dict(inputs)))
    return zoo.layers(model)


def layer_named(model: str, name: str | None, inputs: Inputs = ()) -> Layer:
    """Returns one layer of a model.

    Args:
      name: None where the model has but one.

    Raises:
      ConfigError: a name that the model does not have, none where it has several; as
        `layers_of`.
    """
    layers = {layer.name: layer for layer in layers_of(model, inputs)}
    if name is not None:
        return layers[_known(name, model, tuple(layers))]
    if len(layers) == 1:
        return next(iter(layers.values()))
    listed = [f"{layer.name}: {short(layer.conv)}" for layer in layers.values()]
    more = len(listed) - MAX_LISTED
    listed[MAX_LISTED:] = [f"and {more} more"] if more > 0 else []
    raise ConfigError(
        f"`--models` (={model!r}) has {len(layers)} layers; `--layer` must name one:"
        + "".join(f"\n  {line}" for line in listed)
    )


def _known(name: str, model: str, names: tuple[str, ...]) -> str:
    if name in names:
        return name
    lower = name.lower()
    near = [known for known in names if lower in known.lower()][:_NEAR]
    near = near or difflib.get_close_matches(name, names, n=_NEAR, cutoff=0.4)
    near = near or difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    raise ConfigError(
        f"`--layer` (={name!r}) must be one of the {len(names)} of {model!r}; try "
        f"{' or '.join(near)}"
    )


def short(conv: ConvConfig) -> str:
    """Returns a convolution in one line: its input as NCHW, and its window."""
    size = joined((conv.batch, conv.channels, conv.height, conv.width))
    said = [f"{size} kernel {joined(conv.kernel)}"]
    for name in ("stride", "dilation"):
        if getattr(conv, name) != (1, 1):
            said.append(f"{name} {joined(getattr(conv, name))}")
    return " ".join([*said, *filter(None, [conv.activation])])


def distinct_layers(
    model: str, inputs: Inputs
) -> Iterator[tuple[str, int, ConvConfig]]:
    """Yields name, times and convolution of what a sweep goes through.

    A file's layers have weights of their own, and so come one by one.
    """
    if is_onnx(model) or is_function_name(model):
        for layer in layers_of(model, inputs):
            yield layer.name, getattr(layer, "times", 1), layer.conv
        return
    names = {}
    for layer in zoo.layers(model):
        names.setdefault(layer.conv, layer.name)
    for conv, times in zoo.distinct(model).items():
        yield names[conv], times, conv
