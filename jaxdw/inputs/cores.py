"""The cores of a `CoreGrid`, `CoreRangeSet` or `CoreRange` as it is written."""

import re
from typing import Any

from jaxdw.errors import ConfigError
from jaxdw.inputs.source import Call

_CORNERS = re.compile(
    r"\(?(?:x\s*=\s*)?(\d+)\s*,\s*(?:y\s*=\s*)?(\d+)\)?\s*-\s*"
    r"\(?(?:x\s*=\s*)?(\d+)\s*,\s*(?:y\s*=\s*)?(\d+)\)?"
)
Ranges = list[tuple[int, int, int, int]]


def read_cores(value: Any) -> tuple[int, int] | int:
    """Returns (x, y) of a full rectangle from core (0, 0), else how many cores.

    Raises:
      ConfigError: something else, cores that are not full rows and a partial one.
    """
    if isinstance(value, Call) and value.bare == "CoreGrid":
        size = value.kwargs.get("x"), value.kwargs.get("y")
        if type(size[0]) is int and type(size[1]) is int:
            return size[0], size[1]
    ranges = sorted(_ranges(value), key=lambda box: (box[1], box[0]))
    if not ranges:
        raise ConfigError(
            f"`core_grid` (={_shown(value)}) must be a CoreGrid or a CoreRangeSet "
            "written out"
        )
    x0, y0, x1, y1 = ranges[0]
    if len(ranges) == 1 and (x0, y0) == (0, 0):
        return x1 + 1, y1 + 1
    if len(ranges) == 2 and (x0, y0) == (0, 0):
        rest = ranges[1]
        if rest[0] == 0 and rest[1] == rest[3] == y1 + 1 and rest[2] < x1:
            return (x1 + 1) * (y1 + 1) + rest[2] + 1
    raise ConfigError(
        f"`core_grid` (={ranges}) must be a rectangle from core (0, 0), or full rows "
        "and a partial one"
    )


def _ranges(value: Any) -> Ranges:
    if isinstance(value, str):
        found = (map(int, box.groups()) for box in _CORNERS.finditer(value))
        return [(x0, y0, x1, y1) for x0, y0, x1, y1 in found]
    if isinstance(value, tuple):
        return [box for item in value for box in _ranges(item)]
    if not isinstance(value, Call):
        return []
    corners = [point for arg in value.args if (point := _point(arg)) is not None]
    if value.bare == "CoreRange" and len(corners) == 2:
        return [(*corners[0], *corners[1])]
    return [box for arg in value.args for box in _ranges(arg)]


def _point(value: Any) -> tuple[int, int] | None:
    if isinstance(value, Call) and value.bare == "CoreCoord":
        value = value.args
    if isinstance(value, tuple) and [type(item) for item in value] == [int, int]:
        return value
    return None


def _shown(value: Any) -> str:
    return value.name if isinstance(value, Call) else str(value)
