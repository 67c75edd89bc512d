"""The 1D depthwise program as the planner sees it."""

from jaxdw.plan.conv1d.blocks import block_config
from jaxdw.plan.conv1d.buffers import buffers
from jaxdw.plan.conv1d.cycles import cycle_bounds
from jaxdw.plan.conv1d.findings import DEFECTS
from jaxdw.plan.conv1d.weights import tile_rows, weight_matrix
from jaxdw.plan.ttnn.blocks import BlockConfig, block_refusal
from jaxdw.plan.ttnn.placed import Placed
from jaxdw.plan.ttnn.program import TtnnProgram


def refusal(at: Placed, blocks: BlockConfig) -> str | None:
    """Returns what the factory refuses before it creates buffers."""
    activations = at.padded_channels * at.conv.kernel[1]
    if at.scheme == "width" and weight_matrix(at, blocks).rows != activations:
        return "The width of tensor a needs to match the height of tensor b"
    return block_refusal(at, blocks)


CONV1D = TtnnProgram(
    name="conv1d",
    defects=DEFECTS,
    block_config=block_config,
    buffers=buffers,
    refusal=refusal,
    weights=weight_matrix,
    tile_rows=tile_rows,
    cycles=cycle_bounds,
)
