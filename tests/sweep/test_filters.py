"""A filter is one expression over names that it may use, and its work is bounded."""

import dataclasses
import time

import pytest

import jaxdw as jd
from jaxdw.models import zoo
from jaxdw.sweep.filters import point_filter
from jaxdw.sweep.space import MAX_POINTS, Space

SMALL = Space(models=("mobilenet_v2",), schemes=("height", "block"))
# 10 layers x 10^9 x 3: not to be built
HUGE = dataclasses.replace(
    SMALL, schemes=("height", "width", "block"), batches=tuple(range(1, 10**5)),
    grids=tuple((1, y) for y in range(1, 9)), arches=("n150", "p150"),
    weights_dtypes=("bfloat16", "float32", "bfloat8_b", "bfloat4_b"),
    fidelities=("LoFi", "HiFi2", "HiFi3", "HiFi4"), fp32_dest_accs=(False, True),
    programs=("depthwise", "regular", "conv1d", "ttnn"), activations=(True, False),
    arithmetics=("fpu", "float32"),
)  # fmt: skip


@pytest.mark.parametrize(
    "expression",
    ["channels = 256", "channels > 3; True", "channels > 3\nTrue", "x := 3", "",
     "True or chanels", "del channels", "channels == 3 #\n; True"],
)  # fmt: skip
def test_what_is_not_one_expression_is_refused_with_the_names(expression):
    with pytest.raises(jd.ConfigError, match=r"one expression over model, .*taps"):
        point_filter(expression)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("channels", "gives 32, no truth value"),
        ("kernel == '3x3'", "never equal"),
        ("kernel != '3x3'", "never equal"),
        ("scheme == 3", "never equal"),
        ("kernel in ('3', '5')", "never equal"),
    ],
)
def test_what_is_no_truth_value_or_never_true_is_refused(expression, why):
    with pytest.raises(jd.ConfigError, match=why):
        dataclasses.replace(SMALL, filter=expression).points()


@pytest.mark.parametrize(
    "expression",
    [
        "9**9**9 > 1", "[x for x in range(10**9)]", "rand() < 0.5", "'a' * 10**9",
        "(1,) * 10**9 == channels", "'%1000000000d' % 1 == model", f"{'(' * 300}1",
        "+".join(["channels"] * 10**4) + " > 0", "[" * 150 + "]" * 150,
        "not " * 390 + "bias", "1 << 10**9 > 3", "f'{channels:1000000000}' == model",
        "model.__class__ == 3", f"{'9' * 5000} > channels", "1" * 10**7,
        "bias or " * 10**6 + "bias",
    ],
)  # fmt: skip
def test_work_without_bound_is_refused_at_once(expression):
    started = time.perf_counter()
    with pytest.raises(jd.ConfigError, match="`filter`"):
        dataclasses.replace(SMALL, filter=expression).points()
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(("expression", "part"), [
    ("model.startswith('m')", "Call"), ("'a'.upper() == model", "Call"),
    ("model.title == 3", "Attribute"), ("2 ** 3 == kernel", "Pow"),
    ("[k for k in kernel] == kernel", "ListComp"), ("f'{bias}' == model", "JoinedStr"),
    ("(lambda: 1) == 1", "Lambda"), ("{1: 2} == kernel", "Dict"),
    ("kernel[0:1] == 3", "Slice"), ("[*kernel] == 3", "Starred"),
    ("(k := 3) == kernel", "NamedExpr"), ("channels | 1 == 3", "BitOr"),
])  # fmt: skip
def test_each_part_that_could_do_work_is_named_and_refused(expression, part):
    with pytest.raises(jd.ConfigError, match=rf"no part of it is a {part}"):
        point_filter(expression)


def test_equal_sizes_are_their_size_and_text_may_be_looked_into():
    (first, *_) = SMALL.points()
    kept = {
        "kernel == 3": True, "kernel == (3, 3)": True, "kernel in ((3, 3), 5)": True,
        "padding == 1": False, "padding == (0, 1, 0, 1)": True,
        "'net' in model": True, "'relu' in activation": True, "bias == True": True,
        "scheme not in ('height',)": False, "activation is None": False,
        "activation == None": False, "kernel == [3, 5]": False,
        "taps % 2 == 1 and -channels < 0": True,
    }  # fmt: skip
    first = dataclasses.replace(
        first, conv=dataclasses.replace(first.conv, padding=(0, 1, 0, 1))
    )
    assert {text: point_filter(text)(first) for text in kept} == kept
    bare = dataclasses.replace(
        first, conv=dataclasses.replace(first.conv, activation=None)
    )
    assert point_filter("activation is None")(bare)
    assert point_filter("activation == None")(bare)
    assert not point_filter("'relu' in activation")(bare)


def test_a_space_too_large_to_build_is_sampled_without_being_built():
    space = dataclasses.replace(HUGE, sample=50)
    started = time.perf_counter()
    points = space.points()
    assert time.perf_counter() - started < 5
    assert len(points) == len(set(points)) == 50
    assert len({point.conv.batch for point in points}) > 40
    assert {point.model for point in points} == {"mobilenet_v2"}
    assert points == space.points()
    assert points != dataclasses.replace(space, seed=1).points()
    for refused in (HUGE, dataclasses.replace(HUGE, sample=MAX_POINTS + 1)):
        with pytest.raises(jd.ConfigError, match=r"points\) must have at most 1000000"):
            refused.points()


def test_a_filter_looks_at_so_many_points_of_a_large_space(monkeypatch):
    monkeypatch.setattr("jaxdw.sweep.space.MAX_POINTS", 2000)
    space = dataclasses.replace(HUGE, sample=30, filter="scheme == 'block'")
    points = space.points()
    assert len(points) == 30
    assert {point.shard.scheme for point in points} == {"block"}
    assert len({point.conv.channels for point in points}) > 3


def test_places_of_a_large_space_are_those_of_the_product():
    """The 41st of 80 points is that of the product written out."""
    space = dataclasses.replace(
        SMALL, weights_dtypes=("bfloat16", "bfloat8_b"), batches=(1, 2)
    )
    keys = [point.key for point in space.points()]
    written = [
        (conv.channels, batch, dtype, scheme)
        for conv in zoo.distinct("mobilenet_v2")
        for batch in (1, 2)
        for dtype in ("bfloat16", "bfloat8_b")
        for scheme in ("height", "block")
    ]
    found = [
        (p.conv.channels, p.conv.batch, p.conv.weights_dtype, p.shard.scheme)
        for p in space.points()
    ]
    assert found == written
    sample = dataclasses.replace(space, sample=7).points()
    places = [keys.index(point.key) for point in sample]
    # as random.Random(0).sample(range(80), 7) draws them
    assert places == [5, 33, 49, 51, 53, 62, 65]
