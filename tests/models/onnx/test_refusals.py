"""What is refused of ONNX files: not sound, not whole, not safe."""

import importlib.util
import os
import re
import warnings

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_files import W, X, external, make, node, one, read, refusal

import jaxdw as jd
from jaxdw.models.onnx.file import SkippedLayersWarning, read_onnx

ZERO = np.float32(0)
INT8 = np.ones((4, 1, 3, 3), np.int8)
QUANTIZED = {"q": INT8, "s": np.ones(4, np.float32)}


@pytest.mark.parametrize(
    ("nodes", "constants", "message"),
    [
        ([node("Mul", "a x1", "w")], {"a": W}, "'x1' .=a graph input.*fold constants"),
        ([node("Mul", "a n", "w")], {"a": W, "n": np.ones(3, np.float32)[:2]},
         "must be one that onnx can (compute|infer)"),
        ([node("RandomNormalLike", "a", "w")], {"a": W}, "output of RandomNormalLike"),
        ([node("Relu", "a", "w", domain="custom")], {"a": W}, "=an output of Relu"),
        ([node("Identity", f"a{i}", f"a{i + 1}") for i in range(64)]
         + [node("Identity", "a64", "w")], {"a0": W}, "by at most 64 nodes in a row"),
        ([node("DequantizeLinear", "q s", "w")], QUANTIZED,
         r"one each along `axis` .left out, so 1. of 4x1x3x3; write axis=0"),
        ([node("DequantizeLinear", "q s", "w", axis=3)], QUANTIZED, "along axis 3"),
        ([node("DequantizeLinear", "q s", "w", axis=9)], QUANTIZED, "along axis 9"),
        ([], {"w": W * np.float32(np.inf)}, r"36 of 36 NaN or infinite"),
        ([], {"w": W.astype(np.float64) + 1e300}, "36 of 36 NaN or infinite"),
        ([], {"w": INT8}, "int8 4x1x3x3.*must be floats"),
    ],
)  # fmt: skip
def test_weights_that_are_not_constant_or_no_floats(
    tmp_path, nodes, constants, message
):
    conv = node("Conv", "x w", "y", group=4)
    inputs = {"x": X, "x1": W.shape}
    said = refusal(make([*nodes, conv], inputs, "y", constants), tmp_path)
    assert re.search(message, said), said


def test_weights_are_never_read_outside_the_folder(tmp_path):
    inside = tmp_path / "model"
    inside.mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"head" + W.tobytes())
    (inside / "sub").mkdir()
    (inside / "link.bin").symlink_to(secret)
    (inside / "up").symlink_to(tmp_path)
    os.mkfifo(inside / "fifo")
    (tmp_path / "twin.bin").write_bytes(secret.read_bytes())
    os.link(tmp_path / "twin.bin", inside / "hard.bin")
    for location, why in {
        secret: "path leads out",
        "../secret.bin": "path leads out",
        "sub/../w.bin": "path leads out",
        inside / "w.bin": "path leads out",
        "link.bin": "link leads out",
        "up/secret.bin": "link leads out",
        "hard.bin": "link leads out",
        "sub": "link leads out|not a regular file",  # folders count their subfolders
        "fifo": "not a regular file",
        "absent": "No such file",
        "a\0b": "null",
        "": "link leads out|not a regular file",
    }.items():
        said = refusal(external(inside, location=location), inside)
        assert re.search(why, said), (location, said)
        assert "in the model's folder" in said


@pytest.mark.parametrize(
    "entries",
    [
        {"offset": 8},
        {"offset": -4},
        {"offset": "x"},
        {"offset": 10**30},
        {"length": 4},
        {"length": -1},
        {"length": 10**30},
        {"length": None, "offset": 0},
        {"data": W[:2]},
    ],
    ids=str,
)
def test_weights_outside_their_file(tmp_path, entries):
    said = refusal(external(tmp_path, **entries), tmp_path)
    assert "must be 144 bytes of a file" in said


def test_dynamic_shapes_are_refused_with_a_way_out(tmp_path):
    model = one(shape=("batch", 4, None, 8))
    said = refusal(model, tmp_path)
    assert "'x' (=batchx4x?x8) must have a fixed shape" in said
    assert "--input x=1x4x224x8" in said
    assert "inputs={'x': (1, 4, 224, 8)}" in said
    for isolated in (True, False):
        (layer,) = read(model, tmp_path, {"x": [3, 4, 7, 8]}, isolated)
        assert layer.conv.input_shape == (3, 7, 8, 4)
    assert read(one(shape=None), tmp_path, {"x": X})[0].conv.height == 9
    assert "--input x=1x3x224x224" in refusal(one(shape=None), tmp_path)
    assert "--input x=1x4x9x8" in refusal(one(shape=(-1, *X[1:])), tmp_path)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"y": X}, "(='y') must name a tensor that the graph takes; use one of 'x'"),
        ({"w": W.shape}, "(='w') must name"),
        ({"x": (1, 4, 9)}, "(=1x4x9) must agree with the file (=nx4x9x8)"),
        ({"x": (1, 5, 9, 8)}, "(=1x5x9x8) must agree"),
        ({"x": (0, 4, 9, 8)}, "(=(0, 4, 9, 8)) must be integers >= 1"),
        ({"x": (1, 4, 9, 8.0)}, "must be integers >= 1"),
        ({"x": (2**63, 4, 9, 8)}, "must be integers >= 1"),
    ],
)  # fmt: skip
def test_inputs_are_those_of_the_graph(tmp_path, inputs, message):
    model = one(shape=("n", *X[1:]))
    model.graph.input.append(helper.make_tensor_value_info("w", 1, W.shape))
    assert message in refusal(model, tmp_path, inputs)


def raw(tensor_type=1, dims=W.shape, data=b"") -> onnx.ModelProto:
    data = data or W.tobytes()
    tensor = TensorProto(name="w", data_type=tensor_type, dims=dims, raw_data=data)
    return one(constants={"w": tensor})


def biased(bias: TensorProto) -> onnx.ModelProto:
    model = one(constants={"w": W, "b": bias})
    model.graph.node[0].input.append("b")
    return model


def without(field_name: str) -> onnx.ModelProto:
    model = one()
    model.ClearField(field_name)
    return model


LOOP = make(
    [node("Add", "x b", "a"), node("Relu", "a", "b"), node("Conv", "b w", "y")],
    {"x": X}, "y", {"w": W},
)  # fmt: skip


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (b"", r"\(=.*, 0 bytes\) must be a whole ONNX model"),
        (b"PK\x03\x04 no model at all", "must be a whole ONNX model"),
        (b"\x08\x09", "with nodes and an operator set"),
        (one().SerializeToString()[:-1], "must be a whole ONNX model"),
        (LOOP, "'b' .*must be given by an earlier node, in an order without cycles"),
        (one(node("Relu", "x", "y")), "'y' .*must be given by one node only"),
        (without("opset_import"), "with nodes and an operator set"),
        (
            one(constants={"w": W, "v": helper.make_tensor("w", 1, [1], [0])}),
            "initializers must have names of their own",
        ),
        (one(group=0), r"`group` \(=0\) must be >= 1"),
        (one(group=-4), r"`group` \(=-4\) must be >= 1"),
        (one(group=3), r"a multiple of `group` \(=3\)"),
        (one(shape=(1, 8, 9, 8)), "=1x8x9x8.*with the 4 channels of its weights"),
        (one(shape=(1, 4, 9)), "=1x4x9.*must be batch x channels x height x width"),
        (one(strides=[0, 1]), r"`strides` \(=\(0, 1\)\) must be 2 integers >= 1"),
        (one(strides=[1]), "must be 2 integers"),
        (one(dilations=[-1, 1], auto_pad="SAME_UPPER"), "must be 2 integers >= 1"),
        (one(pads=[1, 1]), r"`pads` \(=\(1, 1\)\) must be 4 integers"),
        (one(pads=[-1, 0, 0, 0]), "`padding`.*must be 4 integers >= 0"),
        (one(auto_pad="SAME"), "`auto_pad` .*'SAME'"),
        (one(auto_pad="VALID", pads=[1, 1, 1, 1]), "must be left out where `auto_pad`"),
        (one(kernel_shape=[5, 5]), r"`kernel_shape` \(=\(5, 5\)\) must be that of"),
        (one(shape=(1, 4, 2, 2)), "must fit the padded input"),
        (one(shape=(1, 4, 2**40, 2**40)), "must have at most 2147483646"),
        (raw(data=b"\0" * 140), "4x1x3x3.*must have as many values"),
        (raw(data=W.tobytes() + b"\0"), "must have as many values"),
        (raw(dims=(4, 1, -3, 3)), "4x1x-3x3.*must be out channels x"),
        (raw(dims=(4, 1, 2**62, 3)), "must fit the padded input"),
        (biased(helper.make_tensor("b", 1, [3], [1, 2, 3])), "float32 3.*of shape 4"),
        (
            biased(TensorProto(name="b", data_type=1, dims=[-1], raw_data=b"\0" * 16)),
            "type 1, -1.*with sizes >= 1",
        ),
        (raw(tensor_type=8), "type 8.*must be floats"),
        (raw(tensor_type=99), "type 99|infer shapes"),
    ],
)
def test_files_that_are_no_sound_model(tmp_path, model, message):
    assert re.search(message, refusal(model, tmp_path))


def test_every_problem_is_told_once_and_not_too_many(tmp_path):
    nodes = [node("Conv", "x w", f"y{i}", group=4, pads=[-1] * 4) for i in range(20)]
    said = refusal(make(nodes, {"x": X}, "y0", {"w": W}), tmp_path)
    assert said.count("`padding`") == 8
    assert said.endswith("and 12 more")


def test_paths_that_cannot_be_read(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in ("absent", "", "fifo", "a\0b"):
        with pytest.raises(jd.ConfigError, match="must be a readable file"):
            read_onnx(os.path.join(tmp_path, path), isolated=path != "fifo")


def test_the_extra_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(jd.ConfigError, match=r"pip install 'jaxdw\[onnx\]'"):
        read_onnx(tmp_path / "model.onnx")


def field(number: int, data: bytes) -> bytes:
    """Returns bytes as a field of a protobuf message."""
    head, size = bytes([number << 3 | 2]), len(data)
    while size > 127:
        head, size = head + bytes([size & 127 | 128]), size >> 7
    return head + bytes([size]) + data


GRAPH, NODE, OUTPUT, ATTRIBUTE, BODY = 7, 1, 2, 5, 6  # field numbers of onnx.proto


@pytest.mark.parametrize(("depth", "whole"), [(25, True), (10000, False)])
def test_deep_nesting(tmp_path, depth, whole):
    data = node("Conv", "x w", "y", group=4).SerializeToString()
    for _ in range(depth):
        data = field(ATTRIBUTE, field(BODY, field(NODE, data))) + field(OUTPUT, b"z")
    data = one().SerializeToString() + field(GRAPH, field(NODE, data))
    if whole:
        with pytest.warns(SkippedLayersWarning, match="a grouped Conv in its body"):
            assert len(read(data, tmp_path)) == 1
    else:
        assert "must be a whole ONNX model" in refusal(data, tmp_path)


def test_a_file_that_crashes_onnx_is_refused(tmp_path):
    model = one(node("GatherND", "y index", "z"))
    model.graph.input.append(helper.make_tensor_value_info("index", 7, (1, -1)))
    said = refusal(model, tmp_path, isolated=True)
    assert re.search(r"must be read without a crash \(status -\d+\)", said)


def test_a_file_that_fills_memory_is_refused(tmp_path):
    """18 MB of empty nodes would be 1.4 GB in memory, and then no model."""
    said = refusal(field(GRAPH, field(NODE, b"") * 9_000_000), tmp_path, isolated=True)
    assert "with nodes and an operator set" not in said
    assert "must be" in said


def test_nothing_is_imported_from_the_working_folder(tmp_path, monkeypatch):
    for name in ("onnx", "json", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    assert len(read(one(), tmp_path, isolated=True)) == 1


def test_damaged_files_give_layers_or_a_refusal(tmp_path):
    clip = node("Clip", "y zero six", "z")
    small = one(clip, constants={"w": W, "zero": ZERO, "six": ZERO + 6})
    convs = [node("Conv", f"x{i} w{i}", f"x{i + 1}", group=4) for i in range(40)]
    weights = {f"w{i}": W for i in range(40)}
    whole = make(convs, {"x0": (1, 4, 99, 99)}, "x40", weights).SerializeToString()
    assert len(read(whole, tmp_path)) == 40
    files = [whole[:end] for end in range(0, len(whole), 97)]
    rng = np.random.default_rng(11)
    for _ in range(600):
        data = bytearray(small.SerializeToString())
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            data[at] ^= 1 << int(rng.integers(8))
        files.append(bytes(data))
    outcomes = {"layers": 0, "refused": 0}
    for data in files:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SkippedLayersWarning)
                layers = read(data, tmp_path)
        except jd.ConfigError:
            outcomes["refused"] += 1
        else:
            assert layers
            assert not any(layer.conv.problems() for layer in layers)
            outcomes["layers"] += 1
    assert min(outcomes.values()) > 100, outcomes
