"""Lower bounds of the dense matmul.

matrix_unit, on the busiest core: `phases * 16` cycles of MVMUL for each product of two
tiles, the library's own cycles to tilise each of the core's tiles, and 8 cycles of
ELWADD for each output tile with a bias.
"""

from typing import get_args

from jaxdw.plan.config import Fidelity
from jaxdw.plan.regular.blocks import k_tiles
from jaxdw.plan.ttnn.blocks import BlockConfig, num_height_blocks
from jaxdw.plan.ttnn.bounds import (
    ELTWISE_TILE_CYCLES,
    MATMUL_TILE_CYCLES,
    StreamedBounds,
    dram_cycles,
    halo_cycles,
    multicast_cycles,
    window_cycles,
)
from jaxdw.plan.ttnn.estimates import tilize_cycles
from jaxdw.plan.ttnn.placed import Placed
from jaxdw.plan.units import TILE_BYTES


def cycle_bounds(at: Placed, blocks: BlockConfig) -> StreamedBounds:
    """Returns the bounds of one launch."""
    tiles_k = k_tiles(at, blocks)
    rows = at.out_h_tiles
    output_tiles = rows * at.out_w_tiles
    phases = get_args(Fidelity).index(at.compute.math_fidelity) + 1
    tilized = rows * tiles_k // at.input_columns  # HEIGHT has one column
    received = (rows * tiles_k - tilized) * TILE_BYTES[at.conv.output_dtype]
    read = weight_reads(at, blocks) + at.conv.bias * at.out_w_tiles
    return StreamedBounds(
        halo=halo_cycles(at),
        dram=dram_cycles(at, read),
        multicast=multicast_cycles(at, read),
        l1_reads=max(
            window_cycles(at, blocks),
            -(-received // at.arch.noc_link_bytes_per_cycle),
        ),
        matrix_unit=output_tiles * tiles_k * phases * MATMUL_TILE_CYCLES
        + tilized * tilize_cycles(at)
        + at.conv.bias * output_tiles * ELTWISE_TILE_CYCLES,
    )


def weight_reads(at: Placed, blocks: BlockConfig) -> int:
    """Returns the weight tiles that one reader fetches in a launch.

    HEIGHT keeps them for all height blocks; elsewhere L1 holds one block along K, so
    that each height block fetches them anew.
    """
    tiles = k_tiles(at, blocks) * at.out_w_tiles
    return tiles if at.scheme == "height" else tiles * num_height_blocks(at, blocks)
