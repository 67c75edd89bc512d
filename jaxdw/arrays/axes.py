"""What the axes of a user's array are, told by its shape.

| tensor | layouts, and the shapes taken as such |
|---|---|
| input, output | `nhwc`: `[N, H, W, C]`, `[N, H*W, C]`, `[N*H*W, C]`, flat |
| | `nchw`: `[N, C, H, W]`, flat |
| weights | `oihw`: `[C, 1, kh, kw]`, `[C, kh, kw]`, `[C, kh*kw]`, flat |
| | `hwio`: `[kh, kw, 1, C]`, `[kh, kw, C, 1]`, `[kh, kw, C]`, `[kh*kw, C]`, flat |
| bias | `[C]`, one row of it, or a tile row that begins with it |

Axes of 1 may stand before each. In `nhwc` the last two axes may be padded as tiles are,
to 32, or as the plan pads its shards; padding is cut off. One layout that fits is
taken, and said; where both fit and are not the same, one has to be named.
"""

import dataclasses
import math
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float32
from numpy.typing import ArrayLike

from jaxdw.arrays.real import as_float32
from jaxdw.errors import ConfigError
from jaxdw.plan.config import ConvConfig
from jaxdw.plan.placement import Placement
from jaxdw.plan.units import TILE, round_up

ActivationLayout = Literal["nhwc", "nchw"]
WeightsLayout = Literal["oihw", "hwio"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Taken:
    """An array as the plan has it.

    Attributes:
      values: float32, in the planned shape.
      note: a sentence on what it was taken as; empty if it came in the planned shape.
    """

    values: Float32[np.ndarray, "..."]
    note: str = ""


class _Form(NamedTuple):
    """One way in which a tensor can lie.

    Attributes:
      layout: its name; text: its axes.
      axes: the sizes of each axis, joined ones multiplied.
      padded: for each axis, the sizes that it may have instead.
      sizes, order: of the single axes, and how they are turned into the planned ones.
    """

    layout: str
    text: str
    axes: tuple[int, ...]
    padded: tuple[tuple[int, ...], ...]
    sizes: tuple[int, ...]
    order: tuple[int, ...]

    def fits(self, shape: tuple[int, ...]) -> bool:
        shape = _of_rank(shape, len(self.axes))
        return len(shape) == len(self.axes) and all(
            size == axis or size in padded
            for size, axis, padded in zip(shape, self.axes, self.padded, strict=True)
        )

    def planned(self, values: np.ndarray) -> np.ndarray:
        """Returns values of a fitting shape in the planned one, without padding."""
        whole = values.reshape(_of_rank(values.shape, len(self.axes)))
        real = whole[tuple(slice(size) for size in self.axes)]
        return np.ascontiguousarray(real.reshape(self.sizes).transpose(self.order))


def as_input(
    plan: Placement,
    values: ArrayLike,
    layout: str | None = None,
    *,
    name: str = "x",
) -> Taken:
    """Returns activations as the plan's input, `[N, H, W, C]`.

    Args:
      layout: one of `ActivationLayout`; None to tell it by the shape.
      name: what notes and messages call them.

    Raises:
      ConfigError: no layout fits, or several do; values that are no real numbers.
    """
    rows = plan.num_nhw_shards * plan.input_shard.rows
    channels = plan.num_channel_shards * plan.input_shard.channels
    shape = plan.conv.input_shape
    return _as_activation(shape, (rows, channels), values, layout, name)


def as_output(
    plan: Placement,
    values: ArrayLike,
    layout: str | None = None,
    *,
    name: str = "output",
) -> Taken:
    """Returns an output as the plan's, `[N, Ho, Wo, C]`; otherwise as `as_input`."""
    rows = plan.num_nhw_shards * plan.output_shard.rows
    channels = plan.num_output_shards * plan.output_shard.channels
    shape = plan.output_shape
    return _as_activation(shape, (rows, channels), values, layout, name)


def _as_activation(
    shape: tuple[int, int, int, int],
    shards: tuple[int, int],
    values: ArrayLike,
    layout: str | None,
    name: str,
) -> Taken:
    n, h, w, c = shape
    rows, channels = shards
    turned, alike = (0, 2, 3, 1), (0, 1, 2, 3)
    lanes = (round_up(c, TILE), round_up(channels, TILE), channels)

    def sticks(text: str, *axes: int) -> _Form:
        *outer, joined = axes
        last = (round_up(joined, TILE),)
        if not outer:
            last += (rows, round_up(rows, TILE))
        padded = (*((),) * len(outer), last, lanes)
        return _Form("nhwc", text, (*axes, c), padded, shape, alike)

    flat = math.prod(shape)
    forms = (
        sticks("[N, H, W, C]", n, h, w),
        sticks("[N*H*W, C]", n * h * w),
        sticks("[N, H*W, C]", n, h * w),
        _exact("nhwc", "flat", (flat,), shape, alike),
        _exact("nchw", "[N, C, H, W]", (n, c, h, w), (n, c, h, w), turned),
        _exact("nchw", "flat", (flat,), (n, c, h, w), turned),
    )
    same = c == 1 or h * w == 1
    return _taken(values, shape, forms, get_args(ActivationLayout), layout, name, same)


def as_weights(
    conv: ConvConfig,
    values: ArrayLike,
    layout: str | None = None,
    *,
    name: str = "w",
) -> Taken:
    """Returns weights as the plan's, `[C, 1, kh, kw]`.

    Args:
      layout: one of `WeightsLayout`; None to tell it by the shape.
      name: what notes and messages call them.

    Raises:
      ConfigError: no layout fits, or several do; values that are no real numbers.
    """
    c, _, h, w = shape = conv.weight_shape
    taps, alike, turned = h * w, (0, 1, 2, 3), (2, 3, 0, 1)
    forms = tuple(
        _exact(layout, text, axes, sizes, order)
        for layout, sizes, order, listed in (
            (
                "oihw", shape, alike,
                {
                    "[C, 1, kh, kw]": shape,
                    "[C, kh, kw]": (c, h, w),
                    "[C, kh*kw]": (c, taps),
                    "flat": (c * taps,),
                },
            ),
            (
                "hwio", (h, w, c, 1), turned,
                {
                    "[kh, kw, 1, C]": (h, w, 1, c),
                    "[kh, kw, C, 1]": (h, w, c, 1),
                    "[kh, kw, C]": (h, w, c),
                    "[kh*kw, C]": (taps, c),
                    "flat": (c * taps,),
                },
            ),
        )
        for text, axes in listed.items()
    )  # fmt: skip
    same = c == 1 or taps == 1
    return _taken(values, shape, forms, get_args(WeightsLayout), layout, name, same)


def as_bias(plan: Placement, values: ArrayLike, *, name: str = "bias") -> Taken:
    """Returns a bias as the plan's, `[C]`: the first row of a tile, padding cut.

    Raises:
      ConfigError: another shape; values that are no real numbers.
    """
    c = plan.conv.channels
    channels = plan.num_output_shards * plan.output_shard.channels
    lanes = (round_up(c, TILE), channels)
    array = as_float32(values, name)
    trailing = array.reshape(tuple(size for size in array.shape if size > 1))
    forms = (
        _Form("", "[C]", (c,), (lanes,), (c,), (0,)),
        _Form("", "[32, C], its first row", (1, c), ((TILE,), lanes), (c,), (0,)),
    )
    column = trailing if trailing.ndim == 1 else array
    return _taken(column, (c,), forms, (), None, name, True, array.shape)


def _exact(
    layout: str,
    text: str,
    axes: tuple[int, ...],
    sizes: tuple[int, ...],
    order: tuple[int, ...],
) -> _Form:
    return _Form(layout, text, axes, ((),) * len(axes), sizes, order)


def _of_rank(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """Returns a shape with axes of 1 before it taken off or added, up to `rank`."""
    while len(shape) > rank and shape[0] == 1:
        shape = shape[1:]
    return (1,) * (rank - len(shape)) + shape


def _taken(
    values: ArrayLike,
    shape: tuple[int, ...],
    forms: tuple[_Form, ...],
    layouts: tuple[str, ...],
    layout: str | None,
    name: str,
    same: bool,
    given: tuple[int, ...] | None = None,
) -> Taken:
    """Returns values in the planned shape.

    Args:
      layouts: names to choose from; `layout`: the one asked for.
      same: whether all layouts of one shape are the same.
      given: the shape to speak of, if not that of the values.
    """
    if layout is not None and layout not in layouts:
        raise ConfigError(
            f"`layout` of `{name}` (={layout!r}) must be one of {', '.join(layouts)}"
        )
    array = as_float32(values, name)
    given = array.shape if given is None else given
    asked = [form for form in forms if layout in (None, form.layout)]
    fits = [form for form in asked if form.fits(array.shape)]
    if not fits:
        what = "one of the shapes" if layout is None else f"a {layout} shape"
        listed = ", ".join(f"{form.text} {list(form.axes)}" for form in asked)
        padded = any(any(form.padded) for form in asked)
        raise ConfigError(
            f"`{name}` (={given}) must have {what} of the planned {shape}: {listed}"
            + padded * "; rows and channels may be padded to tiles or to shards"
            + ", axes of 1 may stand before them"
        )
    names = sorted({form.layout for form in fits})
    if len(names) > 1 and not same:
        raise ConfigError(
            f"`{name}` (={given}) can be {' or '.join(names)} of the planned {shape}; "
            f"say which, as layout={names[0]!r} or `--layout {names[0]}`"
        )
    taken = fits[0]
    if given == shape and taken.axes == shape and taken.order == (*range(len(shape)),):
        return Taken(values=array)
    note = f"{name}: {list(given)} taken as {taken.text} of {list(shape)}"
    real = math.prod(shape)
    if array.size > real:
        note += f", {array.size - real} elements of padding cut"
    return Taken(values=taken.planned(array), note=note)
