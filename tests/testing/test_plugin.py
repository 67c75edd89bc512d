"""The fixture `jaxdw_plan`, as pytest loads it in a project of somebody else."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]

TESTS = """
import pytest
import jaxdw as jd


def test_plans(jaxdw_plan):
    plan = jaxdw_plan(
        channels=64, height=8, width=8, padding=1, scheme="block", arch="blackhole",
        math_fidelity="HiFi4", program="depthwise",
    )
    want = jd.make_plan(
        jd.ConvConfig(channels=64, height=8, width=8, padding=1),
        jd.ShardConfig(scheme="block"),
        jd.ComputeConfig(math_fidelity="HiFi4"),
        arch="blackhole",
    )
    assert plan == want


def test_fits_or_not(jaxdw_plan):
    layer = {"channels": 4096, "height": 64, "width": 64}
    with pytest.raises(jd.L1OutOfMemory):
        jaxdw_plan(**layer)
    assert not jaxdw_plan(**layer, must_fit=False).l1.fits


def test_refuses(jaxdw_plan):
    with pytest.raises(jd.ConfigError, match="takes no chanels, sise"):
        jaxdw_plan(chanels=64, sise=8)


def test_fails(jaxdw_plan):
    assert jaxdw_plan(channels=77, height=8, width=8).conv.channels == 0
"""


def test_the_fixture_plans_and_shows_its_plan_where_a_test_fails(tmp_path):
    (tmp_path / "test_it.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "jaxdw.testing.plugin", "-q"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "-p", "no:jaxdw", f"--rootdir={tmp_path}"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert "1 failed, 3 passed" in done.stdout, done.stdout + done.stderr
    shown = done.stdout.partition("jaxdw plan")[2]
    assert "output = ttnn.conv2d(" in shown
    assert "in_channels=77," in shown


def test_the_plugin_is_an_entry_point_of_pytest():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"jaxdw": "jaxdw.testing.plugin"}


def test_the_plugin_imports_nothing_of_jaxdw_before_it_is_asked():
    code = (
        "import sys, jaxdw.testing.plugin as p\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('jaxdw', 'jax')))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == (
        "['jaxdw', 'jaxdw.shown', 'jaxdw.testing', 'jaxdw.testing.plugin']"
    )
