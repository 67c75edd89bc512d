"""What every device program decides, as types.

A *device program* is one of tt-metal's ways to compute the same layer. Each is a
subclass of `jaxdw.plan.plan.Plan` in a folder of its own.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from jaxdw.plan.units import TILE

ProgramName = Literal["depthwise", "regular", "conv1d"]
TTNN = "ttnn"  # no program of its own: the one that ttnn 0.81.1 takes


@dataclasses.dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a kernel: its place, its name, its value."""

    index: int
    name: str
    value: int | str


Arguments = tuple[Argument, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KernelArguments:
    """What the factory passes to the kernels, by the kernel's name.

    Attributes:
      compile_time: the same on every core.
      runtime: of every core, in core order.
    """

    compile_time: dict[str, Arguments]
    runtime: dict[str, tuple[Arguments, ...]]


Axis = Literal["height", "width"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one slice computes, and of which rows or columns of the image."""

    axis: Axis
    first_output: int
    num_outputs: int
    first_input: int
    num_inputs: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WeightPages:
    """The prepared weights in DRAM, and the tiles that cores read of them.

    A core reads `read_rows` in this order, of each the tiles of its own columns.

    Attributes:
      matrix_shape: rows and columns of the row-major matrix that is tilized.
      tiles_per_row: by which a reader counts from one tile row to the next.
      columns_per_core: tiles of one core's columns.
      multiplied: of a core's tiles, in read order, the first that compute multiplies.
    """

    matrix_shape: tuple[int, int]
    read_rows: Sequence[int]
    tiles_per_row: int
    columns_per_core: int
    multiplied: int

    @property
    def tile_grid(self) -> tuple[int, int]:
        """Tile rows and tile columns of the prepared matrix."""
        return self.matrix_shape[0] // TILE, self.matrix_shape[1] // TILE

    @property
    def tiles_per_core(self) -> int:
        return len(self.read_rows) * self.columns_per_core

    def tile_ids(self, start: int) -> tuple[int, ...]:
        """Returns the tile ids of a core whose columns begin at `start`, in read order.

        `row * tiles_per_row + start + column`, rows outermost.
        """
        return tuple(
            row * self.tiles_per_row + start + column
            for row in self.read_rows
            for column in range(self.columns_per_core)
        )
