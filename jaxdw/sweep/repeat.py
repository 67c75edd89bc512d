"""The command that repeats a row: the inverse of the command's own parser."""

import dataclasses
import functools
import shlex
from typing import Any

from jaxdw.plan.config import ComputeConfig, ConvConfig, ShardConfig
from jaxdw.sweep.axes import is_onnx, joined
from jaxdw.sweep.rows import Point

# spelt even where the command would take the same without
_ALWAYS = ("kernel", "scheme")
_SWEPT = ("batch", "activation")  # of a layer that has its own


def layer_words(
    conv: ConvConfig,
    shard: ShardConfig,
    compute: ComputeConfig,
    arch: str = "wormhole_b0",
    program: str = "depthwise",
    *,
    whole: bool = False,
) -> list[str]:
    """Returns the words that every command takes for a layer, defaults left out.

    Args:
      whole: spell also what a sweep may have changed of a network's layer.
    """
    words = [*conv_words(conv, whole=whole)]
    words += (*_config_words(shard), *_config_words(compute))
    words.append(f"--arch={arch}")  # a path may begin with a dash
    return words if program == "depthwise" else [*words, "--program", program]


@functools.lru_cache(maxsize=1024)
def _config_words(config: ShardConfig | ComputeConfig) -> tuple[str, ...]:
    return tuple(
        word
        for field in dataclasses.fields(config)
        for word in _option(field, getattr(config, field.name))
    )


@functools.lru_cache(maxsize=1024)
def conv_words(conv: ConvConfig, *, whole: bool = False) -> tuple[str, ...]:
    """Returns the words for a convolution alone, defaults left out."""
    words = ["--channels", str(conv.channels)]
    words += ["--size", joined((conv.height, conv.width))]
    for field in dataclasses.fields(conv):
        if field.name not in ("channels", "height", "width"):
            always = whole and field.name in _SWEPT
            words += _option(field, getattr(conv, field.name), always=always)
    return tuple(words)


def _option(field: dataclasses.Field, value: Any, always: bool = False) -> list[str]:
    if value == field.default and field.name not in _ALWAYS and not always:
        return []
    option = "--" + field.name.replace("_", "-")
    if value is True:
        return [option]
    if isinstance(value, tuple):
        return [option, joined(value)]
    return [option, "none" if value is None else str(value)]


def repeat_line(point: Point, seed: int | None) -> str:
    """Returns the command line that repeats a point's row.

    Args:
      seed: of its tensors: `jaxdw run` gives the same numbers; None for a row without
        any, planned or refused: `jaxdw plan` gives the same plan or refusal.
    """
    words = layer_words(
        point.conv,
        point.shard,
        point.compute,
        point.arch,
        point.program,
        whole=seed is not None and is_onnx(point.model),
    )
    if seed is None:
        return shlex.join(["jaxdw", "plan", *words])
    words += ["--seed", str(seed)]
    if is_onnx(point.model):
        words += [f"--models={point.model}", f"--layer={point.layer}"]
        words += [f"--input={name}={joined(sizes)}" for name, sizes in point.inputs]
    return shlex.join(["jaxdw", "run", *words])
