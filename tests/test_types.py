"""What a user writes passes the type checker: the README's blocks, plain integers."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jaxdw as jd
import jaxdw.plan.given

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
from typing import Literal, assert_type
import jaxdw as jd

jd.ConvConfig(channels=1, height=9, width=9, kernel=3, padding=1)
jd.ConvConfig(channels=1, height=9, width=9, padding=(1, 1), stride=[2, 1])
conv = jd.ConvConfig(channels=1, height=9, width=9, padding=(1, 1, 2, 2), dilation=2)
assert_type(conv.kernel, tuple[int, int])
assert_type(conv.padding, tuple[int, int, int, int])
jd.ConvConfig(channels=1, height=9, width=9, dtype="bf16", weights_dtype="bfp4")
shard = jd.ShardConfig(scheme="HEIGHT_SHARDED", output_layout="ROW_MAJOR")
assert_type(shard.output_layout, Literal["tile", "row_major"])
assert_type(jd.ComputeConfig(math_fidelity="hifi4").fp32_dest_acc, bool)
space = jd.Space(weights_dtypes=["bf16"], grids=("chip", (4, 3)), batches=["own", 2])
assert_type(space.batches, tuple[int | None, ...])
"""
ILLEGAL = """
import jaxdw as jd

jd.ConvConfig(channels="1", height=9, width=9)
jd.ConvConfig(channels=1, height=9, width=9, padding=(1, 2, 3))
jd.ConvConfig(channels=1, height=9, width=9, dtype="float16")
jd.ShardConfig(scheme="heigth")
jd.ComputeConfig(math_fidelity="HiFi5")
jd.ConvConfig(height=9, width=9)
jd.Space(schemes="height_sharded", seed="1")
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
    assert lines_with_errors(ILLEGAL, tmp_path / "illegal.py") == [3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("config", ["Conv", "Shard", "Compute"])
def test_type_checkers_know_every_field(config):
    fields = dataclasses.fields(getattr(jd, f"{config}Config"))
    given = getattr(jaxdw.plan.given, f"{config}Given")
    assert [field.name for field in fields] == list(given.__annotations__)
    needed = [f.name for f in fields if f.default is dataclasses.MISSING]
    assert given.__required_keys__ == set(needed)
