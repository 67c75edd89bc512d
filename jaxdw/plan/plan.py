"""The Plan: everything tt-metal decides before a byte moves."""

import abc
import dataclasses
import functools
from typing import Any, ClassVar, get_args

from jaxdw.arch.arch import Arch
from jaxdw.errors import UnsupportedError
from jaxdw.plan.config import ComputeConfig, ConvConfig, Scheme, ShardConfig
from jaxdw.plan.cycles import CycleBounds
from jaxdw.plan.findings import Defect, Finding, find
from jaxdw.plan.grid import Broadcast, CoreGrid
from jaxdw.plan.l1 import CircularBuffer, L1Use, l1_use
from jaxdw.plan.map_facts import MapFacts, map_facts_of
from jaxdw.plan.placement import Placement
from jaxdw.plan.program import KernelArguments, Part, ProgramName, WeightPages
from jaxdw.plan.traffic import Traffic, count_traffic
from jaxdw.shown import Shown


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Plan(Placement, Shown, abc.ABC):
    """How one depthwise conv2d runs on one chip; built by `make_plan`.

    Each device program is a subclass, which says where its tensors go (`core_grid`,
    `place`) and what it makes of a placement (the methods named `_decide_...`).

    Attributes:
      program: its name; tree: what its figures are of.
      defects: what is known to be wrong with it.
      chooses_scheme: whether `scheme="auto"` is the tree's own choice, made by `place`;
        jaxdw ranks plans if not.
      schemes: those that its kernels are for.
    """

    program: ClassVar[ProgramName]
    tree: ClassVar[str]
    defects: ClassVar[tuple[Defect, ...]]
    chooses_scheme: ClassVar[bool] = False
    schemes: ClassVar[tuple[Scheme, ...]] = get_args(Scheme)

    def __repr__(self) -> str:
        conv, grid = self.conv, self.grid
        layer = f"{conv.channels}x{conv.height}x{conv.width} k{conv.kernel[0]}x"
        layer += f"{conv.kernel[1]}" + (
            f" batch {conv.batch}" if conv.batch > 1 else ""
        )
        fits = "fits L1" if self.l1.fits else "does not fit L1"
        return (
            f"<Plan {layer}, {self.program}, {self.scheme}, {self.num_cores} cores "
            f"{grid[0]}x{grid[1]} of {self.arch.name}, {self.compute.math_fidelity}, "
            f">= {self.cycles.total:,} cycles, {fits}, {len(self.findings)} findings>"
        )

    @classmethod
    @abc.abstractmethod
    def chosen(cls, conv: ConvConfig) -> ProgramName | str:
        """Returns the program that the tree itself takes for a layer."""

    @classmethod
    @abc.abstractmethod
    def problems(
        cls, conv: ConvConfig, shard: ShardConfig, compute: ComputeConfig, arch: Arch
    ) -> list[str]:
        """Returns a sentence for each rule of this program that legal configs break."""

    @classmethod
    @abc.abstractmethod
    def find_core_grid(
        cls, conv: ConvConfig, shard: ShardConfig, arch: Arch
    ) -> CoreGrid:
        """Returns the cores that hold the input; `shard.scheme` is not `auto`."""

    @classmethod
    @abc.abstractmethod
    def place(
        cls,
        conv: ConvConfig,
        shard: ShardConfig,
        compute: ComputeConfig,
        arch: Arch,
        core_grid: CoreGrid | None = None,
    ) -> "Plan":
        """Returns the plan, whether it fits L1 or not.

        Args:
          core_grid: of `find_core_grid`, which is asked if None.
        """

    @abc.abstractmethod
    def _decide_weights(self) -> WeightPages: ...

    @abc.abstractmethod
    def _decide_buffers(self) -> tuple[CircularBuffer, ...]: ...

    @abc.abstractmethod
    def _decide_cycles(self) -> CycleBounds: ...

    def arguments(self, *, weight_address: int, bias_address: int) -> KernelArguments:
        """Returns what the factory passes to the kernels of every core.

        Args:
          weight_address, bias_address: of the DRAM buffers, bytes.

        Raises:
          ConfigError: a core off the chip among the arguments.
          UnsupportedError: a program whose arguments are not known here.
        """
        raise UnsupportedError(
            f"kernel arguments of the program {self.program!r} are not modelled; use "
            "program='depthwise'"
        )

    @abc.abstractmethod
    def own_facts(self) -> dict[str, Any]:
        """Returns what only this program has to say of a plan, by stable names."""

    @functools.cached_property
    def weights(self) -> WeightPages:
        """The prepared weights in DRAM, and what cores read of them."""
        return self._decide_weights()

    @property
    def weight_matrix_shape(self) -> tuple[int, int]:
        return self.weights.matrix_shape

    @property
    def weight_tile_grid(self) -> tuple[int, int]:
        """Tile rows and tile columns of the prepared weights in DRAM."""
        return self.weights.tile_grid

    @property
    def weight_tiles_per_core(self) -> int:
        return self.weights.tiles_per_core

    @property
    def multiplied_tiles(self) -> int:
        """Of the weight tiles in a core's L1, the first that compute multiplies."""
        return self.weights.multiplied

    def weight_tile_ids(self, core: int) -> tuple[int, ...]:
        """Returns the DRAM tile ids that `core`'s weights come from, in read order.

        A multicast receiver's are those of its sender.
        """
        return self.weights.tile_ids(self.start_tile(core))

    @property
    def slices(self) -> int:
        """Launches that the layer takes."""
        return 1

    @property
    def launches_instead(self) -> int:
        """Launches of the tree's default path of a layer that is refused; 0 if none."""
        return 0

    @functools.cached_property
    def slice_parts(self) -> tuple[Part, ...]:
        """What of the image each launch reads and computes; empty if there is one."""
        return ()

    @functools.cached_property
    def slice_plans(self) -> "tuple[Plan, ...]":
        """The plan of each launch; this plan alone if there is one."""
        return (self,)

    def refuse_slices(
        self, question: str, way_out: str = "use one of `plan.slice_plans`"
    ) -> None:
        """Returns if the layer takes one launch.

        Args:
          question: that is asked of a plan, its name.
          way_out: what to do instead.

        Raises:
          UnsupportedError: a layer of several launches, of which the plan describes
            the first alone.
        """
        if self.slices > 1:
            raise UnsupportedError(
                f"`plan` (={self.slices} launches) must be of one launch for "
                f"`{question}`; {way_out}"
            )

    @property
    def bias_columns(self) -> int:
        """Columns of the prepared bias, whose row 0 holds it."""
        return self.num_output_shards * self.output_shard.channels

    @functools.cached_property
    def statics(self) -> dict[str, Any]:
        """What `machine.cores` made of this plan, for each backend."""
        return {}

    @functools.cached_property
    def broadcasts(self) -> tuple[Broadcast, ...]:
        """Who multicasts weights to whom, cores of the output's grid."""
        return self.output_grid.broadcasts()

    @functools.cached_property
    def weight_readers(self) -> tuple[int, ...]:
        """The cores that read weights from DRAM, in core order."""
        return self.output_grid.weight_readers()

    @property
    def upstream_program(self) -> ProgramName | str:
        """The program that the tree of this one itself takes for this layer."""
        return self.chosen(self.conv)

    @functools.cached_property
    def tiles_per_bank(self) -> tuple[int, ...]:
        """Tiles that all cores read from each DRAM bank, weights and bias.

        Each weight tile is read once, by the one reader of its channel shard; each
        bias tile once by every core of its channel shard.
        """
        banks = range(self.arch.num_banks)
        bias_tiles = self.num_output_shards * self.channel_tiles * self.conv.bias
        weight_tiles = self.num_output_shards * self.weight_tiles_per_core
        return tuple(
            -(-max(0, weight_tiles - bank) // len(banks))
            + -(-max(0, bias_tiles - bank) // len(banks)) * self.num_nhw_shards
            for bank in banks
        )

    @functools.cached_property
    def traffic(self) -> Traffic:
        """Counts what one launch moves."""
        return count_traffic(
            self,
            weight_tiles=self.weight_tiles_per_core,
            readers=self.weight_readers,
            broadcasts=self.broadcasts,
            tiles_per_bank=self.tiles_per_bank,
        )

    @functools.cached_property
    def l1(self) -> L1Use:
        """What one core holds in L1."""
        return l1_use(
            self.arch,
            self._decide_buffers(),
            cores=self.grid,
            sizes=self.arch.l1_align_bytes,
        )

    @functools.cached_property
    def cycles(self) -> CycleBounds:
        """Lower bounds on the cycles of all launches."""
        return self._decide_cycles()

    @functools.cached_property
    def map_facts(self) -> MapFacts:
        """What its index maps depend on."""
        return map_facts_of(self, self.program, self.weights)

    @functools.cached_property
    def findings(self) -> tuple[Finding, ...]:
        """The known defects that this configuration meets on the real system."""
        return find(self.defects, self)
