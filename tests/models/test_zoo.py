"""The zoo against the reference implementations' own layers."""

import csv
import itertools
from pathlib import Path

import pytest

from jaxdw.errors import ConfigError
from jaxdw.models import zoo
from jaxdw.plan.config import ConvConfig
from jaxdw.plan.ttnn.route import takes_conv1d
from jaxdw.plan.window import Window

GOLDEN = Path(__file__).parents[1] / "golden" / "zoo_layers.csv"
ACTIVATIONS = ("relu", "relu6", "silu")  # others, as hard-swish, are None in the zoo


def reference() -> dict[str, list[ConvConfig]]:
    """Returns the golden layers of each model, in order of appearance."""
    models: dict[str, list[ConvConfig]] = {}
    for row in csv.DictReader(GOLDEN.read_text().splitlines()):
        convs = models.setdefault(row["model"], [])
        assert int(row["index"]) == len(convs)
        conv = ConvConfig(
            channels=int(row["channels"]),
            height=int(row["height"]),
            width=int(row["width"]),
            kernel=(int(row["kernel"]),) * 2,
            stride=(int(row["stride"]),) * 2,
            padding=tuple(map(int, row["padding"].split())),
            bias=row["bias"] == "1",
            activation=row["activation"] if row["activation"] in ACTIVATIONS else None,
        )
        convs.append(conv)
    return models


REFERENCE = reference()


def test_the_reference_has_every_model():
    assert {*REFERENCE, "mamba_like"} == set(zoo.MODELS)
    assert sum(map(len, REFERENCE.values())) == 524


@pytest.mark.parametrize("model", REFERENCE)
def test_layers_are_those_of_the_reference(model):
    assert [layer.conv for layer in zoo.layers(model)] == REFERENCE[model]


@pytest.mark.parametrize("model", zoo.MODELS)
def test_layers_can_be_planned_and_named(model):
    layers = zoo.layers(model)
    assert [problem for layer in layers for problem in layer.conv.problems()] == []
    assert len({layer.name for layer in layers}) == len(layers)


@pytest.mark.parametrize("model", ["mobilenet_v1", "mobilenet_v2"])
def test_each_input_is_the_output_before_it(model):
    convs = [layer.conv for layer in zoo.layers(model)]
    for conv, after in itertools.pairwise(convs):
        top, bottom, _, _ = conv.padding
        output = (conv.height + top + bottom - conv.kernel[0]) // conv.stride[0] + 1
        assert after.height == output


def test_mamba_like_layers_are_causal_and_go_to_conv1d():
    sizes = set()
    for layer in zoo.layers("mamba_like"):
        conv = layer.conv
        sizes.add((conv.channels, conv.width))
        assert layer.name == f"conv1d.{conv.channels}.{conv.width}"
        assert conv == ConvConfig(
            channels=conv.channels,
            height=1,
            width=conv.width,
            kernel=(1, 4),
            padding=(0, 0, 3, 0),
        )
        assert Window(conv).out_width == conv.width
        assert takes_conv1d(conv)
    assert sizes == set(itertools.product((2560, 5120, 10240), (12, 128, 1024, 4096)))


def test_distinct_counts_every_layer_in_order_of_appearance():
    counts = zoo.distinct("mobilenet_v2")
    shapes = [
        (conv.channels, conv.height, conv.stride[0], n) for conv, n in counts.items()
    ]
    assert shapes == [
        (32, 112, 1, 1),
        (96, 112, 2, 1),
        (144, 56, 1, 1),
        (144, 56, 2, 1),
        (192, 28, 1, 2),
        (192, 28, 2, 1),
        (384, 14, 1, 4),
        (576, 14, 1, 2),
        (576, 14, 2, 1),
        (960, 7, 1, 3),
    ]
    for model in zoo.MODELS:
        assert sum(zoo.distinct(model).values()) == len(zoo.layers(model))


@pytest.mark.parametrize(
    ("given", "near"),
    [("mobilenet_v22", "mobilenet_v2"), ("EfficientNet-B5", "efficientnet_b5")],
)
@pytest.mark.parametrize("function", [zoo.layers, zoo.distinct])
def test_an_unknown_model_is_refused_with_the_nearest(function, given, near):
    with pytest.raises(ConfigError) as caught:
        function(given)
    assert str(caught.value) == (
        f"`model` (={given!r}) must be one of {', '.join(zoo.MODELS)}; try {near!r}"
    )
