"""Compiled programs are read from a folder that nobody else can write to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import jaxdw as jd
from jaxdw.launch.cache import cache_directory, own_folder
from jaxdw.sweep.runner import run_sweep
from jaxdw.sweep.space import Space

ROOT = Path(__file__).parents[2]
POINTS = Space(models=("xception",), schemes=("height",), sample=1).points()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def loose():
    before = os.umask(0o000)
    yield
    os.umask(before)


def test_a_new_folder_is_its_owners_alone(tmp_path, loose, monkeypatch):
    monkeypatch.setenv("JAXDW_CACHE", str(tmp_path / "a" / "cache"))
    assert mode(own_folder(cache_directory())) == 0o700
    run_sweep(POINTS, tmp_path / "out", plan_only=True, cache=str(tmp_path / "c"))
    assert mode(tmp_path / "c") == 0o700


@pytest.mark.parametrize(("bits", "taken"), [
    (0o700, True), (0o755, True), (0o500, True), (0o775, False), (0o777, False),
    (0o702, False), (0o720, False), (0o1777, False),
])  # fmt: skip
def test_a_folder_that_others_may_write_to_is_refused(tmp_path, bits, taken):
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(bits)
    if taken:
        assert own_folder(folder) == folder
        return
    words = r"`JAXDW_CACHE` .*writable by others: programs in it will run.*chmod go-w"
    with pytest.raises(jd.ConfigError, match=words):
        own_folder(folder)
    with pytest.raises(jd.ConfigError, match=words.replace("JAXDW_CACHE", "directory")):
        jd.enable_cache(folder)
    with pytest.raises(jd.ConfigError, match=words):
        run_sweep(POINTS, tmp_path / "out", plan_only=True, cache=str(folder))


def test_another_users_folder_is_refused(tmp_path, monkeypatch):
    uid = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    if uid == 0:
        os.chown(tmp_path, 12345, -1)
    with pytest.raises(jd.ConfigError, match="must be your own folder, not that of"):
        own_folder(tmp_path)


def test_the_command_says_so_in_one_sentence(tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o777)
    program = "import sys; from jaxdw.cli import command; sys.exit(command())"
    line = [sys.executable, "-c", program, "plan", "--channels", "32", "--size", "4"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAXDW_CACHE": str(folder)}
    done = subprocess.run(line, capture_output=True, text=True, env=env)
    assert done.returncode == 2
    assert done.stderr.startswith("jaxdw: `JAXDW_CACHE`")
    assert done.stderr.count("\n") == 1
    # of another cache it has nothing to say
    env["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path / "another")
    assert subprocess.run(line, capture_output=True, env=env).returncode == 0
