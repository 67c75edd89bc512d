"""What the planner asks of each of ttnn 0.81.1's two programs, and asks it about."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Literal

from jaxdw.arch.arch import Arch
from jaxdw.plan.config import ComputeConfig, ConvConfig, Scheme, ShardConfig
from jaxdw.plan.cycles import CycleBounds
from jaxdw.plan.findings import Defect
from jaxdw.plan.l1 import CircularBuffer
from jaxdw.plan.ttnn.blocks import BlockConfig
from jaxdw.plan.ttnn.matrix import WeightMatrix
from jaxdw.plan.ttnn.placed import Placed, place

TtnnProgramName = Literal["regular", "conv1d"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TtnnProgram:
    """The decisions of one program factory, integers only.

    Attributes:
      buffers: circular buffers in order of creation; of the estimate if True.
      refusal: what the factory refuses before it creates buffers, None if nothing.
      tile_rows: of the weights, in the order that cores read them.
    """

    name: TtnnProgramName
    defects: tuple[Defect, ...]
    block_config: Callable[[Placed], BlockConfig]
    buffers: Callable[[Placed, BlockConfig, bool], tuple[CircularBuffer, ...]]
    refusal: Callable[[Placed, BlockConfig], str | None]
    weights: Callable[[Placed, BlockConfig], WeightMatrix]
    tile_rows: Callable[[Placed, BlockConfig], Iterable[int]]
    cycles: Callable[[Placed, BlockConfig], CycleBounds]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One layer asked of one program."""

    conv: ConvConfig
    shard: ShardConfig
    compute: ComputeConfig
    arch: Arch
    program: TtnnProgram

    def place(
        self, scheme: Scheme, *, as_slice: bool = False, is_part: bool = False
    ) -> Placed:
        """Returns where the layer lies; the options are those of `placed.place`."""
        return place(
            self.conv,
            self.shard,
            self.compute,
            self.arch,
            scheme,
            as_slice=as_slice,
            is_part=is_part,
        )
