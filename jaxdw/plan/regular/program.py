"""The dense matmul as the planner sees it."""

from jaxdw.plan.regular.blocks import block_config
from jaxdw.plan.regular.buffers import buffers
from jaxdw.plan.regular.cycles import cycle_bounds
from jaxdw.plan.regular.findings import DEFECTS
from jaxdw.plan.regular.weights import tile_rows, weight_matrix
from jaxdw.plan.ttnn.blocks import block_refusal
from jaxdw.plan.ttnn.program import TtnnProgram

REGULAR = TtnnProgram(
    name="regular",
    defects=DEFECTS,
    block_config=block_config,
    buffers=buffers,
    refusal=block_refusal,
    weights=lambda at, _: weight_matrix(at),
    tile_rows=tile_rows,
    cycles=cycle_bounds,
)
