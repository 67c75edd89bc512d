"""Every name that a public function takes, in one table; all else is refused."""

from typing import Literal, get_args

from jaxdw.plan import config
from jaxdw.plan.problems import choice_problem

Packer = Literal["host", "device", "kernel"]
PccRevision = Literal["ttnn-0.81", "branch"]
Backend = Literal["xla", "pallas"]

NAMES: dict[str, tuple[str | None, ...]] = {
    "activation": (None, *get_args(config.Activation)),
    "activations' dtype": get_args(config.ActivationDtype),
    "tiles' dtype": get_args(config.WeightsDtype),
    "output_dtype": get_args(config.OutputDtype),
    "ULPs' dtype": ("bfloat16", "float32"),
    "scheme": get_args(config.Scheme),
    "packer": get_args(Packer),
    "revision": get_args(PccRevision),
    "backend": get_args(Backend),
}


def name_problem(name: str, value: object, table: str | None = None) -> list[str]:
    """Returns a sentence if a value is no legal name.

    Args:
      name: of the argument; table: its line of `NAMES`, if that is another word.
    """
    return choice_problem(name, value, NAMES[table or name])
