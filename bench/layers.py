"""Layers to measure: those of models, one given as text, and ways to compute them."""

import argparse
import dataclasses
import math
import re
from collections import Counter

from jaxdw.models import zoo
from jaxdw.plan.config import ComputeConfig, ConvConfig
from jaxdw.plan.window import Window

WAYS = (
    ComputeConfig(arithmetic="float32"),
    *(ComputeConfig(math_fidelity=f) for f in ("LoFi", "HiFi2", "HiFi3", "HiFi4")),
)
DEFAULT_LAYER = "144x56x56"

_LAYER = re.compile(r"(\d+)x(\d+)x(\d+)(?:k(\d+))?(?:s(\d+))?(?:n(\d+))?")


def name_of(compute: ComputeConfig) -> str:
    fidelity = "" if compute.arithmetic == "float32" else f" {compute.math_fidelity}"
    return compute.arithmetic + fidelity


def way_of(text: str) -> ComputeConfig:
    """Returns the way of computing of that name, `float32` or a fidelity."""
    for compute in WAYS:
        if name_of(compute).split()[-1].lower() == text.lower():
            return compute
    legal = ", ".join(name_of(compute).split()[-1] for compute in WAYS)
    raise argparse.ArgumentTypeError(f"{text!r} must be one of {legal}")


def ways_of(text: str) -> tuple[ComputeConfig, ...]:
    return tuple(map(way_of, text.split(",")))


def bare_layers(model: str) -> Counter[ConvConfig]:
    """Returns the distinct layers without bias and activation, and their counts."""
    return Counter(
        dataclasses.replace(layer.conv, bias=False, activation=None)
        for layer in zoo.layers(model)
    )


def layer_of(text: str) -> ConvConfig:
    """Returns the layer `CxHxW[kK][sS][nN]`: kernel 3, stride 1, batch 1 if not given.

    It is padded so that stride 1 keeps the size; an even kernel more after than before.
    """
    found = _LAYER.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be CxHxW[kK][sS][nN]; try {DEFAULT_LAYER}k3s1"
        )
    channels, height, width = map(int, found.groups()[:3])
    kernel, stride, batch = (
        default if given is None else int(given)
        for given, default in zip(found.groups()[3:], (3, 1, 1), strict=True)
    )
    before, after = (kernel - 1) // 2, kernel // 2
    return ConvConfig(
        channels=channels,
        height=height,
        width=width,
        batch=batch,
        kernel=(kernel, kernel),
        stride=(stride, stride),
        padding=(before, after, before, after),
    )


def layer_name(conv: ConvConfig) -> str:
    """Returns a layer's text: that of `layer_of`, if its padding is that one's."""
    batch = "" if conv.batch == 1 else f"n{conv.batch}"
    size = f"{conv.channels}x{conv.height}x{conv.width}"
    return f"{size}k{conv.kernel[0]}s{conv.stride[0]}{batch}"


def output_shape(conv: ConvConfig) -> tuple[int, int, int, int]:
    """Returns `[N, Ho, Wo, C]`."""
    window = Window(conv)
    return conv.batch, window.out_height, window.out_width, conv.channels


def multiplications(conv: ConvConfig) -> int:
    return math.prod(output_shape(conv)) * conv.taps


def tensor_bytes(conv: ConvConfig) -> int:
    """Returns the bytes of input and output as `run` takes and gives them: float32."""
    return 4 * (math.prod(conv.input_shape) + math.prod(output_shape(conv)))
