"""Where the weights of program `regular` have to be, by the order of its product.

A core multiplies blocks of its window's channels, one input shard and some kernel
positions at a time, with the rows of the matrix that stand for them. Stated from the
kernels, without the functions that prepare the matrix or deal its tiles.

Source: tt-metal conv2d_op_sharded_program_factory.cpp @55e3268f; the readers and
conv_bmm_tilize.cpp of ttnn 0.81.1; prepare_conv2d_weights.cpp @c2aaf71d.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from jaxdw.layouts.definition import TILE
from jaxdw.layouts.matrix import NO_TAP, MatrixWeights, Rows


@dataclasses.dataclass(frozen=True)
class RegularWeights(MatrixWeights):
    """Each weight once, on the diagonal of its kernel position's channels."""

    def _rows(self) -> Rows:
        blocks = self._width_blocks() if self.cut.scheme == "width" else self._blocks()
        return Rows(*np.concatenate([np.stack(block) for block in blocks], axis=1))

    def _blocks(self) -> Iterator[Rows]:
        """Yields kernel rows, and of each the input shards; all kernel rows at once
        with `full_inner_dim`. A block's sticks are filled up to whole tiles."""
        cut, (kernel_h, kernel_w) = self.cut, self.definition.conv.kernel
        steps, taps = kernel_h, kernel_w
        if cut.full_inner_dim and cut.scheme == "block":
            steps, taps = 1, kernel_h * kernel_w
        lanes = np.arange(-(-taps * cut.width // TILE) * TILE)
        tap, channel = np.divmod(lanes, cut.width)
        for step in range(steps):
            for shard in range(cut.shards):
                yield Rows(
                    row=(shard * steps + step) * len(lanes) + lanes,
                    tap=np.where(tap < taps, step * taps + tap, NO_TAP),
                    channel=shard * cut.width + channel,
                )

    def _width_blocks(self) -> Iterator[Rows]:
        """Yields parts of the shards, and of each the shards: all kernel positions."""
        cut = self.cut
        share = cut.width // cut.parts
        tap = np.repeat(np.arange(self.definition.conv.taps), share)
        for part in range(cut.parts):
            for shard in range(cut.shards):
                first = shard * cut.width + part * share
                channel = first + np.arange(len(tap)) % share
                yield Rows(tap * cut.shards * cut.width + channel, tap, channel)
