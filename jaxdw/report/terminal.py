"""What a terminal is shown: data as text, never as an order to the terminal."""

import copy
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
        table = self._joined(table)
        options = self.options.update(max_width=_UNLIMITED)
        for column in table.columns:  # measured once, not at each use of the table
            cells = [column.header, *column.cells]
            column.width = measure_renderables(self, options, cells).maximum
        usual = self.width
        # `print` itself takes no width beyond the console's
        self.width = max(self.measure(table, options=options).maximum, usual)
        self.print(table, crop=False, no_wrap=True)
        self.width = usual

    def _joined(self, table: Table) -> Table:
        """Returns a table that looks the same: the rows of a section are one.

        It is laid out in a third of the time, where no cell is folded. What a cell is
        filled up with has no style.
        """
        if table.show_lines or table.row_styles or any(r.style for r in table.rows):
            return table
        columns = [list(column.cells) for column in table.columns]
        if not all(isinstance(cell, str | Text) for cells in columns for cell in cells):
            return table
        joined = copy.copy(table)
        joined.columns = [column.copy() for column in table.columns]
        joined.rows = []
        section: list[list[Text]] = []
        for row, cells in zip(table.rows, zip(*columns, strict=True), strict=True):
            texts = [self.render_str(c) if isinstance(c, str) else c for c in cells]
            lines = [text.plain.count("\n") for text in texts]
            missing = [max(lines) - own for own in lines]
            section.append([t + "\n" * n for t, n in zip(texts, missing, strict=True)])
            if row.end_section or row is table.rows[-1]:
                in_columns = zip(*section, strict=True)
                whole = [Text("\n").join(cells) for cells in in_columns]
                joined.add_row(*whole, end_section=row.end_section)
                section = []
        return joined

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError
