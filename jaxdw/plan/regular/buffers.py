"""Circular buffers of the dense matmul, in order of creation.

Source: tt-metal conv2d_op_program_factory_common.cpp @f3c1ee7e, get_cb_info; ttnn
0.81.1 on a mock device.
"""

from jaxdw.plan.regular.blocks import num_k_blocks
from jaxdw.plan.ttnn.blocks import BlockConfig, num_height_blocks
from jaxdw.plan.ttnn.l1 import CircularBuffer, input_tile_bytes, last_buffers
from jaxdw.plan.ttnn.placed import Placed
from jaxdw.plan.units import TILE, TILE_BYTES, round_up


def buffers(
    at: Placed, blocks: BlockConfig, estimate: bool = False
) -> tuple[CircularBuffer, ...]:
    """Returns the buffers of one core.

    Args:
      estimate: those that the library counts before it launches, where it keeps the
        activations' buffer that a lone core does without.
    """
    conv = at.conv
    input_tile, output_tile = input_tile_bytes(at), TILE_BYTES[conv.output_dtype]
    weights_tile = TILE_BYTES[conv.weights_dtype]
    first, second = _activation_tiles(at, blocks)
    lone = at.input_columns == at.output_columns == 1 and at.scheme != "height"
    has_activations = estimate or not lone
    same_format = input_tile == output_tile
    shared = at.scheme == "block" and same_format and has_activations
    found = [
        CircularBuffer("weights", weights_tile, _weight_tiles(at, blocks)),
        _partials(at, blocks, estimate),
    ]
    if at.scheme == "height":
        found.append(CircularBuffer("activations", input_tile, first))
    elif has_activations:
        found.append(CircularBuffer("activations", output_tile, first + second))
    if second and not shared:
        found.append(CircularBuffer("second_reader", input_tile, second))
    found.append(CircularBuffer("tilized", output_tile, blocks.tiles))
    if conv.bias:
        found.append(CircularBuffer("bias", weights_tile, at.out_w_tiles))
    if at.scheme == "width":
        found.append(CircularBuffer("row_major", input_tile, 2 * blocks.act_w))
    elif at.scheme == "block" and not shared:
        found.append(CircularBuffer("row_major", input_tile, first))
    return (*found, *last_buffers(at, blocks, estimate))


def l1_accumulates(at: Placed, blocks: BlockConfig, *, estimate: bool = False) -> bool:
    """Whether the packer adds blocks up in L1: asked for, and enough of them.

    The library counts BLOCK's blocks once for every column of the output.
    """
    count = num_k_blocks(at)
    if estimate:  # from a weight matrix without the padding of shards
        align = TILE if at.scheme == "width" or at.shard.input_layout == "tile" else 8
        rows = round_up(at.conv.channels, align) * at.conv.taps
        count = rows // TILE // blocks.act_w
    if at.scheme == "block":
        columns = -(-at.conv.channels // TILE)
        count *= columns // at.out_w_tiles if estimate else at.output_columns
    return at.compute.packer_l1_acc and count > (1 if at.conv.bias else 2)


def _weight_tiles(at: Placed, blocks: BlockConfig) -> int:
    tiles = at.out_w_tiles * blocks.act_w
    if at.scheme == "height" and num_height_blocks(at, blocks) > 1:
        return tiles * at.conv.kernel[0]
    return tiles * (2 if at.shard.enable_weights_double_buffer else 1)


def _activation_tiles(at: Placed, blocks: BlockConfig) -> tuple[int, int]:
    """Returns the tiles that the first and the second reader fill."""
    second = blocks.act_h // 2 * blocks.act_w if blocks.split_reader else 0
    copies = 2 if at.shard.enable_act_double_buffer else 1
    return (blocks.tiles - second) * copies, second * copies


def _partials(at: Placed, blocks: BlockConfig, estimate: bool) -> CircularBuffer:
    dtype = at.conv.output_dtype
    if l1_accumulates(at, blocks, estimate=estimate):
        dtype = "float32" if at.compute.fp32_dest_acc else "bfloat16"
    tiled = at.shard.output_layout == "tile"
    return CircularBuffer(
        "partials",
        TILE_BYTES[dtype],
        blocks.act_h * at.out_w_tiles,
        tiled and dtype == at.conv.output_dtype,
    )
