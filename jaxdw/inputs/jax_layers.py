"""The depthwise convolutions of a JAX function, shapes only."""

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from jaxdw.errors import ConfigError
from jaxdw.inputs.epilogue import epilogue
from jaxdw.inputs.jaxpr import Operation, Value, flatten, number, through
from jaxdw.models.zoo import Layer
from jaxdw.plan.config import ConvConfig


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JaxLayer(Layer):
    """One depthwise convolution; `times` is how often a scan runs it."""

    times: int = 1


class JaxLayersWarning(UserWarning):
    """A function has layers that are left out, or whose count is not known."""


def depthwise_layers(
    function: Callable, *example_args: Any, **example_kwargs: Any
) -> tuple[JaxLayer, ...]:
    """Returns the depthwise layers of a JAX function, in the order they run.

    Found are convolutions over one axis (as 1xK) or two with feature groups == in
    channels == out channels, in whatever order of axes, also inside jit, scan, remat,
    custom rules, branches and loops. Zeros padded before a layer are its padding. A
    bias, or scale and shift of a batch norm at inference, and relu, relu6, silu and
    gelu are the layer's. Formats are those of `ConvConfig`, whatever the arrays are.
    Names are those of the scopes around (flax modules, `jax.named_scope`).

    Args:
      example_args, example_kwargs: arrays, or `jax.ShapeDtypeStruct`s in their place;
        nothing is computed.

    Raises:
      ConfigError: no depthwise layer.

    Warns:
      JaxLayersWarning: lists what has a channel multiplier, three axes, a dilated input
        or negative padding, and what runs an unknown number of times.
    """
    layers: list[JaxLayer] = []
    told: list[str] = []
    seen: dict[str, int] = {}
    for operation in flatten(function, example_args, example_kwargs):
        if operation.kind != "conv_general_dilated":
            continue
        channels, problem = _depthwise(operation)
        name = _unique(operation.name or "conv", seen) if channels else ""
        if problem:
            told.append(f"{operation.name or 'conv'}: left out, {problem}")
        elif channels:
            if operation.uncertain:
                told.append(f"{name}: {operation.uncertain}")
            conv = _conv(operation, channels)
            layers.append(JaxLayer(name=name, conv=conv, times=operation.times))
    if not layers:
        raise ConfigError(
            f"`function` (={getattr(function, '__name__', function)}) must have a "
            "depthwise convolution, feature groups == in channels == out channels"
            + "".join(f"\n{line}" for line in told)
        )
    if told:
        warnings.warn("\n".join(told), JaxLayersWarning, stacklevel=2)
    return tuple(layers)


def _unique(name: str, seen: dict[str, int]) -> str:
    seen[name] = seen.get(name, 0) + 1
    return name if seen[name] == 1 else f"{name}.{seen[name]}"


def _depthwise(operation: Operation) -> tuple[int, str]:
    """Returns the channels of a depthwise convolution, and why it is left out.

    0 channels are another kind of convolution.
    """
    params = operation.params
    numbers, groups = params["dimension_numbers"], params["feature_group_count"]
    image, kernel = operation.inputs[0].shape, operation.inputs[1].shape
    channels = image[numbers.lhs_spec[1]]
    outputs = kernel[numbers.rhs_spec[0]]
    if groups != channels or (groups == 1 and outputs != 1):
        return 0, ""
    axes = len(image) - 2
    if axes not in (1, 2):
        return 0, f"it has {axes} axes, not 1 or 2"
    if outputs != channels:
        return 0, f"it makes {outputs} channels of {channels}: a channel multiplier"
    if params["batch_group_count"] != 1:
        return 0, "it is grouped by batch"
    if any(step != 1 for step in params["lhs_dilation"]):
        return 0, f"its input is dilated by {tuple(params['lhs_dilation'])}: transposed"
    if any(edge < 0 for edges in params["padding"] for edge in edges):
        return 0, f"its padding {params['padding']} is negative"
    return channels, ""


def _conv(operation: Operation, channels: int) -> ConvConfig:
    params = operation.params
    numbers = params["dimension_numbers"]
    image, padding = _unpadded(operation)
    kernel = operation.inputs[1].shape
    sizes = [image.shape[axis] for axis in numbers.lhs_spec[2:]]
    taps = [kernel[axis] for axis in numbers.rhs_spec[2:]]
    strides, dilations = list(params["window_strides"]), list(params["rhs_dilation"])
    if len(sizes) == 1:  # one axis is one row
        sizes, taps = [1, *sizes], [1, *taps]
        strides, dilations = [1, *strides], [1, *dilations]
        padding = [(0, 0), *padding]
    bias, activation = epilogue(operation.outputs[0], numbers.out_spec[1], channels)
    (top, bottom), (left, right) = padding
    return ConvConfig(
        batch=image.shape[numbers.lhs_spec[0]],
        channels=channels,
        height=sizes[0],
        width=sizes[1],
        kernel=taps,
        stride=strides,
        dilation=dilations,
        padding=(top, bottom, left, right),
        bias=bias,
        activation=activation,
    )


def _unpadded(operation: Operation) -> tuple[Value, list[tuple[int, int]]]:
    """Returns a convolution's input before zeros were padded, and all its padding."""
    params = operation.params
    spatial = params["dimension_numbers"].lhs_spec[2:]
    padding = [(int(before), int(after)) for before, after in params["padding"]]
    image = operation.inputs[0]
    while (around := dict(_zeros_around(image))) and around.keys() <= set(spatial):
        padding = [
            (before + around.get(axis, (0, 0))[0], after + around.get(axis, (0, 0))[1])
            for axis, (before, after) in zip(spatial, padding, strict=True)
        ]
        image = _padded(image).inputs[0]
    return image, padding


def _padded(image: Value) -> Operation:
    source = through(image).source
    assert source is not None
    return source


def _zeros_around(image: Value) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yields the axes of a value that zeros were padded along; none if not so."""
    source = through(image).source
    if source is None or source.kind != "pad" or number(source.inputs[1]) != 0:
        return
    edges = [tuple(map(int, edge)) for edge in source.params["padding_config"]]
    if any(before < 0 or after < 0 or inside for before, after, inside in edges):
        return
    for axis, (before, after, _) in enumerate(edges):
        if before or after:
            yield axis, (before, after)
