"""What ttnn 0.81.1 does with one layer, and its first launch."""

import dataclasses
import functools

from jaxdw.arch.arch import Arch
from jaxdw.plan.config import ComputeConfig, ConvConfig, ShardConfig
from jaxdw.plan.cycles import CycleBounds
from jaxdw.plan.findings import Finding, met
from jaxdw.plan.l1 import CircularBuffer, L1Use
from jaxdw.plan.program import WeightPages
from jaxdw.plan.ttnn.blocks import BlockConfig
from jaxdw.plan.ttnn.findings import by_matmul, refused, sliced, unprepared
from jaxdw.plan.ttnn.l1 import AllocationFailure, allocation_failure, place_l1
from jaxdw.plan.ttnn.matrix import WeightMatrix
from jaxdw.plan.ttnn.placed import Placed
from jaxdw.plan.ttnn.program import Asked, TtnnProgram
from jaxdw.plan.ttnn.route import Route
from jaxdw.plan.ttnn.slices import Slicing, slice_layer
from jaxdw.plan.units import TILE, round_up
from jaxdw.plan.window import Window


@dataclasses.dataclass(frozen=True, kw_only=True)
class Launch:
    """One launch of one program."""

    program: TtnnProgram
    at: Placed
    blocks: BlockConfig

    @functools.cached_property
    def buffers(self) -> tuple[CircularBuffer, ...]:
        """Circular buffers in order of creation."""
        return self.program.buffers(self.at, self.blocks, False)

    @functools.cached_property
    def l1(self) -> L1Use:
        """What one core holds in L1."""
        return place_l1(self.at, self.buffers)

    @functools.cached_property
    def weights(self) -> WeightMatrix:
        """The prepared weights, as formulas."""
        return self.program.weights(self.at, self.blocks)

    @functools.cached_property
    def cycles(self) -> CycleBounds:
        """Lower bounds on the cycles of this launch."""
        return self.program.cycles(self.at, self.blocks)

    @functools.cached_property
    def weight_pages(self) -> WeightPages:
        """The prepared weights in DRAM; every tile that cores read is multiplied."""
        matrix = self.weights
        read_rows = tuple(self.program.tile_rows(self.at, self.blocks))
        return WeightPages(
            matrix_shape=(matrix.rows, matrix.columns),
            read_rows=read_rows,
            tiles_per_row=matrix.tile_grid[1],
            columns_per_core=self.at.out_w_tiles,
            multiplied=len(read_rows) * self.at.out_w_tiles,
        )

    @functools.cached_property
    def allocation_failure(self) -> AllocationFailure | None:
        """The first tensor that finds no room, None if all do."""
        return allocation_failure(self.at)

    @functools.cached_property
    def message(self) -> str | None:
        """The library's refusal of this launch, None if it runs."""
        failure = self.allocation_failure
        if failure is not None:
            return failure.message
        return self.program.refusal(self.at, self.blocks) or self.l1.message


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What ttnn 0.81.1 does with one layer; built by `plan_ttnn`.

    Attributes:
      launch: the first launch; None of a layer that the library does not give to one of
        the two programs, or refuses before it has found one.
      slicing: of the default path; None in L1.
      message: the library's own refusal, None if the layer runs. The number of its
        program reads #.
    """

    conv: ConvConfig
    shard: ShardConfig
    compute: ComputeConfig
    arch: Arch
    route: Route
    launch: Launch | None = None
    slicing: Slicing | None = None
    message: str | None = None

    @property
    def num_launches(self) -> int:
        """Launches of the convolution that the library sets out to make."""
        if self.slicing is not None:
            return self.slicing.num_slices
        return int(self.launch is not None)

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        """[N, Ho, Wo, C]."""
        window = Window(self.conv)
        size = window.out_height, window.out_width
        return self.conv.batch, *size, self.conv.channels

    @property
    def weight_shape(self) -> tuple[int, int] | None:
        """Rows and columns of the weights that the library returns, without padding."""
        if self.route == "matmul":
            return self.conv.channels, self.conv.channels
        return None if self.launch is None else self.launch.weights.logical_shape

    @property
    def padded_weight_shape(self) -> tuple[int, int] | None:
        """Rows and columns of the weights as they lie in DRAM."""
        if self.route == "matmul":
            padded = round_up(self.conv.channels, TILE)
            return padded, padded
        if self.launch is None:
            return None
        return self.launch.weights.rows, self.launch.weights.columns

    def asked_of(self, program: TtnnProgram) -> Asked:
        """Returns the layer as a question to a program."""
        return Asked(
            conv=self.conv,
            shard=self.shard,
            compute=self.compute,
            arch=self.arch,
            program=program,
        )

    @functools.cached_property
    def num_launches_instead(self) -> int:
        """Launches that the default path takes of a layer refused in L1."""
        if self.message is None or self.launch is None or self.slicing is not None:
            return 0
        return slice_layer(self.asked_of(self.launch.program)).num_slices

    @functools.cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What is known to go wrong, in the order of codes."""
        if self.route == "refused":
            return (unprepared(self.conv.channels),)
        if self.route == "matmul":
            return (by_matmul(),)
        found = ()
        if self.num_launches > 1:
            found += (sliced(self.num_launches),)
        if self.launch is not None:
            found += met(self.launch.program.defects, self.launch.at)
        if self.message is not None and not any(f.code == "JDW044" for f in found):
            found += (refused(self.message, self.num_launches_instead),)
        return tuple(sorted(found, key=lambda finding: finding.code))
