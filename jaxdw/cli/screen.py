"""The screen: tables as wide as they need where nobody looks, folded where one does."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from jaxdw.report.terminal import Terminal

_PIPED_WIDTH = 160


def make_console(*, stderr: bool = False) -> "Terminal":
    """Returns a console that cuts nothing where its output goes to a file or pipe."""
    from jaxdw.report.terminal import Terminal

    console = Terminal(stderr=stderr)
    if not console.is_terminal:
        console.width, console.soft_wrap = _PIPED_WIDTH, True
    return console


def show(console: "Terminal", table: "Table") -> None:
    """Prints a table whole: piped, as wide as it is; on a screen, its cells folded."""
    if console.is_terminal:
        for column in table.columns:
            column.overflow = "fold"
        table.columns[0].no_wrap = True
        console.print(table)
    else:
        console.print_whole(table)


def show_rows(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Prints rows as a table."""
    from jaxdw.report.text import rows_table

    show(make_console(), rows_table(title, list(rows)))
