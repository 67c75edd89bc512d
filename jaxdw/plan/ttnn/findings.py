"""What is known to go wrong with ttnn 0.81.1's programs, as data.

Severities are those of `jaxdw.plan.findings`. A layer that the library refuses counts
as bad as wrong values: a gate that wants right values must stop, as there are none. A
setting that costs time without keeping what it promises counts as performance.
"""

import dataclasses
from collections.abc import Callable, Iterable

from jaxdw.plan.findings import Basis, Finding, Severity
from jaxdw.plan.ttnn.placed import Placed


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """One known defect; `meets` returns its text for a launch that meets it."""

    code: str
    severity: Severity
    basis: Basis
    source: str
    meets: Callable[[Placed], str | None]


def met(defects: Iterable[Defect], at: Placed) -> tuple[Finding, ...]:
    """Returns the defects that a launch meets, in their order."""
    return tuple(
        Finding(
            code=defect.code,
            severity=defect.severity,
            basis=defect.basis,
            text=text,
            source=defect.source,
        )
        for defect in defects
        if (text := defect.meets(at)) is not None
    )


def sliced(num_launches: int) -> Finding:
    """Returns what slicing costs."""
    return Finding(
        code="JDW033",
        severity="performance",
        basis="observed",
        text=f"the layer does not fit L1 at once and runs in {num_launches} launches, "
        "each with its own halo and weights",
        source="ttnn 0.81.1 on a mock device; tt-metal op_slicing.cpp @0205dffd",
    )


def refused(message: str, num_launches: int) -> Finding:
    """Returns the library's refusal.

    Args:
      num_launches: that the default path would take instead; 0 for none.
    """
    instead = f"; memory='dram' runs it in {num_launches} launches"
    return Finding(
        code="JDW034",
        severity="wrong values",
        basis="observed",
        text=f"ttnn refuses this layer: {message.removesuffix('.')}"
        + (instead if num_launches else ""),
        source="ttnn 0.81.1 on a mock device",
    )


def unprepared(channels: int) -> Finding:
    """Returns the refusal of a matmul whose weights were prepared for conv1d."""
    return Finding(
        code="JDW035",
        severity="wrong values",
        basis="observed",
        text=f"ttnn refuses a 1x1 kernel on one row of {channels} channels without "
        "bias: weights are prepared for conv1d, the call goes to the matmul",
        source="ttnn 0.81.1 on a mock device; mended in a later conv2d.cpp of tt-metal",
    )


def by_matmul() -> Finding:
    """Returns that no program of ours runs the layer."""
    return Finding(
        code="JDW036",
        severity="performance",
        basis="observed",
        text="ttnn runs this layer with its matmul, which is not planned here",
        source="ttnn 0.81.1 on a mock device",
    )
