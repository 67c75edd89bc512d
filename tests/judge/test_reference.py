"""The float64 reference, and what it may know of the emulator: nothing."""

import ast
from pathlib import Path

import ml_dtypes
import numpy as np
import oracles
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxdw as jd
from jaxdw.judge import reference

GOLDEN = Path(__file__).parents[1] / "golden"


def test_the_reference_gives_the_pcc_a_wormhole_chip_reported():
    golden = np.load(GOLDEN / "recorded_height.npz")
    values = {
        name: golden[name].view(ml_dtypes.bfloat16).astype(np.float32)
        for name in ("x_nchw", "w_oihw", "out_nhwc")
    }
    conv = jd.ConvConfig(channels=64, height=8, width=8, padding=1)
    want = jd.reference(conv, values["x_nchw"].transpose(0, 2, 3, 1), values["w_oihw"])
    got = values["out_nhwc"].astype(ml_dtypes.bfloat16)
    value = jd.pcc(got, want.astype(np.float32), revision="branch")
    assert abs(value - float(golden["recorded_pcc"])) <= 1e-13


@settings(max_examples=20)
@given(
    strategies.convs(max_channels=20, max_size=9),
    st.booleans(),
    st.sampled_from([None, "relu", "relu6", "silu", "gelu"]),
)
def test_the_reference_equals_the_loop(conv, with_bias, activation):
    conv = jd.ConvConfig(**(conv.__dict__ | {"activation": activation}))
    rng = np.random.default_rng(conv.channels)
    x, w = rng.standard_normal(conv.input_shape), rng.standard_normal(conv.weight_shape)
    bias = rng.standard_normal(conv.channels) if with_bias else None
    want = oracles.conv(x, w, bias, conv.stride, conv.padding, conv.dilation)
    if activation:
        want = oracles.activation(activation, want)
    got = jd.reference(conv, x, w, bias)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_tensors_of_another_shape_are_refused():
    conv = jd.ConvConfig(channels=32, height=4, width=4, bias=True)
    x, w, bias = np.ones(conv.input_shape), np.ones(conv.weight_shape), np.ones(32)
    with pytest.raises(jd.ConfigError, match=r"(?s)`x` .*1, 3, 4, 32.*`w` .*`bias`"):
        jd.reference(conv, x[:, :3], w[1:], bias[1:])
    assert jd.reference(conv, x, w).shape == (1, 2, 2, 32)


def test_it_imports_nothing_of_the_emulator():
    tree = ast.parse(Path(reference.__file__).read_text())
    modules = {
        name
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    ours = {name for name in modules if name.startswith("jaxdw")}
    assert ours == {"jaxdw.errors", "jaxdw.plan.config"}
    assert not {name for name in modules if name.partition(".")[0] in ("jax", "jaxlib")}
