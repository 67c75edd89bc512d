"""The depthwise program: the 2D depthwise branch of tt-metal, not merged."""

import dataclasses
from typing import Any, ClassVar, cast

from jaxdw.arch.arch import Arch
from jaxdw.plan.config import ComputeConfig, ConvConfig, Scheme, ShardConfig
from jaxdw.plan.cycles import CycleBounds
from jaxdw.plan.depthwise import findings, multicast_findings, weights
from jaxdw.plan.depthwise.arguments import kernel_arguments
from jaxdw.plan.depthwise.buffers import buffers
from jaxdw.plan.depthwise.cycles import cycle_bounds
from jaxdw.plan.depthwise.layout import WeightLayout
from jaxdw.plan.findings import Defect
from jaxdw.plan.grid import (
    CoreGrid,
    Shard,
    given_core_grid,
    held_problems,
    input_shard,
    output_shard,
    search_core_grid,
)
from jaxdw.plan.l1 import CircularBuffer
from jaxdw.plan.plan import Plan
from jaxdw.plan.program import KernelArguments, ProgramName, WeightPages
from jaxdw.plan.window import Window

# Options of ttnn 0.81.1 that this program does not have.
_UNKNOWN = (
    "input_layout", "memory", "config_tensors_in_dram", "full_inner_dim",
    "act_block_w_div", "force_split_reader", "enable_activation_reuse",
    "packer_l1_acc",
)  # fmt: skip


def _unknown_options(shard: ShardConfig, compute: ComputeConfig) -> list[str]:
    """Returns one sentence for each option set that this program does not have."""
    return [
        f"`{field.name}` (={getattr(config, field.name)!r}) must be {field.default!r} "
        "for the depthwise program, which has no such option; use program='ttnn' or "
        "leave it out"
        for config in (shard, compute)
        for field in dataclasses.fields(config)
        if field.name in _UNKNOWN and getattr(config, field.name) != field.default
    ]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class DepthwisePlan(Plan):
    """A plan of the branch's depthwise program."""

    program: ClassVar[ProgramName] = "depthwise"
    tree: ClassVar[str] = "tt-metal branch @002a3f41, not merged"
    defects: ClassVar[tuple[Defect, ...]] = tuple(
        sorted(
            (*findings.DEFECTS, *multicast_findings.DEFECTS),
            key=lambda defect: defect.code,
        )
    )

    @classmethod
    def chosen(cls, conv: ConvConfig) -> str:
        return weights.upstream_program(conv)

    @classmethod
    def problems(
        cls, conv: ConvConfig, shard: ShardConfig, compute: ComputeConfig, arch: Arch
    ) -> list[str]:
        found = _unknown_options(shard, compute)
        if shard.input_shard is None or not shard.keeps_cores:
            return found
        grid = cls.find_core_grid(conv, shard, arch)
        return found + held_problems(
            shard.input_shard,
            grid,
            num_inputs=Window(conv).num_inputs,
            channels=conv.channels,
        )

    @classmethod
    def find_core_grid(
        cls, conv: ConvConfig, shard: ShardConfig, arch: Arch
    ) -> CoreGrid:
        limit = shard.grid or arch.grid
        scheme = cast(Scheme, shard.scheme)
        if shard.cores is not None and shard.keeps_cores:
            return given_core_grid(scheme, shard.cores, limit, shard.orientation)
        return search_core_grid(
            scheme,
            num_outputs=Window(conv).num_outputs,
            channels=conv.channels,
            limit=limit,
            act_block_h_override=shard.act_block_h_override,
            orientation=shard.orientation,
        )

    @classmethod
    def place(
        cls,
        conv: ConvConfig,
        shard: ShardConfig,
        compute: ComputeConfig,
        arch: Arch,
        core_grid: CoreGrid | None = None,
    ) -> "DepthwisePlan":
        core_grid = core_grid or cls.find_core_grid(conv, shard, arch)
        window = Window(conv)
        before_halo = input_shard(
            cast(Scheme, shard.scheme),
            core_grid,
            num_inputs=window.num_inputs,
            channels=conv.channels,
        )
        if shard.input_shard is not None and shard.keeps_cores:
            rows, channels = shard.input_shard
            before_halo = Shard(rows=rows, channels=channels)
        ranges = window.shard_ranges(core_grid.num_nhw_shards)
        halo_rows = max(r.last_padded - r.first_padded + 1 for r in ranges)
        return cls(
            conv=conv,
            shard=shard,
            compute=compute,
            arch=arch,
            core_grid=core_grid,
            output_grid=core_grid,
            input_shard=before_halo,
            halo_shard=dataclasses.replace(before_halo, rows=halo_rows),
            output_shard=output_shard(
                core_grid, num_outputs=window.num_outputs, channels=conv.channels
            ),
        )

    def _decide_weights(self) -> WeightPages:
        return weights.weight_pages(self)

    def _decide_buffers(self) -> tuple[CircularBuffer, ...]:
        return buffers(self, self.weights)

    def _decide_cycles(self) -> CycleBounds:
        return cycle_bounds(
            self,
            weight_tiles=self.weight_tiles_per_core,
            tiles_per_bank=self.tiles_per_bank,
        )

    def arguments(self, *, weight_address: int, bias_address: int) -> KernelArguments:
        return kernel_arguments(
            self, self.l1, weight_address=weight_address, bias_address=bias_address
        )

    def own_facts(self) -> dict[str, Any]:
        return {
            "weight_layout": self.shard.weight_layout,
            "effective_tiles": self.effective_tiles,
        }

    @property
    def weight_layout(self) -> WeightLayout:
        """Where the weight preparation puts each weight."""
        return weights.weight_layout(self)

    weight_tile_rows = property(weights.weight_tile_rows)
    effective_tiles = property(weights.effective_tiles)
    is_large_kernel = property(weights.is_large_kernel)
    tiles_per_reduction = property(weights.tiles_per_reduction)
    is_wide_reduction = property(weights.is_wide_reduction)
