"""The gain that a finding tells of LoFi is the one measured."""

import numpy as np
import pytest

import jaxdw as jd
from jaxdw.judge.draws import draw
from jaxdw.plan.lofi import GAINS

IMAGE = {"channels": 64, "height": 8, "width": 8, "kernel": 3, "padding": 1}
ROW = {"channels": 64, "height": 1, "width": 64, "kernel": (1, 5), "padding": (0, 2)}


@pytest.mark.parametrize(
    ("program", "weights"), [(p, w) for p, found in GAINS.items() for w in found]
)
def test_the_gain_told_is_measured(program, weights):
    layer = ROW if program == "conv1d" else IMAGE
    conv = jd.ConvConfig(**layer, weights_dtype=weights)
    found = []
    # a 16-bit Dst does not take float32 weights in the regular program
    wide = (program, weights) == ("regular", "float32")
    compute = jd.ComputeConfig(fp32_dest_acc=wide)
    for seed in range(3):
        x, w, _ = draw(conv, "random", seed)
        result = jd.emulate(conv, None, x, w, compute=compute, program=program)
        found.append(jd.gain(jd.reference(conv, x, w), np.asarray(result.output)))
    assert np.mean(found) == pytest.approx(GAINS[program][weights], abs=0.003)
    plan = jd.make_plan(conv, program=program, compute=compute, must_fit=False)
    (said,) = (f.text for f in plan.findings if f.code == "JDW023")
    assert f"{GAINS[program][weights]:.3f} of a sum is left ({weights} weights)" in said


def test_products_of_the_sfpu_have_no_gain():
    kinds = dict.fromkeys(("dtype", "weights_dtype", "output_dtype"), "float32")
    conv = jd.ConvConfig(**ROW, **kinds)
    compute = jd.ComputeConfig(fp32_dest_acc=True)
    plan = jd.make_plan(conv, None, compute, program="conv1d", must_fit=False)
    assert "JDW023" not in {f.code for f in plan.findings}
