import dataclasses

import ml_dtypes
import numpy as np
import pytest

import jaxdw as jd
from jaxdw.arrays.operands import Tensor, are_given, read_tensors

CONV = jd.ConvConfig(channels=40, height=9, width=7, padding=1, bias=True)
PLAN = jd.make_plan(CONV)
OPTIONS = {"x": "--x", "w": "--w", "bias": "--bias-values", "output": "--output"}


def tensors(**paths):
    return [Tensor(kind, OPTIONS[kind], paths.get(kind)) for kind in OPTIONS]


def test_files_are_given_all_or_not_at_all():
    assert not are_given(True, tensors())
    assert not are_given(False, tensors(output="o.npy"))
    assert are_given(False, tensors(x="x.npy", w="w.npy"))
    assert are_given(True, tensors(x="x.npy", w="w.npy", bias="b.npy"))


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ("x", ["--w", "--bias-values"]),
        ("w", ["--x", "--bias-values"]),
        ("bias", ["--x", "--w"]),
        ("x w", ["--bias-values"]),
        ("x bias", ["--w"]),
        ("w bias", ["--x"]),
    ],
)
def test_a_part_of_the_files_is_refused_by_the_name_of_the_missing(given, missing):
    paths = {kind: f"{kind}.npy" for kind in given.split()}
    with pytest.raises(jd.ConfigError) as refused:
        are_given(True, tensors(**paths, output="o.npy"))
    lines = str(refused.value).split("\n")
    assert [line.split("`")[1] for line in lines] == missing
    for line in lines:
        assert all(f"'{path}'" in line for path in paths.values())
        assert "not mixed with drawn ones" in line


def test_a_bias_that_is_not_planned_is_refused():
    paths = {"x": "x.npy", "w": "w.npy", "bias": "b.npy"}
    with pytest.raises(jd.ConfigError, match=r"`--bias-values` \(='b\.npy'\).*--bias$"):
        are_given(False, tensors(**paths))


def test_tensors_are_read_in_the_planned_shapes_and_what_was_taken_is_said(tmp_path):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(CONV.input_shape), rng.standard_normal(CONV.weight_shape)
    x, w = x.astype(np.float32), w.astype(np.float32)
    bias = np.arange(40, dtype=np.float32)
    output = rng.standard_normal((1, 9, 7, 40)).astype(ml_dtypes.bfloat16)
    np.save(tmp_path / "x.npy", x.transpose(0, 3, 1, 2))
    np.savez(tmp_path / "p.npz", w=w, b=bias)
    sticks = np.pad(output.reshape(63, 40), [(0, 1), (0, 24)])
    np.save(tmp_path / "o.npy", sticks[None, None])
    found = read_tensors(
        PLAN,
        tensors(
            x=tmp_path / "x.npy",
            w=f"{tmp_path}/p.npz:w",
            bias=f"{tmp_path}/p.npz:b",
            output=tmp_path / "o.npy",
        ),
    )
    want = {"x": x, "w": w, "bias": bias, "output": output.astype(np.float32)}
    assert found.values.keys() == want.keys()
    for kind, values in want.items():
        np.testing.assert_array_equal(found.values[kind], values)
    assert found.notes == (
        "x: [1, 40, 9, 7] taken as [N, C, H, W] of [1, 9, 7, 40]",
        "output: values without a type taken as the bits of bfloat16",
        (
            "output: [1, 1, 64, 64] taken as [N*H*W, C] of [1, 9, 7, 40], 1576 "
            "elements of padding cut"
        ),
    )


def test_raw_values_have_the_layers_dtype_unless_told(tmp_path):
    x = np.arange(2520).reshape(CONV.input_shape) % 256
    path = tmp_path / "x.bin"
    x.astype(ml_dtypes.bfloat16).tofile(path)
    found = read_tensors(PLAN, tensors(x=path), ["nhwc"])
    np.testing.assert_array_equal(found.values["x"], x)
    assert found.notes[0] == "x: raw values read as bfloat16"
    x.astype(np.float32).tofile(path)
    with pytest.raises(jd.ConfigError, match=r"`--x` \(=\(5040,\)\) must have"):
        read_tensors(PLAN, tensors(x=path), ["nhwc"])
    found = read_tensors(PLAN, tensors(x=path), ["nhwc"], "float32")
    np.testing.assert_array_equal(found.values["x"], x)
    conv = dataclasses.replace(CONV, weights_dtype="float32", output_dtype="float32")
    wide = jd.make_plan(conv, None, jd.ComputeConfig(fp32_dest_acc=True))
    for kind, shape in (("output", (1, 9, 7, 40)), ("w", (40, 1, 3, 3))):
        values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + 1e-4
        values.tofile(path)
        layout = "nhwc" if kind == "output" else "oihw"
        found = read_tensors(wide, tensors(**{kind: path}), [layout])
        np.testing.assert_array_equal(found.values[kind], values)
    x.astype(np.float32).tofile(path)
    blocks = jd.make_plan(jd.ConvConfig(channels=40, height=9, width=7,
                                        dtype="bfloat8_b"))  # fmt: skip
    with pytest.raises(jd.ConfigError, match="does not say its dtype"):
        read_tensors(blocks, tensors(x=path), ["nhwc"])


def test_a_dtype_that_no_file_needs_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(CONV.input_shape, np.float32))
    given = tensors(x=tmp_path / "x.npy")
    with pytest.raises(jd.ConfigError, match=r"\(='bfloat16'\) must be left out"):
        read_tensors(PLAN, given, dtype="bfloat16")


def test_layouts_are_for_all_tensors_that_can_have_them_or_for_one(tmp_path):
    conv = jd.ConvConfig(channels=8, height=8, width=8, padding=1)
    plan = jd.make_plan(conv)
    x = np.arange(512, dtype=np.float32).reshape(1, 8, 8, 8)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "o.npy", x + 1)
    np.save(tmp_path / "w.npy", np.ones((8, 1, 3, 3), np.float32))
    given = tensors(**{k: tmp_path / f"{k[0]}.npy" for k in ("x", "output", "w")})
    turned = x.transpose(0, 2, 3, 1)
    found = read_tensors(plan, given, ["nchw", "oihw"]).values
    np.testing.assert_array_equal(found["x"], turned)
    np.testing.assert_array_equal(found["output"], turned + 1)
    found = read_tensors(plan, given, ["x=nhwc", "output=nchw"]).values
    np.testing.assert_array_equal(found["x"], x)
    np.testing.assert_array_equal(found["output"], turned + 1)
    with pytest.raises(jd.ConfigError, match="nchw or nhwc"):
        read_tensors(plan, given, ["x=nhwc"])


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["chwn"], r"\(='chwn'\) must be one of nhwc, nchw, of a tensor"),
        (["hwio"], r"\(='hwio'\) must be one of nhwc, nchw"),
        (["w=hwio"], r"\(='w=hwio'\) must be one of nhwc, nchw"),
        (["x=oihw"], r"\(='x=oihw'\)"),
        (["nhwc", "x=nchw"], r"\(='x=nchw'\) must not differ from 'nhwc'"),
    ],
)
def test_a_layout_of_no_tensor_or_two_of_one_are_refused(tmp_path, words, match):
    np.save(tmp_path / "x.npy", np.zeros(CONV.input_shape, np.float32))
    with pytest.raises(jd.ConfigError, match=match):
        read_tensors(PLAN, tensors(x=tmp_path / "x.npy"), words)
