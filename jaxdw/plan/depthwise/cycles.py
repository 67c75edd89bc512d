"""Lower bounds on the cycles of one launch of the depthwise program.

Sources: the order of events is that of tt-metal reader_pool_2d.cpp @ff6ab496 (weights,
then sticks, one reader on one NoC), the work per stick that of compute_pool_2d.cpp
@002a3f41.
"""

from typing import get_args

from jaxdw.plan.config import Fidelity
from jaxdw.plan.cycles import CycleBounds
from jaxdw.plan.depthwise.weights import effective_tiles
from jaxdw.plan.placement import Placement
from jaxdw.plan.units import FACE, TILE_BYTES, stick_elem_bytes

_HALO_NOCS = 2  # two RISC-V cores share the halo's transfers, each on its NoC


def cycle_bounds(
    at: Placement, *, weight_tiles: int, tiles_per_bank: tuple[int, ...]
) -> CycleBounds:
    """Returns the bounds of a placement.

    matrix_unit, for each stick: `phases * (tiles * 1024 / 128 + column faces * tap
    blocks of 16)` cycles of ELWMUL and GAPOOL, and `channels * 32 / 128` of ELWADD for
    the bias, added tile by tile. l1_reads: `taps * real channels * bytes / link`.
    """
    conv, arch = at.conv, at.arch
    sticks = max(shard.num_outputs for shard in at.shard_ranges)
    phases = get_args(Fidelity).index(at.compute.math_fidelity) + 1
    elwmul = effective_tiles(at) * 1024 // arch.elwmul_elements_per_cycle
    faces = at.input_shard.channels // FACE * -(-conv.taps // FACE)
    gapool = faces * FACE // arch.gapool_rows_per_cycle
    elwadd = conv.bias * at.channel_tiles * 1024 // arch.elwmul_elements_per_cycle
    link = arch.noc_link_bytes_per_cycle
    stick_bytes = at.halo_shard.channels * stick_elem_bytes(conv.dtype)
    halo_bytes = at.halo_shard.rows * stick_bytes * at.has_halo
    channels = min(conv.channels, at.input_shard.channels)
    window_bytes = conv.taps * channels * stick_elem_bytes(conv.dtype)
    tile_bytes = TILE_BYTES[conv.weights_dtype]
    bank_bytes = max(tiles_per_bank) * tile_bytes
    reader_tiles = weight_tiles + at.channel_tiles * conv.bias
    sent_tiles = weight_tiles * bool(at.output_grid.broadcasts())
    return CycleBounds(
        halo=-(-halo_bytes // (_HALO_NOCS * link)),
        dram=max(
            -(-bank_bytes * arch.clock_hz // arch.bank_bytes_per_second),
            -(-reader_tiles * tile_bytes // link),
        ),
        multicast=-(-sent_tiles * tile_bytes // link),
        l1_reads=-(-sticks * window_bytes // link),
        matrix_unit=sticks * (phases * (elwmul + gapool) + elwadd),
    )
