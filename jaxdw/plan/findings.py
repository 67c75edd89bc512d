"""Known defects of the real system that a configuration meets, as data.

The emulator computes what the op should: a finding says where tt-metal does not. Each
program lists its own defects in its `findings.py`.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Literal

from jaxdw.shown import Shown, ShownTuple

Severity = Literal[
    "hang", "memory corruption", "wrong values", "performance", "accuracy"
]
SEVERITIES = ("accuracy", "performance", "wrong values", "memory corruption", "hang")
Basis = Literal["observed", "read", "assumed"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding(Shown):
    """One known defect. `code` is stable; `text` is one sentence.

    Attributes:
      basis: `observed` on a chip, in a simulator or by upstream's own tests; `read` in
        upstream's code; `assumed` where the version that decides was not found, or
        where upstream's passing tests speak against it.
    """

    code: str
    severity: Severity
    basis: Basis
    text: str
    source: str

    def __str__(self) -> str:
        return (
            f"{self.code} {self.severity} ({self.basis}): {self.text} [{self.source}]"
        )

    def fails(self, severity: Severity) -> bool:
        """Whether a gate at `severity` stops here: as bad or worse, and not assumed."""
        bad_enough = SEVERITIES.index(self.severity) >= SEVERITIES.index(severity)
        return bad_enough and self.basis != "assumed"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """What is known to be wrong.

    Attributes:
      meets: returns a finding's text for a plan that meets the defect, else None.
      elsewhere: whether it is said of a layer that the tree itself gives to another
        program; None for all layers, True for only these.
    """

    code: str
    severity: Severity
    basis: Basis
    source: str
    meets: Callable[[Any], str | None]
    elsewhere: bool | None = False


class Defects(list[Defect]):
    """The defects of one program, in the order of their codes."""

    def add(
        self,
        code: str,
        severity: Severity,
        basis: Basis,
        source: str,
        *,
        elsewhere: bool = False,
    ):
        """Registers the function below as what `Defect.meets`."""

        def register(meets: Callable[[Any], str | None]):
            self.append(
                Defect(
                    code=code,
                    severity=severity,
                    basis=basis,
                    source=source,
                    meets=meets,
                    elsewhere=elsewhere,
                )
            )
            return meets

        return register


def find(defects: Iterable[Defect], plan: Any) -> tuple[Finding, ...]:
    """Returns the defects that a plan meets.

    Of a layer that the tree gives to another program that is said, and which options
    have no effect.
    """
    elsewhere = plan.upstream_program != plan.program
    return met((d for d in defects if d.elsewhere in (elsewhere, None)), plan)


def met(defects: Iterable[Defect], plan: Any) -> tuple[Finding, ...]:
    """Returns the defects that a plan meets, in the order given."""
    return ShownTuple(
        Finding(
            code=defect.code,
            severity=defect.severity,
            basis=defect.basis,
            text=text,
            source=defect.source,
        )
        for defect in defects
        if (text := defect.meets(plan)) is not None
    )
