"""The screen: tables as wide as they need where nobody looks, folded where one does."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_PIPED_WIDTH = 160
_UNLIMITED = 1 << 14


def make_console(*, stderr: bool = False) -> "Console":
    """Returns a console that cuts nothing where its output goes to a file or pipe."""
    from jaxdw.report.terminal import Terminal

    console = Terminal(stderr=stderr)
    if not console.is_terminal:
        console.width, console.soft_wrap = _PIPED_WIDTH, True
    return console


def show(console: "Console", table: "Table") -> None:
    """Prints a table whole: piped, as wide as it is; on a screen, its cells folded."""
    from rich.measure import measure_renderables

    if console.is_terminal:
        for column in table.columns:
            column.overflow = "fold"
        table.columns[0].no_wrap = True
        console.print(table)
        return
    options = console.options.update(max_width=_UNLIMITED)
    for column in table.columns:  # measured once, not at each use of the table
        cells = [column.header, *column.cells]
        column.width = measure_renderables(console, options, cells).maximum
    usual = console.width
    # `print` itself takes no width beyond the console's
    console.width = max(console.measure(table, options=options).maximum, _PIPED_WIDTH)
    console.print(table, crop=False, no_wrap=True)
    console.width = usual


def show_rows(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Prints rows as a table."""
    from jaxdw.report.text import rows_table

    show(make_console(), rows_table(title, list(rows)))
