"""A network cut at its depthwise layers is the network, and its layers are jd.run's."""

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx_files import W, make, node
from onnx_files import written as write_model

import jaxdw as jd
from jaxdw.networks.cut import cut, cut_layers
from jaxdw.networks.measure import chip
from jaxdw.networks.network import Network, as_tensor, largest_change
from jaxdw.networks.settings import settings_of

SHAPE = (2, 4, 9, 8)
X = np.random.default_rng(3).standard_normal(SHAPE).astype(np.float32)
PADS = {"group": 4, "pads": [1, 1, 1, 1]}
C4 = np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1)
DENSE = np.random.default_rng(4).standard_normal((4, 4, 1, 1)).astype(np.float32)


def tangled() -> onnx.ModelProto:
    """Two layers side by side, skips over layers, constants in between, a branch."""
    body = helper.make_graph(
        [node("Add", "d1 x", "b")], "body", [],
        [helper.make_tensor_value_info("b", 1, None)],
    )  # fmt: skip
    nodes = [
        node("Mul", "two two", "four"),
        node("Conv", "x dense", "s"),
        node("Conv", "s w", "y0", "first", **PADS),
        node("Add", "y0 c", "t0"),
        node("Relu", "t0", "d0"),
        node("Conv", "s w2", "d1", "beside", **PADS),
        node("Mul", "d0 four", "m"),
        node("Add", "m d1", "a"),
        node("Conv", "a w", "y2", "third", **PADS),
        node("QuantizeLinear", "y2 one", "q"),
        node("DequantizeLinear", "q one", "dq"),
        node("Relu", "dq", "r"),
        node("If", "true", "i", then_branch=body, else_branch=body),
        node("Add", "r i", "sum"),
        node("Add", "sum s", "late"),
        node("Shape", "d1", "shape"),
        node("Conv", "late w2", "last", "last", **PADS),
    ]
    constants = {
        "w": W, "w2": W[::-1].copy(), "dense": DENSE, "c": C4,
        "two": np.float32(2), "one": np.float32(0.5), "true": np.array(True),
    }  # fmt: skip
    return make(nodes, {"x": SHAPE}, "last d1 late four", constants)


@pytest.fixture
def net(tmp_path) -> Network:
    path = write_model(tangled(), tmp_path)
    return Network(path, (("x", SHAPE),))


def test_the_cuts_change_nothing_in_float32(net):
    assert [layer.name for layer in net.layers] == ["first", "beside", "third", "last"]
    assert net.control({"x": X}) == 0
    trace = net.run({"x": X}, net.in_float32)
    want = ReferenceEvaluator(tangled()).run(None, {"x": X})
    assert list(trace.outputs) == ["last", "d1", "late", "four"]
    for got, one in zip(trace.outputs.values(), want, strict=True):
        np.testing.assert_allclose(got, one, rtol=1e-4, atol=1e-4)


def test_a_stage_holds_what_lies_between(net):
    stages = cut(net.model, net.layers)
    assert [stage.layers for stage in stages] == [[0, 1], [2], [3], []]
    names = [[n.output[0] for n in stage.nodes] for stage in stages]
    assert names == [
        ["s"],
        ["four", "m", "a", "i"],  # the constant is where it is read
        ["q", "dq", "r", "sum", "late"],
        ["four"],  # an output that depends on no input
    ]
    assert stages[1].inputs == ["d0", "d1", "x"]  # d1 and x in the body
    assert stages[2].inputs == ["i", "s", "y2"]
    assert [stage.outputs for stage in stages[:2]] == [["s"], ["a", "four", "i"]]


def test_a_layer_read_through_quantisation_ends_before_it(net):
    third = net.layers[2]
    assert (third.output, third.conv.activation) == ("y2", None)
    first = net.layers[0]
    assert (first.output, first.conv.activation) == ("d0", "relu")
    assert cut_layers(net.layers) == net.layers


def test_layers_inside_the_network_are_those_of_run_bit_for_bit(net):
    axes = {"fidelities": ("LoFi",), "weights_dtypes": ("bf16", "bfp8")}
    for setting in settings_of(str(net.path), (("x", SHAPE),), net.layers, axes):
        trace = net.run({"x": X}, chip(net, setting))
        for number, (layer, point) in enumerate(
            zip(net.layers, setting.points, strict=True)
        ):
            plan = point.plan()
            result = jd.run(
                plan,
                jd.make_maps(plan),
                trace.images[number],
                layer.weights,
                layer.bias,
            )
            np.testing.assert_array_equal(result.output, trace.results[number])
        values = trace.outputs["d1"].transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(values, trace.results[1])
        assert largest_change(net.uncut({"x": X}), trace.outputs) > 1e-3


def test_a_layer_of_another_way_alone_changes_what_lies_behind_it(net):
    plain = net.run({"x": X}, net.in_float32)
    doubled = {1: lambda n, image: 2 * net.in_float32(n, image)}
    got = net.run({"x": X}, doubled)
    np.testing.assert_array_equal(got.outputs["d1"], 2 * plain.outputs["d1"])
    np.testing.assert_array_equal(got.results[0], plain.results[0])
    assert (got.images[2] != plain.images[2]).any()
    again = net.run({"x": X}, lambda n, image: doubled.get(n, net.in_float32)(n, image))
    np.testing.assert_array_equal(again.outputs["last"], got.outputs["last"])


@pytest.mark.parametrize("number", range(4))
def test_going_on_from_a_stage_is_running_it_all(net, number):
    plain = net.run({"x": X}, net.in_float32, keep=True)
    changed = {number: lambda n, image: 0.5 * net.in_float32(n, image)}
    whole = net.run({"x": X}, changed)
    rest = net.run({}, changed, since=plain, first=net.level(number))
    for name, values in whole.outputs.items():
        np.testing.assert_array_equal(rest.outputs[name], values)
    assert min(rest.images) >= 0
    assert net.level(number) == [0, 0, 1, 2][number]


def test_layers_read_wrong_are_refused(net, monkeypatch):
    right = net.in_float32

    def slightly_off(number, image):
        return right(number, image) * np.float32(1.001)

    monkeypatch.setattr(Network, "in_float32", lambda self, *a: slightly_off(*a))
    with pytest.raises(jd.ConfigError, match=r"cut at its 4 depthwise.*within 1e-05"):
        net.control({"x": X})


def test_a_row_of_one_axis_goes_in_and_out(tmp_path):
    weights = np.random.default_rng(0).standard_normal((4, 1, 3)).astype(np.float32)
    nodes = [node("Conv", "x w", "y", group=4, pads=[1, 1]), node("Relu", "y", "z")]
    model = make(nodes, {"x": (2, 4, 11)}, "z", {"w": weights})
    net = Network(write_model(model, tmp_path), (("x", (2, 4, 11)),))
    x = np.random.default_rng(1).standard_normal((2, 4, 11)).astype(np.float32)
    assert net.control({"x": x}) == 0
    trace = net.run({"x": x}, net.in_float32)
    assert trace.images[0].shape == (2, 1, 11, 4)
    np.testing.assert_array_equal(as_tensor(trace.images[0], x), x)


def test_functions_are_cut_inside(tmp_path):
    conv = node("Conv", "a b", "c", "inner", group=4)
    opsets = [helper.make_opsetid("", 20)]
    block = helper.make_function("custom", "Block", ["a", "b"], ["c"], [conv], opsets)
    calls = [node("Block", "x w", "y", domain="custom"),
             node("Block", "y w", "z", domain="custom")]  # fmt: skip
    model = make(calls, {"x": SHAPE}, "z", {"w": W}, functions=[block])
    net = Network(write_model(model, tmp_path), (("x", SHAPE),))
    assert len(net.layers) == 2
    assert net.control({"x": X}) == 0


@pytest.mark.parametrize("activation", ["Relu", "Clip", "Gelu", "Sigmoid", None])
def test_activations_are_those_of_the_network(tmp_path, activation):
    nodes = [node("Conv", "x w b", "y", **PADS)]
    if activation == "Clip":
        nodes.append(node("Clip", "y zero six", "z"))
    elif activation == "Sigmoid":
        nodes += [node("Sigmoid", "y", "s"), node("Mul", "s y", "z")]
    elif activation:
        nodes.append(node(activation, "y", "z"))
    constants = {
        "w": W,
        "b": 3 * C4.ravel(),
        "zero": np.float32(0),
        "six": np.float32(6),
    }
    model = make(nodes, {"x": SHAPE}, nodes[-1].output[0], constants)
    net = Network(write_model(model, tmp_path), (("x", SHAPE),))
    said = {"Relu": "relu", "Clip": "relu6", "Gelu": "gelu", "Sigmoid": "silu"}
    assert net.layers[0].conv.activation == said.get(str(activation))
    assert net.control({"x": X}) <= 1e-6


def test_what_is_no_network_is_refused(tmp_path):
    path = write_model(tangled(), tmp_path)
    with pytest.raises(jd.ConfigError, match=r"must run on its inputs"):
        Network(path, (("x", SHAPE),)).uncut({"x": X[:, :3]})
    (tmp_path / "not.onnx").write_bytes(b"no model")
    with pytest.raises(jd.ConfigError, match=r"must be an ONNX file"):
        Network(tmp_path / "not.onnx", ())
    nodes = [node("Nonsense", "x", "a"), node("Conv", "a w", "y", **PADS)]
    model = make(nodes, {"x": SHAPE}, "y", {"w": W})
    model.graph.value_info.append(helper.make_tensor_value_info("a", 1, SHAPE))
    with pytest.raises(jd.ConfigError, match=r"one that onnxruntime runs \(.*Nonsense"):
        Network(write_model(model, tmp_path), (("x", SHAPE),))


def test_a_change_is_a_share_of_the_largest_value():
    want = {"a": np.array([1.0, -4.0]), "b": np.array([2, 3])}
    assert largest_change(want, want) == 0
    assert largest_change(want, want | {"a": np.array([2.0, -4.0])}) == 0.25
    assert np.isnan(largest_change(want, want | {"a": np.array([np.nan, 0])}))
