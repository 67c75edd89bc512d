"""The walker finds what JAX itself convolves: held against shapes that JAX gives."""

import importlib.util
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxdw as jd
from jaxdw.inputs.jax_layers import JaxLayersWarning

# networks of other people's libraries promote as they like
pytestmark = pytest.mark.usefixtures("free_promotion")
NHWC = ("NHWC", "HWIO", "NHWC")
NCHW = ("NCHW", "OIHW", "NCHW")


@pytest.fixture
def free_promotion():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def of(*shape: int, dtype=jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def depthwise(x, w, stride=(1, 1), padding="SAME", axes=NHWC, **more):
    channels = x.shape[axes[0].index("C")]
    return lax.conv_general_dilated(
        x, w, stride, padding, dimension_numbers=axes, feature_group_count=channels,
        **more,
    )  # fmt: skip


def one(function, *args) -> jd.ConvConfig:
    (layer,) = jd.depthwise_layers(function, *args)
    return layer.conv


@pytest.mark.parametrize("axes", [NHWC, NCHW, ("CHWN", "IHWO", "NCHW")])
def test_axes_are_read_by_what_they_mean(axes):
    sizes = dict(zip("NCHW", (2, 24, 9, 11), strict=True))
    taps = dict(zip("OIHW", (24, 1, 3, 5), strict=True))
    x = of(*(sizes[letter] for letter in axes[0]))
    w = of(*(taps[letter] for letter in axes[1]))
    conv = one(lambda x, w: depthwise(x, w, (1, 2), ((1, 0), (2, 3)), axes), x, w)
    assert conv == jd.ConvConfig(
        batch=2,
        channels=24,
        height=9,
        width=11,
        kernel=(3, 5),
        stride=(1, 2),
        padding=(1, 0, 2, 3),
    )


@pytest.mark.parametrize("padding", ["SAME", "VALID", "SAME_LOWER", ((2, 1), (0, 3))])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 3)])
def test_padding_and_dilation_give_the_output_that_jax_gives(padding, dilation):
    x, w = of(1, 13, 12, 8), of(3, 4, 1, 8)

    def function(x, w):
        return depthwise(x, w, (2, 3), padding, rhs_dilation=dilation)

    conv = one(function, x, w)
    plan = jd.make_plan(conv, jd.ShardConfig(scheme="height"))
    assert plan.output_shape == jax.eval_shape(function, x, w).shape
    assert conv.dilation == dilation


def test_a_pad_before_is_padding_however_often_and_of_zeros_only():
    w = of(3, 3, 1, 8)

    def padded(x, w, value=0.0, edges=((0, 0), (0, 1), (2, 1), (0, 0))):
        x = jnp.pad(x, edges, constant_values=value)
        x = jax.jit(lambda x: jnp.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0))))(x)
        return depthwise(x, w, (2, 2), ((0, 3), (0, 0)))

    conv = one(padded, of(1, 8, 9, 8), w)
    assert (conv.height, conv.width, conv.padding) == (8, 9, (1, 4, 2, 1))
    conv = one(lambda x, w: padded(x, w, 1.0), of(1, 8, 9, 8), w)
    assert (conv.height, conv.width, conv.padding) == (9, 12, (1, 3, 0, 0))
    channels = ((0, 0), (1, 1), (1, 1), (0, 1))
    conv = one(lambda x, w: padded(x, w, 0.0, channels), of(1, 8, 9, 7), w)
    assert (conv.channels, conv.height, conv.padding) == (8, 10, (1, 3, 0, 0))
    cut = ((0, 0), (-1, 1), (0, 0), (0, 0))

    def shifted(x, w):
        x = lax.pad(x, jnp.float32(0), [(low, high, 0) for low, high in cut])
        return depthwise(x, w)

    assert one(shifted, of(1, 8, 9, 8), w).padding == (1, 1, 1, 1)
    spread = [(0, 0, 0), (0, 0, 1), (0, 0, 0), (0, 0, 0)]
    conv = one(
        lambda x, w: depthwise(lax.pad(x, jnp.float32(0), spread), w),
        of(1, 8, 9, 8), w,
    )  # fmt: skip
    assert (conv.height, conv.padding) == (15, (1, 1, 1, 1))


ACTIVATIONS = {
    "relu": (jax.nn.relu, "relu"),
    "maximum": (lambda y: jnp.maximum(y, 0), "relu"),
    "relu6": (jax.nn.relu6, "relu6"),
    "clip": (lambda y: jnp.clip(y, 0, 6), "relu6"),
    "silu": (jax.nn.silu, "silu"),
    "x over 1 + exp": (lambda y: y / (1 + jnp.exp(-y)), "silu"),
    "gelu": (lambda y: jax.nn.gelu(y, approximate=False), "gelu"),
    "gelu by tanh": (jax.nn.gelu, "gelu"),
    "where": (lambda y: jnp.where(y > 0, y, 0.0), "relu"),
    "hard swish": (jax.nn.hard_swish, None),
    "leaky": (jax.nn.leaky_relu, None),
    "clip to 7": (lambda y: jnp.clip(y, 0, 7), "relu"),  # and a min of its own
    "twice": (lambda y: 2 * jax.nn.relu(y), "relu"),
    "tanh": (jnp.tanh, None),
    "and itself": (lambda y: y + jax.nn.relu(y), None),
    "residual": (lambda y: (jax.nn.relu(y), y), None),
    "none": (lambda y: y, None),
}


@pytest.mark.parametrize("bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize(("spelt", "name"), ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_activations_are_known_by_their_values(spelt, name, bias):
    def function(x, w, b):
        y = depthwise(x, w)
        return spelt(y + b) if bias else spelt(y)

    conv = one(function, of(1, 8, 8, 16), of(3, 3, 1, 16), of(1, 1, 1, 16))
    assert (conv.bias, conv.activation) == (bias, name)


def test_a_bias_is_one_number_of_each_channel_that_no_convolution_made():
    x, w = of(1, 4, 16, 16), of(16, 1, 3, 3)

    def biased(shape, spelt):
        function = lambda x, w, b: spelt(depthwise(x, w, axes=NCHW), b)  # noqa: E731
        return one(function, x, w, of(*shape)).bias

    x = of(1, 16, 4, 16)
    assert biased((16,), lambda y, b: y + b[None, :, None, None])
    assert biased((16, 1, 1), lambda y, b: y + b)
    assert biased((16,), lambda y, b: y - jnp.broadcast_to(b[:, None, None], y.shape))
    assert not biased((16,), lambda y, b: y + b)  # along the width
    assert not biased((1, 16, 4, 16), lambda y, b: y + b)  # a residual
    assert not biased((16,), lambda y, b: b[None, :, None, None] - y)
    assert not biased((), lambda y, b: y + b)
    assert not biased((16, 1, 1), lambda y, b: y * b)
    assert not biased((16, 1, 1), lambda y, b: y + y.mean((0, 2, 3), keepdims=True))
    assert biased((16, 1, 1), lambda y, b: jax.nn.relu(y * b + b))


def test_a_sum_that_leaves_the_result_in_use_is_no_bias():
    function = lambda x, w, b: (depthwise(x, w) + b, depthwise(x, w))  # noqa: E731

    def kept(x, w, b):
        y = depthwise(x, w)
        return y + b, y

    args = (of(1, 8, 8, 16), of(3, 3, 1, 16), of(1, 1, 1, 16))
    assert not one(kept, *args).bias
    assert [layer.conv.bias for layer in jd.depthwise_layers(function, *args)] == [
        True,
        False,
    ]


def test_what_another_convolution_gives_is_no_bias():
    def gated(x, w):
        gate = depthwise(x, w).mean((1, 2), keepdims=True)
        return depthwise(x, w, (2, 2)) + gate

    first, second = jd.depthwise_layers(gated, of(1, 8, 8, 16), of(3, 3, 1, 16))
    assert (first.conv.bias, second.conv.bias) == (False, False)


def test_loops_are_counted_and_names_are_those_of_scopes():
    def function(x, ws):
        def turn(x, w):
            with jax.named_scope("block"):
                return jax.checkpoint(lambda x: depthwise(x, w))(x), None

        with jax.named_scope("net"):
            x, _ = lax.scan(turn, x, ws)
            with jax.named_scope("last"):
                return jax.jit(lambda x: depthwise(x, ws[0]))(depthwise(x, ws[1]))

    layers = jd.depthwise_layers(function, of(1, 8, 8, 16), of(5, 3, 3, 1, 16))
    assert [(layer.name, layer.times) for layer in layers] == [
        ("net/block", 5),
        ("net/last", 1),
        ("net/last.2", 1),
    ]

    def nested(x, ws):
        inner = lambda x, w: (depthwise(x, w), None)  # noqa: E731
        outer = lambda x, _: (lax.scan(inner, x, ws)[0], None)  # noqa: E731
        return lax.scan(outer, x, None, length=3)[0]

    (layer,) = jd.depthwise_layers(nested, of(1, 8, 8, 16), of(5, 3, 3, 1, 16))
    assert (layer.name, layer.times) == ("conv", 15)


def test_what_runs_nobody_knows_how_often_is_counted_once_and_said():
    def function(x, w, n):
        x = lax.while_loop(
            lambda s: s[1] < n, lambda s: (depthwise(s[0], w), s[1] + 1), (x, 0)
        )[0]
        return lax.cond(n > 3, lambda x: depthwise(x, w), lambda x: x, x)

    args = (of(1, 8, 8, 16), of(3, 3, 1, 16), of(dtype=jnp.int32))
    with pytest.warns(
        JaxLayersWarning, match=r"conv: in a while loop.*\n?.*conv\.2: in"
    ):
        layers = jd.depthwise_layers(function, *args)
    assert [layer.times for layer in layers] == [1, 1]


def test_custom_rules_and_gradients_are_entered():
    @jax.custom_vjp
    def mine(x, w):
        return depthwise(x, w)

    mine.defvjp(lambda x, w: (depthwise(x, w), (x, w)), lambda kept, g: (g, kept[1]))
    conv = one(lambda x, w: jax.nn.relu6(mine(x, w)), of(1, 8, 8, 16), of(3, 3, 1, 16))
    assert conv.activation == "relu6"


def test_one_axis_is_one_row():
    def causal(x, w):
        x = jnp.pad(x, ((0, 0), (3, 0), (0, 0)))
        return lax.conv_general_dilated(
            x, w, (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"),
            feature_group_count=64,
        )  # fmt: skip

    conv = one(causal, of(2, 100, 64), of(4, 1, 64))
    assert conv == jd.ConvConfig(
        batch=2, channels=64, height=1, width=100, kernel=(1, 4), padding=(0, 0, 3, 0)
    )


def test_what_is_left_out_is_told_and_others_are_not():
    x = of(1, 8, 8, 16)

    def function(x, multiplied, mine, dense):
        y = depthwise(x, mine)
        return (
            depthwise(x, multiplied),
            depthwise(x, mine, padding=((1, 1), (1, 1)), lhs_dilation=(2, 2)),
            depthwise(x, mine, padding=((-1, 0), (0, 0))),
            lax.conv(jnp.moveaxis(y, 3, 1), dense, (1, 1), "SAME"),
        )

    args = (x, of(3, 3, 1, 32), of(3, 3, 1, 16), of(4, 16, 1, 1))
    with pytest.warns(JaxLayersWarning) as told:
        layers = jd.depthwise_layers(function, *args)
    assert len(layers) == 1
    lines = str(told[0].message).splitlines()
    assert len(lines) == 3
    assert "32 channels of 16: a channel multiplier" in lines[0]
    assert "dilated by (2, 2): transposed" in lines[1]
    assert "negative" in lines[2]
    with pytest.raises(jd.ConfigError, match=r"must have a depthwise.*\n.*multiplier"):
        jd.depthwise_layers(lambda x, w: depthwise(x, w), x, args[1])

    def dense(x):
        return x @ x

    with pytest.raises(jd.ConfigError, match=r"`function` \(=dense\) must have a"):
        jd.depthwise_layers(dense, of(4, 4))


def test_layers_are_what_a_sweep_takes(tmp_path):
    layers = jd.depthwise_layers(
        lambda x, w: depthwise(depthwise(x, w), w), of(1, 8, 8, 16), of(3, 3, 1, 16)
    )
    space = jd.Space(schemes=("height", "block"), filter="scheme == 'block'")
    points = space.points_of(layers, model="net")
    assert [(p.model, p.layer, p.shard.scheme) for p in points] == [
        ("net", "conv", "block"),
        ("net", "conv.2", "block"),
    ]
    rows = jd.run_sweep(points, tmp_path, plan_only=True, processes=1)
    assert [row["status"] for row in rows] == ["planned", "planned"]


def installed(name: str) -> pytest.MarkDecorator:
    found = importlib.util.find_spec(name) is not None
    return pytest.mark.skipif(not found, reason=f"{name} is not installed")


@installed("flax")
def test_flax_linen_gives_names_biases_and_activations():
    import flax.linen as nn

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(
                24, (5, 3), (2, 2), feature_group_count=24, use_bias=False, name="dw"
            )(x)
            x = nn.BatchNorm(use_running_average=True)(x)
            return nn.silu(x)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(24, (1, 1))(x))
            x = Block()(x)
            return Block()(x)

    net, key = Net(), jax.random.key(0)
    layers = jd.depthwise_layers(
        lambda x: net.init_with_output(key, x)[0], of(1, 12, 12, 8)
    )
    assert [layer.name for layer in layers] == ["Net/Block_0/dw", "Net/Block_1/dw"]
    assert [layer.conv.padding for layer in layers] == [(1, 2, 0, 1), (1, 2, 0, 1)]
    assert {layer.conv.activation for layer in layers} == {"silu"}
    assert {layer.conv.bias for layer in layers} == {True}
    assert [layer.conv.height for layer in layers] == [12, 6]


@installed("flax")
def test_flax_nnx_is_read_as_well():
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.depthwise = nnx.Conv(
                16, 16, (3, 3), padding=1, feature_group_count=16, rngs=rngs
            )

        def __call__(self, x):
            return nnx.relu6(self.depthwise(x))

    graph, state = nnx.split(nnx.eval_shape(lambda: Net(nnx.Rngs(0))))
    conv = one(lambda state, x: nnx.merge(graph, state)(x), state, of(1, 8, 8, 16))
    assert conv == jd.ConvConfig(
        channels=16, height=8, width=8, padding=1, bias=True, activation="relu6"
    )


@installed("keras")
def test_keras_mobilenet_v2_has_its_17_layers(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras

        nothing = lambda self, shape, dtype=None: np.zeros(shape, np.float32)  # noqa: E731
        for name in ("GlorotUniform", "Zeros", "Ones"):  # no values are asked for
            monkeypatch.setattr(getattr(keras.initializers, name), "__call__", nothing)
        net = keras.applications.MobileNetV2(weights=None, input_shape=(224, 224, 3))

    def forward(trained, fixed, x):
        return net.stateless_call(trained, fixed, x, training=False)[0]

    trained = [of(*v.shape) for v in net.trainable_variables]
    fixed = [of(*v.shape) for v in net.non_trainable_variables]
    layers = jd.depthwise_layers(forward, trained, fixed, of(1, 224, 224, 3))
    from jaxdw.models import zoo

    def told(layer, stride_padding):
        conv = layer.conv
        return (conv.channels, conv.height, conv.stride, conv.bias, conv.activation)

    assert len(layers) == 17
    published = zoo.layers("mobilenet_v2")
    assert [told(a, 0) for a in layers] == [told(b, 0) for b in published]
    for layer in layers:  # Keras pads by a layer of its own where it strides
        strided = layer.conv.stride == (2, 2)
        assert layer.conv.padding == ((0, 1, 0, 1) if strided else (1, 1, 1, 1))
        assert layer.conv.width == layer.conv.height
    assert layers[0].name.endswith("expanded_conv_depthwise")
    assert np.prod([layer.times for layer in layers]) == 1
