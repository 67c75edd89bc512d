"""The depthwise layers of real networks, as data.

Block tables of the papers, cut to what fixes a depthwise convolution, and the rules
that make layers of them, at batch 1 and the published input size. Padding is that of
one implementation. `SAME`, the odd pixel at the bottom and right: keras.applications'
MobileNetV1 and V3, EfficientNet, EfficientNetV2 and Xception, tensorflow/tpu's MnasNet.
Half the kernel on all sides: torchvision's MobileNetV2, ShuffleNetV2 and ConvNeXt,
timm's MobileNetV4, ultralytics' YOLOv10.

Batch norm is folded into the bias (ConvNeXt has one of its own), so only Xception has
none: it normalises after the pointwise half. `activation` is what follows the layer and
its norm directly; hard-swish (MobileNetV3) is not among those of ConvConfig and is
None here. YOLOv10 is the network as deployed: the 3x3 beside each 7x7 is merged into
it, and the head has its one-to-one branch only. RegNetY is left out: its convolutions
are grouped, not depthwise. `mamba_like` is no network: sizes of a family of them.
"""

import dataclasses
import difflib
import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator

from jaxdw.errors import ConfigError
from jaxdw.models.sequences import mamba_like
from jaxdw.plan.config import Activation, ConvConfig


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One depthwise layer; its `name` is unique in its model."""

    name: str
    conv: ConvConfig


def _ceil_div(size: int, stride: int) -> int:
    """Returns the size after a layer of that stride, under either padding."""
    return -(-size // stride)


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Returns TensorFlow's padding before and after one axis."""
    total = max((_ceil_div(size, stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _centred(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Returns PyTorch's usual padding before and after one axis."""
    return kernel // 2, kernel // 2


Pad = Callable[[int, int, int], tuple[int, int]]


def _layer(
    name: str,
    channels: int,
    size: int,
    kernel: int,
    stride: int = 1,
    activation: Activation | None = None,
    *,
    pad: Pad = _centred,
    bias: bool = True,
) -> Layer:
    """Builds a layer on a square input of `size` pixels a side."""
    before, after = pad(size, kernel, stride)
    conv = ConvConfig(
        channels=channels,
        height=size,
        width=size,
        kernel=(kernel, kernel),
        stride=(stride, stride),
        padding=(before, after, before, after),
        bias=bias,
        activation=activation,
    )
    return Layer(name=name, conv=conv)


# (kernel, expanded channels, stride, activation); None is hard-swish.
Rows = tuple[tuple[int, int, int, Activation | None], ...]

# Source: Howard et al., MobileNetV3, arXiv:1905.02244, tables 1 and 2.
_MOBILENET_V3_LARGE: Rows = (
    (3, 16, 1, "relu"),
    (3, 64, 2, "relu"),
    (3, 72, 1, "relu"),
    (5, 72, 2, "relu"),
    (5, 120, 1, "relu"),
    (5, 120, 1, "relu"),
    (3, 240, 2, None),
    (3, 200, 1, None),
    *[(3, 184, 1, None)] * 2,
    (3, 480, 1, None),
    (3, 672, 1, None),
    (5, 672, 2, None),
    *[(5, 960, 1, None)] * 2,
)
_MOBILENET_V3_SMALL: Rows = (
    (3, 16, 2, "relu"),
    (3, 72, 2, "relu"),
    (3, 88, 1, "relu"),
    (5, 96, 2, None),
    *[(5, 240, 1, None)] * 2,
    (5, 120, 1, None),
    (5, 144, 1, None),
    (5, 288, 2, None),
    *[(5, 576, 1, None)] * 2,
)


def _mobilenet_v3(rows: Rows) -> Iterator[Layer]:
    size = 112
    for block, (kernel, channels, stride, activation) in enumerate(rows):
        name = f"blocks.{block}.depthwise"
        yield _layer(name, channels, size, kernel, stride, activation, pad=_same)
        size = _ceil_div(size, stride)


# Stages of blocks: (expansion, output channels, repeats, stride of the first, kernel).
Blocks = tuple[tuple[int, int, int, int, int], ...]

# The paper gives the last layer stride 2, but its own next input (7x7) needs 1.
# Source: Howard et al., MobileNets, arXiv:1704.04861, table 1.
_MOBILENET_V1: Blocks = (
    (1, 64, 1, 1, 3),
    (1, 128, 2, 2, 3),
    (1, 256, 2, 2, 3),
    (1, 512, 6, 2, 3),
    (1, 1024, 2, 2, 3),
)

# Source: Sandler et al., MobileNetV2, arXiv:1801.04381, table 2.
_MOBILENET_V2: Blocks = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 32, 3, 2, 3),
    (6, 64, 4, 2, 3),
    (6, 96, 3, 1, 3),
    (6, 160, 3, 2, 3),
    (6, 320, 1, 1, 3),
)

# Source: Tan et al., MnasNet, arXiv:1807.11626, figure 7(a); tensorflow/tpu
# models/official/mnasnet/mnasnet_models.py @05f7b15c, `mnasnet_a1`.
_MNASNET_A1: Blocks = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (3, 40, 3, 2, 5),
    (6, 80, 4, 2, 3),
    (6, 112, 2, 1, 3),
    (6, 160, 3, 2, 5),
    (6, 320, 1, 1, 3),
)

# Source: Tan and Le, EfficientNet, arXiv:1905.11946, table 1.
_EFFICIENTNET_B0: Blocks = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)

# (width, depth, resolution) of B0 to B7. Source: tensorflow/tpu
# models/official/efficientnet/efficientnet_builder.py @082b2267, `efficientnet_params`.
_EFFICIENTNET_SCALES = (
    (1.0, 1.0, 224),
    (1.0, 1.1, 240),
    (1.1, 1.2, 260),
    (1.2, 1.4, 300),
    (1.4, 1.8, 380),
    (1.6, 2.2, 456),
    (1.8, 2.6, 528),
    (2.0, 3.1, 600),
)

# Stages 4 to 6; those before are fused and have no depthwise layer.
# Source: Tan and Le, EfficientNetV2, arXiv:2104.00298, table 4; 384 pixels, as tested.
_EFFICIENTNETV2_S: Blocks = (
    (4, 128, 6, 2, 3),
    (6, 160, 9, 1, 3),
    (6, 256, 15, 2, 3),
)


def _inverted(
    blocks: Blocks,
    channels: int,
    size: int,
    activation: Activation,
    pad: Pad = _same,
) -> Iterator[Layer]:
    """Yields the layer between expansion and output of each block.

    Args:
      channels, size: of the first block's input.
    """
    for stage, (expansion, out, repeats, stage_stride, kernel) in enumerate(blocks):
        for block in range(repeats):
            stride = 1 if block else stage_stride
            name = f"blocks.{stage}.{block}.depthwise"
            wide = channels * expansion
            yield _layer(name, wide, size, kernel, stride, activation, pad=pad)
            channels, size = out, _ceil_div(size, stride)


def _efficientnet(width: float, depth: float, resolution: int) -> Iterator[Layer]:
    """Yields the layers of EfficientNet-B0, scaled.

    Channels are rounded to the nearest multiple of 8, but never below 90 %; repeats are
    rounded up. Source: tensorflow/tpu models/official/efficientnet/
    efficientnet_model.py @02f13034, `round_filters`, `round_repeats`.
    """

    def scaled(channels: int) -> int:
        near = max(8, int(channels * width + 4) // 8 * 8)
        return near if near >= 0.9 * channels * width else near + 8

    blocks = tuple(
        (expansion, scaled(out), math.ceil(repeats * depth), stride, kernel)
        for expansion, out, repeats, stride, kernel in _EFFICIENTNET_B0
    )
    return _inverted(blocks, scaled(32), _ceil_div(resolution, 2), "silu")


# Universal inverted bottlenecks: (kernel before the expansion or 0, kernel after it or
# 0, expanded channels, output channels, stride of the second).
# Source: Qin et al., MobileNetV4, arXiv:2404.10518, appendix, MNv4-Conv-S; timm 1.0.31
# models/mobilenetv3.py, `_gen_mobilenet_v4`.
_MOBILENETV4_CONV_SMALL = (
    (5, 5, 192, 96, 2),
    *[(0, 3, 192, 96, 1)] * 4,
    (3, 0, 384, 96, 1),
    (3, 3, 576, 128, 2),
    (5, 5, 512, 128, 1),
    (0, 5, 512, 128, 1),
    (0, 5, 384, 128, 1),
    *[(0, 3, 512, 128, 1)] * 2,
)


def _mobilenetv4_conv_small() -> Iterator[Layer]:
    channels, size = 64, 28
    for block, row in enumerate(_MOBILENETV4_CONV_SMALL):
        before, after, wide, out, stride = row
        name = f"blocks.{block}"
        if before:
            yield _layer(f"{name}.before", channels, size, before)
        if after:
            yield _layer(f"{name}.after", wide, size, after, stride, "relu")
        channels, size = out, _ceil_div(size, stride)


# (output channels of each separable convolution, stride of the pooling after them).
# Source: Chollet, Xception, arXiv:1610.02357, figure 5.
_XCEPTION = (
    ((128, 128), 2),
    ((256, 256), 2),
    ((728, 728), 2),
    *[((728, 728, 728), 1)] * 8,
    ((728, 1024), 2),
    ((1536, 2048), 1),
)


def _xception() -> Iterator[Layer]:
    channels, size = 64, 147
    for block, (outs, pooling) in enumerate(_XCEPTION):
        for index, out in enumerate(outs):
            name = f"blocks.{block}.{index}.depthwise"
            yield _layer(name, channels, size, 3, pad=_same, bias=False)
            channels = out
        size = _ceil_div(size, pooling)


# (channels, size, repeats), 7x7.
# Source: Liu et al., ConvNeXt, arXiv:2201.03545, table 9.
_CONVNEXT_T = ((96, 56, 3), (192, 28, 3), (384, 14, 9), (768, 7, 3))


def _convnext_t() -> Iterator[Layer]:
    for stage, (channels, size, repeats) in enumerate(_CONVNEXT_T):
        for block in range(repeats):
            yield _layer(f"stages.{stage}.{block}.depthwise", channels, size, 7)


# (output channels, units) at 1x. Source: Ma et al., ShuffleNetV2, arXiv:1807.11164,
# table 5; its figure 3 (c, d) has the two kinds of unit.
_SHUFFLENET_V2 = ((116, 4), (232, 8), (464, 4))


def _shufflenet_v2() -> Iterator[Layer]:
    channels, size = 24, 56
    for stage, (out, units) in enumerate(_SHUFFLENET_V2):
        yield _layer(f"stages.{stage}.0.shortcut", channels, size, 3, 2)
        yield _layer(f"stages.{stage}.0.depthwise", out // 2, size, 3, 2)
        channels, size = out, _ceil_div(size, 2)
        for unit in range(1, units):
            yield _layer(f"stages.{stage}.{unit}.depthwise", out // 2, size, 3)


# (index in the network, module, channels, repeats, input size at 640x640), unscaled;
# the modules named "block" hold depthwise layers in some variants only.
# Source: Wang et al., YOLOv10, arXiv:2405.14458, section 3.2; ultralytics
# 8.4.190 cfg/models/v10/yolov10n.yaml, yolov10x.yaml, nn/modules/block.py, head.py.
_YOLOV10 = (
    (5, "down", 512, 1, 80),
    (6, "block", 512, 6, 40),
    (7, "down", 1024, 1, 40),
    (8, "block", 1024, 3, 20),
    (10, "attention", 1024, 1, 20),
    (13, "block", 512, 3, 40),
    (19, "block", 512, 3, 40),
    (20, "down", 512, 1, 40),
    (22, "block", 1024, 3, 20),
)
_YOLOV10_HEAD = ((256, 80), (512, 40), (1024, 20))  # (channels, size)


def _yolov10(
    depth: float, width: float, most: int, compact: frozenset[int], kernel: int
) -> Iterator[Layer]:
    """Yields the layers of a variant.

    Args:
      most: channels are capped to this, then scaled by `width` to a multiple of 8.
      compact: indexes of the blocks made of compact inverted blocks.
      kernel: of their middle layer.
    """

    def scaled(channels: int) -> int:
        return math.ceil(min(channels, most) * width / 8) * 8

    for index, module, channels, repeats, size in _YOLOV10:
        out, half = scaled(channels), scaled(channels) // 2
        if module == "down":
            yield _layer(f"{index}.down", out, size, 3, 2)
        elif module == "attention":
            yield _layer(f"{index}.attention.position", half, size, 3)
        elif index in compact:
            for block in range(max(round(repeats * depth), 1)):
                name = f"{index}.blocks.{block}"
                yield _layer(f"{name}.first", half, size, 3, 1, "silu")
                yield _layer(f"{name}.middle", out, size, kernel, 1, "silu")
                yield _layer(f"{name}.last", half, size, 3, 1, "silu")
    hidden = max(scaled(256), 80)  # the first level's channels, the classes of COCO
    for level, (channels, size) in enumerate(_YOLOV10_HEAD):
        yield _layer(f"23.class.{level}.first", scaled(channels), size, 3, 1, "silu")
        yield _layer(f"23.class.{level}.second", hidden, size, 3, 1, "silu")


_MAKERS: dict[str, Callable[[], Iterator[Layer]]] = {
    "mobilenet_v1": lambda: _inverted(_MOBILENET_V1, 32, 112, "relu6"),
    "mobilenet_v2": lambda: _inverted(_MOBILENET_V2, 32, 112, "relu6", _centred),
    "mobilenet_v3_small": lambda: _mobilenet_v3(_MOBILENET_V3_SMALL),
    "mobilenet_v3_large": lambda: _mobilenet_v3(_MOBILENET_V3_LARGE),
    "mobilenetv4_conv_small": _mobilenetv4_conv_small,
    "mnasnet_a1": lambda: _inverted(_MNASNET_A1, 32, 112, "relu"),
    **{
        f"efficientnet_b{index}": functools.partial(_efficientnet, *scale)
        for index, scale in enumerate(_EFFICIENTNET_SCALES)
    },
    "efficientnetv2_s": lambda: _inverted(_EFFICIENTNETV2_S, 64, 48, "silu"),
    "xception": _xception,
    "convnext_t": _convnext_t,
    "shufflenet_v2": _shufflenet_v2,
    "yolov10n": lambda: _yolov10(0.33, 0.25, 1024, frozenset({22}), 7),
    "yolov10x": lambda: _yolov10(1.0, 1.25, 512, frozenset({6, 8, 13, 19, 22}), 3),
    "mamba_like": lambda: (Layer(name=n, conv=c) for n, c in mamba_like()),
}

MODELS: tuple[str, ...] = tuple(_MAKERS)


@functools.lru_cache(maxsize=len(MODELS))
def layers(model: str) -> tuple[Layer, ...]:
    """Returns all depthwise layers of a model in order of appearance.

    Raises:
      ConfigError: the name is none of `MODELS`.
    """
    if model not in _MAKERS:
        near = difflib.get_close_matches(str(model), MODELS, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"`model` (={model!r}) must be one of {', '.join(MODELS)}; try {near!r}"
        )
    return tuple(_MAKERS[model]())


def distinct(model: str) -> dict[ConvConfig, int]:
    """Returns the distinct convolutions, first seen first, and their counts."""
    return dict(Counter(layer.conv for layer in layers(model)))
