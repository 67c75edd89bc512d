"""Lower bounds on the cycles of one launch, resource by resource.

Every bound is work divided by the peak rate of one resource, for the core or bank that
has most of it. Latency, contention, back-pressure, dispatch and the RISC-V cores' own
instructions are left out, so a chip takes longer; the bounds say what cannot be beaten
and which resource binds first, not how long a run takes.

Sources: rates and their origin stand in `jaxdw/arch/*.toml`; the order of events is
that of tt-metal reader_pool_2d.cpp @ff6ab496 (weights, then sticks, one reader on one
NoC), the work per stick that of compute_pool_2d.cpp @002a3f41.
"""

import dataclasses
from typing import TYPE_CHECKING, get_args

from jaxdw.plan.config import Fidelity
from jaxdw.plan.units import FACE, TILE_BYTES, stick_elem_bytes

if TYPE_CHECKING:
    from jaxdw.plan.plan import Plan

_HALO_NOCS = 2  # two RISC-V cores share the halo's transfers, each on its NoC


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CycleBounds:
    """Lower bounds in cycles of the chip's clock.

    Attributes:
      halo: the longest haloed shard, each of its sticks written once.
      dram: the fullest bank's tiles of weights and bias.
      multicast: one sender's weights onto its link.
      l1_reads: the busiest core's windows, read from its own L1 over one NoC.
      matrix_unit: the busiest core's products, sums over taps, and bias.
    """

    halo: int
    dram: int
    multicast: int
    l1_reads: int
    matrix_unit: int

    @property
    def total(self) -> int:
        """Halo, then weights, then sticks, whose reads and arithmetic overlap."""
        return (
            self.halo
            + self.dram
            + self.multicast
            + max(self.l1_reads, self.matrix_unit)
        )

    @property
    def binding(self) -> str:
        """The resource with the largest bound."""
        bounds = dataclasses.asdict(self)
        return max(bounds, key=lambda name: bounds[name])


def cycle_bounds(plan: "Plan") -> CycleBounds:
    """Returns the bounds of a plan.

    matrix_unit, for each stick: `phases * (tiles * 1024 / 128 + column faces * tap
    blocks of 16)` cycles of ELWMUL and GAPOOL, and `channels * 32 / 128` of ELWADD for
    the bias, added tile by tile. l1_reads: `taps * real channels * bytes / link`.
    """
    conv, arch = plan.conv, plan.arch
    sticks = max(shard.num_outputs for shard in plan.shard_ranges)
    phases = get_args(Fidelity).index(plan.compute.math_fidelity) + 1
    elwmul = plan.effective_tiles * 1024 // arch.elwmul_elements_per_cycle
    faces = plan.input_shard.channels // FACE * -(-conv.taps // FACE)
    gapool = faces * FACE // arch.gapool_rows_per_cycle
    elwadd = conv.bias * plan.channel_tiles * 1024 // arch.elwmul_elements_per_cycle
    link = arch.noc_link_bytes_per_cycle
    stick_bytes = plan.halo_shard.channels * stick_elem_bytes(conv.dtype)
    halo_bytes = plan.halo_shard.rows * stick_bytes * plan.has_halo
    channels = min(conv.channels, plan.input_shard.channels)
    window_bytes = conv.taps * channels * stick_elem_bytes(conv.dtype)
    tile_bytes = TILE_BYTES[conv.weights_dtype]
    bank_bytes = max(plan.tiles_per_bank) * tile_bytes
    sent_tiles = plan.weight_tiles_per_core * bool(plan.core_grid.broadcasts())
    return CycleBounds(
        halo=-(-halo_bytes // (_HALO_NOCS * link)),
        dram=-(-bank_bytes * arch.clock_hz // arch.bank_bytes_per_second),
        multicast=-(-sent_tiles * tile_bytes // link),
        l1_reads=-(-sticks * window_bytes // link),
        matrix_unit=sticks * (phases * (elwmul + gapool) + elwadd),
    )
