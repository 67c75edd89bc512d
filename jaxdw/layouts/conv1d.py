"""Where the weights of program `conv1d` have to be: in every row of a block.

Tiles of activations are multiplied with tiles of weights element by element, so that a
kernel position has as many rows of weights as a block has outputs.

Source: compute_depthwise_conv1d.cpp of ttnn 0.81.1; tt-metal
prepare_conv2d_weights.cpp, later than @c2aaf71d.
"""

import dataclasses

import numpy as np

from jaxdw.layouts.matrix import EVERY_CHANNEL, MatrixWeights, Rows


@dataclasses.dataclass(frozen=True)
class Conv1dWeights(MatrixWeights):
    """Each weight in all rows of a block, one kernel position after another."""

    def _rows(self) -> Rows:
        row = np.arange(self.definition.conv.taps * self.cut.block_rows)
        tap = row // self.cut.block_rows
        return Rows(row=row, tap=tap, channel=np.full_like(row, EVERY_CHANNEL))
