"""How a core of the 1D depthwise program cuts its work.

Source: tt-metal PR #44490 (6a480585) and PR #45133,
should_coalesce_1d_depthwise_conv_reads; ttnn 0.81.1 on a mock device and disassembled.
"""

from jaxdw.plan.ttnn.blocks import BlockConfig, block_height, block_width, subblock
from jaxdw.plan.ttnn.placed import Placed
from jaxdw.plan.units import TILE, stick_elem_bytes


def block_config(at: Placed) -> BlockConfig:
    """Returns the blocks of one core; two readers never share one."""
    act_h, coalesced = block_height(at), coalesces(at)
    act_w = block_width(at)
    if at.scheme == "height":
        taps = at.conv.kernel[1] if coalesced else 1
        act_w = -(-at.padded_channels * taps // TILE)
    sub_h, sub_w = subblock(act_h, at.out_w_tiles, at.compute.fp32_dest_acc)
    return BlockConfig(
        act_h=act_h,
        act_w=act_w,
        subblock_h=sub_h,
        subblock_w=sub_w,
        coalesced=coalesced,
    )


def coalesces(at: Placed) -> bool:
    """Whether one read of the NoC takes all kernel positions of an output."""
    conv = at.conv
    window = at.padded_channels * conv.kernel[1] * stick_elem_bytes(conv.dtype)
    return (
        at.scheme == "height"
        and at.padded_channels % TILE == 0
        and conv.kernel[1] >= 2
        and conv.dilation[1] == 1
        and window <= at.arch.noc_burst_bytes
    )


def on_sfpu(at: Placed) -> bool:
    """Whether products and sums are float32 on the SFPU.

    Source: tt-metal PR #54675; compile-time argument 12 of ttnn 0.81.1.
    """
    conv = at.conv
    return conv.dtype == conv.weights_dtype == conv.output_dtype == "float32"
