"""The pages of the repository: what they run, type, name and list is so."""

import argparse
import contextlib
import io
import pkgutil
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest
from assumptions import assumptions, python_symbol, symbols, toml_symbol
from pages import (
    PAGES,
    ROOT,
    blocks,
    code_spans,
    commands,
    links,
    modules,
    paths,
    shell_words,
    symbols_named,
    table,
)

from jaxdw.cli import make_parser
from jaxdw.plan.known import KNOWN, Quantity
from jaxdw.plan.planner import PROGRAMS
from jaxdw.plan.ttnn import findings as ttnn
from jaxdw.report.text import markdown

README = (ROOT / "README.md").read_text("utf-8")
HOUSE = (ROOT / "jaxdw" / "README.md").read_text("utf-8")
PLAN = (ROOT / "jaxdw" / "plan" / "README.md").read_text("utf-8")

every_page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix()
)


def verbs() -> dict[str, argparse.ArgumentParser]:
    """Returns the commands that the parser knows, with their own parsers."""
    (commands,) = (action for action in make_parser()._actions if action.choices)
    return dict(commands.choices)


@every_page
def test_every_python_block_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}  # a page is read from top to bottom
    for line, code in blocks(page.read_text("utf-8"), "python"):
        source = "\n" * (line - 1) + code
        exec(compile(source, str(page), "exec"), names)


def test_the_first_example_prints_what_it_says(capsys):
    (example,) = blocks(README, "python")
    assert len(example.code.splitlines()) <= 12
    exec(compile(example.code, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "(2, 2) Shard(rows=60, channels=32) (1,)"
    assert lines[1].startswith("(1, 8, 8, 64) (4, 1, 1024) Traffic(")
    assert float(lines[2]) > 0.999


@every_page
def test_every_command_is_one_that_the_parser_takes(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _, verb, *words in commands(page.read_text("utf-8")):
        parser = verbs()[verb]
        if not words:  # the verb by its name
            continue
        for word in words:
            if word.startswith("--"):  # a parser takes an option cut short, too
                assert word in parser._option_string_actions, f"{verb} has no {word}"
            if Path(word).suffix in (".npy", ".json", ".toml", ".onnx"):
                Path(word).touch()  # the reader's own file
        complaint = io.StringIO()
        with contextlib.redirect_stderr(complaint), contextlib.suppress(SystemExit):
            parser.parse_args(words)
        assert not complaint.getvalue(), f"{words}\n{complaint.getvalue()}"


@every_page
def test_everything_that_a_page_names_exists(page):
    text = page.read_text("utf-8")
    for link in links(text):
        assert (page.parent / link).exists(), link
    for path in paths(text):
        found = [*page.parent.glob(path), *ROOT.glob(path)]
        assert found, f"{path} is neither beside {page} nor in the repository"
    for name in modules(text):
        assert pkgutil.resolve_name(name) is not None
    for file, symbol in symbols_named(text):
        known = symbols(ROOT / file)
        assert symbol in known, f"{file} has no {symbol!r}; it has {sorted(known)}"


def test_the_front_page_is_short_and_asks_for_every_verb():
    assert len(README.splitlines()) <= 90
    typed = {command[1] for command in commands(README) if len(command) > 1}
    assert typed == set(verbs())


def test_the_house_lists_every_room():
    rooms = {p.parent.name + "/" for p in ROOT.glob("jaxdw/*/__init__.py")}
    rooms |= {p.name for p in ROOT.glob("jaxdw/*.py") if p.name != "__init__.py"}
    listed = [room for row in table(HOUSE, "Rooms") for room in code_spans(row[1])]
    assert Counter(listed) == Counter(rooms)


def test_every_assumption_of_the_package_is_listed_and_no_other():
    listed = [code_spans(row[0])[0] for row in table(PLAN, "Assumed")]
    found = assumptions(ROOT)
    lacking = Counter(a.place for a in found) - Counter(listed)
    lines = [
        f"| `{a.place}` | ... |    for line {a.line}: {a.text}"
        for a in found
        if a.place in lacking
    ]
    assert not lines, "\n".join(["add to the table of jaxdw/plan/README.md:", *lines])
    gone = Counter(listed) - Counter(a.place for a in found)
    assert not gone, f"strike from the table of jaxdw/plan/README.md: {[*gone]}"


def test_every_known_defect_is_listed_and_no_other():
    listed = [tuple(row[:3]) for row in table(PLAN, "Corrected")]
    known = [
        (defect.code, defect.severity, defect.basis)
        for program in PROGRAMS.values()
        for defect in program.defects
    ]
    found = (
        ttnn.elsewhere("regular", "conv1d"), ttnn.sliced(2), ttnn.refused("no", 0),
        ttnn.unprepared(8), ttnn.by_matmul(),
    )  # fmt: skip
    known += [(f.code, f.severity, f.basis) for f in found]
    known.sort(key=lambda row: row[0])
    lines = [f"| {' | '.join(row)} | ... |" for row in known if row not in listed]
    assert not lines, "\n".join(["add to the table of jaxdw/plan/README.md:", *lines])
    assert listed == known, "the table of jaxdw/plan/README.md has lines too many"


def test_every_program_is_listed_with_its_tree():
    listed = {
        tuple(row[:2])
        for row in table(PLAN, "What is emulated, and how far to trust it")
    }
    assert listed == {(f"`{p.program}`", p.tree) for p in PROGRAMS.values()}


def test_how_well_each_program_is_known_is_listed_as_it_is():
    assert {*KNOWN} == {*PROGRAMS}
    rows = [
        {"quantity": quantity}
        | {
            f"`{name}`": f"*{of[quantity].by}*: {of[quantity].what}"
            for name, of in KNOWN.items()
        }
        for quantity in KNOWN["depthwise"]
    ]
    assert "\n".join(markdown(rows)) + "\n" in PLAN
    listed = table(PLAN, "How well is it known")
    assert [row[0] for row in listed] == [*get_args(Quantity)]


PYTHON = '''"""Assumed: a."""

# Assumed: b
A, B = 1, 2
C = [  # Assumed: c
    3,
]  # Assumed: d


class D:
    """Assumed: e"""

    # Assumed: f
    field: int = 0

    # Assumed: g
    @property
    def g(self):
        x = 1  # Assumed: g

        def inner():
            return x  # Assumed: h

        return inner  # Assumed: i


import os  # Assumed: j
# Assumed: k
'''


def test_a_mark_belongs_to_the_symbol_around_it_or_below_it():
    got = {
        text.split("Assumed: ")[1][0]: python_symbol(PYTHON, number)
        for number, text in enumerate(PYTHON.splitlines(), 1)
        if "Assumed" in text
    }
    assert got == {
        "a": "(module)",
        "b": "A, B",
        "c": "C",
        "d": "C",
        "e": "D",
        "f": "D.field",
        "g": "D.g",
        "h": "D.g.inner",
        "i": "D.g",
        "j": "(module)",
        "k": "(module)",
    }


TOML = """# Assumed: the comment of a name
name = "a"

[noc]
x = [
    1,  # Assumed
]
# Assumed
y = 2
source = "Assumed: all"
# Assumed, of nothing
"""


def test_a_mark_in_toml_belongs_to_its_key_or_the_one_below():
    got = [toml_symbol(TOML, line) for line in (1, 2, 6, 8, 9, 10, 11)]
    want = ["name", "name", "noc.x", "noc.y", "noc.y", "noc.source", "(module)"]
    assert got == want


def test_marks_are_found_with_their_places(tmp_path):
    room = tmp_path / "jaxdw" / "arch"
    room.mkdir(parents=True)
    (room / "a.py").write_text("x = 1  # `Assumed:` twice, Assumed\nassumed = 2\n")
    (room / "a.toml").write_text('[t]\nk = "Assumed: this"\n')
    (tmp_path / "b.py").write_text("# Assumed: outside\n")
    assert [(a.place, a.line) for a in assumptions(tmp_path)] == [
        ("jaxdw/arch/a.py: x", 1),
        ("jaxdw/arch/a.py: x", 1),
        ("jaxdw/arch/a.toml: t.k", 2),
    ]


PAGE = """# Page
See [it](a/b.md) or [that](https://c.d), `jaxdw plan
--json`, `jaxdw`, `x/y.py` and `jaxdw.arch.arch.NAMES`, `a/b.toml:
t.k`, `n/a`.

```bash
L="--size 8x8"
jaxdw run $L \\
    --bias | less  # look
echo jaxdw
jaxdw query r "SELECT a > 1" > out.txt
```

## Table

| a | `jaxdw/r/` |
|---|---|
| 1 | two `tests/*.py` |

## Next

| b | c |
|---|---|
| 3 | 4 |
"""


def test_pages_are_read_as_written():
    assert blocks(PAGE, "python") == []
    assert [block.line for block in blocks(PAGE, "bash")] == [7]
    assert list(commands(PAGE)) == [
        ["jaxdw", "run", "--size", "8x8", "--bias"],
        ["jaxdw", "query", "r", "SELECT a > 1"],
        ["jaxdw", "plan", "--json"],
    ]
    assert shell_words("jaxdw a 'b # c' # d") == ["jaxdw", "a", "b # c"]
    assert shell_words("jaxdw a 2x2>b") == ["jaxdw", "a", "2x2"]
    with pytest.raises(KeyError, match="M"):
        list(commands("`jaxdw run $M`"))
    assert links(PAGE) == {"a/b.md"}
    assert paths(PAGE) == {"x/y.py", "jaxdw/r/", "tests/*.py"}
    assert modules(PAGE) == {"jaxdw.arch.arch.NAMES"}
    assert symbols_named(PAGE) == {("a/b.toml", "t.k")}
    assert table(PAGE, "Table") == [["1", "two `tests/*.py`"]]
    assert table(PAGE, "Next") == [["3", "4"]]
