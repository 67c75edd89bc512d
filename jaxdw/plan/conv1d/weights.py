"""Where the weights of the 1D depthwise program lie, and who reads their tiles.

Each weight is repeated over the rows of a block, so that the block's height is baked
into the tensor: `row(i, 0, s)` for all `i` below 32 times that height, and column `c`,
hold the weight of channel `c` and kernel position `s`.
"""

from jaxdw.errors import UnsupportedError
from jaxdw.plan.ttnn.blocks import BlockConfig
from jaxdw.plan.ttnn.matrix import WeightMatrix
from jaxdw.plan.ttnn.placed import Placed
from jaxdw.plan.units import TILE


def weight_matrix(at: Placed, blocks: BlockConfig) -> WeightMatrix:
    """Returns the matrix of a launch, one row for each row of a block and tap."""
    return WeightMatrix(at=at, lanes=TILE * blocks.act_h)


def weight_tile_ids(at: Placed, blocks: BlockConfig, core: int) -> tuple[int, ...]:
    """Returns the DRAM tile ids of one core's weights: all of them, tap by tap.

    Args:
      core: of the output grid; only the first reads, the others receive.

    Raises:
      UnsupportedError: a sharding other than HEIGHT, which the kernels are not for.
    """
    if at.scheme != "height":
        raise UnsupportedError(
            f"`scheme` (={at.scheme!r}) must be 'height': the kernels of conv1d read "
            "no other weights in order"
        )
    rows, columns = weight_matrix(at, blocks).tile_grid
    return tuple(range(rows * columns))
