"""Layers of TTIR and TTNN text of tt-mlir, read by xDSL (extra `mlir`).

Each convolution is cut out of the text and parsed alone, its operands and the aliases
it uses declared before it: the rest of a module may be in a form that xDSL does not
know. Source: tt-mlir TTIROps.td, TTNNOps.td and TTNNOpsAttrs.td (2025, 2026).
"""

import re
from collections.abc import Iterator
from typing import Any

from jaxdw.errors import ConfigError, needing
from jaxdw.inputs.layer import Pasted, layer_of
from jaxdw.inputs.source import Word

_OP = re.compile(r'"(?P<name>(?:ttnn|ttir)\.(?:conv2d|conv1d|depthwise_conv2d))"\s*\(')
_OTHER = re.compile(r"\b(?:ttnn|ttir|stablehlo)\.\w*conv\w*")
_ALIAS = re.compile(r"#(\w+)(?![\w.<])")
_OPENING, _CLOSING = "([{<", ")]}>"
# attributes of an operation that say nothing of its layer
_SKIPPED = {
    "operandSegmentSizes",
    "operand_constraints",
    "op_name__",
    "resultSegmentSizes",
}


def recognises(text: str) -> bool:
    """Whether a text speaks of a convolution of an MLIR dialect."""
    return _OP.search(text) is not None or (
        _OTHER.search(text) is not None and ("%" in text or "array<i" in text)
    )


def layers(text: str) -> Iterator[Pasted]:
    """Yields the layer of each convolution.

    Raises:
      ConfigError: no extra `mlir`, an operation cut off or of another form.
    """
    starts = list(_OP.finditer(text))
    if not starts:
        found = _OTHER.search(text)
        raise ConfigError(
            f"`{found[0] if found else 'conv'}` must be an operation in quotes with "
            'its attributes and types, as "ttnn.conv2d"(...) <{...}> : (...) -> '
            "...; paste it whole"
        )
    for start in starts:
        statement = _statement(text, start)
        yield _layer(start["name"], *_parsed(start["name"], statement))


def _statement(text: str, start: re.Match) -> str:
    """Returns an operation's text: operands, attributes, types."""
    end, last = start.end() - 1, "operands"
    pieces = [start[0][:-1]]
    position = end
    while position < len(text):
        character = text[position]
        if character in _OPENING:
            close = _closing(text, position, start["name"])
            pieces.append(text[position:close])
            position = close
            continue
        if character == "\n" and last == "results" and pieces[-1] != "->":
            break
        if text.startswith("->", position):
            last = "results"
            pieces.append("->")
            position += 2
            continue
        if last == "results" and text[position - 1].isspace() and character in '%"}r':
            break
        if not (character.isspace() and pieces[-1] == "->"):
            pieces.append(character)
        position += 1
    if last != "results":
        raise ConfigError(
            f'`"{start["name"]}"` must end with its types, : (...) -> ...; paste it '
            "whole"
        )
    found = "".join(pieces)
    return re.sub(r"\s+loc\(.*\)\s*$", "", found, flags=re.DOTALL)


def _closing(text: str, opening: int, name: str) -> int:
    """Returns the position after the bracket that closes one; no arrow is one."""
    depth, position, quoted = 0, opening, False
    while position < len(text):
        character = text[position]
        if character == '"':
            quoted = not quoted
        elif not quoted:
            if character in _OPENING:
                depth += 1
            elif character in _CLOSING and text[position - 1 : position + 1] != "->":
                depth -= 1
                if not depth:
                    return position + 1
        position += 1
    raise ConfigError(f'a bracket of `"{name}"` must be closed; paste it whole')


def _parsed(name: str, statement: str) -> tuple[Any, list[Any]]:
    """Returns an operation as xDSL has it, and its operands' types."""
    with needing("mlir", "xdsl"):
        from xdsl.context import Context
        from xdsl.dialects.builtin import Builtin
        from xdsl.parser import Parser
        from xdsl.utils.exceptions import ParseError, VerifyException

    context = Context(allow_unregistered=True)
    context.load_dialect(Builtin)
    aliases = sorted(set(_ALIAS.findall(statement)))
    operands, types = _signature(statement)
    declared = "".join(f"#{alias} = unit\n" for alias in aliases)
    if operands:
        made = ", ".join(f"%v{index}" for index in range(len(operands)))
        declared += f'{made} = "made"() : () -> ({types})\n'
        named = statement.partition("(")[2]
        statement = f'"{name}"({made}){named[_end_of_operands(named) :]}'
    try:
        module = Parser(context, declared + "%made = " + statement).parse_module()
    except (ParseError, VerifyException, ValueError, AssertionError) as error:
        said = (str(error).strip().splitlines() or [""])[-1].strip(" ^")
        raise ConfigError(
            f'`"{name}"` must be MLIR that xDSL parses: {said}; paste it as tt-mlir '
            "prints it"
        ) from error
    operation = list(module.ops)[-1]
    return operation, [operand.type for operand in operation.operands]


def _end_of_operands(text: str) -> int:
    return text.index(")") + 1


def _signature(statement: str) -> tuple[list[str], str]:
    """Returns an operation's operands and the text of their types."""
    operands = re.findall(r"%[\w#$.-]+", statement.partition("(")[2].partition(")")[0])
    arrow = statement.rindex("->")
    before = statement[:arrow].rstrip()
    depth = 0
    for position in range(len(before) - 1, -1, -1):
        character = before[position]
        if character in _CLOSING and before[position - 1 : position + 1] != "->":
            depth += 1
        elif character in _OPENING:
            depth -= 1
            if not depth:
                return operands, before[position + 1 : -1]
    return operands, ""


def _layer(name: str, operation: Any, types: list[Any]) -> Pasted:
    form = f'the "{name}"'
    found: dict[str, Any] = {}
    for key, attribute in {**operation.attributes, **operation.properties}.items():
        if key not in _SKIPPED:
            found |= _spread(key, _value(attribute))
    tensors = [kind for kind in types if hasattr(kind, "get_shape")]
    if not tensors:
        raise ConfigError(f"{form} must have tensors among its types; paste it whole")
    found.setdefault("bias", len(tensors) - _outputs(name, operation, tensors) > 2)
    if name.startswith("ttir"):
        found = _shapes_of_ttir(found, tensors, form)
    return layer_of(found, form, one_row=name.endswith("conv1d"))


def _outputs(name: str, operation: Any, tensors: list[Any]) -> int:
    """Returns the operands that are outputs to write to, as TTIR once had them."""
    result = operation.results[0].type
    written = name.startswith("ttir") and len(tensors) > 2 and tensors[-1] == result
    return int(written)


def _spread(key: str, value: Any) -> dict[str, Any]:
    """Returns an attribute as names and values, a config's each by its own name."""
    if key in ("conv2d_config", "compute_config", "conv2d_slice_config"):
        if isinstance(value, dict):
            if key == "conv2d_slice_config":
                kind = value.get("slice_type") or next(iter(value), None)
                return {"slice_config": Word(str(kind))}
            return value
    if key in ("dtype", "output_dtype") and isinstance(value, dict):
        return {"output_dtype": next(iter(value), None)}
    return {key: value}


def _value(attribute: Any) -> Any:
    """Returns an attribute as Python has it."""
    kind = type(attribute).__name__
    if kind == "IntegerAttr":
        return attribute.value.data
    if kind == "DenseArrayBase":
        return tuple(attribute.get_values())
    if kind == "StringAttr":
        return attribute.data
    if kind == "ArrayAttr":
        return tuple(_value(item) for item in attribute.data)
    if kind == "UnregisteredAttrWithName":
        return _config(attribute.value.data)
    return Word(str(attribute))


def _config(text: str) -> dict[str, Any]:
    """Returns the options of a `#ttnn.conv2d_config<...>`; a lone word is a key."""
    found: dict[str, Any] = {}
    for part in _parts(text):
        key, equals, value = part.partition("=")
        found[key.strip()] = _option(value.strip()) if equals else None
    return found


def _parts(text: str) -> Iterator[str]:
    depth, start = 0, 0
    for position, character in enumerate(text):
        depth += (character in _OPENING) - (character in _CLOSING)
        if character == "," and not depth:
            yield text[start:position]
            start = position + 1
    if text[start:].strip():
        yield text[start:]


def _option(text: str) -> Any:
    inner = re.fullmatch(r"(?:#[\w.]+)?<(?:op_type\s*=\s*)?([\w.]+)(?:,.*)?>", text)
    word = inner[1] if inner else text.strip('"')
    number = re.fullmatch(r"-?\d+", word)
    return int(word) if number else Word(word)


def _shapes_of_ttir(
    found: dict[str, Any], tensors: list[Any], form: str
) -> dict[str, Any]:
    """Puts the sizes in that TTIR leaves to its types."""
    image, weights = (list(kind.get_shape()) for kind in tensors[:2])
    axes = {"batch": 0, "height": 1, "width": 2, "channel": 3}
    if found.pop("channel_last", 1) == 0:
        axes = {"batch": 0, "channel": 1, "height": 2, "width": 3}
    for axis in axes:
        axes[axis] = found.pop(f"{axis}_dim", axes[axis])
    found.pop("conv_layout", None)
    flattened = found.pop("flattened_compat_info", None)
    if flattened is not None or len(image) != 4 or len(weights) != 4:
        raise ConfigError(
            f"{form} must have an image and weights of four axes, not {image} and "
            f"{weights}; paste the operation before it is flattened"
        )
    for key in ("is_convtranspose2d",):
        if found.pop(key, 0):
            raise ConfigError(f"{form} must be no transposed convolution (`{key}`)")
    for key in (
        "output_height_transpose",
        "output_width_transpose",
        "stride_transpose",
    ):
        found.pop(key, None)
    return found | {
        "batch_size": image[axes["batch"]],
        "in_channels": image[axes["channel"]],
        "input_height": image[axes["height"]],
        "input_width": image[axes["width"]],
        "out_channels": weights[0],
        "kernel_size": tuple(weights[2:]),
        "input_dtype": Word(str(tensors[0].element_type)),
    }
