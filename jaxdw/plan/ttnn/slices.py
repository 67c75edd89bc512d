"""How many launches the default path makes of a layer that lies in DRAM.

Source: tt-metal op_slicing.cpp @0205dffd (determine_slice_config) and conv2d.cpp, a
later revision than ttnn 0.81.1 (Conv2dSliceAttr); the launches counted agree with ttnn
0.81.1 on a mock device.
"""

import dataclasses
import functools
from collections.abc import Iterator

from jaxdw.plan.config import ConvConfig, Scheme
from jaxdw.plan.program import Axis, Part
from jaxdw.plan.ttnn.auto import auto_scheme, estimate
from jaxdw.plan.ttnn.program import Asked
from jaxdw.plan.units import TILE, round_up
from jaxdw.plan.window import Window

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
    first_axis, second_axis = _axes(asked)
    for axis in (first_axis, second_axis):
        steps = _steps(asked, axis)
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
                scheme = part_scheme(asked, first)
                return Slicing(axis=axis, num_slices=count, first=first, scheme=scheme)
    message = (
        "DRAM Auto slice could not find valid slice configuration. Tried up to "
        f"{_steps(asked, second_axis)} slices for {second_axis}-slicing on output "
        f"dimension {_size(Window(conv), second_axis)}. Available L1: {free} bytes. "
        "Operation requires more memory than available even with maximum slicing."
    )
    return Slicing(
        axis=second_axis, num_slices=0, first=conv, scheme=None, message=message
    )


def slices(
    conv: ConvConfig, axis: Axis, count: int, tiled: bool
) -> Iterator[ConvConfig]:
    """Yields the layers of `count` slices, equal ones once in a row."""
    seen = None
    for _, _, _, extent in _cuts(conv, axis, count, tiled):
        if extent != seen:
            yield _layer(conv, axis, *extent)
        seen = extent


def parts(
    conv: ConvConfig, axis: Axis, count: int, tiled: bool
) -> Iterator[tuple[Part, ConvConfig]]:
    """Yields every slice with its layer, in order."""
    for start, end, first, extent in _cuts(conv, axis, count, tiled):
        part = Part(
            axis=axis,
            first_output=start,
            num_outputs=end - start,
            first_input=first,
            num_inputs=extent[0],
        )
        yield part, _layer(conv, axis, *extent)


Extent = tuple[int, int, int, int]


def _cuts(
    conv: ConvConfig, axis: Axis, count: int, tiled: bool
) -> Iterator[tuple[int, int, int, Extent]]:
    """Yields first output, end of outputs, first input and `_extent` of each slice."""
    window = Window(conv)
    size, step = _size(window, axis), _step(axis, tiled)
    share, rest = divmod(-(-size // step), count)
    start = 0
    for index in range(count):
        end = min(size, start + step * (share + (index < rest)))
        if end > start:
            first, extent = _extent(window, axis, start, end, tiled)
            yield start, end, first, extent
        start = end


def _size(window: Window, axis: Axis) -> int:
    return window.out_height if axis == "height" else window.out_width


def _step(axis: Axis, tiled: bool) -> int:
    """Returns the outputs that slices are multiples of."""
    return TILE if tiled and axis == "width" else 1


def _steps(asked: Asked, axis: Axis) -> int:
    """Returns the most slices that outputs allow."""
    step = _step(axis, asked.shard.output_layout == "tile")
    return -(-_size(Window(asked.conv), axis) // step)


def _extent(
    window: Window, axis: Axis, start: int, end: int, tiled: bool
) -> tuple[int, Extent]:
    """Returns what outputs `start` to `end` read along one axis.

    Returns:
      The first input; and how many, padding before and after them, columns of padding
      that make outputs whole tiles wide where the slice is not the whole image.
    """
    conv, along = window.conv, 0 if axis == "height" else 1
    size = (conv.height, conv.width)[along]
    before, after = conv.padding[2 * along : 2 * along + 2]
    reach = conv.dilation[along] * (conv.kernel[along] - 1) + 1
    first = start * conv.stride[along] - before
    last = (end - 1) * conv.stride[along] - before + reach
    if start > 0:
        first, before = max(0, first), max(0, -first)
    else:
        first = 0
    if end < _size(window, axis):
        last, after = min(size, last), max(0, last - size)
    else:
        last = size
    widened = 0
    if tiled and (first, last) != (0, size):
        columns = end - start if axis == "width" else window.out_width
        widened = (round_up(columns, TILE) - columns) * conv.stride[1]
    return first, (last - first, before, after, widened)


def _layer(
    conv: ConvConfig, axis: Axis, inputs: int, before: int, after: int, widened: int
) -> ConvConfig:
    top, bottom, left, right = conv.padding
    if axis == "height":
        padding = before, after, left, right + widened
        return dataclasses.replace(conv, height=inputs, padding=padding)
    padding = top, bottom, before, after + widened
    return dataclasses.replace(conv, width=inputs, padding=padding)


def _peak_bytes(asked: Asked, part: ConvConfig) -> int:
    is_part = (part.height, part.width) != (asked.conv.height, asked.conv.width)
    of_part = dataclasses.replace(asked, conv=part)
    at = of_part.place(part_scheme(asked, part), as_slice=True, is_part=is_part)
    return estimate(at, asked.program).peak


def part_scheme(asked: Asked, part: ConvConfig) -> Scheme:
    """Returns the sharding that one slice of a layer takes."""
    if asked.shard.scheme != "auto":
        return asked.shard.scheme
    of_part = dataclasses.replace(asked, conv=part)
    return auto_scheme(of_part, halo_padding=asked.conv.padding)


def _axes(asked: Asked) -> tuple[Axis, Axis]:
    """Returns the axis to slice first, and the other."""
    height, width = asked.conv.height, asked.conv.width
    if asked.shard.output_layout == "row_major":
        by_rows = height > _TALL * width
    else:
        by_rows = width < _NARROW or height > width
    return ("height", "width") if by_rows else ("width", "height")
