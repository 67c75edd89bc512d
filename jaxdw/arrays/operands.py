"""The tensors of one launch from files: all of them, or none.

Tensors of files and drawn ones are never mixed: an output that was made with one's own
weights and a drawn bias would look wrong, and would be.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
from jaxtyping import Float32

from jaxdw.arrays.axes import (
    ActivationLayout,
    Taken,
    WeightsLayout,
    as_bias,
    as_input,
    as_output,
    as_weights,
)
from jaxdw.arrays.read import DTYPES, read_array
from jaxdw.errors import ConfigError, refuse
from jaxdw.plan.placement import Placement

_LAYOUTS = {
    "x": get_args(ActivationLayout),
    "output": get_args(ActivationLayout),
    "w": get_args(WeightsLayout),
}


class Tensor(NamedTuple):
    """One tensor of a launch and the file that holds it.

    Attributes:
      kind: `x`, `w`, `bias` or `output`; option: what the user calls it.
      path: as for `read_array`; None if it is not given.
    """

    kind: str
    option: str
    path: str | Path | None


class Read(NamedTuple):
    """Tensors as the plan has them, by kind, and what was taken for granted."""

    values: dict[str, Float32[np.ndarray, "..."]]
    notes: tuple[str, ...]


def are_given(
    bias_planned: bool, tensors: Sequence[Tensor], bias_way: str = "--bias"
) -> bool:
    """Whether a launch's own tensors are given, all of them; False if none is.

    Args:
      tensors: x, w and bias; an output among them is not looked at.
      bias_way: what plans a bias.

    Raises:
      ConfigError: a part of them, or a bias that is not planned.
    """
    operands = [tensor for tensor in tensors if tensor.kind != "output"]
    given = [tensor for tensor in operands if tensor.path is not None]
    if not given:
        return False
    have = ", ".join(f"`{tensor.option}` (={str(tensor.path)!r})" for tensor in given)
    problems = []
    for tensor in operands:
        needed = tensor.kind != "bias" or bias_planned
        if needed and tensor.path is None:
            problems.append(
                f"`{tensor.option}` must be given with {have}: tensors of files are "
                "not mixed with drawn ones; add its file"
                + f" or plan without {bias_way}"
                * (tensor.kind == "bias")
            )
        elif not needed and tensor.path is not None:
            problems.append(
                f"`{tensor.option}` (={str(tensor.path)!r}) must be planned for; add "
                f"{bias_way}"
            )
    refuse(problems)
    return True


def read_tensors(
    plan: Placement,
    tensors: Sequence[Tensor],
    layouts: Sequence[str] = (),
    dtype: str | None = None,
) -> Read:
    """Reads the tensors that have a file.

    Args:
      layouts: layout names, each for all tensors that can have it or, as `x=nchw`, for
        one kind.
      dtype: of values whose file does not say; raw ones have that of the plan if None.

    Raises:
      ConfigError: as `read_array` and `jaxdw.arrays.axes`; a layout of no tensor here,
        a dtype that no file needs.
    """
    tensors = [tensor for tensor in tensors if tensor.path is not None]
    layout_of = _layouts(layouts, [tensor.kind for tensor in tensors])
    values, notes, used = {}, [], False
    for kind, option, path in tensors:
        assert path is not None
        assumed = _raw_dtype(plan, kind) if str(path).endswith(".bin") else None
        found = read_array(path, dtype or assumed, name=option)
        used |= found.used_dtype
        taken = _as_planned(plan, kind, found.values, layout_of.get(kind), option)
        values[kind] = taken.values
        name = option.lstrip("-")
        if found.note:
            notes.append(f"{name}: {found.note}")
        elif found.used_dtype:
            notes.append(f"{name}: raw values read as {found.values.dtype}")
        if taken.note:
            notes.append(taken.note.replace(option, name, 1))
    if dtype is not None and not used:
        raise ConfigError(
            f"the dtype of files (={dtype!r}) must be left out: every file here says "
            "its own"
        )
    return Read(values, tuple(notes))


def _as_planned(
    plan: Placement, kind: str, values: np.ndarray, layout: str | None, name: str
) -> Taken:
    if kind == "x":
        return as_input(plan, values, layout, name=name)
    if kind == "output":
        return as_output(plan, values, layout, name=name)
    if kind == "w":
        return as_weights(plan.conv, values, layout, name=name)
    return as_bias(plan, values, name=name)


def _raw_dtype(plan: Placement, kind: str) -> str | None:
    conv = plan.conv
    dtypes = {"x": conv.dtype, "output": conv.output_dtype}
    dtype = dtypes.get(kind, conv.weights_dtype)
    return dtype if dtype in DTYPES else None


def _layouts(words: Sequence[str], kinds: Sequence[str]) -> Mapping[str, str]:
    """Returns the layout asked for, by the kind of tensor."""
    found: dict[str, str] = {}
    for word in words:
        kind, equals, layout = word.rpartition("=")
        wanted = [kind] if equals else kinds
        meant = [k for k in wanted if k in kinds and layout in _LAYOUTS.get(k, ())]
        if not meant:
            legal = {name: None for k in kinds for name in _LAYOUTS.get(k, ())}
            raise ConfigError(
                f"the layout (={word!r}) must be one of {', '.join(legal)}, of a "
                "tensor that is given; name one alone as in x=nchw"
            )
        for k in meant:
            if found.setdefault(k, layout) != layout:
                raise ConfigError(
                    f"the layout (={word!r}) must not differ from {found[k]!r}, given "
                    "for the same tensor; leave one out"
                )
    return found
