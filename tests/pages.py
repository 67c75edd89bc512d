"""What the repository's pages say: code to run, commands to type, names of files."""

import itertools
import re
import shlex
import string
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("jaxdw/**/README.md")),
    *sorted(ROOT.glob("bench/**/README.md")),
]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_VARIABLE = re.compile(r'^(\w+)="([^"]*)"$', re.MULTILINE)
_FROM_ROOT = re.compile(r"(?<![\w./-])(?:jaxdw|tests|bench|scripts)/[\w./*-]*[\w/]")
_FILE = re.compile(r"[\w.-]+(?:/[\w.*-]+)*(?:/|/[\w.*-]+\.(?:py|toml|md|sh|npz|csv))")
_MODULE = re.compile(r"(?<![\w./-])jaxdw(?:\.[A-Za-z_]\w*)+")
_SYMBOL = re.compile(r"([\w./-]+\.(?:py|toml)): (.+)")
_SHELL = "();<>|&"  # where a command's own words end


class Block(NamedTuple):
    """A fenced block of code; `line` is that of its first line in the page."""

    line: int
    code: str


def blocks(text: str, language: str) -> list[Block]:
    """Returns a page's fenced blocks in one language."""
    return [
        Block(text.count("\n", 0, block.start(2)) + 1, block[2])
        for block in _FENCE.finditer(text)
        if block[1] == language
    ]


def prose(text: str) -> str:
    """Returns a page without its fenced blocks."""
    return _FENCE.sub("", text)


def code_spans(text: str) -> list[str]:
    """Returns the inline code of a page, line breaks inside as blanks."""
    return [" ".join(span.split()) for span in _CODE.findall(prose(text))]


def commands(text: str) -> Iterator[list[str]]:
    """Yields the words of every `jaxdw ...`, in bash blocks and in inline code.

    Variables of the page's bash blocks are filled in. A comment, a redirection and what
    follows them are cut.

    Raises:
      KeyError: a variable that no block sets.
    """
    shell = "".join(block.code for block in blocks(text, "bash"))
    lines = shell.replace("\\\n", " ").splitlines() + code_spans(text)
    variables = dict(_VARIABLE.findall(shell))
    for line in lines:
        if line.startswith("jaxdw "):
            yield shell_words(string.Template(line).substitute(variables))


def shell_words(line: str) -> list[str]:
    """Returns the words of a shell command, up to what the shell itself takes."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=_SHELL)
    lexer.whitespace_split = True
    found = []
    for word in lexer:
        if set(word) <= set(_SHELL):
            break
        found.append(word)
    return found


def links(text: str) -> set[str]:
    """Returns the targets of a page's links into the repository."""
    return {target for target in _LINK.findall(text) if "://" not in target}


def paths(text: str) -> set[str]:
    """Returns the files and folders that a page names, from the root or its folder."""
    named = {span for span in code_spans(text) if _FILE.fullmatch(span)}
    return named | set(_FROM_ROOT.findall(text))


def modules(text: str) -> set[str]:
    """Returns the dotted names of the package that a page has."""
    return set(_MODULE.findall(text))


def symbols_named(text: str) -> set[tuple[str, str]]:
    """Returns each file and symbol that a page names as `file: symbol`."""
    found = (_SYMBOL.fullmatch(span) for span in code_spans(text))
    return {(match[1], match[2]) for match in found if match}


def table(text: str, heading: str) -> list[list[str]]:
    """Returns the rows of the first table under a heading, without its head.

    Raises:
      ValueError: no such heading.
    """
    lines = text.splitlines()
    start = next((n for n, s in enumerate(lines) if s.lstrip("#") == f" {heading}"), -1)
    if start < 0:
        raise ValueError(f"`heading` (={heading!r}) must be one of the page's")
    below = itertools.dropwhile(lambda s: not s.startswith("|"), lines[start:])
    rows = [*itertools.takewhile(lambda s: s.startswith("|"), below)][2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
