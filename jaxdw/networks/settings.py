"""The ways to compute a network's layers that are compared: points as of a sweep."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from jaxdw.errors import ConfigError, UnsupportedError
from jaxdw.models.onnx.file import OnnxLayer
from jaxdw.sweep.axes import AXES
from jaxdw.sweep.rows import Inputs, Point
from jaxdw.sweep.space import Space, read_axes

if TYPE_CHECKING:
    from jaxdw.plan.plan import Plan

FIXED = ("model", "batch", "activation")  # the network's own
CHOSEN = tuple(axis for axis in AXES if axis.column not in FIXED)
_LIMIT = 256  # plans and their maps that a process keeps


@dataclasses.dataclass(frozen=True)
class Setting:
    """One way to compute each layer: a point a layer, in their order."""

    points: tuple[Point, ...]

    @property
    def values(self) -> dict[str, Any]:
        """The value of each axis, as a row holds it; None where layers differ."""
        found = {}
        for axis in CHOSEN:
            cells = {axis.cell(point) for point in self.points}
            found[axis.column] = cells.pop() if len(cells) == 1 else None
        return found

    def problems(self) -> list[str]:
        """Returns a sentence for each layer that cannot be computed so."""
        found = []
        for point in self.points:
            try:
                planned(point)
            except (ConfigError, UnsupportedError) as error:
                found.append(f"layer {point.layer!r}: {str(error).splitlines()[0]}")
        return found

    def cycles(self) -> int:
        """Returns the lower bound of all layers' cycles."""
        return sum(planned(point)[0].cycles.total for point in self.points)


def settings_of(
    path: str,
    inputs: Inputs,
    layers: Sequence[OnnxLayer],
    axes: Mapping[str, Any],
) -> tuple[Setting, ...]:
    """Returns each combination of the axes' values as a setting of all layers.

    Args:
      axes: values or words by the plural names of `jaxdw.sweep.axes`; those of `Space`
        where one is missing, `auto` for the scheme.

    Raises:
      ConfigError: an axis that is the network's own, or a value that is none of its.
    """
    names = {axis.plural for axis in CHOSEN}
    for name in axes:
        if name not in names:
            raise ConfigError(
                f"`{name}` must be an axis that a network leaves open; use "
                + ", ".join(sorted(names))
            )
    given = {"schemes": ("auto",), **axes}
    chosen: dict[str, Any] = dict(read_axes(given))
    space = Space(models=(path,), inputs=inputs, **chosen)
    by_name = {layer.name: layer for layer in layers}
    found: dict[tuple, list[Point]] = {}
    for point in space.points():
        key = tuple(axis.of(point) for axis in CHOSEN)
        conv = by_name[point.layer].conv
        own = dataclasses.replace(
            point.conv, batch=conv.batch, activation=conv.activation
        )
        found.setdefault(key, []).append(dataclasses.replace(point, conv=own))
    return tuple(Setting(tuple(points)) for points in found.values())


@functools.lru_cache(maxsize=_LIMIT)
def planned(point: Point) -> "tuple[Plan, Any]":
    """Returns a point's plan and its maps; None for those of several launches.

    Raises:
      ConfigError: as `make_plan`.
    """
    from jaxdw.maps.maps import make_maps

    plan = point.plan()
    return plan, make_maps(plan) if plan.slices <= 1 else None


def emulated(
    point: Point,
    x: Float32[np.ndarray, "n h w c"],
    w: Float32[np.ndarray, "c one kh kw"],
    bias: Float32[np.ndarray, " c"] | None,
) -> Float32[np.ndarray, "n ho wo c"]:
    """Returns the output of a layer on the chip, the bits of `jd.run`."""
    from jaxdw.launch.bucketed import run_bucketed
    from jaxdw.launch.slices import run_slices
    from jaxdw.maps.maps import make_maps

    plan, maps = planned(point)
    if maps is not None:
        return run_bucketed(plan, maps, x, w, bias)

    def run_launch(launch: "Plan", image: Any) -> Any:
        return run_bucketed(launch, make_maps(launch), image, w, bias)

    return np.asarray(run_slices(plan, x, run_launch))


def channels_zeroed(point: Point, w: Float32[np.ndarray, "c one kh kw"]) -> int:
    """Returns how many kernels a format makes zero that are not."""
    from jaxdw.launch.host import weights_in_lanes

    plan, maps = planned(point)
    if plan.conv.weights_dtype in ("bfloat16", "float32") or maps is None:
        return 0
    held = weights_in_lanes(maps.on_host, np.asarray(w), plan.conv.weights_dtype)
    held = held.reshape(-1, *held.shape[-2:])[0][:, : len(w)]
    return int(np.count_nonzero(~held.any(axis=0) & w.reshape(len(w), -1).any(axis=1)))
