"""The equal parts of an output: rows, channels, sticks, tiles, cores, shards."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from jaxdw.judge.comparison import core_of
from jaxdw.plan.plan import Plan
from jaxdw.plan.units import FACE, TILE, round_up


@dataclasses.dataclass(frozen=True)
class Units:
    """The equal parts that an output has in one way of dividing it.

    Attributes:
      name, plural: of one and of several.
      index: `[units, elements]`, places in the output; -1 past the end.
    """

    name: str
    plural: str
    index: Int[np.ndarray, "units elements"]


UNITS: dict[str, tuple[str, Callable[[Plan], Int[np.ndarray, "units elements"]]]] = {
    "image": ("images", lambda plan: _places(plan).reshape(plan.conv.batch, -1)),
    "NHW shard": ("shards", lambda plan: _shards(plan)),
    "channel shard": ("channel-shards", lambda plan: _channel_shards(plan)),
    "core": ("cores", lambda plan: _cores(plan)),
    "row": ("image-rows", lambda plan: _along(plan, 1)),
    "column": ("image-columns", lambda plan: _along(plan, 2)),
    "channel": ("channels", lambda plan: _along(plan, 3)),
    "stick": ("sticks", lambda plan: _places(plan).reshape(-1, plan.conv.channels)),
    "tile": ("tiles", lambda plan: _tiles(plan, TILE)),
    "face": ("faces", lambda plan: _tiles(plan, FACE)),
}


ROLLING = ("row", "column", "channel", "stick")  # and late
REVERSING = ("row", "column", "channel")


def _places(plan: Plan) -> Int[np.ndarray, "n ho wo c"]:
    return np.arange(np.prod(plan.output_shape)).reshape(plan.output_shape)


def _along(plan: Plan, axis: int) -> Int[np.ndarray, "units elements"]:
    places = np.moveaxis(_places(plan), axis, 0)
    return places.reshape(len(places), -1)


def _padded(parts: list[np.ndarray]) -> Int[np.ndarray, "units elements"]:
    most = max((part.size for part in parts), default=0)
    return np.array(
        [np.pad(p.ravel(), (0, most - p.size), constant_values=-1) for p in parts]
    ).reshape(len(parts), most)


def _shards(plan: Plan) -> Int[np.ndarray, "units elements"]:
    sticks = _places(plan).reshape(-1, plan.conv.channels)
    shard, _ = core_of(plan)
    return _padded([sticks[shard == s] for s in range(plan.num_nhw_shards)])


def _channel_shards(plan: Plan) -> Int[np.ndarray, "units elements"]:
    sticks = _places(plan).reshape(-1, plan.conv.channels)
    return _padded([sticks[:, columns] for columns in channel_columns(plan)])


def channel_columns(plan: Plan) -> list[slice]:
    width = plan.output_shard.channels
    return [slice(c, c + width) for c in range(0, plan.conv.channels, width)]


def _cores(plan: Plan) -> Int[np.ndarray, "units elements"]:
    sticks = _places(plan).reshape(-1, plan.conv.channels)
    shard, _ = core_of(plan)
    own = [sticks[shard == s] for s in range(plan.num_nhw_shards)]
    return _padded(
        [part[:, columns] for part in own for columns in channel_columns(plan)]
    )


def _tiles(plan: Plan, side: int) -> Int[np.ndarray, "units elements"]:
    """Squares of the output as a matrix of sticks, as tiles of a tensor are."""
    sticks = _places(plan).reshape(-1, plan.conv.channels)
    rows, columns = (round_up(size, side) for size in sticks.shape)
    past = (0, rows - sticks.shape[0]), (0, columns - sticks.shape[1])
    matrix = np.pad(sticks, past, constant_values=-1)
    squares = matrix.reshape(rows // side, side, columns // side, side)
    return squares.swapaxes(1, 2).reshape(-1, side * side)


@functools.lru_cache(maxsize=16)
def units_of(plan: Plan, name: str) -> Units:
    """Divides a plan's output; one unit if it cannot be divided so."""
    plural, index = UNITS[name]
    return Units(name, plural, index(plan))
