"""What has to be where, from the convolution's definition: windows, halo, shards.

Arrays of sources, computed without the functions that build the maps; of a plan only
its decisions are taken: how many shards, and how many rows an input shard has. Even the
tile is stated anew here, on purpose: what plan and maps get wrong has to show. Where
weights and bias have to be is the statement of a device program (depthwise.py).

Source: tt-metal reader_pool_2d.cpp @ff6ab496, conv2d_op_depthwise_program_factory.cpp
@002a3f41, sliding_window.cpp @00002df2.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, Int

from jaxdw.plan.config import ConvConfig, Scheme

ZERO, UNWRITTEN = -1, -2  # in place of a source
FACE, TILE, TILE_ELEMS = 16, 32, 1024

Positions = Int[np.ndarray, "..."]


def by_faces(matrix: np.ndarray, face_columns: int = FACE) -> np.ndarray:
    """Views a matrix as `[tile rows, tile columns, 2, 2, 16, face columns]`."""
    rows, columns = matrix.shape
    faces = (rows // TILE, 2, FACE, columns // (2 * face_columns), 2, face_columns)
    return matrix.reshape(faces).transpose(0, 3, 1, 4, 2, 5)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cut:
    """How the input's channels are dealt to cores, and a core's product to blocks.

    Attributes:
      shards: channel shards of the input; width: channels of one.
      parts: blocks that WIDTH makes of one shard, `act_block_w_div`.
      full_inner_dim: whether a block of BLOCK holds all kernel rows.
      block_rows: output rows that a core computes at a time.
    """

    scheme: Scheme
    shards: int
    width: int
    parts: int = 1
    full_inner_dim: bool = False
    block_rows: int = TILE


@dataclasses.dataclass(frozen=True)
class Definition:
    """A convolution over `nhw_shards * channel_shards` cores, row after row of shards.

    A stick counts N, height, width; a padded position the same of the padded images.
    Core `n * channel_shards + c` owns NHW shard `n` of channel shard `c` of the output.
    `cut` is given where the input's channels are dealt in another way.
    """

    conv: ConvConfig
    nhw_shards: int
    channel_shards: int
    input_rows: int
    cut: Cut | None = None

    @property
    def input_shards(self) -> int:
        """Channel shards of the input."""
        return self.channel_shards if self.cut is None else self.cut.shards

    @property
    def input_channels(self) -> int:
        """Channels of all shards of the input, padding among them."""
        width = self.channels_per_core if self.cut is None else self.cut.width
        return self.input_shards * width

    @property
    def num_cores(self) -> int:
        return self.nhw_shards * self.channel_shards

    @functools.cached_property
    def channels_per_core(self) -> int:
        """Of the output: an equal share in whole tiles."""
        return -(-self.conv.channels // (self.channel_shards * TILE)) * TILE

    @functools.cached_property
    def readers(self) -> Bool[np.ndarray, " cores"]:
        """The cores that read weights from DRAM: NHW shard 0 of each channel shard."""
        return np.arange(self.num_cores) < self.channel_shards

    @functools.cached_property
    def padded_size(self) -> tuple[int, int]:
        top, bottom, left, right = self.conv.padding
        return self.conv.height + top + bottom, self.conv.width + left + right

    @functools.cached_property
    def out_size(self) -> tuple[int, int]:
        height, width = (
            (size - dilation * (kernel - 1) - 1) // stride + 1
            for size, dilation, kernel, stride in zip(
                self.padded_size,
                self.conv.dilation,
                self.conv.kernel,
                self.conv.stride,
                strict=True,
            )
        )
        return height, width

    @property
    def num_outputs(self) -> int:
        return self.conv.batch * self.out_size[0] * self.out_size[1]

    @property
    def output_rows(self) -> int:
        """Rows of one output shard: an equal share in whole tiles."""
        return -(-self.num_outputs // (self.nhw_shards * TILE)) * TILE

    def _corners(self, outputs: Positions) -> tuple[Positions, Positions, Positions]:
        """Returns image, padded row and padded column of each window's start."""
        row, out_x = np.divmod(outputs, self.out_size[1])
        image, out_y = np.divmod(row, self.out_size[0])
        return image, out_y * self.conv.stride[0], out_x * self.conv.stride[1]

    def _sticks(self, image: Positions, y: Positions, x: Positions) -> Positions:
        """Returns the stick of each padded pixel; ZERO outside the image."""
        y, x = y - self.conv.padding[0], x - self.conv.padding[2]
        inside = (0 <= y) & (y < self.conv.height) & (0 <= x) & (x < self.conv.width)
        stick = (image * self.conv.height + y) * self.conv.width + x
        return np.where(inside, stick, ZERO)

    @functools.cached_property
    def _tap_yx(self) -> tuple[Int[np.ndarray, "kh 1"], Int[np.ndarray, " kw"]]:
        y, x = (np.arange(size) for size in self.conv.kernel)
        return y[:, None] * self.conv.dilation[0], x * self.conv.dilation[1]

    def windows(self, outputs: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n taps"]:
        """Returns the stick of every element of these outputs' windows."""
        image, y, x = (part[:, None, None] for part in self._corners(outputs))
        tap_y, tap_x = self._tap_yx
        return self._sticks(image, y + tap_y, x + tap_x).reshape(len(outputs), -1)

    def tap_offsets(self) -> Int[np.ndarray, " taps"]:
        """Returns each kernel position's padded positions from the window's start."""
        tap_y, tap_x = self._tap_yx
        return (tap_y * self.padded_size[1] + tap_x).ravel()

    def starts(self, outputs: Positions) -> Positions:
        """Returns the padded position at which each output's window starts."""
        image, y, x = self._corners(outputs)
        return (image * self.padded_size[0] + y) * self.padded_size[1] + x

    def _outputs(self) -> Int[np.ndarray, "nhw_shards output_rows"]:
        """Returns the output of each row; those past the last are none."""
        rows = np.arange(self.nhw_shards * self.output_rows)
        return rows.reshape(self.nhw_shards, -1)

    def top_left(self) -> Int[np.ndarray, "nhw_shards output_rows"]:
        """Returns the window starts as rows of the haloed shard."""
        outputs = self._outputs()
        starts = self.starts(outputs) - self.starts(outputs[:, :1])
        return np.where(outputs < self.num_outputs, starts, UNWRITTEN)

    def stick_shards(self) -> Int[np.ndarray, "nhw_shards input_rows"]:
        """Returns the stick in each row; the host pads with zeros."""
        rows = np.arange(self.nhw_shards * self.input_rows)
        sticks = self.conv.batch * self.conv.height * self.conv.width
        return np.where(rows < sticks, rows, ZERO).reshape(self.nhw_shards, -1)

    @functools.cached_property
    def busy(self) -> Bool[np.ndarray, " nhw_shards"]:
        """The NHW shards that compute any output."""
        return np.arange(self.nhw_shards) * self.output_rows < self.num_outputs

    @functools.cached_property
    def halo_ends(self) -> Int[np.ndarray, " nhw_shards"]:
        """Rows of each haloed shard, to its last window's end; 0 without outputs."""
        outputs = self._outputs()
        last = np.minimum(outputs[:, -1], self.num_outputs - 1)
        ends = self.starts(last) - self.starts(outputs[:, 0]) + self.tap_offsets()[-1]
        return np.where(self.busy, ends + 1, 0)

    def halo(self, rows: int) -> Int[np.ndarray, "nhw_shards rows"]:
        """Returns the stick in each haloed row: the padded images, cut to shards."""
        within = np.arange(rows)
        position = self.starts(self._outputs()[:, :1]) + within
        row, x = np.divmod(position, self.padded_size[1])
        image, y = np.divmod(row, self.padded_size[0])
        sticks = self._sticks(image, y, x)
        return np.where(within < self.halo_ends[:, None], sticks, UNWRITTEN)
