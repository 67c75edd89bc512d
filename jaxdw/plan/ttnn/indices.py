"""The reader's lists of window starts, counted.

Every height block of a core is a list of its own, two with a split reader. A list has a
count, a filler, and the first and last window start of each run of windows that lie one
stride apart; all cores get room for the longest.
Source: tt-metal sliding_window.cpp, generate_sliding_window_op_config; ttnn 0.81.1 on a
mock device.
"""

import functools

import numpy as np

from jaxdw.plan.ttnn.blocks import BlockConfig
from jaxdw.plan.units import TILE, round_up
from jaxdw.plan.window import Window

_ENTRY_BYTES = 2
_PAGE_ALIGN = 4


def index_bytes(window: Window, num_nhw_shards: int, blocks: BlockConfig) -> int:
    """Returns the bytes of the longest core's lists."""
    second = blocks.act_h // 2 * TILE if blocks.split_reader else 0
    row_span = window.out_width * window.conv.stride[1]
    used_height = (window.out_height - 1) * window.conv.stride[0]
    image_step = (window.padded_height - used_height) * window.padded_width
    entries = _longest(
        window.num_outputs,
        num_nhw_shards,
        window.out_width,
        window.out_width * window.out_height,
        window.conv.stride[0] * window.padded_width != row_span,
        image_step != row_span,
        blocks.act_h * TILE - second,
        second,
    )
    return round_up(_ENTRY_BYTES * entries, _PAGE_ALIGN)


@functools.lru_cache(maxsize=1 << 14)
def _longest(
    num_outputs: int,
    num_shards: int,
    row: int,
    image: int,
    row_breaks: bool,
    image_breaks: bool,
    first_reader: int,
    second_reader: int,
) -> int:
    """Returns the entries of the longest core's lists.

    Args:
      row, image: outputs of one image row and of one image.
      row_breaks, image_breaks: whether a run of windows ends there.
      first_reader, second_reader: outputs of a block that each reader reads.
    """
    rows = round_up(num_outputs, num_shards * TILE) // num_shards
    first = np.arange(0, num_outputs, rows)
    end = np.minimum(first + rows, num_outputs)
    images = (end - 1) // image - first // image
    runs = 1 + ((end - 1) // row - first // row - images) * row_breaks
    runs += images * image_breaks
    block = first_reader + second_reader
    starts = np.arange(0, rows, block)
    if second_reader:
        starts = np.concatenate([starts, starts + first_reader])
    list_start = first[:, None] + starts[starts > 0]
    inside = list_start < end[:, None]
    at_image = list_start % image == 0
    broken = np.where(at_image, image_breaks, (list_start % row == 0) & row_breaks)
    runs += np.count_nonzero(inside & ~broken, axis=1)
    lists = 1 + np.count_nonzero(inside, axis=1)
    return int((2 * lists + 2 * runs).max())
