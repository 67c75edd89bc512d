"""Layers of a graph capture of ttnn: its JSON, or what holds it.

Source: tt-metal graph_processor.cpp (2025, 2026): nodes with `node_type`, `params` and
`arguments`, a function's own in the order of its C++ signature; conv2d.hpp (2026), the
order.
"""

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

from jaxdw.errors import ConfigError
from jaxdw.inputs.layer import Pasted, layer_of
from jaxdw.inputs.source import Call, Word, read_value

_ORDER = (
    "input_tensor", "weight_tensor", "device", "in_channels", "out_channels",
    "batch_size", "input_height", "input_width", "kernel_size", "stride", "padding",
    "dilation", "groups", "dtype", "bias_tensor", "conv_config", "compute_config",
    "memory_config", "slice_config",
)  # fmt: skip
_NULL = ("nullopt", "std::nullopt", "None", "null")


def recognises(text: str) -> bool:
    """Whether a text is JSON, whole or cut off."""
    return text.lstrip()[:1] in ("{", "[") and '"' in text


def layers(text: str) -> Iterator[Pasted]:
    """Yields the layer of each convolution of a capture.

    Raises:
      ConfigError: text that is no JSON, a capture without a convolution.
    """
    try:
        held = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"`--from` must be whole JSON where it looks like it: {error}; paste it "
            "from its first bracket to its last"
        ) from error
    found = [
        node for node in _nodes(held) if _name(node).endswith(("conv2d", "conv1d"))
    ]
    if not found:
        raise ConfigError(
            "`--from` (JSON) must hold a function_start of ttnn::conv2d; paste the "
            "capture of the convolution"
        )
    for node in found:
        name = _name(node).replace("::", ".")
        yield layer_of(
            _arguments(node), f"the {name} of the capture", one_row=name.endswith("1d")
        )


def _nodes(held: Any) -> Iterator[dict[str, Any]]:
    """Yields the starts of functions, at any depth."""
    if isinstance(held, dict):
        if held.get("node_type") == "function_start":
            yield held
        for value in held.values():
            yield from _nodes(value)
    elif isinstance(held, list):
        for item in held:
            yield from _nodes(item)


def _name(node: dict[str, Any]) -> str:
    params = node.get("params")
    return str(params.get("name", "")) if isinstance(params, dict) else ""


def _arguments(node: dict[str, Any]) -> dict[str, Any]:
    given = node.get("arguments")
    if isinstance(given, dict):
        pairs = list(given.items())
    elif isinstance(given, list) and len(given) <= len(_ORDER):
        pairs = list(zip(_ORDER, given, strict=False))
    else:
        raise ConfigError(
            f"`arguments` of {_name(node)} must be those of its signature, at most "
            f"{len(_ORDER)}; capture it again with arguments"
        )
    found: dict[str, Any] = {}
    for name, text in pairs:
        value = _value(name, text)
        if isinstance(value, Call) and name in ("conv_config", "compute_config"):
            found |= value.kwargs
        elif name not in ("conv_config", "compute_config") or value is not None:
            found[name] = value
    return found


def _value(name: str, text: Any) -> Any:
    """Returns a C++ value as Python has it."""
    if not isinstance(text, str):
        return tuple(text) if isinstance(text, list) else text
    if text.strip() in _NULL:
        return None
    if name in ("input_tensor", "weight_tensor", "device"):
        return Word("tensor")
    if name == "bias_tensor":
        return True
    plain = re.sub(r"std::nullopt|\bnullopt\b", "None", text).replace("::", ".")
    plain = re.sub(r"\b(true|false)\b", lambda word: word[0].capitalize(), plain)
    plain = re.sub(r"\{([^{}=]*)\}", r"(\1,)", plain)
    try:
        return read_value(ast.parse(plain.strip(), mode="eval").body, {})
    except (SyntaxError, ValueError):
        return Word(text)
