"""The options by which commands take one's own tensors, and what they read."""

import argparse
from typing import TYPE_CHECKING, NamedTuple

from jaxdw.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from jaxdw.judge.draws import Operands
    from jaxdw.plan.plan import Plan

TENSORS = ("--x", "--w", "--bias-values", "--layout", "--file-dtype", "--seed")


class Own(NamedTuple):
    """What files hold, as the plan has it.

    Attributes:
      operands: None if none are given.
      output: of a device; None if none is given.
      notes: what was taken for granted of them, a sentence each.
    """

    operands: "Operands | None"
    output: "np.ndarray | None"
    notes: tuple[str, ...]


def read_own(
    args: argparse.Namespace,
    plan: "Plan",
    output: str,
    layer: "tuple[np.ndarray, np.ndarray | None] | None" = None,
) -> Own:
    """Reads the files that the options `TENSORS` and that of an output name.

    Args:
      layer: weights and bias that come from elsewhere.

    Raises:
      ConfigError: a part of x, w and bias, which are given all or not at all; a seed
        where nothing is drawn; what `read_tensors` refuses.
    """
    from jaxdw.arrays.operands import Tensor, are_given, read_tensors

    x = Tensor("x", "--x", args.x)
    weights = [Tensor("w", "--w", args.w)]
    weights += [Tensor("bias", "--bias-values", args.bias_values)]
    device = Tensor("output", output, vars(args)[output.strip("-").replace("-", "_")])
    if layer is not None:
        for tensor in weights:
            if tensor.path is not None:
                raise ConfigError(
                    f"`{tensor.option}` (={tensor.path!r}) must be left out with "
                    "an .onnx file in `--models`, whose layer has its own"
                )
        weights = []
    are_own = are_given(plan.conv.bias, [x, *weights])
    if are_own and "--seed" in args.given:
        raise ConfigError(
            f"`--seed` (={args.seed}) must be left out with tensors of files, of which "
            "none is drawn"
        )
    tensors = [x, *weights, device]
    values, notes = read_tensors(plan, tensors, args.layout, args.file_dtype)
    operands = None
    if are_own:
        from jaxdw.judge.draws import Operands

        own = layer or (values["w"], values.get("bias"))
        operands = Operands(values["x"], *own)
    return Own(operands, values.get("output"), notes)


def rounding_notes(own: "Operands", sent: "Operands") -> tuple[str, ...]:
    """Returns a sentence for each tensor that the host has to round before it sends."""
    import numpy as np

    notes = []
    for name, values, rounded in zip(("x", "w", "bias-values"), own, sent, strict=True):
        if values is None or rounded is None:
            continue
        changed = np.count_nonzero((values != rounded) & ~np.isnan(values))
        if changed:
            notes.append(
                f"{name}: {changed} of {values.size} values rounded to bfloat16, as "
                "the host sends them"
            )
    return tuple(notes)
