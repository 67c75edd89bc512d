"""Plans of the dense matmul on weights expanded with zeros."""

import dataclasses
from typing import ClassVar

from jaxdw.plan.findings import Defect
from jaxdw.plan.program import ProgramName
from jaxdw.plan.regular.findings import DEFECTS
from jaxdw.plan.ttnn.plan import TtnnPlan


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class RegularPlan(TtnnPlan):
    """A plan of ttnn's dense matmul."""

    program: ClassVar[ProgramName] = "regular"
    defects: ClassVar[tuple[Defect, ...]] = DEFECTS
