"""Functions of JAX with their depthwise convolutions on the chip."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trained

import jaxdw as jd
from jaxdw.networks.traced import holds_depthwise

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 9, 8, 6)).astype(np.float32)
W = RNG.standard_normal((3, 3, 1, 6)).astype(np.float32)
NHWC = ("NHWC", "HWIO", "NHWC")


def conv(x, w, strides=(1, 1), padding="SAME", spec=NHWC, **options):
    options = {"feature_group_count": 6} | options
    return jax.lax.conv_general_dilated(
        x, w, strides, padding, dimension_numbers=spec, **options
    )


def expected(x, w, **fields):
    """Runs one layer by itself; x is NHWC, w OIHW."""
    channels, height, width = x.shape[3], x.shape[1], x.shape[2]
    layer = jd.ConvConfig(
        batch=x.shape[0], channels=channels, height=height, width=width,
        kernel=w.shape[2:], **fields,
    )  # fmt: skip
    plan = jd.make_plan(layer, must_fit=False)
    return jd.run(plan, jd.make_maps(plan), x, w).output


OIHW = np.ascontiguousarray(W.transpose(3, 2, 0, 1))


@pytest.mark.parametrize("jit", [False, True])
def test_a_convolution_is_jaxdws_own_bit_for_bit(jit):
    def fn(x, w):
        return 2 * conv(x, w, (2, 1), ((1, 0), (2, 1)), rhs_dilation=(1, 2))

    on_chip = jd.on_chip(fn)
    got = (jax.jit(on_chip) if jit else on_chip)(X, W)
    want = 2 * expected(X, OIHW, stride=(2, 1), padding=(1, 0, 2, 1), dilation=(1, 2))
    np.testing.assert_array_equal(got, want)
    assert (got != fn(X, W)).mean() > 0.5


def test_layouts_are_those_of_the_primitive():
    want = expected(X, OIHW, padding=1)
    nchw = X.transpose(0, 3, 1, 2)
    got = jd.on_chip(lambda x, w: conv(x, w, spec=("NCHW", "OIHW", "NHWC")))(nchw, OIHW)
    np.testing.assert_array_equal(got, want)
    got = jd.on_chip(lambda x, w: conv(x, w, spec=("NCHW", "OIHW", "NCHW")))(nchw, OIHW)
    np.testing.assert_array_equal(got, want.transpose(0, 3, 1, 2))
    odd = X.transpose(1, 0, 3, 2)  # HNCW
    got = jd.on_chip(lambda x, w: conv(x, w, spec=("HNCW", "HWIO", "CWNH")))(odd, W)
    np.testing.assert_array_equal(got, want.transpose(3, 2, 0, 1))


def test_one_axis_is_a_row():
    x, w = X[:, 0], OIHW[:, :, 0]
    got = jd.on_chip(
        lambda x, w: conv(x, w, (1,), ((2, 0),), ("NWC", "OIW", "NCW"))
    )(x, w)  # fmt: skip
    want = expected(x[:, None], w[:, :, None], padding=(0, 0, 2, 0))[:, 0]
    np.testing.assert_array_equal(got, want.transpose(0, 2, 1))


def test_what_is_called_is_looked_into():
    @jax.custom_jvp
    def inner(x, w):
        return conv(x, w)

    inner.defjvp(lambda p, t: (inner(*p), inner(*t)))
    want = expected(X, OIHW, padding=1)
    for fn in (
        jax.jit(conv), jax.checkpoint(lambda x, w: conv(x, w)), inner,
        jax.jit(lambda x, w: jax.jit(conv)(x, w)),
    ):  # fmt: skip
        np.testing.assert_array_equal(jd.on_chip(fn)(X, W), want)


def test_what_is_left_as_it_is_is_named():
    def fn(params, x):
        w, pairs = params
        y = conv(x, w)
        up = conv(x, w, padding=((1, 1), (1, 1)), lhs_dilation=(2, 1))
        looped = jax.lax.fori_loop(0, 2, lambda i, x: conv(x, w), x)
        grouped = conv(x, pairs, feature_group_count=3)
        return y + looped + grouped, up

    pairs = RNG.standard_normal((3, 3, 2, 6)).astype(np.float32)
    found = jd.accuracy(fn, (W, pairs), [X])
    assert len(found.layers) == 1
    assert sorted(line.split(": ")[1] for line in found.skipped) == [
        "a depthwise conv in its body", "a transposed convolution",
    ]  # fmt: skip
    want = jax.jit(fn)((W, pairs), X)
    got = jd.on_chip(fn)((W, pairs), X)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-5, atol=1e-5)
    delta = np.asarray(got[0] - want[0], np.float64)
    alone = np.asarray(expected(X, OIHW, padding=1) - conv(X, W), np.float64)
    np.testing.assert_allclose(delta, alone, atol=1e-4)


def test_none_is_refused():
    with pytest.raises(jd.ConfigError, match=r"`fn` must hold a depthwise conv"):
        jd.accuracy(lambda p, x: x @ p, np.ones((6, 6), np.float32), [X])
    with pytest.raises(jd.ConfigError, match=r"`samples` .=... must hold at least"):
        jd.accuracy(lambda p, x: conv(x, p), W, [])


def test_figures_are_of_what_each_layer_reads():
    def fn(params, x):
        first, second = params
        y = jax.nn.relu(conv(x, first))
        return {"a": conv(y, second), "b": y.sum()}

    second = W[::-1].copy()
    samples = [X, X[::-1].copy() * np.float32(0.5)]
    compute = jd.ComputeConfig(math_fidelity="HiFi2")
    found = jd.accuracy(fn, (W, second), samples, compute=compute)
    assert [(r["sample"], r["output"]) for r in found.outputs] == [
        (0, "['a']"), (0, "['b']"), (1, "['a']"), (1, "['b']"),
    ]  # fmt: skip
    assert [row["sample"] for row in found.layers] == [0, 0, 1, 1]
    y = jax.nn.relu(conv(X, W))
    x, w = (np.asarray(a).astype(jnp.bfloat16).astype(np.float32)
            for a in (y, second.transpose(3, 2, 0, 1)))  # fmt: skip
    layer = jd.ConvConfig(batch=2, channels=6, height=9, width=8, padding=1)
    plan = jd.make_plan(layer, None, compute, must_fit=False)
    want = jd.reference(layer, x, w)
    got = np.asarray(jd.run(plan, jd.make_maps(plan), x, w).output)
    assert found.layers[1]["snr_db"] == pytest.approx(jd.snr_db(want, got), abs=0.05)
    lofi = jd.accuracy(fn, (W, second), samples[:1])
    assert lofi.layers[1]["gain"] == pytest.approx(0.96, abs=0.005)
    assert lofi.outputs[0]["gain"] < 0.94 < found.outputs[0]["gain"]
    bfp4 = jd.accuracy(fn, (W, second), samples[:1], weights_dtype="bfloat4_b")
    assert bfp4.layers[0]["snr_db"] < lofi.layers[0]["snr_db"] - 3


def test_the_trained_network_in_jax_and_in_onnx_lose_the_same(tmp_path):
    from jaxdw.networks.measure import chip
    from jaxdw.networks.network import Network
    from jaxdw.networks.settings import settings_of

    network = trained.trained()
    path = trained.written(tmp_path, 1)
    inputs = (("image", (1, 3, trained.SIZE, trained.SIZE)),)
    net = Network(path, inputs)
    held = {t.name: t for t in network.model.graph.initializer}
    from onnx import numpy_helper

    params = {name: numpy_helper.to_array(t) for name, t in held.items()}
    image = network.images[0]
    want = net.uncut({"image": image})["scores"]
    np.testing.assert_allclose(trained.forward(params, image), want, atol=1e-4)
    (setting,) = settings_of(str(path), inputs, net.layers, {})
    onnx = net.run({"image": image}, chip(net, setting)).outputs["scores"]
    jaxs = jax.jit(jd.on_chip(trained.forward))(params, image)
    lost = jd.snr_db(want, onnx)
    assert jd.snr_db(want, jaxs) == pytest.approx(lost, abs=2)
    assert jd.snr_db(onnx, jaxs) > lost + 5


def test_convolutions_are_found_at_any_depth():
    deep = jax.make_jaxpr(
        lambda x, w: jax.lax.cond(True, lambda: jax.jit(conv)(x, w), lambda: x)
    )(X, W)
    assert holds_depthwise(deep.jaxpr)
    plain = jax.make_jaxpr(lambda x: x + 1)(X)
    assert not holds_depthwise(plain.jaxpr)
