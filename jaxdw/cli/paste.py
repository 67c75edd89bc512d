"""`--from`: a layer that is pasted becomes the options that describe it.

They stand before the words of the command, whose own options win.
"""

import dataclasses
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxdw.errors import ConfigError

if TYPE_CHECKING:
    from jaxdw.sweep.rows import Point

OPTION, PICK = "--from", "--pick"
MESSAGE = "--l1-message"  # of `plan`
TAKES_A_LAYER = ("run", "plan", "explain", "certify", "diff", "faults", "diagnose")
_DEPTHWISE_ONLY = ("faults", "diagnose")
_SHOWN = 12
_SUFFIXES = (".py", ".mlir", ".json", ".txt", ".log", ".md")


def expanded(argv: Sequence[str]) -> list[str]:
    """Returns the words of a command with what `--from` names put in.

    Raises:
      ConfigError: a text without a layer, one of several that none is picked of, a
        file that cannot be read.
    """
    words = list(argv)
    if not words or words[0] not in TAKES_A_LAYER:
        return words
    verb, *rest = words
    source, rest = taken(rest, OPTION)
    pick, rest = taken(rest, PICK)
    if source is None and pick is not None:
        raise ConfigError(f"`{PICK}` (={pick}) must come with `{OPTION}`; add it")
    if source is None:
        return words
    from jaxdw.inputs.paste import read_paste

    paste = read_paste(text_of(source))
    made: list[str] = []
    if paste.layers:
        made = _layer_words(_picked(paste.layers, pick), verb, rest)
    if verb == "plan":
        made += [f"{MESSAGE}={message.raw}" for message in paste.messages]
    elif paste.messages:
        say(OPTION, "the L1 message in it is compared by `jaxdw plan`")
    return [verb, *made, *rest]


def taken(words: list[str], option: str) -> tuple[str | None, list[str]]:
    """Returns the last value of an option, and the words without that."""
    for index, word in reversed([*enumerate(words)]):
        if word == option and index + 1 < len(words):
            return words[index + 1], words[:index] + words[index + 2 :]
        if word.startswith(f"{option}="):
            return word.removeprefix(f"{option}="), words[:index] + words[index + 1 :]
    return None, words


def file_of(source: str) -> Path | None:
    """Returns the file that `--from` names; None of a text or of standard input."""
    try:
        return Path(source) if Path(source).is_file() else None
    except (OSError, ValueError):  # a text: too long for a path, or with a zero in it
        return None


def text_of(source: str) -> str:
    """Returns what `--from` names: a text, that of a file, or of standard input.

    Raises:
      ConfigError: a file that cannot be read, or does not exist.
    """
    if source == "-":
        return sys.stdin.read()
    file = file_of(source)
    try:
        if file is not None:
            return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"`--from` (={source!r}) must be text: {error}") from error
    if "\n" not in source and source.endswith(_SUFFIXES):
        raise ConfigError(
            f"`--from` (={source!r}) must be a file that exists, the text itself, or -"
        )
    return source


def _picked(layers: Sequence[Any], pick: str | None) -> Any:
    if pick is None and len(layers) == 1:
        return layers[0]
    if pick is not None and pick.isdecimal() and 1 <= int(pick) <= len(layers):
        return layers[int(pick) - 1]
    listed = "".join(
        f"\n  {number}: {_short(layer)}"
        for number, layer in enumerate(layers[:_SHOWN], 1)
    )
    more = f"\n  and {len(layers) - _SHOWN} more" if len(layers) > _SHOWN else ""
    given = "" if pick is None else f" (={pick})"
    raise ConfigError(
        f"`--from` holds {len(layers)} layers; `--pick`{given} must be 1 to "
        f"{len(layers)}:{listed}{more}"
    )


def _short(layer: Any) -> str:
    conv = layer.conv
    size = "x".join(map(str, (conv.batch, conv.channels, conv.height, conv.width)))
    kernel = "x".join(map(str, conv.kernel))
    return f"{size} kernel {kernel} {layer.shard.scheme}, {layer.form}"


def _layer_words(layer: Any, verb: str, rest: Sequence[str]) -> list[str]:
    """Returns the options of a layer, and says what was read."""
    from jaxdw.sweep.repeat import layer_words

    asked, _ = taken(list(rest), "--program")
    program = asked or ("depthwise" if verb in _DEPTHWISE_ONLY else "ttnn")
    shard, compute = layer.shard, layer.compute
    say(OPTION, f"read {_short(layer)}; program {program}")
    if program == "depthwise":
        shard, compute = without_ttnn_options(shard, compute)
        dropped = _names_of_changes(layer.shard, shard, layer.compute, compute)
        if dropped:
            say(OPTION, f"not known to the depthwise program: {', '.join(dropped)}")
        if shard.scheme == "auto" and verb in _DEPTHWISE_ONLY:
            say(OPTION, "the scheme is jaxdw's choice; --scheme names another")
    words = layer_words(layer.conv, shard, compute, program=program)
    return [word for word in words if not word.startswith("--arch=")]


def without_ttnn_options(shard: Any, compute: Any) -> tuple[Any, Any]:
    """Returns configs with the options of ttnn's own programs at their defaults."""
    names = (
        "input_layout", "memory", "config_tensors_in_dram", "full_inner_dim",
        "act_block_w_div", "force_split_reader", "enable_activation_reuse",
    )  # fmt: skip
    plain = type(shard)()
    shard = dataclasses.replace(shard, **{name: getattr(plain, name) for name in names})
    return shard, dataclasses.replace(compute, packer_l1_acc=False)


def without_unknown_options(point: "Point", asked: Collection[str]) -> "Point":
    """Returns a point of a sweep, one by program depthwise without ttnn's options.

    Args:
      asked: the axes of the sweep: what one of them asks for is refused, not dropped.
    """
    if point.program != "depthwise":
        return point
    shard, compute = without_ttnn_options(point.shard, point.compute)
    if "memories" in asked:
        shard = dataclasses.replace(shard, memory=point.shard.memory)
    return dataclasses.replace(point, shard=shard, compute=compute)


def _names_of_changes(*configs: Any) -> list[str]:
    pairs = zip(configs[::2], configs[1::2], strict=True)
    return [
        f"{field.name}={getattr(before, field.name)}"
        for before, after in pairs
        for field in dataclasses.fields(before)
        if getattr(before, field.name) != getattr(after, field.name)
    ]


def say(option: str, text: str) -> None:
    """Says what an option read, beside the answer."""
    print(f"jaxdw: {option}: {text}", file=sys.stderr)


def message_lines(text: str, configs: Any, arch: str) -> list[str]:
    """Returns an L1 message beside what each program would say of a layer.

    Raises:
      ConfigError: a text that is no such message.
    """
    from jaxdw.errors import UnsupportedError
    from jaxdw.inputs.l1_message import find_messages, held_against
    from jaxdw.plan.planner import make_plan

    messages = find_messages(text)
    if not messages:
        raise ConfigError(
            f"`{MESSAGE}` (={text[:60]!r}) must be the library's: circular buffers on "
            "core range [...] clash with L1 buffers, or grow beyond the L1 size"
        )
    conv, shard, compute = configs
    plans, refused = [], []
    for program in ("ttnn", "depthwise"):
        one_launch = dataclasses.replace(shard, memory="l1")
        asked = (one_launch, compute)
        if program == "depthwise":
            asked = without_ttnn_options(*asked)
        try:
            plans.append(make_plan(conv, *asked, arch, program=program, must_fit=False))
        except (ConfigError, UnsupportedError) as error:
            refused.append(f"Program {program} refuses the layer: {error}.")
    return [line for m in messages for line in held_against(m, plans)] + refused
