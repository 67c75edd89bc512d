"""Where the weights of the dense matmul lie, and who reads which of their tiles.

[C, 1, kh, kw] becomes [C, C, kh, kw] with zeros beside the diagonal, so that output
channel `c` multiplies input channel `c` alone: `row(c, r, s)` and column `c` of the
matrix hold that weight, everything else is zero. No matrix is ever built here.
"""

from collections.abc import Iterator

from jaxdw.plan.regular.blocks import num_k_blocks
from jaxdw.plan.ttnn.blocks import BlockConfig
from jaxdw.plan.ttnn.matrix import WeightMatrix
from jaxdw.plan.ttnn.placed import Placed
from jaxdw.plan.units import TILE


def weight_matrix(at: Placed) -> WeightMatrix:
    """Returns the matrix of a launch, one row for each channel and kernel position."""
    return WeightMatrix(at=at, lanes=at.conv.channels)


def weight_tile_ids(at: Placed, blocks: BlockConfig, core: int) -> tuple[int, ...]:
    """Returns the DRAM tile ids of one core's weights, in the order of its products.

    Args:
      core: of the output grid. A multicast receiver's are those of its sender.
    Source: tt-metal conv2d_op_sharded_program_factory.cpp @55e3268f; the readers
    shipped with ttnn 0.81.1.
    """
    columns = weight_matrix(at).tile_grid[1]
    start = core % at.output_columns * at.out_w_tiles
    return tuple(
        row * columns + start + column
        for row in _tile_rows(at, blocks)
        for column in range(at.out_w_tiles)
    )


def _tile_rows(at: Placed, blocks: BlockConfig) -> Iterator[int]:
    """Yields the matrix's tile rows in the order that a core multiplies them."""
    if at.scheme == "height":
        yield from range(num_k_blocks(at) * blocks.act_w)
    elif at.scheme == "block":
        shards = at.input_columns
        slabs = num_k_blocks(at) // shards
        for slab in range(slabs):
            for shard in range(shards):
                first = (shard * slabs + slab) * blocks.act_w
                yield from range(first, first + blocks.act_w)
    else:
        parts = at.shard.act_block_w_div
        share = at.input_shard.channels // TILE // parts
        for part in range(parts):
            for shard in range(at.input_columns):
                for tap in range(at.conv.taps):
                    lanes = tap * at.input_columns + shard
                    first = (lanes * parts + part) * share
                    yield from range(first, first + share)
