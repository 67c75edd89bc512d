"""Pasted artefacts give the layer in them, malformed ones a sentence each."""

import random
import re

import pytest
from artefacts import (
    ARTEFACTS,
    CAPTURE,
    CONV1D,
    EMITPY,
    FAILED,
    NODE_ID,
    ROW,
    SCRIPT,
    TTIR,
    TTNN,
    VECTOR,
)

import jaxdw as jd
from jaxdw.errors import ConfigError
from jaxdw.exports.ttnn import parametrize_row, sweep_vector, ttnn_call
from jaxdw.inputs.paste import read_paste


@pytest.mark.parametrize(("text", "want"), ARTEFACTS.values(), ids=ARTEFACTS)
def test_the_layer_of_an_artefact_is_read(text, want):
    (layer,) = read_paste(text).layers
    assert (layer.conv, layer.shard, layer.compute) == want


def test_the_message_beside_a_layer_is_read_too():
    (message,) = read_paste(TTIR).messages
    assert (message.end, message.limit, message.clash) == (465952, 351360, True)
    assert message.cores == (8, 8)
    assert read_paste(NODE_ID).messages == ()


def without(text: str, *words: str) -> str:
    for word in words:
        assert word in text
        text = text.replace(word, "")
    return text


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


MALFORMED = {
    "prose": (
        "groups = 10240, kernel_size = [1, 4]",
        r"\(='groups = 10240.*must hold a layer",
    ),
    "nothing": ("", r"`--from` \(=''\) must hold a layer"),
    "a call cut off": (EMITPY[:200], r"whole Python.*was never closed"),
    "a call without a size": (
        without(EMITPY, "input_width=14,"), r"`input_width` is missing from the",
    ),
    "an unknown option": (
        changed(EMITPY, "transpose_shards", "transpose_shars"),
        r"`transpose_shars` of the ttnn\.conv2d call is not known here",
    ),
    "two unknown names": (
        changed(changed(EMITPY, "groups=", "grps="), "stride=", "strde="),
        r"`strde` of .*\n`grps` of",
    ),
    "no depthwise layer": (
        changed(EMITPY, "groups=384", "groups=1"),
        r"`groups` \(=1\) of .* must equal in_channels \(=384\)",
    ),
    "a multiplier": (
        changed(EMITPY, "out_channels=384", "out_channels=768"),
        r"`out_channels` \(=768\) of .* must equal in_channels \(=384\)",
    ),
    "a name without a value": (
        changed(SCRIPT, "C, LENGTH, TAPS = 1280, 20, 4", "TAPS = 4"),
        r"`in_channels` \(=C\) of .* an integer(.|\n)*`input_width` \(=LENGTH\)",
    ),
    "a config elsewhere": (
        without(SCRIPT, "conv_config = ttnn.Conv2dConfig(weights_dtype=ttnn.bfloat16)"),
        r"`conv_config` \(=conv_config\) of the ttnn\.conv2d call must be written out",
    ),
    "a config alone": (
        "ttnn.Conv2dConfig(weights_dtype=ttnn.bfloat16)", "paste the call too",
    ),
    "arguments unpacked": ("ttnn.conv2d(**arguments)", "must write out its arguments"),
    "positions": ("ttnn.conv2d(x, w, 64, 64, 1)", "name its arguments after the two"),
    "folding": (
        changed(EMITPY, "stride_folding=False", "stride_folding=True"),
        r"`enable_kernel_stride_folding` \(=True\) .* is not modelled",
    ),
    "slices of one's own": (
        changed(EMITPY, "Conv2dL1Full,", "Conv2dDRAMSliceHeight,"),
        r"`slice_config` \(=ttnn\.Conv2dSliceConfig ttnn\.Conv2dDRAMSliceHeight 0\)",
    ),
    "a strange activation": (
        changed(EMITPY, "UnaryOpType.RELU6", "UnaryOpType.MISH"),
        r"`activation` \(=ttnn\.UnaryOpType\.MISH\) of .* must be one of relu",
    ),
    "scattered cores": (
        changed(EMITPY, "CoreCoord(0, 0)", "CoreCoord(1, 0)"),
        r"`core_grid` \(=\[\(1, 0, 5, 6\)\]\) must be a rectangle from core \(0, 0\)",
    ),
    "a node id without names": (
        "test_conv2d.py::test_it[1-64-64-8-8]", r"`1-64-64-8-8` of the node id has no",
    ),
    "a node id cut off": (
        changed(NODE_ID, "kernel=(5, 3)", "kernel=(5,"), r"`\(5,` of the node id must",
    ),
    "an unknown flag": (
        changed(FAILED, "no_bias", "some_bias"), "`some_bias` of the node id has no",
    ),
    "a row too short": (
        changed(ROW, "320, True,", "320,"), r"names 14 parameters, a row has 13",
    ),
    "an unknown override": (
        changed(ROW, '"act_block_h"', '"act_blk"'), "key 'act_blk' of the parametrize",
    ),
    "a vector too long": (changed(VECTOR, "False, 1", "False, 1, 1, 1"), "14 or 15"),
    "MLIR cut off": (TTNN[:300], r'a bracket of `"ttnn\.conv2d"` must be closed'),
    "MLIR without types": (TTNN.partition(" : (tensor")[0], "must end with its types"),
    "MLIR that is none": (
        changed(TTNN, "batch_size = 2 : i32", "batch_size = = 2"), "MLIR that xDSL",
    ),
    "an attribute unknown": (
        changed(TTIR, "channel_last", "chanel_last"), r'`chanel_last` of the "ttir\.c',
    ),
    "pretty MLIR": (
        "%1 = ttnn.conv2d(%0, %w) {groups = 4}", r"`ttnn\.conv2d` must be an operat",
    ),
    "JSON cut off": (CAPTURE[:300], "must be whole JSON where it looks like it"),
    "a capture without a convolution": (
        changed(CAPTURE, "ttnn::conv2d", "ttnn::add"), "function_start of ttnn::conv2d",
    ),
    "a capture without arguments": (
        changed(CAPTURE, '"arguments"', '"args"'), "must be those of its signature",
    ),
    "a kernel past its image": (
        changed(CONV1D, "padding=(3, 0)", "padding=(0, 0)").replace("2 * 64", "2"),
        r"`kernel` \(=4 along width.*in the ttnn\.conv1d call",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), MALFORMED.values(), ids=MALFORMED)
def test_what_is_malformed_is_refused_in_a_sentence(text, said):
    with pytest.raises(ConfigError, match=said) as told:
        read_paste(text)
    for line in str(told.value).splitlines():
        assert len(line) < 400
        assert ";" in line or "must" in line, line


def test_nothing_of_a_paste_is_run(tmp_path):
    """Text that would write a file if it were evaluated, in every place of a value."""
    gone = tmp_path / "ran"
    evil = f"__import__('pathlib').Path({str(gone)!r}).touch()"
    for text in (
        changed(EMITPY, "batch_size=8", f"batch_size={evil}"),
        changed(SCRIPT, "LEFT = TAPS - 1", f"LEFT = {evil}"),
        changed(NODE_ID, "batch=2", f"batch={evil}"),
        changed(ROW, "[ttnn.bfloat8_b]", f"[{evil}]"),
        changed(CAPTURE, '"{1, 1, 1, 1}"', f'"{evil}"'),
    ):
        with pytest.raises(ConfigError):
            read_paste(text)
    assert not gone.exists()


@pytest.mark.parametrize("seed", range(4))
def test_mutated_texts_are_read_or_refused(seed):
    rng = random.Random(seed)
    texts = [text for text, _ in ARTEFACTS.values()]
    read = 0
    for _ in range(150):
        text = rng.choice(texts)
        for _ in range(rng.randint(1, 3)):
            start = rng.randrange(len(text) + 1)
            end = min(len(text), start + rng.randint(0, 30))
            put = rng.choice(["", *"()[]{}<>,=-\"'\\\n\0", "None", "9" * 30, "nan"])
            text = text[:start] + put + text[end:]
        try:
            read += bool(read_paste(text))
        except ConfigError:
            continue
    assert read


def test_words_that_explode_a_pattern_are_refused_at_once():
    for text in ("[" + "1" * 200_000 + "x", "core range [" * 20_000, "(" * 5_000):
        with pytest.raises(ConfigError):
            read_paste(text)


@pytest.mark.parametrize("scheme", ["height", "width", "block"])
def test_what_is_printed_for_a_plan_is_read_back(scheme):
    conv = jd.ConvConfig(
        channels=160, height=14, width=12, batch=2, kernel=(3, 5), padding=(1, 1, 2, 2),
        stride=(1, 2), bias=True, activation="gelu_approx", weights_dtype="bfloat8_b",
    )  # fmt: skip
    shard = jd.ShardConfig(
        scheme=scheme, cores=(3, 2), orientation="col_major", act_block_h_override=32,
        enable_act_double_buffer=True, output_layout="row_major",
    )  # fmt: skip
    compute = jd.ComputeConfig(math_fidelity="HiFi2", fp32_dest_acc=True)
    plan = jd.make_plan(conv, shard, compute, must_fit=False)
    (layer,) = read_paste(ttnn_call(plan)).layers
    assert (layer.conv, layer.shard, layer.compute) == (conv, shard, compute)
    (row,) = read_paste(parametrize_row(plan)).layers
    assert (row.conv, row.shard.scheme, row.compute) == (conv, scheme, compute)
    (vector,) = read_paste(sweep_vector(plan)).layers
    assert (vector.conv.input_shape, vector.conv.padding) == (
        conv.input_shape,
        conv.padding,
    )
    assert (vector.conv.stride, vector.conv.bias) == ((1, 2), True)


def test_several_layers_come_in_order_and_each_once():
    two = re.sub(
        r"\(1, 320.*\}\),",
        lambda m: m[0] + m[0] + m[0].replace("(1, 320", "(2, 320"),
        ROW,
    )
    found = read_paste(two).layers
    assert [layer.conv.batch for layer in found] == [1, 2]
    several = changed(ROW, "[ttnn.bfloat8_b]", "[ttnn.bfloat8_b, ttnn.bfloat16]")
    assert [layer.conv.weights_dtype for layer in read_paste(several).layers] == [
        "bfloat8_b",
        "bfloat16",
    ]
