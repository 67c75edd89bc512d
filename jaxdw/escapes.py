"""Data on its way out: as text on a terminal, as a cell of CSV, as JSON."""

import contextlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")
_QUOTE = "'"


def visible(text: str) -> str:
    """Returns text whose control, direction and other unseen characters are escaped.

    They are written as Python does, `\\x1b` for one.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def visible_lines(text: str) -> str:
    """Returns `visible` text, its lines kept."""
    return "\n".join(map(visible, text.split("\n")))


def formula_free(cell: str) -> str:
    """Returns a cell that no spreadsheet takes for a formula, by a quote before it.

    `cell_text` is the way back.
    """
    return _QUOTE + cell if cell.startswith((*_FORMULAS, _QUOTE)) else cell


def cell_text(cell: str) -> str:
    """Returns what `formula_free` was given."""
    if cell.startswith(_QUOTE) and cell[1:].startswith((*_FORMULAS, _QUOTE)):
        return cell[1:]
    return cell


def json_text(value: Any, other: Callable[[Any], Any] | None = None) -> str:
    """Returns JSON on one line; NaN and infinities, which it has not, become null.

    Args:
      other: makes something of JSON of values of other types; None for none of them.
    """
    return json.dumps(_plain(value), allow_nan=False, default=other)


_AS_IT_IS = frozenset((str, int, bool, type(None)))


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {
            str(name): one if type(one) in _AS_IT_IS else _plain(one)
            for name, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


class _Shown:
    """A stream of text in which control characters arrive escaped."""

    def __init__(self, beneath: Any):
        self.beneath = beneath

    def write(self, text: str) -> int:
        self.beneath.write(visible_lines(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.beneath, name)


def beneath(stream: Any) -> Any:
    """Returns the stream itself, where control characters are not escaped."""
    while isinstance(stream, _Shown):
        stream = stream.beneath
    return stream


@contextlib.contextmanager
def escaped_output() -> Iterator[None]:
    """Escapes what is printed inside, whatever names it holds.

    What draws for itself, a `report.terminal.Terminal` for one, writes `beneath`.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(_shown(sys.stdout)))
        stack.enter_context(contextlib.redirect_stderr(_shown(sys.stderr)))
        yield


def _shown(stream: Any) -> Any:
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]
    return _Shown(stream)
