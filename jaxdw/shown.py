"""How results show themselves: `print` as the command prints, a notebook drawn.

Who draws lies on a higher floor and is named from above, so that what is drawn knows
nothing of it.
"""

import importlib
from typing import Any

DRAWER: list[str] = []  # the module that draws, named by the package


class Shown:
    """A result that `print` shows as the command does, and a notebook as HTML."""

    __slots__ = ()

    def __str__(self) -> str:
        return _drawer().text(self)

    def _repr_html_(self) -> str:
        return _drawer().html(self)


class ShownTuple(tuple, Shown):
    """A tuple that shows itself."""

    __slots__ = ()


class ShownList(list, Shown):
    """A list that shows itself."""


def _drawer() -> Any:
    return importlib.import_module(DRAWER[-1])
