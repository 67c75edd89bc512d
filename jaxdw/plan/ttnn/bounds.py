"""Lower bounds on cycles that both programs share.

Work over peak rate, as in `jaxdw.plan.cycles`. Programs differ far more in what bounds
leave out (one stick, one block, one tile at a time) than in the bounds: a comparison of
bounds alone misleads.
"""

import dataclasses

from jaxdw.plan.cycles import CycleBounds
from jaxdw.plan.ttnn.blocks import BlockConfig
from jaxdw.plan.ttnn.l1 import stick_bytes
from jaxdw.plan.ttnn.placed import Placed
from jaxdw.plan.units import TILE_BYTES

_HALO_NOCS = 2  # two RISC-V cores share the halo's transfers, each on its NoC
# Cycles of MVMUL and ELWMUL on one tile in one phase. Source: tenstorrent/ttsim
# @56694c8a: an MVMUL multiplies 8 x 16 by 16 x 16, an ELWMUL 8 x 16 numbers.
MATMUL_TILE_CYCLES = 16
ELTWISE_TILE_CYCLES = 8


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StreamedBounds(CycleBounds):
    """Bounds of a program that computes while weights arrive.

    `dram` is the larger of the fullest bank and the busiest reader's link; `l1_reads`
    the larger of a core's own windows and of the activations that others send it.
    """

    @property
    def total(self) -> int:
        """Halo, then the largest of the rest, which overlap."""
        rest = self.dram, self.multicast, self.l1_reads, self.matrix_unit
        return self.halo + max(rest)


def halo_cycles(at: Placed) -> int:
    """Returns the cycles of writing the longest haloed shard once."""
    if not at.has_halo:
        return 0
    link = at.arch.noc_link_bytes_per_cycle
    return -(-at.halo_shard.rows * stick_bytes(at) // (_HALO_NOCS * link))


def dram_cycles(at: Placed, reader_tiles: int) -> int:
    """Returns the cycles of reading weights.

    Args:
      reader_tiles: tiles that one reader fetches; one reads for each output column.
    """
    arch, tile = at.arch, TILE_BYTES[at.conv.weights_dtype]
    bank_tiles = -(-reader_tiles * at.output_columns // arch.num_banks)
    bank = -(-bank_tiles * tile * arch.clock_hz // arch.bank_bytes_per_second)
    link = -(-reader_tiles * tile // arch.noc_link_bytes_per_cycle)
    return max(bank, link)


def multicast_cycles(at: Placed, reader_tiles: int) -> int:
    """Returns the cycles of one sender's weights onto its link."""
    if at.num_nhw_shards == 1:
        return 0
    sent = reader_tiles * TILE_BYTES[at.conv.weights_dtype]
    return -(-sent // at.arch.noc_link_bytes_per_cycle)


def window_cycles(at: Placed, blocks: BlockConfig) -> int:
    """Returns the cycles of the busiest reader's windows, read from its own L1."""
    sticks = min(at.output_shard.rows, at.window.num_outputs)
    read = sticks * at.conv.taps * stick_bytes(at)
    if blocks.split_reader:
        read = read * (blocks.act_h - blocks.act_h // 2) // blocks.act_h
    return -(-read // at.arch.noc_link_bytes_per_cycle)
