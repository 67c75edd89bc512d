"""What a process frees it keeps, so that the next array costs no new pages."""

import subprocess
import sys

import pytest

from jaxdw.launch import memory

PROGRAM = """
import resource, sys
import numpy as np
from jaxdw.launch.memory import keep_memory
if "keep" in sys.argv:
    assert keep_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(2**24, np.float32)
before = faults()
for _ in range(10):
    np.ones(2**24, np.float32)  # 64 MB
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_memory_freed_is_taken_again():
    counts = {
        word: int(
            subprocess.run(
                [sys.executable, "-c", PROGRAM, word],
                capture_output=True, check=True, text=True,
            ).stdout
        )
        for word in ("keep", "give")
    }  # fmt: skip
    assert counts["keep"] < 100
    assert counts["give"] > 1000


@pytest.mark.parametrize("missing", ["platform", "mallopt"])
def test_another_libc_is_left_alone(monkeypatch, missing):
    if missing == "platform":
        monkeypatch.setattr(memory.sys, "platform", "darwin")
    else:
        monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert memory.keep_memory() is False
