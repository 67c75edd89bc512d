"""Lower bounds on the cycles of one launch, resource by resource.

Every bound is work divided by the peak rate of one resource, for the core or bank that
has most of it. Latency, contention, back-pressure, dispatch and the RISC-V cores' own
instructions are left out, so a chip takes longer; the bounds say what cannot be beaten
and which resource binds first, not how long a run takes.

Rates and their origin stand in `jaxdw/arch/*.toml`; what each program does with them
in its own `cycles.py`.
"""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CycleBounds:
    """Lower bounds in cycles of the chip's clock.

    Attributes:
      halo: the longest haloed shard, each of its sticks written once.
      dram: the fullest bank's tiles of weights and bias, or those of the busiest
        reader on its own link to the NoC, whichever takes longer.
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
        names = (field.name for field in dataclasses.fields(self))
        return max(names, key=lambda name: getattr(self, name))
