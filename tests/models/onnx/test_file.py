"""Depthwise layers out of ONNX files, judged by onnx's own evaluator."""

import hypothesis.strategies as st
import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx_files import RELU, W, X, external, make, node, one, read, refusal

import jaxdw as jd
from jaxdw.judge.compare import judge
from jaxdw.models.onnx.file import SkippedLayersWarning

FLOAT32 = jd.ComputeConfig(arithmetic="float32")


def trained(rng, *shape):
    """Draws weights as training leaves them: small, a few channels all but off."""
    fan_in = np.prod(shape[1:])
    scale = np.abs(rng.standard_normal((shape[0], *[1] * (len(shape) - 1))))
    return (rng.standard_normal(shape) * scale * (2 / fan_in) ** 0.5).astype(np.float32)


# (activation, fields of the layer); each is followed by a 1x1 convolution.
LAYERS = [
    ("relu6", {"channels": 8, "height": 16, "width": 12, "padding": 1}),
    ("relu", {"channels": 24, "height": 16, "width": 12, "stride": 2,
              "padding": (0, 1, 0, 1)}),
    ("silu", {"channels": 40, "height": 8, "width": 6, "kernel": 5, "padding": 2}),
    (None, {"channels": 33, "height": 8, "width": 6, "padding": 2, "dilation": 2}),
    ("gelu", {"channels": 16, "height": 8, "width": 6, "kernel": (7, 3),
              "padding": (3, 3, 1, 1), "bias": False}),
]  # fmt: skip
CONVS = [jd.ConvConfig(**{"bias": True, **f, "activation": a}) for a, f in LAYERS]


def network() -> onnx.ModelProto:
    """A small MobileNet: a stem, then depthwise and pointwise convolutions in turn."""
    rng = np.random.default_rng(5)
    constants = {"stem.w": trained(rng, 8, 3, 3, 3), "zero": np.float32(0)}
    constants["six"] = np.float32(6)
    nodes = [node("Conv", "image stem.w", "x0", strides=[2, 2], pads=[1] * 4)]
    for index, conv in enumerate(CONVS):
        x, y, z = f"x{index}", f"y{index}", f"z{index}"
        constants[f"{y}.w"] = trained(rng, conv.channels, 1, *conv.kernel)
        constants[f"{y}.b"] = trained(rng, conv.channels)
        top, bottom, left, right = conv.padding
        pad: dict = {"pads": [top, left, bottom, right]}
        if index in (1, 2):
            pad = {"auto_pad": "SAME_UPPER"}
        nodes.append(
            node("Conv", f"{x} {y}.w {y}.b" if conv.bias else f"{x} {y}.w", y,
                 f"/block.{index}/depthwise", group=conv.channels,
                 strides=conv.stride, dilations=conv.dilation, **pad)
        )  # fmt: skip
        match conv.activation:
            case "relu6":
                nodes.append(node("Clip", f"{y} zero six", z))
            case "silu":
                nodes += [node("Sigmoid", y, f"{y}.s"), node("Mul", f"{y}.s {y}", z)]
            case "relu" | "gelu":
                nodes.append(node(conv.activation.capitalize(), y, z))
            case None:
                nodes.append(node("HardSwish", y, z))
        after = CONVS[index + 1].channels if index + 1 < len(CONVS) else 10
        constants[f"{z}.w"] = trained(rng, after, conv.channels, 1, 1)
        nodes.append(node("Conv", f"{z} {z}.w", f"x{index + 1}"))
    nodes.append(node("GlobalAveragePool", f"x{len(CONVS)}", "scores"))
    return make(nodes, {"image": (1, 3, 32, 24)}, "scores", constants)


NETWORK = network()
CONSTANTS = {t.name: numpy_helper.to_array(t) for t in NETWORK.graph.initializer}


@pytest.mark.parametrize("isolated", [True, False])
def test_a_network_gives_the_layers_of_its_definition(tmp_path, isolated):
    layers = read(NETWORK, tmp_path, isolated=isolated)
    assert [layer.conv for layer in layers] == CONVS
    for index, layer in enumerate(layers):
        assert layer.name == f"/block.{index}/depthwise"
        np.testing.assert_array_equal(layer.weights, CONSTANTS[f"y{index}.w"])
        assert layer.weights.dtype == np.float32
        assert not layer.weights.flags.writeable
        if layer.conv.bias:
            np.testing.assert_array_equal(layer.bias, CONSTANTS[f"y{index}.b"])
        else:
            assert layer.bias is None


def test_emulation_with_its_weights_gives_what_the_network_computes(tmp_path):
    model = onnx.ModelProto.FromString(NETWORK.SerializeToString())
    wanted = [f"{t}{i}" for i in range(len(CONVS)) for t in "xz"]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    image = np.random.default_rng(6).standard_normal((1, 3, 32, 24)).astype(np.float32)
    _, *tensors = ReferenceEvaluator(model).run(None, {"image": image})
    for index, layer in enumerate(read(NETWORK, tmp_path)):
        x, z = (t.transpose(0, 2, 3, 1) for t in tensors[2 * index : 2 * index + 2])
        rounded = [
            a if a is None else a.astype(ml_dtypes.bfloat16).astype(np.float32)
            for a in (x, layer.weights, layer.bias)
        ]
        conv, shard = layer.conv, jd.ShardConfig(scheme="height")
        want = jd.reference(conv, x, layer.weights, layer.bias)
        if conv.activation is not None:
            np.testing.assert_allclose(want, z, rtol=1e-4, atol=1e-5)
        if index in (1, 2):  # each takes seconds to compile
            result = jd.emulate(conv, shard, *rounded, compute=FLOAT32)
            verdict = judge(result.output, jd.reference(conv, *rounded), conv, FLOAT32)
            assert verdict.passed, verdict
            assert jd.pcc(np.asarray(result.output, np.float32), z) > 0.9999


AXES = st.tuples(st.integers(1, 12), st.integers(1, 4), st.integers(1, 3),
                 st.integers(1, 3), st.integers(0, 2), st.integers(0, 2))  # fmt: skip
AUTO = st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER", None])


@settings(max_examples=60)
@given(AUTO, AXES, AXES)
def test_geometry_is_that_of_onnxs_evaluator(tmp_path_factory, auto, high, wide):
    """Value for value, so that padding on the wrong side shows."""
    (h, kh, sh, dh, top, bottom), (w, kw, sw, dw, left, right) = high, wide
    pads = {} if auto not in ("NOTSET", None) else {"pads": [top, left, bottom, right]}
    auto_pad = {} if auto is None else {"auto_pad": auto}
    weights = np.arange(2 * kh * kw, dtype=np.float32).reshape(2, 1, kh, kw)
    model = one(shape=(2, 2, h, w), constants={"w": weights}, group=2, strides=[sh, sw],
                dilations=[dh, dw], **pads, **auto_pad)  # fmt: skip
    pad = [sum(pads["pads"][axis::2]) if pads else 0 for axis in range(2)]
    reach = [(kh - 1) * dh + 1 - pad[0], (kw - 1) * dw + 1 - pad[1]]
    folder = tmp_path_factory.getbasetemp()
    if "SAME" not in str(auto) and (reach[0] > h or reach[1] > w):
        assert "must fit the padded input" in refusal(model, folder)
        return
    (layer,) = read(model, folder)
    x = np.random.default_rng(0).integers(-9, 9, (2, 2, h, w)).astype(np.float32)
    (want,) = ReferenceEvaluator(model).run(None, {"x": x})
    got = jd.reference(layer.conv, x.transpose(0, 2, 3, 1), layer.weights)
    np.testing.assert_array_equal(got.transpose(0, 3, 1, 2), want)


ZERO_SIX = {"w": W, "zero": np.float32(0), "six": np.float32(6), "one": np.float32(1),
            "inf": np.float32(np.inf), "most": np.finfo(np.float32).max}  # fmt: skip
SIGMOID = node("Sigmoid", "y", "s")


@pytest.mark.parametrize(
    ("activation", "nodes"),
    [
        ("relu", [RELU]),
        ("relu6", [node("Clip", "y zero six", "z")]),
        ("silu", [SIGMOID, node("Mul", "y s", "z")]),
        ("silu", [SIGMOID, node("Mul", "s y", "z")]),
        ("silu", [node("Swish", "y", "z")]),
        ("gelu", [node("Gelu", "y", "z")]),
        (None, []),
        (None, [node("Swish", "y", "z", alpha=1.5)]),
        (None, [node("Gelu", "y", "z", approximate="tanh")]),
        (None, [node("HardSwish", "y", "z")]),
        (None, [node("Relu", "y", "z", domain="custom")]),
        (None, [node("Clip", "y one six", "z")]),
        ("relu", [node("Clip", "y zero", "z")]),
        ("relu", [node("Clip", "y zero most", "z")]),
        ("relu", [node("Clip", "y zero inf", "z")]),
        ("relu", [node("Max", "y zero", "z")]),
        ("relu", [node("Max", "zero y", "z")]),
        ("relu", [node("QuantizeLinear", "y one", "q"),
                  node("DequantizeLinear", "q one", "d"), node("Relu", "d", "z")]),
        ("silu", [node("QuantizeLinear", "y one", "q"),
                  node("DequantizeLinear", "q one", "d"),
                  node("Sigmoid", "d", "s"), node("Mul", "d s", "z")]),
        (None, [node("QuantizeLinear", "y one", "q"), node("Neg", "q", "n"),
                node("DequantizeLinear", "q one", "d"), node("Relu", "d", "z")]),
        (None, [node("Clip", "y", "z")]),
        (None, [node("Clip", "y  six", "z")]),
        (None, [node("Max", "y one", "z")]),
        (None, [node("Max", "y x", "z")]),
        (None, [node("Max", "y zero one", "z")]),
        (None, [node("Clip", "y six zero", "z")]),
        (None, [node("Clip", "y zero x", "z")]),
        (None, [RELU, node("Neg", "y", "n")]),
        (None, [SIGMOID, node("Mul", "y s", "z"), node("Neg", "s", "n")]),
        (None, [SIGMOID, node("Mul", "s s", "z"), node("Mul", "y y", "n")]),
        (None, [SIGMOID, node("Mul", "y x", "z")]),
        (None, [node("Sigmoid", "x", "s"), node("Mul", "y s", "z")]),
    ],
    ids=lambda v: " ".join(n.op_type for n in v) if isinstance(v, list) else str(v),
)  # fmt: skip
def test_activation_is_the_only_reader(tmp_path, activation, nodes):
    model = one(*nodes, constants=ZERO_SIX)
    model.opset_import[0].version = 24
    (layer,) = read(model, tmp_path)
    assert layer.conv.activation == activation


def test_an_output_of_the_graph_and_a_body_are_readers_too(tmp_path):
    assert read(one(RELU, outputs="y z"), tmp_path)[0].conv.activation is None
    body = helper.make_graph(
        [node("Neg", "y", "b")], "body", [], [helper.make_tensor_value_info("b", 1, X)]
    )
    branch = node("If", "c", "i", then_branch=body, else_branch=body)
    model = one(RELU, branch, constants={"w": W, "c": np.array(True)}, outputs="z i")
    assert read(model, tmp_path)[0].conv.activation is None


def test_clip_had_its_bounds_as_attributes(tmp_path):
    for bounds, activation in (((0.0, 6.0), "relu6"), ((0.0, 5.0), None)):
        clip = node("Clip", "y", "z", min=bounds[0], max=bounds[1])
        model = one(clip)
        model.opset_import[0].version = 7
        assert read(model, tmp_path)[0].conv.activation == activation


INT8 = np.random.default_rng(7).integers(-128, 127, (4, 1, 3, 3)).astype(np.int8)
SCALES = np.array([0.5, 0.25, 2, 1], np.float32)
PER_CHANNEL = (INT8 - np.arange(4).reshape(4, 1, 1, 1)) * SCALES.reshape(4, 1, 1, 1)
QUANTIZED = {"q": INT8, "s": SCALES, "p": np.arange(4, dtype=np.int8), "s1": SCALES[:1]}


@pytest.mark.parametrize(
    ("nodes", "constants", "want"),
    [
        ([], {"w": W.astype(np.float16)}, W.astype(np.float16)),
        ([], {"w": W.astype(np.float64)}, W),
        ([], {"w": W.astype(ml_dtypes.bfloat16)}, W.astype(ml_dtypes.bfloat16)),
        ([], {"w": helper.make_tensor("w", 1, W.shape, W.ravel())}, W),
        ([node("Constant", "", "w", value=numpy_helper.from_array(W))], {}, W),
        ([node("Identity", "a", "b"), node("Identity", "b", "w")], {"a": W}, W),
        ([node("Cast", "a", "w", to=1)], {"a": W.astype(np.float16)},
         W.astype(np.float16)),
        ([node("DequantizeLinear", "q s1", "w")], QUANTIZED, INT8 * 0.5),
        ([node("DequantizeLinear", "q s p", "w", axis=0)], QUANTIZED, PER_CHANNEL),
        ([node("DequantizeLinear", "q s p", "w", axis=-4)], QUANTIZED, PER_CHANNEL),
    ],
    ids=["half", "double", "bfloat16", "float_data", "Constant", "Identity", "Cast",
         "by tensor", "by channel", "by channel, from the end"],
)  # fmt: skip
def test_weights_may_come_any_constant_way(tmp_path, nodes, constants, want):
    conv = node("Conv", "x w", "y", group=4)
    (layer,) = read(make([*nodes, conv], {"x": X}, "y", constants), tmp_path)
    assert layer.weights.dtype == np.float32
    np.testing.assert_array_equal(layer.weights, want.astype(np.float32))


@pytest.mark.parametrize("length", [W.nbytes, None])
def test_weights_in_a_file_beside(tmp_path, length):
    (layer,) = read(external(tmp_path, length=length), tmp_path)
    np.testing.assert_array_equal(layer.weights, W)
    (tmp_path / "sub").mkdir()
    (tmp_path / "w.bin").rename(tmp_path / "sub" / "w.bin")
    (tmp_path / "link.bin").symlink_to("sub/w.bin")
    for location in ("sub/w.bin", "./sub/w.bin", "link.bin"):
        model = external(tmp_path, location=location)
        np.testing.assert_array_equal(read(model, tmp_path)[0].weights, W)


def test_a_batch_that_reaches_a_reshape_through_the_graph(tmp_path):
    """ShuffleNet's channel shuffle, exported with a dynamic batch."""
    nodes = [
        node("Shape", "a", "shape"),
        node("Gather", "shape zero", "n"),
        node("Unsqueeze", "n axes", "n1"),
        node("Concat", "n1 two_two h_w", "to", axis=0),
        node("Reshape", "a to", "parts"),
        node("Transpose", "parts", "swapped", perm=[0, 2, 1, 3, 4]),
        node("Concat", "n1 four h_w", "back", axis=0),
        node("Reshape", "swapped back", "x"),
        node("Conv", "x w", "y", group=4),
    ]
    lists = {"zero": 0, "axes": [0], "two_two": [2, 2], "four": [4], "h_w": [9, 8]}
    constants = {name: np.array(value, np.int64) for name, value in lists.items()}
    model = make(nodes, {"a": ("n", *X[1:])}, "y", {**constants, "w": W})
    assert read(model, tmp_path, {"a": (2, *X[1:])})[0].conv.batch == 2


def test_declared_shapes_are_believed_only_where_nothing_is_inferred(tmp_path):
    stale = one()
    stale.graph.node.insert(0, node("Relu", "a", "x"))
    stale.graph.input[0].name = "a"
    stale.graph.value_info.append(helper.make_tensor_value_info("x", 1, (1, 4, 5, 5)))
    assert read(stale, tmp_path)[0].conv.height == 9
    stale.graph.output.append(stale.graph.value_info[0])
    assert read(stale, tmp_path)[0].conv.height == 9
    del stale.graph.output[1]
    stale.graph.node[0].domain = "custom"
    assert read(stale, tmp_path)[0].conv.height == 5
    del stale.graph.value_info[:]
    stale.graph.node.insert(1, node("Neg", "x", "x2"))
    stale.graph.node[2].input[0] = "x2"
    said = refusal(stale, tmp_path)
    assert "node 'x' (='Relu') must have an output of fixed shape" in said


def test_functions_are_read_through(tmp_path):
    conv = node("Conv", "a b", "c", "inner", group=4)
    opsets = [helper.make_opsetid("", 20)]
    block = helper.make_function("custom", "Block", ["a", "b"], ["c"], [conv], opsets)
    calls = [node("Block", "x w", "y", "first", domain="custom")]
    calls.append(node("Block", "y w", "z", "second", domain="custom"))
    model = make(calls, {"x": X}, "z", {"w": W}, functions=[block])
    layers = read(model, tmp_path)
    assert [layer.conv.height for layer in layers] == [9, 7]
    assert len({layer.name for layer in layers}) == 2


def test_names_are_kept_or_made(tmp_path):
    named = ["same", "", "same", "same.2", "last"]
    nodes = [
        node("Conv", f"x{i} w", f"x{i + 1}", name, group=4, pads=[1] * 4)
        for i, name in enumerate(named)
    ]
    model = make(nodes, {"x0": X}, "x5", {"w": W})
    got = [layer.name for layer in read(model, tmp_path)]
    assert got == ["same", "x2", "same.3", "same.2", "last"]


def test_what_is_close_is_left_out_and_listed(tmp_path):
    body = helper.make_graph(
        [node("Conv", "x w", "b", "inner", group=4)], "body", [],
        [helper.make_tensor_value_info("b", 1, None)],
    )  # fmt: skip
    nodes = [
        node("Conv", "x w", "y", "kept", group=4),
        node("Conv", "x w8", "d", "double", group=4),
        node("Conv", "x1 line", "l", "line", group=4),
        node("Conv", "x3 cube", "c", "cube", group=4),
        node("Conv", "x pairs", "p", "grouped", group=2),
        node("Conv", "grey many", "g", "grey"),
        node("ConvTranspose", "x w", "t", "up", group=4),
        node("If", "true", "i", "branch", then_branch=body, else_branch=body),
    ]
    constants = {"w": W, "w8": np.repeat(W, 2, 0), "line": W[..., 0],
                 "cube": W[..., None], "pairs": np.repeat(W, 2, 1),
                 "many": W, "true": np.array(True)}  # fmt: skip
    inputs = {"x": X, "x1": X[:3], "x3": (*X, 7), "grey": (1, 1, 9, 8)}
    model = make(nodes, inputs, "y", constants)
    with pytest.warns(SkippedLayersWarning) as caught:
        layers = read(model, tmp_path, isolated=True)
    assert [layer.name for layer in layers] == ["kept", "line"]
    assert layers[1].conv.kernel == (1, 3)
    assert str(caught[0].message).split("\n")[1:] == [
        "node 'branch': a grouped Conv in its body, node 'inner'",
        "node 'branch': a grouped Conv in its body, node 'inner'",
        "node 'double': a channel multiplier (=2)",
        "node 'cube': a kernel of 3 axes (=3x3x1)",
        "node 'up': a grouped ConvTranspose, not a Conv",
    ]
    for at in (2, 0):
        del model.graph.node[at]
    said = refusal(model, tmp_path)
    assert "6 nodes) must have a depthwise layer" in said
    assert "a channel multiplier (=2)" in said
