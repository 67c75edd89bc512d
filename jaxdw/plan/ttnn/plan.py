"""A plan of one of ttnn 0.81.1's programs, as `make_plan` gives it."""

import abc
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, ClassVar

from jaxdw.arch.arch import Arch
from jaxdw.plan.config import ComputeConfig, ConvConfig, ShardConfig
from jaxdw.plan.cycles import CycleBounds
from jaxdw.plan.findings import Finding, met
from jaxdw.plan.grid import CoreGrid
from jaxdw.plan.l1 import CircularBuffer, L1Use
from jaxdw.plan.plan import Plan
from jaxdw.plan.program import Part, ProgramName, WeightPages
from jaxdw.plan.ttnn import planner
from jaxdw.plan.ttnn.findings import elsewhere
from jaxdw.plan.ttnn.operations import operations
from jaxdw.plan.ttnn.outcome import Launch, Outcome
from jaxdw.plan.ttnn.route import takes_conv1d
from jaxdw.plan.ttnn.slices import parts
from jaxdw.plan.units import TILE, round_up
from jaxdw.plan.window import Window

TREE = "ttnn 0.81.1"


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class TtnnPlan(Plan, abc.ABC):
    """What ttnn 0.81.1 makes of a layer by one of its programs.

    A layer that it slices is described by its first launch: grids, shards, window, L1
    and weights are that launch's; `conv` and `output_shape` are the layer's.

    Attributes:
      outcome: what the library decides.
      launch: the first launch; where the library refuses to launch, the one that it
        would be.
    """

    tree: ClassVar[str] = TREE
    chooses_scheme: ClassVar[bool] = True
    outcome: Outcome = dataclasses.field(repr=False, compare=False)
    launch: Launch = dataclasses.field(repr=False, compare=False)

    @classmethod
    def chosen(cls, conv: ConvConfig) -> ProgramName:
        return "conv1d" if takes_conv1d(conv) else "regular"

    @classmethod
    def problems(
        cls, conv: ConvConfig, shard: ShardConfig, compute: ComputeConfig, arch: Arch
    ) -> list[str]:
        return planner.problems(conv, shard, compute, arch, cls.program)

    @classmethod
    def find_core_grid(
        cls, conv: ConvConfig, shard: ShardConfig, arch: Arch
    ) -> CoreGrid:
        return cls.place(conv, shard, ComputeConfig(), arch).core_grid

    @classmethod
    def place(
        cls,
        conv: ConvConfig,
        shard: ShardConfig,
        compute: ComputeConfig,
        arch: Arch,
        core_grid: CoreGrid | None = None,
    ) -> "TtnnPlan":
        outcome = planner.plan_ttnn(conv, shard, compute, arch, cls.program)
        launch = outcome.launch or planner.first_launch(outcome, cls.program)
        return cls._of_launch(outcome, launch, shard)

    @classmethod
    def _of_launch(
        cls, outcome: Outcome, launch: Launch, shard: ShardConfig
    ) -> "TtnnPlan":
        at = launch.at
        return cls(
            conv=outcome.conv,
            shard=dataclasses.replace(shard, scheme=at.scheme),
            compute=outcome.compute,
            arch=outcome.arch,
            core_grid=at.core_grid,
            output_grid=at.output_grid,
            input_shard=at.input_shard,
            halo_shard=at.halo_shard,
            output_shard=at.output_shard,
            outcome=outcome,
            launch=launch,
        )

    @functools.cached_property
    def window(self) -> Window:
        """Of the first launch."""
        return self.launch.at.window

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        return self.outcome.output_shape

    @property
    def has_halo(self) -> bool:
        return self.launch.at.has_halo

    @property
    def act_block(self) -> tuple[int, int]:
        """Activations that a core multiplies at a time, (h, w) in tiles."""
        return self.launch.blocks.act_h, self.launch.blocks.act_w

    @property
    def subblock(self) -> tuple[int, int]:
        """What Dst holds at a time, (h, w) in tiles."""
        return self.launch.blocks.subblock_h, self.launch.blocks.subblock_w

    @property
    def slices(self) -> int:
        """Launches that the layer takes; 0 if no slice is small enough."""
        if self.outcome.slicing is None:
            return 1
        return self.outcome.num_launches

    @property
    def launches_instead(self) -> int:
        return self.outcome.num_launches_instead

    @property
    def slice_type(self) -> str | None:
        """The axis that slices are cut along; None for a layer run at once."""
        slicing = self.outcome.slicing
        return slicing.axis if slicing is not None and self.slices > 1 else None

    @functools.cached_property
    def slice_parts(self) -> tuple[Part, ...]:
        """What of the image each launch reads and computes; empty if there is one."""
        return tuple(part for part, _ in self._slices())

    @functools.cached_property
    def slice_plans(self) -> "tuple[TtnnPlan, ...]":
        """The plan of each launch; this plan alone if there is one."""
        if self.slices <= 1:
            return (self,)
        return tuple(self._plan_of(conv) for _, conv in self._slices())

    def _slices(self) -> Iterator[tuple[Part, ConvConfig]]:
        slicing = self.outcome.slicing
        if slicing is not None and slicing.num_slices > 1:
            tiled = self.shard.output_layout == "tile"
            yield from parts(self.conv, slicing.axis, slicing.num_slices, tiled)

    def _plan_of(self, conv: ConvConfig) -> "TtnnPlan":
        launch = planner.slice_launch(self.outcome, conv, self.program)
        outcome = dataclasses.replace(
            self.outcome, conv=conv, launch=launch, slicing=None, message=launch.message
        )
        return self._of_launch(outcome, launch, launch.at.shard)

    @property
    def weight_matrix_shape(self) -> tuple[int, int]:
        """Also of a matrix that no core reads in order (`conv1d` not on HEIGHT)."""
        return self.launch.weights.rows, self.launch.weights.columns

    @property
    def bias_columns(self) -> int:
        """Source: tt-metal prepare_conv2d_weights.cpp @c2aaf71d."""
        return round_up(super().bias_columns, TILE * self.subblock[1])

    def _decide_weights(self) -> WeightPages:
        return self.launch.weight_pages

    def _decide_buffers(self) -> tuple[CircularBuffer, ...]:
        return self.launch.buffers

    def _decide_cycles(self) -> CycleBounds:
        cycles = self.launch.cycles
        if self.slices <= 1:
            return cycles
        launches = [plan.launch.cycles for plan in self.slice_plans]
        names = [field.name for field in dataclasses.fields(cycles)]
        sums = {n: sum(getattr(bounds, n) for bounds in launches) for n in names}
        return type(cycles)(**sums)

    @functools.cached_property
    def l1(self) -> L1Use:
        return dataclasses.replace(self.launch.l1, message=self.outcome.message)

    @functools.cached_property
    def findings(self) -> tuple[Finding, ...]:
        if self.program != self.upstream_program:
            always = (d for d in self.defects if d.elsewhere is None)
            there = elsewhere(self.program, self.upstream_program)
            return (*met(always, self.launch.at), there)
        return self.outcome.findings

    def own_facts(self) -> dict[str, Any]:
        blocks = self.launch.blocks
        return {
            "output_grid": [self.output_grid.x, self.output_grid.y],
            "act_block": list(self.act_block),
            "subblock": list(self.subblock),
            "split_reader": blocks.split_reader,
            "coalesced": blocks.coalesced,
            "slices": self.slices,
            "slice_type": self.slice_type,
            "operations": list(operations(self.outcome)),
            "ttnn_message": self.outcome.message,
        }
