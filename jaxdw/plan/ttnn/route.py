"""Which of its programs ttnn 0.81.1 takes for a depthwise convolution.

Source: ttnn 0.81.1, `is_1d_depthwise_conv` disassembled and run on a mock device;
tt-metal conv2d_utils.cpp @71ff3c1d, `use_matmul_for_1x1_conv`, and its
`auto_enable_kernel_folding`, whose rule in 0.81.1 is Assumed to be the same.
"""

from typing import Literal

from jaxdw.plan.config import ConvConfig, ShardConfig

Route = Literal["regular", "conv1d", "matmul", "refused", "folded"]


def takes_conv1d(conv: ConvConfig) -> bool:
    """Whether the library sees a 1D depthwise convolution.

    Kernel width, stride, dilation, formats, activation and sharding are not looked at.
    """
    return conv.kernel[0] == 1 and conv.height == 1 and not conv.bias


def takes_matmul(conv: ConvConfig, shard: ShardConfig) -> bool:
    """Whether the library calls its matmul instead of a convolution."""
    return (
        conv.kernel == conv.stride == conv.dilation == (1, 1)
        and not any(conv.padding)
        and shard.scheme != "width"
    )


def folds_stride(conv: ConvConfig, shard: ShardConfig) -> bool:
    """Whether the library folds strides into channels, another convolution then."""
    top, bottom, left, right = conv.padding
    return (
        conv.kernel == conv.stride != (1, 1)
        and conv.dilation == (1, 1)
        and (shard.input_layout == "row_major" or not any(conv.padding))
        and (conv.height + top + bottom) % conv.stride[0] == 0
        and (conv.width + left + right) % conv.stride[1] == 0
    )


def route(conv: ConvConfig, shard: ShardConfig) -> Route:
    """Returns what the library does with a layer.

    `refused` is the 1x1 kernel of one row without bias: its weights are prepared for
    conv1d, its call goes to the matmul.
    """
    if takes_matmul(conv, shard):
        return "refused" if takes_conv1d(conv) else "matmul"
    if folds_stride(conv, shard):
        return "folded"
    return "conv1d" if takes_conv1d(conv) else "regular"
