"""The library's estimate of a launch's L1, and the sharding that it takes by it.

Source: tt-metal conv2d_utils.cpp @71ff3c1d, calculate_L1_usage_for_conv_op and
determine_conv_config_for_auto_shard; ttnn 0.81.1 on a mock device.
"""

import dataclasses

from jaxdw.plan.config import Scheme
from jaxdw.plan.ttnn.l1 import stick_bytes
from jaxdw.plan.ttnn.placed import Placed, halo_rows
from jaxdw.plan.ttnn.program import Asked, TtnnProgram
from jaxdw.plan.window import Window


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Bytes of one core's L1, as the library counts them before it launches."""

    circular: int
    output: int
    halo_input: int
    halo_output: int

    @property
    def launch(self) -> int:
        """While the convolution runs."""
        return self.circular + self.output + self.halo_output

    @property
    def peak(self) -> int:
        """The launch, or the halo before it."""
        return max(self.halo_input + self.halo_output, self.launch)


def estimate(at: Placed, program: TtnnProgram) -> Estimate:
    """Estimates one launch; the halo counts even where there is none."""
    buffers = program.buffers(at, program.block_config(at), True)
    halves = 2 if at.conv.dtype == "bfloat8_b" else 1
    return Estimate(
        circular=sum(b.num_bytes for b in buffers if not b.on_buffer),
        output=next(b.num_bytes for b in buffers if b.role == "output"),
        halo_input=at.input_shard.rows * stick_bytes(at) // halves,
        halo_output=at.halo_shard.rows * stick_bytes(at),
    )


def auto_scheme(
    asked: Asked, halo_padding: tuple[int, int, int, int] | None = None
) -> Scheme:
    """Returns the sharding that takes least L1; conv1d is always HEIGHT.

    BLOCK must use at least as many cores as the grid is wide.

    Args:
      halo_padding: what the library pads a slice by when it counts the halo: the whole
        image's padding; None for the layer's own.
    """
    if asked.program.name == "conv1d":
        return "height"
    limit_x = (asked.shard.grid or asked.arch.grid)[0]
    demand = {}
    for scheme in ("height", "block", "width"):
        at = asked.place(scheme)
        cores = max(at.core_grid.num_cores, at.output_grid.num_cores)
        if scheme != "block" or cores >= limit_x:
            at = _with_halo(at, halo_padding)
            demand[scheme] = estimate(at, asked.program).launch
    return min(demand, key=lambda scheme: demand[scheme])


def _with_halo(at: Placed, padding: tuple[int, int, int, int] | None) -> Placed:
    if padding is None or padding == at.conv.padding:
        return at
    window = Window(dataclasses.replace(at.conv, padding=padding))
    rows = halo_rows(window, at.num_nhw_shards)
    halo_shard = dataclasses.replace(at.halo_shard, rows=rows)
    return dataclasses.replace(at, halo_shard=halo_shard)
