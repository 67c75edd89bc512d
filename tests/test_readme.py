"""The README's example runs as printed."""

import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_python_example_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(example.splitlines()) <= 15
    exec(compile(example, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "(2, 2) Shard(rows=60, channels=32) (1,)"
    assert lines[1].startswith("(1, 8, 8, 64) (4, 1, 1024) Traffic(")
    assert float(lines[2]) > 0.999


def test_it_stays_short():
    assert len(README.splitlines()) <= 150
