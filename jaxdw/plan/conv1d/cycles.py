"""Lower bounds of the 1D depthwise program.

matrix_unit, for each output tile: 8 cycles of ELWMUL for each kernel position and
phase; where taps are not coalesced, from the second tap on 8 of ELWADD and 16 of MOVD2B
(4 rows each); float32 takes 32 on the SFPU instead, for each position. Besides, the
library's own cycles to tilise each tile.
Assumed: the SFPU's 32 lanes multiply and add in one cycle.
"""

from typing import get_args

from jaxdw.plan.config import Fidelity
from jaxdw.plan.conv1d.blocks import on_sfpu
from jaxdw.plan.conv1d.weights import weight_matrix
from jaxdw.plan.ttnn.blocks import BlockConfig, num_height_blocks
from jaxdw.plan.ttnn.bounds import (
    ELTWISE_TILE_CYCLES,
    StreamedBounds,
    dram_cycles,
    halo_cycles,
    multicast_cycles,
    window_cycles,
)
from jaxdw.plan.ttnn.estimates import tilize_cycles
from jaxdw.plan.ttnn.placed import Placed
from jaxdw.plan.units import TILE

_MOVD2B_TILE_CYCLES = 16
_SFPU_LANES = 32


def cycle_bounds(at: Placed, blocks: BlockConfig) -> StreamedBounds:
    """Returns the bounds of one launch."""
    taps = at.conv.kernel[1]
    phases = get_args(Fidelity).index(at.compute.math_fidelity) + 1
    if on_sfpu(at):
        tile_cycles = taps * TILE * TILE // _SFPU_LANES
    else:
        tile_cycles = taps * phases * ELTWISE_TILE_CYCLES
        if not blocks.coalesced:
            tile_cycles += (taps - 1) * (ELTWISE_TILE_CYCLES + _MOVD2B_TILE_CYCLES)
    gathered = 1 if blocks.coalesced else taps
    tilized = num_height_blocks(at, blocks) * blocks.tiles * gathered
    read = weight_matrix(at, blocks).rows // TILE * at.out_w_tiles
    return StreamedBounds(
        halo=halo_cycles(at),
        dram=dram_cycles(at, read),
        multicast=multicast_cycles(at, read),
        l1_reads=window_cycles(at, blocks),
        matrix_unit=at.out_h_tiles * at.out_w_tiles * tile_cycles
        + tilized * tilize_cycles(at),
    )
