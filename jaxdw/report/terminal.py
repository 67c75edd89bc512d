"""What a terminal is shown: data as text, never as an order to the terminal."""

import sys
from typing import Any

from rich.console import Console
from rich.measure import measure_renderables
from rich.table import Table
from rich.text import Text

from jaxdw.escapes import beneath, visible_lines

_UNLIMITED = 1 << 14


class Terminal(Console):
    """A console that shows strings as they are: no markup, no emoji, escapes visible.

    Styles are given by its own calls and by `Text`. A reader that has enough raises
    BrokenPipeError, as it does of `print`.

    Args:
      stderr: whether it is that of errors, not of output.
      file: what it writes to instead; width: of its lines.
    """

    def __init__(
        self,
        *,
        stderr: bool = False,
        file: Any = None,
        width: int | None = None,
    ):
        stream = file or (sys.stderr if stderr else sys.stdout)
        super().__init__(
            file=beneath(stream),
            width=width,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible_lines(text), **options)

    def print_whole(self, table: Table) -> None:
        """Prints a table as wide as it is, at least as wide as the console."""
        options = self.options.update(max_width=_UNLIMITED)
        for column in table.columns:  # measured once, not at each use of the table
            cells = [column.header, *column.cells]
            column.width = measure_renderables(self, options, cells).maximum
        usual = self.width
        # `print` itself takes no width beyond the console's
        self.width = max(self.measure(table, options=options).maximum, usual)
        self.print(table, crop=False, no_wrap=True)
        self.width = usual

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError
