"""How many launches the default path makes of a layer that lies in DRAM.

Source: tt-metal op_slicing.cpp @0205dffd (determine_slice_config) and conv2d.cpp, a
later revision than ttnn 0.81.1 (Conv2dSliceAttr); the launches counted agree with ttnn
0.81.1 on a mock device.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Literal

from jaxdw.plan.config import ConvConfig, Scheme
from jaxdw.plan.grid import TILE, round_up
from jaxdw.plan.ttnn.auto import auto_scheme, estimate
from jaxdw.plan.ttnn.program import Asked
from jaxdw.plan.window import Window

Axis = Literal["height", "width"]
_NARROW = 200  # columns; below them tiled outputs are sliced by rows
_TALL = 3  # heights to a width; above it ROW_MAJOR outputs are sliced by rows


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Slicing:
    """The launches that a layer takes.

    Attributes:
      num_slices: 0 if none is small enough; `message` then says so.
      first: the first launch's layer, padded where the library pads it.
      scheme: of the first launch.
    """

    axis: Axis
    num_slices: int
    first: ConvConfig
    scheme: Scheme | None
    message: str | None = None


def slice_layer(asked: Asked) -> Slicing:
    """Returns the fewest slices that the library believes to fit.

    If none along the first axis are small enough it tries the other one, once.
    """
    conv, free = asked.conv, asked.arch.l1_capacity_bytes
    peak_bytes = functools.cache(functools.partial(_peak_bytes, asked))
    tiled = asked.shard.output_layout == "tile"
    first_axis = _first_axis(asked)
    second_axis: Axis = "width" if first_axis == "height" else "height"
    for axis in (first_axis, second_axis):
        steps = _steps(conv, axis, tiled)
        too_large = 0
        for count in range(1, steps + 1):
            largest = -(-steps // count)
            if largest == too_large:  # its first slice is the one just tried
                continue
            parts = slices(conv, axis, count, tiled)
            first = next(parts)
            if peak_bytes(first) > free:
                too_large = largest
            elif all(peak_bytes(part) <= free for part in parts):
                scheme = _scheme(asked, first)
                return Slicing(axis=axis, num_slices=count, first=first, scheme=scheme)
    window = Window(conv)
    size = window.out_height if second_axis == "height" else window.out_width
    message = (
        "DRAM Auto slice could not find valid slice configuration. Tried up to "
        f"{_steps(conv, second_axis, tiled)} slices for {second_axis}-slicing on "
        f"output dimension {size}. Available L1: {free} bytes. Operation requires more "
        "memory than available even with maximum slicing."
    )
    return Slicing(
        axis=second_axis, num_slices=0, first=conv, scheme=None, message=message
    )


def slices(
    conv: ConvConfig, axis: Axis, count: int, tiled: bool
) -> Iterator[ConvConfig]:
    """Yields the layers of `count` slices, equal ones once in a row.

    A slice that is not the whole image computes whole tiles of columns, by more padding
    on the right.
    """
    window = Window(conv)
    size = window.out_height if axis == "height" else window.out_width
    step = _step(axis, tiled)
    share, rest = divmod(_steps(conv, axis, tiled), count)
    start = 0
    last = None
    for index in range(count):
        end = min(size, start + step * (share + (index < rest)))
        if end == start:
            return
        part = _slice(conv, window, axis, start, end, tiled)
        if part != last:
            yield part
        start, last = end, part


def _step(axis: Axis, tiled: bool) -> int:
    """Returns the outputs that slices are multiples of."""
    return TILE if tiled and axis == "width" else 1


def _steps(conv: ConvConfig, axis: Axis, tiled: bool) -> int:
    window = Window(conv)
    size = window.out_height if axis == "height" else window.out_width
    return -(-size // _step(axis, tiled))


def _slice(
    conv: ConvConfig, window: Window, axis: Axis, start: int, end: int, tiled: bool
) -> ConvConfig:
    along = 0 if axis == "height" else 1
    size = (conv.height, conv.width)[along]
    outputs = (window.out_height, window.out_width)[along]
    before, after = conv.padding[2 * along : 2 * along + 2]
    reach = conv.dilation[along] * (conv.kernel[along] - 1) + 1
    first = start * conv.stride[along] - before
    last = (end - 1) * conv.stride[along] - before + reach
    pads = [max(0, -first), max(0, last - size)]
    first, last = max(0, first), min(size, last)
    if start == 0:
        first, pads[0] = 0, before
    if end == outputs:
        last, pads[1] = size, after
    padding = list(conv.padding)
    padding[2 * along : 2 * along + 2] = pads
    columns = end - start if axis == "width" else window.out_width
    whole = (first, last) == (0, size)
    if tiled and not whole:
        padding[3] += (round_up(columns, TILE) - columns) * conv.stride[1]
    sizes = [conv.height, conv.width]
    sizes[along] = last - first
    return dataclasses.replace(
        conv, height=sizes[0], width=sizes[1], padding=tuple(padding)
    )


def _peak_bytes(asked: Asked, part: ConvConfig) -> int:
    is_part = (part.height, part.width) != (asked.conv.height, asked.conv.width)
    of_part = dataclasses.replace(asked, conv=part)
    at = of_part.place(_scheme(asked, part), as_slice=True, is_part=is_part)
    return estimate(at, asked.program).peak


def _scheme(asked: Asked, part: ConvConfig) -> Scheme:
    if asked.shard.scheme != "auto":
        return asked.shard.scheme
    of_part = dataclasses.replace(asked, conv=part)
    return auto_scheme(of_part, halo_padding=asked.conv.padding)


def _first_axis(asked: Asked) -> Axis:
    height, width = asked.conv.height, asked.conv.width
    if asked.shard.output_layout == "row_major":
        return "height" if height > _TALL * width else "width"
    return "height" if width < _NARROW or height > width else "width"
