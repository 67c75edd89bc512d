"""Sliding-window geometry: window starts, shard ranges, the halo each core needs.

Source of every rule here: tt-metal sliding_window.cpp @00002df2, compared stick by
stick with ttnn 0.81.1 on a mock device (tests/golden/halo_ttnn.npz).
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, Int

from jaxdw.plan.config import ConvConfig
from jaxdw.plan.units import round_up

PAD = -1  # a padding stick: zeros, written by the core itself
UNWRITTEN = -2  # past the end of a core's range: nobody writes it


@dataclasses.dataclass(frozen=True, slots=True)
class ShardRange:
    """One NHW shard: sticks of the output, and the padded positions they read.

    Invariant: `num_outputs` may be 0; the input range is contiguous in the padded
    image, `first_padded` to `last_padded` inclusive.
    """

    first_output: int
    num_outputs: int
    first_padded: int
    last_padded: int


def index_list_length(num_segments: int) -> int:
    """Returns the uint16 entries of a core's reader indices.

    A count and a filler, then first and last window start of each segment.
    """
    return 2 + 2 * num_segments


@dataclasses.dataclass(frozen=True)
class Window:
    """The sliding window of one convolution over its zero-padded batch of images.

    A padded position counts N, then padded rows, then padded columns; an output
    counts N, out rows, out columns.
    """

    conv: ConvConfig

    @functools.cached_property
    def padded_height(self) -> int:
        return self.conv.height + self.conv.padding[0] + self.conv.padding[1]

    @functools.cached_property
    def padded_width(self) -> int:
        return self.conv.width + self.conv.padding[2] + self.conv.padding[3]

    @functools.cached_property
    def out_height(self) -> int:
        conv = self.conv
        reach = conv.dilation[0] * (conv.kernel[0] - 1)
        return (self.padded_height - reach - 1) // conv.stride[0] + 1

    @functools.cached_property
    def out_width(self) -> int:
        conv = self.conv
        reach = conv.dilation[1] * (conv.kernel[1] - 1)
        return (self.padded_width - reach - 1) // conv.stride[1] + 1

    @property
    def num_inputs(self) -> int:
        return self.conv.batch * self.conv.height * self.conv.width

    @property
    def num_outputs(self) -> int:
        return self.conv.batch * self.out_height * self.out_width

    @property
    def reach(self) -> int:
        """Padded positions from a window's first element to its last."""
        (kernel_h, kernel_w), (dilation_h, dilation_w) = (
            self.conv.kernel,
            self.conv.dilation,
        )
        return dilation_h * (kernel_h - 1) * self.padded_width + dilation_w * (
            kernel_w - 1
        )

    def start(self, output: int) -> int:
        """Returns the padded position of the top left element of an output's window."""
        row, out_x = divmod(output, self.out_width)
        image, out_y = divmod(row, self.out_height)
        stride_h, stride_w = self.conv.stride
        padded_row = image * self.padded_height + out_y * stride_h
        return padded_row * self.padded_width + out_x * stride_w

    def starts(self, outputs: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Returns `start` of many outputs."""
        row, out_x = np.divmod(outputs, self.out_width)
        image, out_y = np.divmod(row, self.out_height)
        stride_h, stride_w = self.conv.stride
        padded_row = image * self.padded_height + out_y * stride_h
        return padded_row * self.padded_width + out_x * stride_w

    def touches_padding(self) -> Bool[np.ndarray, " outputs"]:
        """Returns which outputs have windows that reach into the padding."""
        conv, (top, _, left, _) = self.conv, self.conv.padding
        row, out_x = np.divmod(np.arange(self.num_outputs), self.out_width)
        sides = zip(
            (row % self.out_height, out_x),
            (top, left),
            (conv.height, conv.width),
            strict=True,
        )
        touches = np.zeros(self.num_outputs, bool)
        for axis, (place, before, size) in enumerate(sides):
            first = place * conv.stride[axis] - before
            last = first + conv.dilation[axis] * (conv.kernel[axis] - 1)
            touches |= (first < 0) | (last >= size)
        return touches

    def num_segments(self, shard: "ShardRange") -> int:
        """Returns the runs of window starts, one stride apart, of one shard's outputs.

        A run ends with its image row, unless the next row's first window is again one
        stride further.
        """
        if not shard.num_outputs:
            return 0
        last = shard.first_output + shard.num_outputs - 1
        per_image = self.out_width * self.out_height
        images = last // per_image - shard.first_output // per_image
        rows = last // self.out_width - shard.first_output // self.out_width - images
        row_span = self.out_width * self.conv.stride[1]
        row_step = self.conv.stride[0] * self.padded_width
        used_height = (self.out_height - 1) * self.conv.stride[0]
        image_step = (self.padded_height - used_height) * self.padded_width
        return 1 + rows * (row_step != row_span) + images * (image_step != row_span)

    def tap_offsets(self) -> tuple[int, ...]:
        """Returns each kernel position's distance from the window's start."""
        (kernel_h, kernel_w), (dilation_h, dilation_w) = (
            self.conv.kernel,
            self.conv.dilation,
        )
        return tuple(
            y * dilation_h * self.padded_width + x * dilation_w
            for y in range(kernel_h)
            for x in range(kernel_w)
        )

    def shard_ranges(self, num_nhw_shards: int) -> tuple[ShardRange, ...]:
        """Returns the range of every NHW shard.

        A shard past the end keeps the useless range of the last window, as upstream;
        if that is the first window too, its range is empty.
        """
        return _shard_ranges(self, num_nhw_shards)

    def halo_sources(
        self, ranges: tuple[ShardRange, ...], halo_rows: int
    ) -> Int[np.ndarray, "shards halo_rows"]:
        """Returns which input stick each row of each haloed shard holds.

        A stick counts N, height, width; `PAD` is a padding stick, `UNWRITTEN` a row
        past the end of its shard's range.
        """
        conv = self.conv
        first = np.array([r.first_padded for r in ranges])[:, None]
        last = np.array([r.last_padded for r in ranges])[:, None]
        position = first + np.arange(halo_rows)
        row, x = np.divmod(position, self.padded_width)
        image, y = np.divmod(row, self.padded_height)
        y, x = y - conv.padding[0], x - conv.padding[2]
        inside = (0 <= y) & (y < conv.height) & (0 <= x) & (x < conv.width)
        stick = (image * conv.height + y) * conv.width + x
        return np.where(position > last, UNWRITTEN, np.where(inside, stick, PAD))


@functools.lru_cache(maxsize=64)  # plans of one layer differ in other things
def _shard_ranges(window: Window, num_nhw_shards: int) -> tuple[ShardRange, ...]:
    total = window.num_outputs
    rows = round_up(total, num_nhw_shards * 32) // num_nhw_shards
    ranges = []
    first = 0
    for _ in range(num_nhw_shards):
        last = min(first + rows, total) - 1
        first_padded = window.start(min(first, total - 1))
        last_padded = window.start(last) + window.reach
        if first_padded == 0 and first:
            first_padded = window.start(last) + 1
            last_padded = first_padded - 1
        ranges.append(
            ShardRange(
                first_output=first,
                num_outputs=last - first + 1,
                first_padded=first_padded,
                last_padded=last_padded,
            )
        )
        first = last + 1
    return tuple(ranges)


def halo_transfers(
    sources: Int[np.ndarray, "shards halo_rows"], input_rows: int
) -> tuple[Int[np.ndarray, "pads 3"], Int[np.ndarray, "copies 5"]]:
    """Returns a halo as runs of sticks.

    Returns:
      pads: (core, destination row, length), and copies: (source core, source row,
      destination core, destination row, length); cores are NHW shard ids.
    """
    core, row = np.nonzero(sources != UNWRITTEN)
    stick = sources[core, row]
    source_core = np.where(stick == PAD, PAD, stick // input_rows)
    follows = (core[1:] == core[:-1]) & (source_core[1:] == source_core[:-1])
    follows &= (stick[1:] == stick[:-1] + 1) | (stick[1:] == PAD)
    begin = np.flatnonzero(np.concatenate([[True], ~follows]))
    length = np.diff(np.concatenate([begin, [len(core)]]))
    runs = np.stack(
        [
            source_core[begin],
            stick[begin] % input_rows,
            core[begin],
            row[begin],
            length,
        ],
        axis=1,
    )
    is_pad = runs[:, 0] == PAD
    return runs[is_pad, 2:], runs[~is_pad]
