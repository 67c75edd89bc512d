"""What a terminal is shown: data as text, never as an order to the terminal."""

import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from jaxdw.escapes import beneath, visible_lines


class Terminal(Console):
    """A console that shows strings as they are: no markup, no emoji, escapes visible.

    Styles are given by its own calls and by `Text`. A reader that has enough raises
    BrokenPipeError, as it does of `print`.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible_lines(text), **options)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def terminal(*, stderr: bool = False, piped_width: int | None = None) -> Terminal:
    """Returns the console of standard output, or of errors.

    Args:
      piped_width: characters to a line where nobody looks; None for any number.
    """
    stream = sys.stderr if stderr else sys.stdout
    looked_at = stream.isatty()
    return Terminal(
        file=beneath(stream),
        highlight=False,
        markup=False,
        emoji=False,
        width=None if looked_at else piped_width,
        soft_wrap=not looked_at and piped_width is None and not stderr,
    )
