"""What a process frees it keeps, so that the next array costs no new pages."""

import os
import subprocess
import sys
import types

import pytest

import jaxdw as jd
from jaxdw.launch import memory

PROGRAM = """
import resource, sys
import numpy as np
from jaxdw.launch.memory import MOST, SOME, keep_memory
if "keep" in sys.argv:
    assert keep_memory(SOME) and keep_memory(MOST) and keep_memory(SOME)
if "some" in sys.argv:
    assert keep_memory(SOME)
mb = int(sys.argv[-1])
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def arrays():
    return [np.ones(mb << 18, np.float32) for _ in range(3)]
arrays()
before = faults()
for _ in range(10):
    arrays()
print(faults() - before)
"""


def page_faults(program: str, *words: str, **environment: str) -> int:
    """Returns what a program prints that counts its own page faults."""
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True, check=True, text=True,
        env=os.environ | environment,
    )  # fmt: skip
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_memory_freed_is_taken_again():
    assert page_faults(PROGRAM, "keep", "64") < 100
    assert page_faults(PROGRAM, "some", "64") > 1000
    assert page_faults(PROGRAM, "some", "2") < 100
    assert page_faults(PROGRAM, "give", "2") > 1000


LAUNCHES = """
import resource
import numpy as np
import jaxdw as jd
conv = jd.ConvConfig(channels=64, height=64, width=64, padding=1, batch=32)
compute = jd.ComputeConfig(arithmetic="float32")
plan = jd.make_plan(conv, None, compute, must_fit=False)
maps = jd.make_maps(plan)
x, w = np.ones(conv.input_shape, np.float32), np.ones(conv.weight_shape, np.float32)
x, w = jd.run(plan, maps, x, w).output, np.asarray(w)  # 34 MB
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    jd.run(plan, maps, x, w).output.block_until_ready()
before = faults()
for _ in range(30):
    jd.run(plan, maps, x, w).output.block_until_ready()
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_a_launch_of_a_large_layer_takes_memory_again_unless_told_not_to():
    pages = 30 * 32 * 64 * 64 * 64 * 4 // 4096
    assert (
        page_faults(LAUNCHES, JAXDW_KEEP_MEMORY="") < pages / 4
    )  # now and then one more
    assert page_faults(LAUNCHES, JAXDW_KEEP_MEMORY="0") > pages / 2


@pytest.fixture
def asked_anew(monkeypatch):
    """Has `keep_memory` decide as in a process where nobody asked."""
    monkeypatch.delenv("JAXDW_KEEP_MEMORY", raising=False)
    monkeypatch.setattr(memory._Heap, "kept", 0)
    memory._mallopt.cache_clear()
    yield
    memory._mallopt.cache_clear()


@pytest.mark.usefixtures("asked_anew")
@pytest.mark.parametrize("missing", ["platform", "mallopt", "asked"])
def test_another_libc_is_left_alone(monkeypatch, missing):
    calls = []
    libc = types.SimpleNamespace(mallopt=lambda *one: calls.append(one) or 1)
    if missing == "platform":
        monkeypatch.setattr(memory.sys, "platform", "darwin")
    elif missing == "asked":
        monkeypatch.setenv("JAXDW_KEEP_MEMORY", "0")
    else:
        libc = object()
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: libc)
    assert memory.keep_memory() is False
    assert not calls


@pytest.mark.usefixtures("asked_anew")
def test_another_wish_is_refused(monkeypatch):
    monkeypatch.setenv("JAXDW_KEEP_MEMORY", "yes")
    with pytest.raises(jd.ConfigError, match=r"`JAXDW_KEEP_MEMORY` .='yes'. must be 1"):
        memory.keep_memory()


def test_the_command_refuses_another_wish(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "jaxdw", "doctor"],
        capture_output=True,
        text=True,
        env=os.environ
        | {"JAXDW_KEEP_MEMORY": "2", "JAXDW_CACHE": str(tmp_path / "cache")},
    )
    assert done.returncode == 2
    assert done.stderr.startswith("jaxdw: `JAXDW_KEEP_MEMORY` (='2') must be 1")
    assert not done.stdout
