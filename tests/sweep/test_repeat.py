import dataclasses
import json
import shlex

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from strategies import any_shards, convs

import jaxdw as jd
from jaxdw import cli
from jaxdw.cli import options
from jaxdw.sweep import evaluate as evaluating
from jaxdw.sweep.axes import PROGRAMS
from jaxdw.sweep.evaluate import evaluate
from jaxdw.sweep.repeat import layer_words, repeat_line
from jaxdw.sweep.rows import Point
from jaxdw.sweep.space import Space

CHIPS = ["wormhole_b0", "blackhole", "chips/my chip.toml", "-x.toml", "it's.toml"]
DTYPES = ["bfloat16", "float32", "bfloat8_b"]


@st.composite
def configs(draw: st.DrawFn):
    """Draws configs with every field at its default or at another value."""
    conv = dataclasses.replace(
        draw(convs()),
        dtype=draw(st.sampled_from(DTYPES)),
        weights_dtype=draw(st.sampled_from([*DTYPES, "bfloat4_b"])),
        output_dtype=draw(st.sampled_from(DTYPES)),
        bias=draw(st.booleans()),
        activation=draw(st.sampled_from([None, "relu6", "gelu_approx"])),
    )
    shard = dataclasses.replace(
        draw(any_shards()),
        input_shard=draw(st.sampled_from([None, (64, 32)])),
        reshard_if_not_optimal=draw(st.booleans()),
        output_layout=draw(st.sampled_from(["tile", "row_major"])),
        enable_act_double_buffer=draw(st.booleans()),
        enable_weights_double_buffer=draw(st.booleans()),
        program_cache=draw(st.booleans()),
        weight_layout=draw(st.sampled_from(["final", "concatenated"])),
        input_layout=draw(st.sampled_from(["row_major", "tile"])),
        memory=draw(st.sampled_from(["l1", "dram"])),
        config_tensors_in_dram=draw(st.booleans()),
        full_inner_dim=draw(st.booleans()),
        act_block_w_div=draw(st.sampled_from([1, 2])),
        force_split_reader=draw(st.booleans()),
        enable_activation_reuse=draw(st.booleans()),
    )
    if draw(st.booleans()):
        shard = dataclasses.replace(shard, scheme="auto", grid=None)
    compute = jd.ComputeConfig(
        arithmetic=draw(st.sampled_from(["fpu", "float32"])),
        math_fidelity=draw(st.sampled_from(["LoFi", "HiFi2", "HiFi4"])),
        fp32_dest_acc=draw(st.booleans()),
        packer_l1_acc=draw(st.booleans()),
    )
    return conv, shard, compute


def parsed(line: str):
    name, *words = shlex.split(line)
    assert name == "jaxdw"
    return cli.make_parser().parse_args(words)


@given(
    configs(),
    st.sampled_from(CHIPS),
    st.sampled_from([*PROGRAMS, "ttnn"]),
    st.sampled_from([None, 0, 2**40]),
)
def test_the_command_reads_its_line_back(asked, arch, program, seed):
    conv, shard, compute = asked
    point = Point(
        model="m", layer="l", times=1,
        conv=conv, shard=shard, compute=compute, arch=arch, program=program,
    )  # fmt: skip
    args = parsed(repeat_line(point, seed))
    assert options.configs(args) == asked
    assert (args.arch, args.program) == (arch, program)
    if seed is not None:
        assert (args.seed, args.models, args.draw) == (seed, None, "random")


def test_a_line_is_short_and_says_what_matters_always():
    conv = jd.ConvConfig(channels=64, height=8, width=9, padding=1)
    words = layer_words(conv, jd.ShardConfig(), jd.ComputeConfig())
    assert shlex.join(words) == (
        "--channels 64 --size 8x9 --kernel 3x3 --padding 1x1x1x1 --scheme height "
        "--arch=wormhole_b0"
    )
    words = layer_words(
        conv, jd.ShardConfig(cores=12), jd.ComputeConfig(), "n150", "regular"
    )
    assert words[-5:] == ["--cores", "12", "--arch=n150", "--program", "regular"]


def result_of(capsys, line: str) -> dict:
    name, *words = shlex.split(line)
    assert (name, words[0]) == ("jaxdw", "run")
    cli.main([*words, "--json"])
    return json.loads(capsys.readouterr().out)["result"]


def check_repeats(capsys, row: dict) -> None:
    """Asserts that a row's command gives its numbers to the last digit."""
    result = result_of(capsys, row["repeat"])
    for name in ("pcc", "exact", "max_ulp", "mean_ulp", "outputs"):
        assert result[name] == row[name], (name, row["repeat"])
    assert result["passed"] == (row["status"] == "pass")


def test_ten_rows_of_three_models_repeat_to_the_last_digit(capsys):
    small = "height <= 14 and stride == 1 and channels <= 600"
    plain = Space(models=("mobilenet_v2",), schemes=("block", "auto"), filter=small)
    points = plain.points()[:2]
    points += Space(
        models=("mobilenet_v3_small",), schemes=("width",), grids=((3, 4),),
        weights_dtypes=("bfloat8_b", "bfloat4_b"), filter="kernel == 5 and height < 8",
    ).points()[:2]  # fmt: skip
    points += Space(
        models=("mobilenet_v3_small",), schemes=("height",), batches=(2,),
        fidelities=("HiFi4",), activations=(True, False), arches=("blackhole",),
        filter="height == 28 and stride == 1",
    ).points()[:2]  # fmt: skip
    points += Space(
        models=("shufflenet_v2",), schemes=("height", "block"),
        fp32_dest_accs=(True,), arithmetics=("fpu", "float32"), filter="height == 7",
    ).points()[:4]  # fmt: skip
    assert len({point.key for point in points}) == 10
    assert len({point.model for point in points}) == 3
    pccs = set()
    for seed, point in enumerate(points):
        row = evaluate(point, seed=seed)
        assert row["pcc"] is not None, row["error"]
        assert f" --seed {seed}" in row["repeat"]
        check_repeats(capsys, row)
        pccs.add(row["pcc"])
    assert len(pccs) >= 9


def test_a_row_draws_what_the_command_draws():
    from jaxdw.judge.draws import draw

    for point in Space(models=("mobilenet_v2", "xception"), sample=4).points():
        for mine, theirs in zip(
            evaluating.operands_of(point, 5), draw(point.conv, "random", 5), strict=True
        ):
            np.testing.assert_array_equal(mine, theirs)


def onnx_space(tmp_path) -> tuple[Space, dict[str, np.ndarray]]:
    """Writes a file of two layers alike but for their weights; the first has a bias."""
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(3)
    values = {
        "w": rng.standard_normal((32, 1, 3, 3)),
        "v": rng.standard_normal((32, 1, 3, 3)) * 3,
        "b": rng.standard_normal(32),
    }
    values = {name: value.astype(np.float32) for name, value in values.items()}
    node = onnx.helper.make_node
    pads = {"group": 32, "pads": [1] * 4}
    nodes = [
        node("Conv", ["x", "w", "b"], ["y"], name="-it's/first", **pads),
        node("Conv", ["y", "v"], ["z"], name="second", **pads),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "net",
        [onnx.helper.make_tensor_value_info("x", 1, ["n", 32, 9, 9])],
        [onnx.helper.make_tensor_value_info("z", 1, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    path = tmp_path / "a net.onnx"
    onnx.save(onnx.helper.make_model(graph), path)
    space = Space(
        models=(str(path),), schemes=("height",), inputs=(("x", (1, 32, 9, 9)),)
    )
    return space, values


def test_rows_of_a_file_repeat_with_its_own_weights(capsys, tmp_path):
    space, values = onnx_space(tmp_path)
    space = dataclasses.replace(space, weights_dtypes=("bfloat16", "bfloat8_b"))
    points = space.points()
    rows = [evaluate(point, seed=2) for point in points]
    assert len({row["pcc"] for row in rows}) == 4
    for row in rows:
        check_repeats(capsys, row)
    rounded = evaluating.operands_of(points[0], 2)
    exact = evaluating.operands_of(points[1], 2)
    np.testing.assert_array_equal(exact.w, values["w"])
    np.testing.assert_array_equal(exact.bias, values["b"])
    assert not np.array_equal(rounded.w, exact.w)
    assert not np.array_equal(rounded.bias, exact.bias)
    np.testing.assert_allclose(rounded.w, exact.w, rtol=2**-8)


def test_another_seed_of_the_same_weights_is_judged_anew(tmp_path):
    space, _ = onnx_space(tmp_path)
    rows = [evaluate(space.points()[0], seed=seed) for seed in (0, 1, 0)]
    assert [row["status"] for row in rows] == ["pass"] * 3
    assert rows[0]["pcc"] == rows[2]["pcc"] != rows[1]["pcc"]
    assert min(row["pcc"] for row in rows) > 0.999


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("--layer second", "`--layer` must come with `--models`"),
        (
            "--models {path} --input x=1x32x9x9",
            "has 2 layers; `--layer` must name one",
        ),
        ("--onnx {path} --input x=1x32x9x9", "has 2 layers; `--layer` must name one"),
        ("--onnx {path} --layer second", "try --input x=1x32x9x9, in"),
        ("--input x=1x32x9x9", "`--input` must come with `--models`"),
        ("--models {path} --layer secnod --input x=1x32x9x9", "try second"),
        ("--models {path} --layer second --draw pattern", "try --input x=1x32x9x9"),
        (
            "--models {path} --layer second --input x=1x32x9x9 --draw pattern",
            "(=pattern) must be left",
        ),
        (
            "--onnx {path} --layer second --input x=1x32x9x9 --bias",
            "`--bias` (=True) must be that of the layer, which has no bias",
        ),
        (
            "--models {path} --layer second --input x=1x32x9x9 --kernel 1",
            "`--w` (=32x1x3x3) must have the shape (32, 1, 1, 1)",
        ),
    ],
)
def test_a_file_that_does_not_fit_the_line_is_refused(capsys, tmp_path, more, sentence):
    space, _ = onnx_space(tmp_path)
    path = shlex.quote(space.models[0])
    line = "run --channels 32 --size 9 --padding 1 " + more.format(path=path)
    assert cli.main(shlex.split(line)) == 2
    assert sentence in capsys.readouterr().err


def test_what_was_planned_or_refused_repeats_as_a_plan(capsys):
    space = Space(models=("mobilenet_v2",), schemes=("height",), filter="height == 7")
    row = evaluate(space.points()[0], seed=4)
    assert row["status"] == "refused"
    assert cli.main(shlex.split(row["repeat"])[1:]) == 2
    said = capsys.readouterr().err
    assert row["error"].removeprefix("L1OutOfMemory: ") in said
    point = Space(models=("mobilenet_v2",), schemes=("block",)).points()[3]
    planned = evaluate(point, plan_only=True, seed=4)
    assert planned["repeat"].startswith("jaxdw plan --channels 144 ")
    assert cli.main([*shlex.split(planned["repeat"])[1:], "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["cycles"]["total"] == planned["cycles"]


def test_the_sweep_prints_how_to_repeat_a_failure(capsys, tmp_path, monkeypatch):
    run_row = evaluating._run_row

    def spoiled(plan, operands):
        row = run_row(plan, operands)
        return row | {"status": "fail"} if plan.scheme == "block" else row

    monkeypatch.setattr(evaluating, "_run_row", spoiled)
    line = "sweep --models mobilenet_v2 --schemes height,block --processes 1 --seed 3"
    line += f" --out {tmp_path} --filter"
    only = "height <= 14 and stride == 1 and channels < 500"
    assert cli.main([*line.split(), only]) == 1
    lines = capsys.readouterr().out.splitlines()
    (place,) = (n for n, line in enumerate(lines) if line.startswith("FAIL"))
    assert lines[place].startswith("FAIL mobilenet_v2 blocks.3.1.depthwise batch 1")
    assert "block: pcc 0.99" in lines[place].replace("\n", "") + lines[place + 1]
    (repeat,) = (line for line in lines if line.startswith("  jaxdw run"))
    (row,) = (r for r in jd.read_rows(tmp_path) if r["status"] == "fail")
    assert repeat.strip() == row["repeat"]
    assert result_of(capsys, row["repeat"])["pcc"] == row["pcc"]
