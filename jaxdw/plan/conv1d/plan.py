"""Plans of the 1D depthwise program."""

import dataclasses
from typing import ClassVar

from jaxdw.plan.config import Scheme
from jaxdw.plan.conv1d.findings import DEFECTS
from jaxdw.plan.findings import Defect
from jaxdw.plan.program import ProgramName
from jaxdw.plan.ttnn.plan import TtnnPlan


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Conv1dPlan(TtnnPlan):
    """A plan of ttnn's 1D depthwise program."""

    program: ClassVar[ProgramName] = "conv1d"
    defects: ClassVar[tuple[Defect, ...]] = DEFECTS
    schemes: ClassVar[tuple[Scheme, ...]] = ("height",)
