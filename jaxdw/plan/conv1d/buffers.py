"""Circular buffers of the 1D depthwise program, in order of creation.

Source: ttnn 0.81.1 on a mock device; Assumed: what the two double-buffer options do is
what they do to the dense matmul.
"""

from jaxdw.plan.ttnn.blocks import BlockConfig, num_height_blocks
from jaxdw.plan.ttnn.l1 import CircularBuffer, input_tile_bytes, last_buffers
from jaxdw.plan.ttnn.placed import Placed
from jaxdw.plan.units import TILE_BYTES


def buffers(
    at: Placed, blocks: BlockConfig, estimate: bool = False
) -> tuple[CircularBuffer, ...]:
    """Returns the buffers of one core."""
    shard, output_tile = at.shard, TILE_BYTES[at.conv.output_dtype]
    many = num_height_blocks(at, blocks) > 1
    copies = 2 if shard.enable_act_double_buffer else 1
    found = [
        CircularBuffer(
            "weights", TILE_BYTES[at.conv.weights_dtype], _weight_tiles(at, blocks)
        )
    ]
    if many and not blocks.coalesced:
        found.append(
            CircularBuffer("scratch", output_tile, blocks.act_h * at.out_w_tiles)
        )
    found += [
        CircularBuffer("activations", input_tile_bytes(at), blocks.tiles * copies),
        CircularBuffer("tilized", output_tile, blocks.tiles),
    ]
    return (*found, *last_buffers(at, blocks, estimate))


def _weight_tiles(at: Placed, blocks: BlockConfig) -> int:
    tiles = at.out_w_tiles * blocks.act_h
    if blocks.coalesced or num_height_blocks(at, blocks) > 1:
        return tiles * at.conv.kernel[1]
    return tiles * (2 if at.shard.enable_weights_double_buffer else 1)
