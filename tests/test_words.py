"""What people and ttnn call a value, in Python and on the command line."""

import enum
import json
import types

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxdw as jd
from jaxdw import cli
from jaxdw.plan.choices import CHOICES
from jaxdw.words import WORDS, meant, nearest

LAYER = {"channels": 64, "height": 8, "width": 8}
MathFidelity = enum.Enum("MathFidelity", ["LoFi", "HiFi2", "HiFi4"])
torch_float32 = type("dtype", (), {"__str__": lambda self: "torch.float32"})()

CALLED = [  # field, what it is called, its value
    ("dtype", "bf16", "bfloat16"),
    ("dtype", jnp.bfloat16, "bfloat16"),
    ("dtype", np.float32, "float32"),
    ("dtype", np.dtype("float32"), "float32"),
    ("dtype", "ttnn.bfloat16", "bfloat16"),
    ("dtype", torch_float32, "float32"),
    ("weights_dtype", "BFLOAT8_B", "bfloat8_b"),
    ("weights_dtype", "bfp4", "bfloat4_b"),
    ("output_dtype", types.SimpleNamespace(name="BFLOAT8_B"), "bfloat8_b"),
    ("activation", "ReLU6", "relu6"),
    ("activation", "none", None),
    ("scheme", "HEIGHT", "height"),
    ("scheme", "ttnn.TensorMemoryLayout.BLOCK_SHARDED", "block"),
    ("scheme", "Width-Sharded", "width"),
    ("orientation", "COL_MAJOR", "col_major"),
    ("orientation", "col", "col_major"),
    ("output_layout", "ROW_MAJOR_LAYOUT", "row_major"),
    ("input_layout", "TILE", "tile"),
    ("memory", "L1_FULL", "l1"),
    ("memory", "DRAM", "dram"),
    ("weight_layout", "Final", "final"),
    ("arithmetic", "FP32", "float32"),
    ("math_fidelity", "hifi4", "HiFi4"),
    ("math_fidelity", MathFidelity.HiFi2, "HiFi2"),
]
CONFIGS = (jd.ConvConfig, jd.ShardConfig, jd.ComputeConfig)


def made(field: str, value: object) -> object:
    (cls,) = (cls for cls in CONFIGS if field in cls.__dataclass_fields__)
    given = LAYER if cls is jd.ConvConfig else {}
    return getattr(cls(**given, **{field: value}), field)


@pytest.mark.parametrize(("field", "called", "value"), CALLED)
def test_a_config_takes_what_people_and_ttnn_call_a_value(field, called, value):
    assert made(field, called) == value


def test_every_field_with_words_is_tried_and_every_word_is_legal():
    assert (
        {field for field, _, _ in CALLED}
        == {*CHOICES}
        == {*WORDS}
        - {
            "program",
            "arch",
        }
    )
    for field, words in WORDS.items():
        for word, value in words.items():
            if field in CHOICES and value in CHOICES[field]:
                assert made(field, word.upper()) == value


@pytest.mark.parametrize(
    ("field", "value"),
    [("dtype", "bf17"), ("dtype", float), ("dtype", 3), ("scheme", "HEIGTH")],
)
def test_what_is_no_word_is_refused_as_it_was_given(field, value):
    assert made(field, value) is value


def test_a_refusal_names_the_nearest_choice():
    with pytest.raises(jd.ConfigError) as refusal:
        jd.make_plan(jd.ConvConfig(**LAYER), jd.ShardConfig(scheme="heigth"))
    assert str(refusal.value) == (
        "`scheme` (='heigth') must be one of height, width, block, auto; try 'height'"
    )
    with pytest.raises(jd.ConfigError, match="try 'blackhole'"):
        jd.load_arch("blackhol")
    with pytest.raises(jd.ConfigError, match="try 'conv1d'"):
        jd.make_plan(jd.ConvConfig(**LAYER), program="conv1")
    assert nearest(None, ("a", "b")) in ("a", "b")


def test_chips_and_programs_have_words_too():
    assert jd.load_arch("Wormhole") is jd.load_arch("wormhole_b0")
    assert jd.load_arch("ttnn.ARCH.BLACKHOLE").name == "blackhole"
    assert jd.make_plan(jd.ConvConfig(**LAYER), program="TTNN").program == "regular"
    assert meant("program", "nothing", ("ttnn",)) == "nothing"


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (5, 16)])
@pytest.mark.parametrize("kernel", [(3, 3), (2, 5), (1, 4)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1)])
@pytest.mark.parametrize("word", ["SAME", "valid"])
def test_same_and_valid_are_those_of_lax(size, kernel, stride, dilation, word):
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    want = lax.padtype_to_pads(size, reach, stride, word)
    conv = jd.ConvConfig(
        channels=32,
        height=size[0],
        width=size[1],
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        padding=word,
    )
    assert conv.padding == tuple(p for pads in want for p in pads)


def test_a_padding_that_is_no_word_is_refused():
    with pytest.raises(jd.ConfigError, match=r"`padding` \(='full'\) must be 4"):
        jd.make_plan(jd.ConvConfig(**LAYER, padding="full"))


# a line of ttnn's and people's words, and the same in jaxdw's own
ALIKE = [
    ("--scheme HEIGHT", "--scheme height"),
    (
        "--scheme BLOCK_SHARDED --orientation col",
        "--scheme block --orientation col_major",
    ),
    ("--arch wormhole", "--arch wormhole_b0"),
    ("--math-fidelity hifi4", "--math-fidelity HiFi4"),
    ("--weights-dtype BFLOAT8_B", "--weights-dtype bfp8"),
    ("--padding SAME", "--padding 1"),
    ("--output-layout ROW_MAJOR", "--output-layout row_major"),
    ("--activation RELU", "--activation relu"),
    ("--program TTNN --memory DRAM", "--program ttnn --memory dram"),
]


@pytest.mark.parametrize(("theirs", "ours"), ALIKE)
def test_the_command_takes_the_same_words(capsys, theirs, ours):
    reports = []
    for line in (theirs, ours):
        padding = "" if "--padding" in line else "--padding 1"
        words = f"plan --channels 64 --size 8 {padding} --json {line}".split()
        assert cli.main(words) == 0
        reports.append(json.loads(capsys.readouterr().out))
    assert reports[0] == reports[1]
