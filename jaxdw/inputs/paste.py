"""What people paste, recognised: the layers in it, and messages about L1."""

import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any

from jaxdw.errors import ConfigError
from jaxdw.inputs import graph_capture, mlir, tests_of_metal
from jaxdw.inputs.l1_message import L1Message, find_messages
from jaxdw.inputs.layer import Pasted, layer_of
from jaxdw.inputs.source import Call, calls, parse

MAX_CHARACTERS = 2_000_000
_CALL = re.compile(r"\bconv[12]d\s*\(|\bConv[12]dConfig\s*\(")
_CONVS = re.compile(r"(?:\w+\.)*conv[12]d")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paste:
    """What a text holds.

    Attributes:
      layers: each layer once, in order.
      messages: the library's refusals of circular buffers.
    """

    layers: tuple[Pasted, ...]
    messages: tuple[L1Message, ...]


def read_paste(text: str) -> Paste:
    """Returns the layers and messages of a text.

    Taken are: a node id or `parametrize` of tt-metal's conv tests, a vector of its
    sweeps, a call of `ttnn.conv2d` or `ttnn.conv1d` with its configs, TTIR or TTNN of
    tt-mlir (extra `mlir`), a graph capture of ttnn as JSON, an L1 clash message.

    Raises:
      ConfigError: a text of another kind, or one that is not whole; names that are not
        known and values that are not legal.
    """
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(
            f"`--from` (={len(text)} characters) must hold at most {MAX_CHARACTERS}; "
            "paste the part with the layer"
        )
    messages = find_messages(text)
    for recognises, layers in _FORMS:
        if recognises(text):
            found = tuple(dict.fromkeys(layers(text)))
            break
    else:
        found = ()
    if not found and not messages:
        raise ConfigError(
            f"`--from` (={_start(text)!r}) must hold a layer: a pytest node id or "
            "parametrize row, a ttnn.conv2d(...) call, TTIR or TTNN text, a graph "
            "capture, or an L1 clash message"
        )
    return Paste(layers=found, messages=messages)


def _start(text: str) -> str:
    line = text.strip().partition("\n")[0]
    return line if len(line) <= 60 else f"{line[:57]}..."


def _of_calls(text: str) -> Iterator[Pasted]:
    tree = parse(text)
    found = [
        call for call in calls(tree, lambda name: _CONVS.fullmatch(name) is not None)
    ]
    if not found:
        raise ConfigError(
            "`--from` holds a Conv2dConfig but no call of ttnn.conv2d, which has the "
            "sizes; paste the call too"
        )
    for call in found:
        yield layer_of(
            arguments_of(call), f"the {call.name} call", one_row=call.bare == "conv1d"
        )


def arguments_of(call: Call) -> dict[str, Any]:
    """Returns the arguments of a call of ttnn's convolutions, its configs spread out.

    Raises:
      ConfigError: positional arguments past the tensors, configs that are not written
        out.
    """
    if len(call.args) > 2:
        raise ConfigError(
            f"`{call.name}` must name its arguments after the two tensors (="
            f"{len(call.args)} without names); write in_channels=..."
        )
    found = dict(call.kwargs)
    for key in ("conv_config", "compute_config"):
        config = found.pop(key, None)
        if config is None or config == "None":
            continue
        if not isinstance(config, Call):
            raise ConfigError(
                f"`{key}` (={config}) of the {call.name} call must be written out; "
                "paste where it is made too"
            )
        found |= config.kwargs
    return found


_FORMS: tuple[tuple[Callable[[str], bool], Callable[[str], Iterator[Pasted]]], ...] = (
    (graph_capture.recognises, graph_capture.layers),
    (mlir.recognises, mlir.layers),
    (tests_of_metal.recognises_node_id, tests_of_metal.layers_of_node_id),
    (tests_of_metal.recognises_rows, tests_of_metal.layers_of_rows),
    (lambda text: _CALL.search(text) is not None, _of_calls),
    (tests_of_metal.recognises_vector, tests_of_metal.layers_of_vector),
)
