"""The page of the folder holds the tables of axes and columns as they are."""

from pathlib import Path

import jaxdw
from jaxdw.report.text import markdown
from jaxdw.sweep.axes import AXES
from jaxdw.sweep.rows import COLUMNS, SCHEMA

PAGE = Path(jaxdw.__file__).parent / "sweep" / "README.md"


def axes_table() -> str:
    return "\n".join(
        markdown(
            [
                {
                    "axis": f"`{axis.plural}`",
                    "column": f"`{axis.column}`",
                    "default": "all"
                    if axis.default == axis.every
                    else ", ".join(map(axis.word, axis.default)),
                    "values": axis.choices,
                    "field": f"`{axis.part}.{axis.name}`",
                }
                for axis in AXES
            ]
        )
    )


def columns_table() -> str:
    return "\n".join(
        markdown(
            [
                {"name": f"`{name}`", "type": kind.__name__, "meaning": meaning}
                for name, kind, meaning in COLUMNS
            ]
        )
    )


def test_the_page_holds_both_tables_as_the_code_has_them():
    text = PAGE.read_text("utf-8")
    assert axes_table() + "\n" in text
    assert columns_table() + "\n" in text
    assert f"schema {SCHEMA}" in text
    assert len(text.splitlines()) <= 125
