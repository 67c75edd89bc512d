"""The options by which commands take one's own tensors, and what they read."""

import argparse
from typing import TYPE_CHECKING, NamedTuple

from jaxdw.arrays.operands import Tensor, are_given, read_tensors
from jaxdw.arrays.read import DTYPES
from jaxdw.cli.options import dtype

if TYPE_CHECKING:
    import numpy as np

    from jaxdw.judge.draws import Operands
    from jaxdw.plan.plan import Plan

FILES = ".npy, .npz:NAME, .safetensors:NAME, .pt:NAME or .bin"


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


def add_tensor_options(
    parser: argparse.ArgumentParser, output: str, *, required: bool = False
) -> None:
    """Adds the files of a launch's tensors and of a device's output.

    Args:
      output: the option for the latter.
    """
    own = parser.add_argument_group(f"your own tensors, each {FILES}")
    own.add_argument(
        output, metavar="FILE", required=required, help="a device's [N, Ho, Wo, C]"
    )
    own.add_argument("--x", metavar="FILE", help="[N, H, W, C]")
    own.add_argument("--w", metavar="FILE", help="[C, 1, kh, kw]")
    own.add_argument("--bias-values", metavar="FILE", help="[C]")
    own.add_argument(
        "--layout", action="append", default=[], metavar="NAME",
        help="nhwc or nchw, oihw or hwio, where a shape can be both; for one tensor "
        "x=nchw, output=nchw or w=hwio; may be repeated",
    )  # fmt: skip
    own.add_argument(
        "--file-dtype", type=dtype, metavar="DTYPE",
        help="of values whose file does not say: raw ones (default: the layer's), "
        f"those of a .npy without a type; {', '.join(DTYPES[:3])}, ...",
    )  # fmt: skip


def read_own(args: argparse.Namespace, plan: "Plan", output: str) -> Own:
    """Reads the files that the options of `add_tensor_options` name.

    Raises:
      ConfigError: a part of x, w and bias, which are given all or not at all; what
        `read_tensors` refuses.
    """
    given = vars(args)
    tensors = [
        Tensor("x", "--x", args.x),
        Tensor("w", "--w", args.w),
        Tensor("bias", "--bias-values", args.bias_values),
        Tensor("output", output, given[output.strip("-").replace("-", "_")]),
    ]
    are_own = are_given(plan.conv.bias, tensors)
    values, notes = read_tensors(plan, tensors, args.layout, args.file_dtype)
    operands = None
    if are_own:
        from jaxdw.judge.draws import Operands

        operands = Operands(values["x"], values["w"], values.get("bias"))
    return Own(operands, values.get("output"), notes)
