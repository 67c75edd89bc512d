"""How a core of the dense matmul cuts its product, and whether two readers share it.

Source: tt-metal conv2d_op_program_factory_common.cpp @f3c1ee7e (is_split_reader_viable,
tilise table and rates); ttnn 0.81.1 on a mock device.
"""

from jaxdw.plan.ttnn.blocks import BlockConfig, block_height, block_width, subblock
from jaxdw.plan.ttnn.estimates import read_cycles, tilize_cycles
from jaxdw.plan.ttnn.placed import Placed
from jaxdw.plan.units import TILE, TILE_BYTES, stick_elem_bytes


def block_config(at: Placed) -> BlockConfig:
    """Returns the blocks of one core."""
    act_h, act_w = block_height(at), block_width(at)
    sub_h, sub_w = subblock(act_h, at.out_w_tiles, at.compute.fp32_dest_acc)
    return BlockConfig(
        act_h=act_h,
        act_w=act_w,
        subblock_h=sub_h,
        subblock_w=sub_w,
        split_reader=_split_reader(at, act_h, act_w),
    )


def num_k_blocks(at: Placed) -> int:
    """Returns the blocks along K that a core adds up."""
    if at.scheme == "width":
        return at.input_columns * at.shard.act_block_w_div
    kernel_rows = at.conv.kernel[0]
    if at.scheme == "height":
        return kernel_rows
    return at.input_columns * (1 if at.shard.full_inner_dim else kernel_rows)


def k_tiles(at: Placed, blocks: BlockConfig) -> int:
    """Returns the tiles along K that a core multiplies."""
    return num_k_blocks(at) * blocks.act_w


def _split_reader(at: Placed, act_h: int, act_w: int) -> bool:
    if act_h == 1 or at.scheme == "width":
        return False
    if at.scheme == "block" or at.shard.force_split_reader:
        return True
    return _pays(at, act_h, act_w)


def _pays(at: Placed, act_h: int, act_w: int) -> bool:
    """Whether half of the activation reads beside the weights is the shorter way."""
    conv, arch = at.conv, at.arch
    taps = conv.kernel[1]
    read = stick_elem_bytes(conv.dtype) * at.padded_channels
    piece = read * (taps if conv.dilation[1] == 1 else 1)
    rows = act_h * TILE
    activations = read_cycles(rows * read * taps, piece, arch.local_read_rate, arch)
    tile = TILE_BYTES[conv.weights_dtype]
    block = at.out_w_tiles * act_w * tile
    weights = read_cycles(block, tile, arch.bank_read_rate, arch)
    weights += read_cycles(block, block, arch.multicast_rate, arch)
    tilize = act_h * act_w * tilize_cycles(at)
    together = activations / 2 + max(weights, tilize)
    return together < max(activations + tilize, weights)
