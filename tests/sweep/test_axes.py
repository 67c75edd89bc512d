import dataclasses
import re

import jax.numpy as jnp
import pytest

import jaxdw as jd
from jaxdw import cli
from jaxdw.cli import sweep as command
from jaxdw.sweep.axes import AXES, SETTINGS
from jaxdw.sweep.rows import NAMES, config_row, point_of_row
from jaxdw.sweep.space import Space, load_space

SMALL = Space(models=("mobilenet_v2",), filter="height == 7 and stride == 1")
# two values of every axis, as words of the command line and as values
TWO = {
    "models": ("mobilenet_v2,xception", ("mobilenet_v2", "xception")),
    "batches": ("1,3", (1, 3)),
    "activations": ("on,OFF", (True, False)),
    "weights_dtypes": ("bf16,BFP8", ("bfloat16", "bfloat8_b")),
    "fidelities": ("lofi,HiFi3", ("LoFi", "HiFi3")),
    "arithmetics": ("fpu,float32", ("fpu", "float32")),
    "fp32_dest_accs": ("false,true", (False, True)),
    "programs": ("ttnn,conv1d", ("ttnn", "conv1d")),
    "arches": ("n150,blackhole", ("n150", "blackhole")),
    "grids": ("chip,4x3", (None, (4, 3))),
    "memories": ("L1_FULL,dram", ("l1", "dram")),
    "schemes": ("height,auto", ("height", "auto")),
}
SWEPT = [axis for axis in AXES if len(TWO[axis.plural][1]) == 2][1:]


def names(axes) -> list[str]:
    return [axis.plural for axis in axes]


def space_of(*options: str) -> Space:
    line = ["sweep", "--out", "x", *options]
    return command._space(cli.make_parser().parse_args(line))


def test_every_axis_is_a_field_of_the_space_and_an_option():
    axes = {a.plural: a.default for a in AXES}
    fields = {f.name: f.default for f in dataclasses.fields(Space)}
    rest = {"inputs": (), "filter": None, "sample": None, "seed": 0}
    assert fields == axes | rest
    assert list(TWO) == names(AXES)
    for axis in AXES:
        words, values = TWO[axis.plural]
        space = space_of(axis.option, words)
        assert space == dataclasses.replace(Space(), **{axis.plural: values})


def test_a_toml_file_takes_the_words_of_the_command_line(tmp_path):
    path = tmp_path / "space.toml"
    for axis in AXES:
        words, values = TWO[axis.plural]
        listed = ", ".join(f'"{word}"' for word in words.split(","))
        path.write_text(f"{axis.plural} = [{listed}]")
        assert load_space(path) == Space(**{axis.plural: values})
    path.write_text("batches = [2]\nfp32_dest_accs = [true]\ngrids = [[4, 3]]")
    assert load_space(path) == Space(
        batches=(2,), fp32_dest_accs=(True,), grids=((4, 3),)
    )


def test_a_space_takes_the_words_of_the_command_line():
    for axis in AXES:
        words, values = TWO[axis.plural]
        assert Space(**{axis.plural: words.split(",")}) == Space(
            **{axis.plural: values}
        )
    assert Space(weights_dtypes=[jnp.bfloat16]) == Space()
    assert Space(models=("all",), schemes=("all",)) == Space()


@pytest.mark.parametrize("given", ["height", None, ()])
def test_an_axis_that_is_no_list_is_named_with_the_way_out(given):
    with pytest.raises(jd.ConfigError) as caught:
        Space(schemes=given, grids=given).points()
    assert str(caught.value).splitlines() == [
        f"`grids` (={given!r}) must name at least one, as in ('chip',)",
        f"`schemes` (={given!r}) must name at least one, as in ('height',)",
    ]


def test_all_stands_for_every_model_and_every_scheme_but_auto():
    default = Space()
    space = space_of("--models", "all", "--schemes", "all", "--fidelities", "lofi")
    assert space == default
    assert space.schemes == ("height", "width", "block")
    assert len(space.models) == 21
    with pytest.raises(jd.ConfigError, match=r"`fidelities` \(='all'\)"):
        space_of("--fidelities", "all").points()


@pytest.mark.parametrize("axis", SWEPT, ids=names(SWEPT))
def test_an_axis_enters_its_own_field_and_column_only(axis):
    values = TWO[axis.plural][1]
    space = dataclasses.replace(SMALL, schemes=("height",), arches=("n150",))
    points = dataclasses.replace(space, **{axis.plural: values}).points()
    first, second = points[:2]
    differing = [s.column for s in SETTINGS if s.of(first) != s.of(second)]
    assert differing == [axis.column]
    want = ("relu6", None) if axis.plural == "activations" else values
    assert (axis.of(first), axis.of(second)) == want
    assert first.facts()[axis.column] == want[0]
    rows = config_row(first), config_row(second)
    changed = [name for name in rows[0] if rows[0][name] != rows[1][name]]
    assert changed == ["key", axis.column]
    assert [point_of_row(row) for row in rows] == [first, second]


def test_a_point_has_every_value_of_a_mixed_space_in_its_place():
    (point,) = Space(
        models=("mobilenet_v2",), schemes=("block",), grids=((4, 3),),
        arches=("blackhole",), weights_dtypes=("bfloat4_b",), fidelities=("HiFi2",),
        arithmetics=("float32",), fp32_dest_accs=(True,), batches=(3,),
        activations=(False,), filter="channels == 32",
    ).points()  # fmt: skip
    conv = jd.ConvConfig(
        batch=3, channels=32, height=112, width=112, padding=1, bias=True,
        weights_dtype="bfloat4_b",
    )  # fmt: skip
    assert point.conv == conv
    assert point.shard == jd.ShardConfig(scheme="block", grid=(4, 3))
    assert point.compute == jd.ComputeConfig(
        arithmetic="float32", math_fidelity="HiFi2", fp32_dest_acc=True
    )
    assert (point.arch, point.program, point.times) == ("blackhole", "depthwise", 1)


@pytest.mark.parametrize(
    ("plural", "value"),
    [
        ("models", "net"), ("models", 3), ("schemes", "all"), ("programs", "winograd"),
        ("weights_dtypes", "int8"), ("fidelities", "lofi"), ("fp32_dest_accs", 1),
        ("activations", "maybe"), ("batches", True), ("batches", "x"), ("batches", 0),
        ("arches", 3), ("arithmetics", "fp"), ("grids", (4,)), ("grids", "4x4"),
    ],
)  # fmt: skip
def test_a_value_that_is_not_legal_is_named_with_the_legal_ones(plural, value):
    (axis,) = (axis for axis in AXES if axis.plural == plural)
    (sentence,) = axis.problems(value)
    assert sentence.startswith(
        f"`{plural}` (={value!r}) must be one of: {axis.choices}; try "
    )


def test_words_that_cannot_be_read_arrive_together(tmp_path):
    options = ["--batches", "two,1,0x2", "--grids", "4y4", "--activations", "maybe"]
    options += ["--fp32-dest-accs", "1"]
    sentences = (
        "`batches` (='two') must be one of: own, an integer >= 1 below 2^31; try own",
        "`batches` (='0x2') must be one of: own, an integer >= 1 below 2^31; try own",
        "`grids` (='4y4') must be one of: chip, XxY; try chip",
        "`activations` (='maybe') must be one of: on, off; try on",
        "`fp32_dest_accs` (='1') must be one of: false, true; try true",
    )
    with pytest.raises(jd.ConfigError) as refusal:
        space_of(*options)
    assert sorted(str(refusal.value).split("\n")) == sorted(sentences)
    path = tmp_path / "space.toml"
    path.write_text(
        "batches = ['two', 1, '0x2']\ngrids = ['4y4']\nactivations = ['maybe']\n"
        "fp32_dest_accs = ['1']\nnothing = 1\nmodels = [3]"
    )
    with pytest.raises(jd.ConfigError) as refusal:
        load_space(path)
    for sentence in (*sentences, "`nothing`", "`models` (=3) must be one of"):
        assert sentence in str(refusal.value)


def test_values_that_are_not_legal_arrive_with_the_other_problems():
    with pytest.raises(jd.ConfigError) as refusal:
        space_of("--programs", "conv9", "--sample", "0", "--grids", "9x9").points()
    for sentence in (
        "`programs` (='conv9') must be one of: depthwise",
        "`sample` (=0) must be an integer >= 1",
        "`grid` (=(9, 9), x and y) must lie inside the 8x8 cores",
    ):
        assert sentence in str(refusal.value)


def test_legal_values_pass_and_defaults_are_legal():
    for axis in AXES:
        for value in (*axis.legal, *axis.default, *TWO[axis.plural][1], *axis.every):
            assert axis.problems(value) == []
    assert AXES[0].problems("some/net.onnx") == []


def test_columns_and_filters_name_every_setting():
    columns = [setting.column for setting in SETTINGS]
    assert len(set(columns)) == len(columns)
    assert list(NAMES[2 : 2 + len(columns)]) == columns
    facts = SMALL.points()[0].facts()
    assert set(columns) | {"kernel_h", "kernel_w", "taps"} == set(facts)
    assert (facts["kernel"], facts["padding"], facts["taps"]) == (3, (1, 1, 1, 1), 9)


def test_help_lists_the_words_of_every_axis(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["sweep", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for axis in AXES:
        assert re.search(
            rf"{axis.option}(, --[\w-]+)? LIST {re.escape(axis.choices)}", text
        )
    choices = {axis.plural: axis.choices for axis in AXES}
    assert choices["weights_dtypes"] == "bf16, fp32, bfp8, bfp4"
    assert choices["activations"] == "on, off"
    assert choices["grids"] == "chip, XxY"
    assert choices["schemes"] == "height, width, block, auto, all"
    assert choices["batches"] == "own, an integer >= 1 below 2^31"
    assert choices["arches"].endswith("blackhole_11x10, a .toml file")
