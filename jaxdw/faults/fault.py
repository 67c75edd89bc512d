"""One mistake, as a change of one stage of the data path."""

import dataclasses
from collections.abc import Callable
from typing import Literal

from jaxdw.faults.used_chip import Launch
from jaxdw.plan.plan import Plan

Stage = Literal[
    "host", "prepare", "tiles", "pack", "read", "multicast", "bias", "halo", "window",
    "compute", "output", "file",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Fault:
    """One mistake.

    Attributes:
      id: stable name.
      stage: of the data path, where it acts; `file` is the way of the output to a
        file.
      applies: whether a plan gives it anything to spoil.
      inject: the launch with the mistake made.
      text: one sentence.
      code: of the finding, where it is a known defect of tt-metal's branch.
      rounds: whether it only rounds otherwise, so that every value stays near.
      solved: whether `inject` makes one of many such mistakes (which two channels are
        exchanged, by how much a value is scaled), which the diagnosis finds by itself.
      kind: of faults that often give the same: where one gives a file, the diagnosis
        makes all of its kind. Empty for a fault of its own.
    """

    id: str
    stage: Stage
    applies: Callable[[Plan], bool]
    inject: Callable[[Launch], Launch]
    text: str
    code: str | None = None
    rounds: bool = False
    solved: bool = False
    kind: str = ""

    @property
    def computes(self) -> bool:
        """Whether it takes another computation, which has to be compiled."""
        return self.stage in ("compute", "output")
