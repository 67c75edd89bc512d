"""ONNX files as exporters leave them, held to onnx's own evaluator."""

import ml_dtypes
import numpy as np
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx_files import RELU, W, X, make, node, one, read, refusal

import jaxdw as jd
from jaxdw.models.onnx.file import SkippedLayersWarning

KERNEL = W.transpose(2, 3, 0, 1).reshape(3, 3, 4, 1)  # as TensorFlow has it
LONG = {
    name: np.array(v, np.int64) for name, v in {"s": [3, 3, 1, 4], "a": [1]}.items()
}
SCALES = np.array([0.02, 0.03, 0.01, 0.05], np.float32)
FLAT = np.arange(4, dtype=np.float32) - 1.5


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([node("Reshape", "k s", "r"), node("Transpose", "r", "w", perm=[3, 2, 0, 1])],
         {"k": KERNEL, **LONG}),
        ([node("QuantizeLinear", "f q z", "f8", axis=0),
          node("DequantizeLinear", "f8 q z", "w", axis=0)],
         {"f": W, "q": SCALES, "z": np.zeros(4, np.int8)}),
        ([node("Mul", "f g", "w")], {"f": W, "g": SCALES.reshape(4, 1, 1, 1)}),
        ([node("Unsqueeze", "f a", "w")], {"f": W[:, 0], **LONG}),
        ([node("ReduceL2", "f", "n", axes=[2, 3]), node("Div", "f n", "w")],
         {"f": W}),
        ([node("Sub", "f f", "0"), node("Add", "0 f", "w")], {"f": W}),
        ([node("Split", "f", "lost w", num_outputs=2)],
         {"f": np.concatenate([W + 1, W])}),
    ],
    ids=["tf2onnx", "QAT", "weight norm", "Unsqueeze", "normed", "diamond", "second"],
)  # fmt: skip
@pytest.mark.parametrize("isolated", [True, False])
def test_weights_come_through_any_constant_subgraph(
    tmp_path, nodes, constants, isolated
):
    conv = node("Conv", "x w", "y", group=4)
    opset = 13 if any(n.op_type == "ReduceL2" for n in nodes) else 20
    model = make([*nodes, conv], {"x": X}, "y", constants, opset)
    x = np.random.default_rng(1).standard_normal(X).astype(np.float32)
    want, weights = ReferenceEvaluator(_with_output(model, "w")).run(None, {"x": x})
    (layer,) = read(model, tmp_path, isolated=isolated)
    np.testing.assert_array_equal(layer.weights, weights)
    got = jd.reference(layer.conv, x.transpose(0, 2, 3, 1), layer.weights)
    np.testing.assert_allclose(got.transpose(0, 3, 1, 2), want, atol=1e-5)


def _with_output(model, name):
    copy = type(model).FromString(model.SerializeToString())
    copy.graph.output.append(helper.make_tensor_value_info(name, 1, None))
    return copy


def test_a_constant_computed_twice_as_often_at_each_node_is_computed_once(tmp_path):
    chain = [node("Add", f"a{i} a{i}", f"a{i + 1}") for i in range(30)]
    half = [node("Mul", "a30 tiny", "w"), node("Conv", "x w", "y", group=4)]
    constants = {"a0": W, "tiny": np.float32(2.0**-30)}
    (layer,) = read(make([*chain, *half], {"x": X}, "y", constants), tmp_path)
    np.testing.assert_array_equal(layer.weights, W)


def test_a_constant_that_would_fill_memory_is_refused(tmp_path):
    nodes = [node("Tile", "f many", "t"), node("ReduceMax", "t", "m", keepdims=0),
             node("Mul", "f m", "w"), node("Conv", "x w", "y", group=4)]  # fmt: skip
    many = np.array([2**18, 2**18, 1, 1], np.int64)
    model = make(nodes, {"x": X}, "y", {"f": W, "many": many})
    assert "must be" in refusal(model, tmp_path, isolated=True)


def behind(*nodes, bias=None, **constants):
    """Builds `conv` with nodes behind it; its last tensor is the graph's output."""
    model = one(*nodes, constants={"w": W, "b": FLAT, **constants})
    if bias is not None:
        model.graph.node[0].input.append(bias)
    return model


C4 = FLAT.reshape(1, 4, 1, 1)


@pytest.mark.parametrize(
    ("model", "bias", "activation"),
    [
        (behind(node("Add", "y c", "a"), c=C4), FLAT, None),
        (behind(node("Add", "c y", "a"), c=C4[0]), FLAT, None),
        (behind(node("Sub", "y c", "a"), c=C4), -FLAT, None),
        (behind(node("Add", "y c", "a"), c=C4, bias="b"), 2 * FLAT, None),
        (behind(node("Add", "y c", "a"), c=np.float32(3)), 0 * FLAT + 3, None),
        (behind(node("Identity", "y", "i"), node("Add", "i c", "a"),
                node("Relu", "a", "z"), c=C4), FLAT, "relu"),
        (behind(node("Add", "y c", "a"), node("Add", "a c", "z"), c=C4), FLAT, None),
        (behind(node("Sub", "c y", "a"), c=C4), None, None),
        (behind(node("Add", "y y", "a")), None, None),
        (behind(node("Add", "y c", "a"), c=np.ones((1, 4, 7, 6), np.float32)),
         None, None),
        (behind(node("Add", "y c", "a"), c=np.ones((2, 4, 1, 1), np.float32)),
         None, None),
        (behind(node("Add", "y c", "a"), c=np.ones(6, np.float32)), None, None),
        (behind(node("Add", "y c", "a"), node("Neg", "y", "n"), c=C4), None, None),
        (behind(node("Relu", "y", "z"), node("Add", "z c", "a"), c=C4), None, "relu"),
    ],
    ids=range(14),
)  # fmt: skip
def test_a_constant_add_is_the_bias(tmp_path, model, bias, activation):
    (layer,) = read(model, tmp_path)
    assert layer.conv.activation == activation
    assert layer.conv.bias == (bias is not None)
    if bias is None:
        assert layer.bias is None
    else:
        np.testing.assert_array_equal(layer.bias, bias)
    x = np.random.default_rng(1).standard_normal(X).astype(np.float32)
    (want,) = ReferenceEvaluator(_only(model, layer.output)).run(None, {"x": x})
    got = jd.reference(layer.conv, x.transpose(0, 2, 3, 1), layer.weights, layer.bias)
    np.testing.assert_allclose(got.transpose(0, 3, 1, 2), want, atol=1e-5)


def _only(model, name):
    copy = _with_output(model, name)
    del copy.graph.output[0]
    return copy


QDQ = [node("QuantizeLinear", "y one", "q"), node("DequantizeLinear", "q one", "d")]


@pytest.mark.parametrize(
    ("nodes", "said", "total", "output", "dropped"),
    [
        ([RELU], "", "y", "z", False),
        ([*QDQ, node("Relu", "d", "z")],
         "inside, not emulated: QuantizeLinear, DequantizeLinear", "y", "z", True),
        (QDQ, "behind it: QuantizeLinear, DequantizeLinear", "y", "y", False),
        ([node("HardSwish", "y", "h")], "behind it: HardSwish", "y", "y", False),
        ([node("BatchNormalization", "y b b b b", "n"), node("HardSwish", "n", "h")],
         "behind it: BatchNormalization, HardSwish", "y", "y", False),
        ([node("HardSigmoid", "y", "g"), node("Mul", "g y", "h"),
          node("Conv", "h w", "o", group=1)],
         "behind it: HardSigmoid, Mul", "y", "y", False),
        ([node("Neg", "y", "n"), node("Relu", "y", "z")], "", "y", "y", False),
    ],
    ids=range(7),
)  # fmt: skip
def test_what_is_left_out_is_said_of_each_layer(
    tmp_path, nodes, said, total, output, dropped
):
    constants = {"w": W, "one": np.float32(1), "b": FLAT + 2}
    (layer,) = read(one(*nodes, constants=constants), tmp_path, isolated=True)
    assert layer.left_out == said
    assert (layer.input, layer.conv_output) == ("x", "y")
    assert (layer.total, layer.output, layer.dropped) == (total, output, dropped)


@pytest.mark.parametrize(
    "attributes",
    [
        {"pads": [2, 1]},
        {"strides": [2], "dilations": [3], "pads": [3, 0]},
        {"auto_pad": "SAME_LOWER", "strides": [2]},
        {"auto_pad": "SAME_UPPER", "kernel_shape": [4]},
    ],
    ids=str,
)
def test_a_convolution_over_one_axis_is_one_of_rows(tmp_path, attributes):
    weights = np.arange(16, dtype=np.float32).reshape(4, 1, 4)
    model = one(shape=(2, 4, 11), constants={"w": weights}, **attributes)
    (layer,) = read(model, tmp_path, isolated=True)
    assert layer.conv.kernel == (1, 4)
    assert layer.conv.input_shape == (2, 1, 11, 4)
    x = np.random.default_rng(0).integers(-9, 9, (2, 4, 11)).astype(np.float32)
    (want,) = ReferenceEvaluator(model).run(None, {"x": x})
    image = x.transpose(0, 2, 1)[:, None]
    got = jd.reference(layer.conv, image, layer.weights)[:, 0]
    np.testing.assert_array_equal(got.transpose(0, 2, 1), want)
    said = refusal(one(shape=(2, 4, 3, 11), constants={"w": weights}), tmp_path)
    assert "must be batch x channels x width, with the 4" in said


def test_what_cannot_be_read_is_left_out_and_the_rest_is_read(tmp_path):
    nodes = [
        node("Conv", "x w", "y", "good", group=4),
        node("Conv", "x fed", "f", "fed", group=4),
        node("Conv", "x bad", "n", "nan", group=4),
        node("Conv", "x w", "p", "padded", group=4, pads=[1]),
        node("Conv", "u w", "v", "unknown", group=4),
        node("Conv", "x w", "e", "odd", group=3),
        node("Conv", "x w", "same", "good", group=4),
    ]
    inputs = {"x": X, "fed": W.shape, "u": ("n", *X[1:])}
    model = make(nodes, inputs, "y", {"w": W, "bad": W * np.float32(np.nan)})
    with pytest.warns(SkippedLayersWarning) as caught:
        layers = read(model, tmp_path, isolated=True)
    assert [layer.name for layer in layers] == ["good", "good.2"]
    said = str(caught[0].message)
    for part in (
        "node 'fed': tensor 'fed' (=a graph input) must be a constant",
        "node 'nan': tensor 'bad' (=36 of 36 NaN",
        "node 'padded': `pads` (=(1,)) must be 4 integers",
        "node 'odd': the weights (=4x1x3x3) must be",
        "--input u=1x4x9x8",
    ):
        assert said.count(part) == 1, part


def test_low_precision_weights_go_through_arithmetic(tmp_path):
    half = W.astype(ml_dtypes.bfloat16)
    nodes = [node("Cast", "h", "f", to=1), node("Mul", "f two", "w"),
             node("Conv", "x w", "y", group=4)]  # fmt: skip
    model = make(nodes, {"x": X}, "y", {"h": half, "two": np.float32(2)})
    (layer,) = read(model, tmp_path)
    np.testing.assert_array_equal(layer.weights, 2 * half.astype(np.float32))
