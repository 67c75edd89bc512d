"""What a user writes passes the type checker: the README's blocks, plain integers."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *ROOT.glob("jaxdw/**/*.md"), *ROOT.glob("bench/*.md")]
BLOCKS = {
    f"{page.relative_to(ROOT)}, block {number}": block
    for page in PAGES
    for number, block in enumerate(
        re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    )
}

LEGAL = """
from typing import assert_type
import jaxdw as jd

jd.ConvConfig(channels=1, height=9, width=9, kernel=3, padding=1)
jd.ConvConfig(channels=1, height=9, width=9, padding=(1, 1), stride=[2, 1])
conv = jd.ConvConfig(channels=1, height=9, width=9, padding=(1, 1, 2, 2), dilation=2)
assert_type(conv.kernel, tuple[int, int])
assert_type(conv.padding, tuple[int, int, int, int])
"""
ILLEGAL = """
import jaxdw as jd

jd.ConvConfig(channels="1", height=9, width=9)
jd.ConvConfig(channels=1, height=9, width=9, padding=(1, 2, 3))
jd.ConvConfig(channels=1, height=9, width=9, dtype="float16")
"""


def lines_with_errors(text: str, path: Path) -> list[int]:
    """Returns the lines of a program, from 0, that basedpyright finds wrong."""
    path.write_text(text)
    command = [sys.executable, "-m", "basedpyright", "--outputjson", str(path)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    report = json.loads(said)
    assert report["summary"]["filesAnalyzed"] == 1
    return [d["range"]["start"]["line"] for d in report["generalDiagnostics"]]


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_every_block_of_a_page_is_typed(block, tmp_path):
    assert lines_with_errors(block, tmp_path / "block.py") == []


def test_a_config_takes_integers_and_holds_tuples(tmp_path):
    assert lines_with_errors(LEGAL, tmp_path / "legal.py") == []


def test_what_no_config_takes_is_an_error(tmp_path):
    assert lines_with_errors(ILLEGAL, tmp_path / "illegal.py") == [3, 4, 5]
