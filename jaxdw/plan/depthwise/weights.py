"""Which tiles the depthwise factory has cores read, and how many they multiply.

Source: tt-metal conv2d_op_depthwise_program_factory.cpp @002a3f41; the order of reads
as in reader_pool_2d.cpp @ff6ab496.
"""

from typing import Literal

from jaxdw.plan.config import ConvConfig
from jaxdw.plan.depthwise.layout import WeightLayout, make_weight_layout
from jaxdw.plan.placement import Placement
from jaxdw.plan.program import WeightPages
from jaxdw.plan.units import FACE, TILE, TILE_ELEMS, round_up

_TAPS_PER_REDUCTION = 32


def upstream_program(conv: ConvConfig) -> Literal["depthwise", "conv1d", "regular"]:
    """Returns the program that the branch itself takes for a layer.

    It leaves a kernel of one position, and a layer of one row or one column, to the
    other programs. Of those its 1D program looks at the height alone, and takes no
    bias. Whether it takes any is not settled: a commit of the branch's time
    (`dadf6a7b`) asks for a kernel width of 1 too, which gives all of them to `regular`;
    before and after it, and in ttnn 0.81.1, the rule is the one here.
    Source: tt-metal conv2d_utils.cpp @002a3f41, detection of depthwise convs; PR
    #44490.
    """
    kernel_h, kernel_w = conv.kernel
    if (kernel_h, kernel_w) == (1, 1):
        return "regular"
    if kernel_h == conv.height == 1:
        return "regular" if conv.bias else "conv1d"
    return "regular" if kernel_w == conv.width == 1 else "depthwise"


def weight_layout(at: Placement) -> WeightLayout:
    """Returns where the weight preparation puts each weight."""
    return make_weight_layout(
        at.shard.weight_layout,
        channels=at.conv.channels,
        taps=at.conv.taps,
        num_shards=at.num_channel_shards,
    )


def weight_tile_rows(at: Placement) -> int:
    """Returns the tile rows each core reads, by the factory's own count."""
    rows = at.conv.taps * at.input_shard.channels // FACE
    return round_up(rows, TILE) // TILE


def effective_tiles(at: Placement) -> int:
    """Returns the tiles that compute multiplies: the first of those in L1.

    Source: tt-metal compute_pool_2d.cpp @002a3f41, MAX_EFFECTIVE_TILES.
    """
    return -(-at.conv.taps * at.input_shard.channels // TILE_ELEMS)


def is_large_kernel(at: Placement) -> bool:
    """Whether one reduction cannot hold all kernel positions."""
    return at.conv.taps > _TAPS_PER_REDUCTION


def tiles_per_reduction(at: Placement) -> int:
    """Returns the channel tiles that one reduction holds, MAX_TILES_PER_REDUCTION.

    Source: tt-metal pool_utils.cpp @002a3f41.
    """
    return 4 if is_large_kernel(at) else 8


def is_wide_reduction(at: Placement) -> bool:
    """Whether a core's channels take several reductions."""
    return at.channel_tiles > tiles_per_reduction(at)


def weight_pages(at: Placement) -> WeightPages:
    """Returns the prepared weights and the tiles that cores read.

    Ids count with the factory's own tiles per row.
    """
    layout = weight_layout(at)
    return WeightPages(
        matrix_shape=(layout.rows, layout.columns),
        read_rows=range(weight_tile_rows(at)),
        tiles_per_row=at.num_channel_shards * at.channel_tiles,
        columns_per_core=at.channel_tiles,
        multiplied=effective_tiles(at),
    )
