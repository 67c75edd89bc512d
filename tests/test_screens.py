"""The overview and each command's help, as a person reads them.

`python tests/test_screens.py` writes the screens anew: read what changed.
"""

import contextlib
import io
import os
import sys
from pathlib import Path
from unittest import mock

import pytest

from jaxdw import cli

FOLDER = Path(__file__).parent / "screens"
LINES = ["jaxdw", *(f"jaxdw {verb} --help" for verb in cli.verbs(cli.make_parser()))]


def screen_of(line: str) -> str:
    """Returns what a command prints where a line has 80 columns."""
    out = io.StringIO()
    wide = mock.patch.dict(os.environ, {"COLUMNS": "80"})
    with wide, contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        cli.main(line.split()[1:])
    return out.getvalue()


def file_of(line: str) -> Path:
    return FOLDER / f"{line.replace(' --', '-').replace(' ', '-')}.txt"


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse wraps otherwise")
@pytest.mark.parametrize("line", LINES)
def test_a_screen_is_as_it_was_read(line):
    assert screen_of(line) == file_of(line).read_text("utf-8")


def test_every_screen_is_of_a_command():
    assert {*FOLDER.iterdir()} == {file_of(line) for line in LINES}


if __name__ == "__main__":
    for typed in LINES:
        file_of(typed).write_text(screen_of(typed), "utf-8")
