"""What the scripts tell is so."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_tour_tells_the_story_with_its_figures():
    done = subprocess.run(
        [sys.executable, "scripts/tour.py"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    steps = re.split(r"^\d\. ", done.stdout, flags=re.MULTILINE)[1:]
    assert [step.split()[0] for step in steps] == ["HEIGHT:", "WIDTH:", "A", "Tile"]
    assert "PCC 0.99980; 4096 of 4096 outputs are the chip's" in steps[0]
    assert "PCC 0.0896, as the chip gave" in steps[1]
    assert "2 of 2 cores misread their weights" in steps[1]
    assert "core 1 wants tile 1; 0x2c00001d55a0 is bank 0" in steps[2]
    assert "no tile of the weights" in steps[2]
    assert "core 1 reads tiles (1,)\n   PCC 0.99980" in steps[3]
    assert "the layout is proved right: True" in steps[3]
