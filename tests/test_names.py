"""Public functions refuse what they do not know: names, shapes, kinds of numbers."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import unknown_names
from unknown_names import REFUSED, TILES, WINDOWS, sticks

import jaxdw as jd
from jaxdw.plan.names import NAMES


@pytest.fixture(scope="module")
def said() -> dict[str, str]:
    program = Path(unknown_names.__file__)
    done = subprocess.run([sys.executable, program], capture_output=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_is_refused_by_name_and_value(name, said):
    assert re.search(REFUSED[name][1], said[name]), said[name]


def test_every_legal_name_is_taken():
    for activation in NAMES["activation"]:
        assert sticks(activation=activation).shape == (5, 64)
    for dtype in NAMES["tiles' dtype"]:
        assert np.array_equal(jd.unpack(jd.pack(TILES, dtype), dtype), TILES)
    for packer in NAMES["packer"]:
        assert jd.pack(TILES, "bfloat8_b", packer).shape == (2, 1088)
    assert set(NAMES["scheme"]) == {"height", "width", "block"}
    assert sticks(weights=np.ones(WINDOWS.shape)).shape == (5, 64)
