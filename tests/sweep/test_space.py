import dataclasses

import onnx_files
import pytest

import jaxdw as jd
from jaxdw.errors import ConfigError
from jaxdw.models import zoo
from jaxdw.sweep.space import Space, inputs_of, load_space

SMALL = Space(models=("mobilenet_v2",), schemes=("height", "block"))


def test_the_product_has_every_combination_once():
    space = dataclasses.replace(
        SMALL, weights_dtypes=("bfloat16", "bfloat8_b"), batches=(1, 2)
    )
    points = space.points()
    assert len(points) == 10 * 2 * 2 * 2
    assert len({point.key for point in points}) == len(points)
    assert sum(p.times for p in points) == 17 * 8
    assert {p.conv.batch for p in points} == {1, 2}


def test_points_are_the_layers_of_their_model():
    convs = {point.conv for point in SMALL.points()}
    assert convs == set(zoo.distinct("mobilenet_v2"))
    bare = dataclasses.replace(SMALL, activations=(False,))
    assert {point.conv.activation for point in bare.points()} == {None}


def test_a_key_is_the_same_everywhere():
    assert SMALL.points()[0].key == "72bc9314bcee0be8"
    assert [p.key for p in SMALL.points()] == [p.key for p in SMALL.points()]


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        ("shard", {"input_layout": "tile"}),
        ("shard", {"memory": "dram"}),
        ("shard", {"config_tensors_in_dram": True}),
        ("shard", {"full_inner_dim": True}),
        ("shard", {"act_block_w_div": 2}),
        ("shard", {"force_split_reader": True}),
        ("shard", {"enable_activation_reuse": True}),
        ("compute", {"packer_l1_acc": True}),
    ],
)
def test_a_key_tells_options_apart(config, changes):
    point = SMALL.points()[0]
    changed = dataclasses.replace(getattr(point, config), **changes)
    assert dataclasses.replace(point, **{config: changed}).key != point.key


@pytest.mark.parametrize(
    ("expression", "count"),
    [
        ("channels >= 576 and stride == 1", 2 * 2),
        ("kernel == 3", 20),
        ("kernel == 5", None),
        ("scheme == 'block' and height > 100", 2),
        ("model in ('mobilenet_v2',) and not bias", None),
    ],
)
def test_a_filter_keeps_what_it_says(expression, count):
    space = dataclasses.replace(SMALL, filter=expression)
    if count is None:
        with pytest.raises(jd.ConfigError, match="no points"):
            space.points()
    else:
        assert len(space.points()) == count


@pytest.mark.parametrize(
    "expression",
    ["chanels > 3", "channels >", "__import__('os')", "open('x')",
     "channels > 'a'", "lambda: 1"],
)  # fmt: skip
def test_a_filter_that_cannot_be_evaluated_is_refused(expression):
    space = dataclasses.replace(SMALL, filter=expression)
    with pytest.raises(jd.ConfigError, match=r"`filter` \(=.*over model, layer"):
        space.points()


def test_a_sample_is_drawn_by_its_seed_in_order():
    space = dataclasses.replace(SMALL, sample=7)
    points = space.points()
    assert points == space.points()
    everything = SMALL.points()
    places = [everything.index(point) for point in points]
    assert places == sorted(places)
    assert points != dataclasses.replace(space, seed=1).points()
    assert len(dataclasses.replace(space, sample=10**6).points()) == len(everything)


def test_all_broken_rules_arrive_together():
    space = Space(
        models=("mobilenet_v9",), schemes=(), fidelities=("MidFi",), batches=(0,),
        sample=0, arches=("grayskull",), grids=((9, 9),),
    )  # fmt: skip
    with pytest.raises(jd.ConfigError) as refusal:
        space.points()
    message = str(refusal.value)
    for words in ("mobilenet_v9", "`schemes`", "MidFi", "`batches`", "`sample`"):
        assert words in message
    assert "grayskull" in message
    grid = dataclasses.replace(SMALL, grids=((9, 9),))
    with pytest.raises(jd.ConfigError, match="8x8 cores"):
        grid.points()


def test_a_space_comes_from_toml(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text(
        'models = ["xception"]\nschemes = ["auto"]\ngrids = [[4, 4]]\n'
        'filter = "channels == 728"\nseed = 3\n'
    )
    space = load_space(path)
    assert space == Space(
        models=("xception",), schemes=("auto",), grids=((4, 4),),
        filter="channels == 728", seed=3,
    )  # fmt: skip
    assert len(space.points()) > 0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("modles = []", "`modles`.*one of models"),
        ("models = 'x'", "`models`.*a list"),
        ("seed = [1]", "`seed`.*one value"),
        ("models = [", "not TOML"),
        ("filter = 1", "`filter` .*a string"),
        ("seed = true", "`seed` .*an integer"),
        ('inputs = [["x", [1, ""]]]', "`inputs` .*a name and its sizes; try"),
        ("inputs = [['x', [1.0]]]", "`inputs` .*a name and its sizes; try"),
        ("inputs = [['x']]", "`inputs` .*a name and its sizes; try"),
    ],
)
def test_a_broken_toml_is_refused(tmp_path, text, sentence):
    path = tmp_path / "space.toml"
    path.write_text(text)
    with pytest.raises(jd.ConfigError, match=sentence):
        load_space(path)
    with pytest.raises(jd.ConfigError, match="cannot be read"):
        load_space(tmp_path / "absent.toml")


def test_inputs_are_of_all_files_or_of_one(tmp_path):
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        files.append(
            str(
                onnx_files.written(
                    onnx_files.one(shape=("n", 4, "h", 8)), tmp_path / name
                )
            )
        )
    one, two = files
    inputs = ((f"{one}:x", (2, 4, 9, 8)), (f"{two}:x", (1, 4, 7, 8)))
    space = Space(models=(one, two), inputs=inputs, schemes=("height",))
    first, second = space.points()
    assert (first.conv.height, second.conv.height) == (9, 7)
    assert (first.inputs, second.inputs) == (
        (("x", (2, 4, 9, 8)),),
        (("x", (1, 4, 7, 8)),),
    )
    both = Space(models=(one, two), inputs=(("x", (1, 4, 8, 8)),), schemes=("height",))
    assert {point.conv.height for point in both.points()} == {8}
    assert inputs_of("mobilenet_v2", inputs) == ()
    assert inputs_of(one, (("in:0", (1,)),)) == (("in:0", (1,)),)
    with pytest.raises(ConfigError, match="must be of a file among `models`"):
        Space(models=(one,), inputs=inputs).points()
