"""How one core cuts its product into blocks.

Source: tt-metal conv2d_utils.cpp @71ff3c1d, determine_per_core_conv_block_config and
determine_largest_subblock_size; ttnn 0.81.1 on a mock device.
"""

import dataclasses
import functools

from jaxdw.plan.ttnn.placed import Placed
from jaxdw.plan.units import TILE

_SUBBLOCKS = (
    (2, 4), (4, 2), (1, 8), (8, 1), (1, 7), (7, 1), (2, 3), (3, 2), (1, 6), (6, 1),
    (1, 5), (5, 1), (2, 2), (1, 4), (4, 1), (1, 3), (3, 1), (1, 2), (2, 1), (1, 1),
)  # fmt: skip
_FP32_DST_TILES = 4  # tiles of a 32-bit Dst


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BlockConfig:
    """Blocks of one core, in tiles.

    A core multiplies `[act_h x act_w]` by `[act_w x the output shard's columns]`.

    Attributes:
      subblock_h, subblock_w: what Dst holds at a time.
      split_reader: whether the second RISC-V reads half of each block's rows.
      coalesced: whether one read takes all kernel positions (conv1d only).
    """

    act_h: int
    act_w: int
    subblock_h: int
    subblock_w: int
    split_reader: bool = False
    coalesced: bool = False

    @property
    def tiles(self) -> int:
        return self.act_h * self.act_w


def num_height_blocks(at: Placed, blocks: BlockConfig) -> int:
    """Returns the blocks that a core's output rows are computed in."""
    return at.out_h_tiles // blocks.act_h


def block_height(at: Placed) -> int:
    """Returns the height of a block: the override's, or the next smaller divisor."""
    tiles = at.out_h_tiles
    wanted = at.shard.act_block_h_override // TILE
    if not wanted:
        return tiles
    # rows of a WIDTH shard are no whole tiles: the library counts the full ones here
    divided = at.output_shard.rows // TILE
    return next(h for h in range(wanted, 0, -1) if divided % h == 0)


def block_width(at: Placed) -> int:
    """Returns the width of a block of the dense matmul."""
    kernel_h, kernel_w = at.conv.kernel
    if at.scheme == "width":
        share = at.input_columns * at.shard.act_block_w_div
        return at.padded_channels * kernel_h * kernel_w // share // TILE
    taps = kernel_w
    if at.scheme == "block" and at.shard.full_inner_dim:
        taps = kernel_w * kernel_h
    return -(-at.input_shard.channels * taps // TILE)


@functools.lru_cache(maxsize=1 << 12)
def subblock(height: int, width: int, fp32_dest_acc: bool) -> tuple[int, int]:
    """Returns the largest subblock that tiles a block and fits Dst, (h, w)."""
    return next(
        (h, w)
        for h, w in _SUBBLOCKS
        if height % h == 0
        and width % w == 0
        and (h == 1 or w == width)
        and (h * w <= _FP32_DST_TILES or not fp32_dest_acc)
    )


def block_refusal(at: Placed, blocks: BlockConfig) -> str | None:
    """Returns what either factory refuses; only WIDTH's rows may not divide."""
    if at.scheme == "block" and at.shard.enable_activation_reuse:
        return "Activation data reuse is not supported for block sharded"
    if at.out_h_tiles % blocks.act_h == 0:
        return None
    return (
        f"act_matrix_height_ntiles {at.out_h_tiles} should be divisible by "
        f"act_block_h_ntiles {blocks.act_h}"
    )
