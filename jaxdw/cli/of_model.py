"""`--models` with `--layer`: a layer of a network becomes the options that describe it.

They stand before the words of the command, whose own options win.
"""

import argparse
import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from jaxdw.cli.paste import OPTION, TAKES_A_LAYER, say, taken
from jaxdw.cli.values import named_sizes
from jaxdw.cli.values import words as listed
from jaxdw.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

WITH_WEIGHTS = "take the layer from a network, its weights and bias from an .onnx file"
MODELS, LAYER, INPUT = "--models", "--layer", "--input"
_OLD = "--onnx"  # of `run`, which describes the layer beside it


def expanded(argv: Sequence[str]) -> list[str]:
    """Returns the words of a command with a network's layer put in.

    Raises:
      ConfigError: several networks; a layer that is not named, or unknown; options
        that say nothing without another.
    """
    words = list(argv)
    if not words or words[0] not in TAKES_A_LAYER:
        return words
    verb, *rest = words
    models, without = taken(rest, MODELS)
    layer, without = taken(without, LAYER)
    inputs, without = _all(without, INPUT)
    if models is None:
        for option, value in ((LAYER, layer), (INPUT, inputs)):
            if value and taken(rest, _OLD)[0] is None:
                raise ConfigError(f"`{option}` must come with `{MODELS}`; add it")
        return words
    pasted, _ = taken(rest, OPTION)
    if pasted is not None:
        raise ConfigError(
            f"`{MODELS}` (={models}) must be left out with `{OPTION}`, which has the "
            "layer; take it from one of them"
        )
    if verb == "certify" and layer is None:
        return words
    made = _layer_words(models, layer, inputs)
    # `run` takes the layer's numbers too; certify would take all layers
    return [verb, *made, *(without if verb == "certify" else rest)]


def _layer_words(models: str, name: str | None, inputs: Sequence[str]) -> list[str]:
    """Returns the options of a layer, and says what was read."""
    from jaxdw.sweep.layers import layer_named, short
    from jaxdw.sweep.repeat import conv_words

    model = one_model(listed(models))
    try:
        sizes = tuple(map(named_sizes, inputs))
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"`{INPUT}`: {error}") from None
    own = of_one_model(model, sizes)
    with skipped_layers() as skipped:
        layer = layer_named(model, name, own)
    said = f"{layer.name}, {short(layer.conv)}"
    left_out = getattr(layer, "left_out", "")
    say(MODELS, f"read {said}" + (f"; no part of it: {left_out}" if left_out else ""))
    for line in skipped:
        say(MODELS, f"not read: {line}")
    return [*conv_words(layer.conv)]


def one_model(models: Sequence[str]) -> str:
    """Returns the one network of which a layer is taken.

    Raises:
      ConfigError: several, or a name that is none.
    """
    from jaxdw.sweep.axes import AXES

    found = AXES[0].read(models)
    if len(found) != 1:
        raise ConfigError(
            f"`{MODELS}` (={','.join(models)}) must name one network, of which one "
            "layer is taken; name one"
        )
    return found[0]


def of_one_model(
    model: str, inputs: tuple[tuple[str, tuple[int, ...]], ...]
) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Returns the inputs of a network.

    Raises:
      ConfigError: of one that has none, or of another file.
    """
    from jaxdw.sweep.layers import inputs_of

    own = inputs_of(model, inputs)
    if len(own) != len(inputs):
        raise ConfigError(
            f"`{INPUT}` must be of the .onnx file, or of module:function, that "
            f"`{MODELS}` (={model}) names; leave it out"
        )
    return own


def layer_weights(
    args: argparse.Namespace,
) -> "tuple[np.ndarray, np.ndarray | None] | None":
    """Returns weights and bias of the layer of an .onnx file, None without one.

    Raises:
      ConfigError: numbers that are to be drawn instead.
    """
    from jaxdw.sweep.axes import is_onnx
    from jaxdw.sweep.layers import layer_named

    model = None if args.models is None else one_model(args.models)
    if model is None or not is_onnx(model):
        return None
    if "--draw" in args.given:
        raise ConfigError(
            f"`--draw` (={args.draw!r}) must be left out with an .onnx file in "
            f"`{MODELS}`, whose layer has its own weights"
        )
    with skipped_layers():  # told when the layer was looked up
        layer = layer_named(model, args.layer, of_one_model(model, tuple(args.input)))
    return layer.weights, layer.bias  # pyright: ignore[reportAttributeAccessIssue]


@contextlib.contextmanager
def skipped_layers() -> Iterator[list[str]]:
    """Gathers what files leave out, a line each, in place of Python's warnings."""
    from jaxdw.models.onnx.file import SkippedLayersWarning

    lines: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SkippedLayersWarning)
        yield lines
    for warning in caught:
        if issubclass(warning.category, SkippedLayersWarning):
            lines += str(warning.message).split("\n")[1:]
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


def _all(words: list[str], option: str) -> tuple[list[str], list[str]]:
    """Returns every value of an option, and the words without it."""
    values = []
    while True:
        value, words = taken(words, option)
        if value is None:
            return values[::-1], words
        values.append(value)
