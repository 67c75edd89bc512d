"""The command that repeats a row: the inverse of the command's own parser."""

import dataclasses
import shlex
from typing import Any

from jaxdw.plan.config import ComputeConfig, ConvConfig, ShardConfig
from jaxdw.sweep.axes import is_onnx, joined
from jaxdw.sweep.rows import Point

# spelt even where the command would take the same without
_ALWAYS = ("kernel", "scheme")


def layer_words(
    conv: ConvConfig,
    shard: ShardConfig,
    compute: ComputeConfig,
    arch: str = "wormhole_b0",
    program: str = "depthwise",
) -> list[str]:
    """Returns the words that every command takes for a layer, defaults left out."""
    words = ["--channels", str(conv.channels)]
    words += ["--size", joined((conv.height, conv.width))]
    for config in (conv, shard, compute):
        for field in dataclasses.fields(config):
            if field.name not in ("channels", "height", "width"):
                words += _option(field, getattr(config, field.name))
    words.append(f"--arch={arch}")  # a path may begin with a dash
    return words if program == "depthwise" else [*words, "--program", program]


def _option(field: dataclasses.Field, value: Any) -> list[str]:
    if value == field.default and field.name not in _ALWAYS:
        return []
    option = "--" + field.name.replace("_", "-")
    if value is True:
        return [option]
    return [option, joined(value) if isinstance(value, tuple) else str(value)]


def repeat_line(point: Point, seed: int | None) -> str:
    """Returns the command line that repeats a point's row.

    Args:
      seed: of its tensors: `jaxdw run` gives the same numbers; None for a row without
        any, planned or refused: `jaxdw plan` gives the same plan or refusal.
    """
    words = layer_words(
        point.conv, point.shard, point.compute, point.arch, point.program
    )
    if seed is None:
        return shlex.join(["jaxdw", "plan", *words])
    words += ["--seed", str(seed)]
    if is_onnx(point.model):
        words += [f"--onnx={point.model}", f"--layer={point.layer}"]
        words += [f"--input={name}={joined(sizes)}" for name, sizes in point.inputs]
    return shlex.join(["jaxdw", "run", *words])
