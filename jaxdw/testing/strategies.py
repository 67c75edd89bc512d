"""Hypothesis strategies for legal configurations, small enough to shrink and to run.

A failing example is printed as a call of ttnn, shrunk, beside hypothesis' own words.
"""

from collections.abc import Callable, Sequence
from typing import Any, get_args

import hypothesis
import hypothesis.strategies as st

from jaxdw.arch.arch import load_arch
from jaxdw.exports.ttnn import ttnn_call
from jaxdw.plan.config import ConvConfig, Scheme, ShardConfig
from jaxdw.plan.plan import Plan
from jaxdw.plan.planner import make_plan
from jaxdw.plan.window import Window

Draw = Callable[..., Any]  # st.DrawFn cannot be checked when a program runs
_KERNELS = (1, 2, 3, 4, 5, 7)


@st.composite
def layers(
    draw: Draw,
    *,
    max_channels: int = 200,
    max_size: int = 14,
    max_batch: int = 3,
) -> ConvConfig:
    """Draws a legal convolution: uneven channels, strides, dilation, padding, bias.

    Args:
      max_size: of height and width, unless a dilated kernel needs more.
    """
    kernel, stride, dilation, padding, size = [], [], [], [], []
    for _ in ("height", "width"):
        kernel.append(draw(st.sampled_from(_KERNELS)))
        stride.append(draw(st.integers(1, 3)))
        dilation.append(draw(st.integers(1, 2)))
        around = [draw(st.integers(0, 3)), draw(st.integers(0, 3))]
        padding += around
        reach = dilation[-1] * (kernel[-1] - 1) + 1
        least = max(1, reach - sum(around))
        size.append(draw(st.integers(least, max(least, max_size))))
    return ConvConfig(
        batch=draw(st.integers(1, max_batch)),
        channels=draw(st.integers(1, max_channels)),
        height=size[0],
        width=size[1],
        kernel=(kernel[0], kernel[1]),
        stride=(stride[0], stride[1]),
        padding=(padding[0], padding[1], padding[2], padding[3]),
        dilation=(dilation[0], dilation[1]),
        bias=draw(st.booleans()),
    )


@st.composite
def plans(
    draw: Draw,
    convs: st.SearchStrategy[ConvConfig] | None = None,
    *,
    schemes: Sequence[Scheme] = get_args(Scheme),
    arch: str = "wormhole_b0",
    program: str = "depthwise",
) -> Plan:
    """Draws a plan that fits L1, on any core grid of the chip.

    Args:
      convs: of the layers; `layers()` if None.
    """
    conv = draw(layers() if convs is None else convs)
    limit = load_arch(arch).grid
    shard = ShardConfig(
        scheme=draw(st.sampled_from(schemes)),
        grid=(draw(st.integers(1, limit[0])), draw(st.integers(1, limit[1]))),
    )
    plan = make_plan(conv, shard, arch=arch, program=program, must_fit=False)
    hypothesis.assume(plan.l1.fits)
    hypothesis.note(ttnn_call(plan))
    return plan


@st.composite
def windows(draw: Draw, convs: st.SearchStrategy[ConvConfig] | None = None) -> Window:
    """Draws a sliding window: output sizes, window starts, taps' offsets.

    Args:
      convs: of the layers; `layers()` if None.
    """
    return Window(draw(layers() if convs is None else convs))
