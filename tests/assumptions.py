"""Where the package says `Assumed`: each guess, by its file and symbol."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MARK = re.compile(r"\bAssumed\b")
MODULE = "(module)"  # the symbol of what stands in no definition

_TABLE = re.compile(r"\[([\w.]+)\]")
_KEY = re.compile(r"([\w-]+)\s*=")


class Assumption(NamedTuple):
    """One mark; `place` is `file: symbol`, the file from the repository's root."""

    place: str
    line: int
    text: str


def assumptions(root: Path) -> list[Assumption]:
    """Returns the marks of the package under `root`, in order of files and lines."""
    found = []
    for path in sorted(root.glob("jaxdw/**/*.py")) + sorted(
        root.glob("jaxdw/**/*.toml")
    ):
        source, file = path.read_text("utf-8"), path.relative_to(root).as_posix()
        symbol_of = python_symbol if path.suffix == ".py" else toml_symbol
        found += [
            Assumption(f"{file}: {symbol_of(source, line)}", line, text)
            for line, text in marked_lines(source)
        ]
    return found


def marked_lines(source: str) -> Iterator[tuple[int, str]]:
    """Yields the number and text of each line, once for every mark in it."""
    for number, text in enumerate(source.splitlines(), 1):
        for _ in MARK.findall(text):
            yield number, text.strip()


def symbols(path: Path) -> set[str]:
    """Returns every symbol that a line of a file can belong to."""
    source = path.read_text("utf-8")
    symbol_of = python_symbol if path.suffix == ".py" else toml_symbol
    return {symbol_of(source, n) for n in range(1, source.count("\n") + 1)} | {MODULE}


def python_symbol(source: str, line: int) -> str:
    """Returns the definition or constant that a line belongs to, dotted.

    A line belongs to the innermost function or class around it. Outside of functions
    it belongs to the names that its statement assigns; a comment to the statement
    below it.
    """
    return ".".join(_symbols(_parsed(source).body, line)) or MODULE


_parsed = functools.lru_cache(maxsize=1)(ast.parse)


def _symbols(body: list[ast.stmt], line: int) -> Iterator[str]:
    statement = next((s for s in body if line <= (s.end_lineno or s.lineno)), None)
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() if line >= statement.lineno:
            yield statement.name
            inner = [s for s in statement.body if isinstance(s, _DEFINITIONS)]
            if any(s.lineno <= line <= (s.end_lineno or 0) for s in inner):
                yield from _symbols(inner, line)
        case ast.ClassDef() if line >= statement.lineno:
            yield statement.name
            yield from _symbols(statement.body, line)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield statement.name
        case ast.Assign():
            yield ", ".join(_names(statement.targets))
        case ast.AnnAssign():
            yield ", ".join(_names([statement.target]))


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _names(targets: list[ast.expr]) -> Iterator[str]:
    for target in targets:
        for node in ast.walk(target):
            if isinstance(node, ast.Name):
                yield node.id


def toml_symbol(source: str, line: int) -> str:
    """Returns the key, `table.key`, that a line belongs to; a comment to the next."""
    lines, table, keys = source.splitlines(), "", []
    for number, text in enumerate(lines, 1):
        if found := _TABLE.match(text):
            table = found[1] + "."
        elif found := _KEY.match(text):
            keys.append((number, table + found[1]))
    above = [key for number, key in keys if number <= line]
    below = [key for number, key in keys if number > line]
    near = below[:1] if lines[line - 1].startswith("#") else above[-1:]
    return near[0] if near else MODULE
