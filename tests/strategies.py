"""Hypothesis strategies for legal configurations."""

import dataclasses

import hypothesis.strategies as st

from jaxdw.plan.config import ConvConfig, ShardConfig

KERNELS = [*((k, k) for k in range(1, 8)), (1, 3), (1, 7), (5, 1), (3, 2), (2, 5)]
SCHEMES = ("height", "width", "block")


@st.composite
def convs(draw: st.DrawFn, max_channels: int = 700, max_size: int = 14) -> ConvConfig:
    """Draws any legal convolution: uneven channels, strides, dilation, padding."""
    kernel = draw(st.sampled_from(KERNELS))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    dilation = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    padding = tuple(draw(st.integers(0, 3)) for _ in range(4))
    sizes = []
    for axis in range(2):
        reach = dilation[axis] * (kernel[axis] - 1) + 1
        least = max(1, reach - sum(padding[2 * axis : 2 * axis + 2]))
        sizes.append(draw(st.integers(least, max(least, max_size))))
    return ConvConfig(
        batch=draw(st.integers(1, 4)),
        channels=draw(st.integers(1, max_channels)),
        height=sizes[0],
        width=sizes[1],
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
    )


@st.composite
def shards(draw: st.DrawFn, chip: tuple[int, int] = (8, 8)) -> ShardConfig:
    """Draws a scheme and a grid from 1x1 to the chip's."""
    grid = (draw(st.integers(1, chip[0])), draw(st.integers(1, chip[1])))
    return ShardConfig(scheme=draw(st.sampled_from(SCHEMES)), grid=grid)


@st.composite
def any_shards(draw: st.DrawFn, chip: tuple[int, int] = (8, 8)) -> ShardConfig:
    """Draws a sharding by search or on given cores, in both orientations."""
    shard = draw(shards(chip))
    grid = shard.grid or chip
    cores = draw(st.sampled_from([None, "rectangle", "count"]))
    if cores == "rectangle":
        cores = (draw(st.integers(1, grid[0])), draw(st.integers(1, grid[1])))
    elif cores == "count":
        cores = None
        if shard.scheme != "block":
            cores = draw(st.integers(1, grid[0] * grid[1]))
    return dataclasses.replace(
        shard,
        cores=cores,
        orientation=draw(st.sampled_from(["row_major", "col_major"])),
        act_block_h_override=draw(st.sampled_from([0, 0, 32, 96])),
    )


@st.composite
def ttnn_layers(draw: st.DrawFn) -> tuple[ConvConfig, ShardConfig]:
    """Draws a layer that ttnn's own programs run, images of one row among them."""
    height = draw(st.sampled_from([1, 1, 7, 14]))
    kernel_h = 1 if height == 1 else draw(st.sampled_from([1, 2, 3, 5]))
    conv = ConvConfig(
        batch=draw(st.integers(1, 3)),
        channels=draw(st.sampled_from([1, 8, 24, 40, 64, 96, 144, 200, 320])),
        height=height,
        width=draw(st.sampled_from([9, 20, 65, 200])),
        kernel=(kernel_h, draw(st.sampled_from([2, 3, 4, 5]))),
        stride=(1, draw(st.sampled_from([1, 2]))),
        padding=tuple(draw(st.integers(0, 2)) for _ in range(4)),
        dilation=(1, draw(st.sampled_from([1, 1, 2]))),
        bias=draw(st.booleans()),
    )
    return conv, ShardConfig(scheme=draw(st.sampled_from(SCHEMES)))
