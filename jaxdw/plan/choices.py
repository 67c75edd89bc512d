"""The fields of configs that take one of few values, and those values."""

import dataclasses
import functools
from typing import Any, Literal, get_args

from jaxdw.plan.problems import choice_problem
from jaxdw.words import meant

Scheme = Literal["height", "width", "block"]
Orientation = Literal["row_major", "col_major"]
OutputLayout = Literal["tile", "row_major"]
InputLayout = Literal["row_major", "tile"]
Memory = Literal["l1", "dram"]
WeightLayoutName = Literal["final", "tile_chunks", "concatenated"]
Activation = Literal["relu", "relu6", "silu", "gelu", "gelu_approx"]
ActivationDtype = Literal["bfloat16", "float32", "bfloat8_b"]
WeightsDtype = Literal["bfloat16", "float32", "bfloat8_b", "bfloat4_b"]
OutputDtype = Literal["bfloat16", "float32", "bfloat8_b"]
Fidelity = Literal["LoFi", "HiFi2", "HiFi3", "HiFi4"]
Arithmetic = Literal["fpu", "float32"]

CHOICES: dict[str, tuple[object, ...]] = {
    "dtype": get_args(ActivationDtype),
    "weights_dtype": get_args(WeightsDtype),
    "output_dtype": get_args(OutputDtype),
    "activation": (None, *get_args(Activation)),
    "scheme": (*get_args(Scheme), "auto"),
    "orientation": get_args(Orientation),
    "output_layout": get_args(OutputLayout),
    "weight_layout": get_args(WeightLayoutName),
    "input_layout": get_args(InputLayout),
    "memory": get_args(Memory),
    "arithmetic": get_args(Arithmetic),
    "math_fidelity": get_args(Fidelity),
}


def take_words(config: Any) -> None:
    """Puts the value that each word stands for in its place."""
    for name in _chosen(type(config)):
        given = getattr(config, name)
        value = meant(name, given, CHOICES[name])
        if value is not given:
            object.__setattr__(config, name, value)


@functools.cache
def _chosen(kind: type) -> tuple[str, ...]:
    """Returns the fields of a config that are words."""
    return tuple(f.name for f in dataclasses.fields(kind) if f.name in CHOICES)


def choice_problems(config: Any) -> list[str]:
    """Returns one sentence for each field that holds none of its values."""
    found = []
    for name in _chosen(type(config)):
        found += choice_problem(name, getattr(config, name), CHOICES[name])
    return found
