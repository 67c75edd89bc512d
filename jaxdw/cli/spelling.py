"""Refusals as the caller of the command would write what they name."""

import ast
import re
from collections.abc import Collection, Mapping
from typing import Any

_COMMAS = ("weight", "pixel", "core", "bank")  # values that are joined by commas
_TUPLE = r"\((?:-?\d+, )+-?\d+,?\)"
_VALUE = rf"{_TUPLE}|\(x, y\)|'[^']*'|True|False|-?\d+"


def spelt(message: str, options: Mapping[str, str], given: Collection[str] = ()) -> str:
    """Returns a refusal whose names and values are those of the command line.

    Args:
      options: by the name of a config's field, the command's option for it.
      given: the options that the caller gave.
    """

    def named(found: re.Match[str]) -> str:
        value = found["value"]
        name = found["name"].removeprefix("--").replace("-", "_")
        if name in ("height", "width") and "size" in options:
            return f"the {name} of `--size`" + (f" (={_word(value)}" if value else "")
        if name not in options:
            return found[0]
        shown = f" (={_word(value, name)}" if value else ""
        return f"`{options[name]}`{shown}"

    def assigned(found: re.Match[str]) -> str:
        name, value = found["name"], found["value"]
        return _option(options[name], value) if name in options else found[0]

    text = re.sub(
        r"use ShardConfig\(.*\)",
        lambda found: _sharding(found[0], options, given),
        message,
    )
    text = re.sub(rf"`(?P<name>[\w-]+)`(?: \(=(?P<value>{_VALUE}))?", named, text)
    text = re.sub(
        rf"(?<!--input )\b(?P<name>[a-z]\w*)=(?P<value>{_VALUE})", assigned, text
    )
    return re.sub(
        rf"\b(try|use|be|or) ({_TUPLE}|'[\w.-]+')",
        lambda found: f"{found[1]} {_word(found[2])}",
        text,
    )


def _word(value: str, name: str = "") -> str:
    """Returns a Python value as a word of the command line."""
    if value == "(x, y)":
        return "XxY"
    if value.startswith("("):
        joint = "," if name in _COMMAS else "x"
        return joint.join(str(part) for part in ast.literal_eval(value))
    return value.strip("'")


def _option(option: str, value: str) -> str:
    if value == "True":
        return option
    if value == "False":
        return f"no {option}"
    return f"{option} {_word(value, option.removeprefix('--'))}"


def _sharding(sentence: str, options: Mapping[str, str], given: Collection[str]) -> str:
    """Returns the options that make a sharding, and those to be left out for it."""
    call: Any = ast.parse(sentence.removeprefix("use "), mode="eval").body
    words, wanted = [], set()
    for keyword in call.keywords:
        option = options.get(keyword.arg, "--" + keyword.arg.replace("_", "-"))
        words.append(_option(option, repr(ast.literal_eval(keyword.value))))
        wanted.add(option)
    dropped = [
        option
        for option in ("--grid", "--cores", "--input-shard", "--act-block-h-override")
        if option in given and option not in wanted
    ]
    without = f", without {' and '.join(dropped)}" if dropped else ""
    return f"use {' '.join(words)}{without}"
