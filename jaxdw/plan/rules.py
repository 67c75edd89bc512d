"""A page for each finding: what, why, how sure, what to do, from the defects' own text.

The docstring of what finds a defect has a title, why it happens, and a paragraph
`Do:`.
"""

import dataclasses
import inspect
import re
from collections.abc import Callable

from jaxdw.plan.findings import Basis, Severity
from jaxdw.plan.planner import PROGRAMS
from jaxdw.plan.ttnn import findings as ttnn

BASIS: dict[Basis, str] = {
    "observed": "seen on a chip, in a simulator or by upstream's own tests",
    "read": "read in upstream's code, not run",
    "assumed": "the version that decides was not found; it stops no gate",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """What is known of one finding in one tree.

    Attributes:
      program: whose layers meet it; tree: the revision in which it is so.
    """

    code: str
    program: str
    tree: str
    severity: Severity
    basis: Basis
    source: str
    title: str
    why: str
    do: str


def rules() -> tuple[Rule, ...]:
    """Returns every rule, by code and then by program."""
    found = [
        _rule(defect.meets, defect, program.program, program.tree)
        for program in PROGRAMS.values()
        for defect in program.defects
    ]
    tree = PROGRAMS["regular"].tree
    for say, arguments in ttnn.SAID.items():
        found.append(_rule(say, say(*arguments), "ttnn", tree))
    return tuple(sorted(found, key=lambda rule: rule.code))


def _rule(says: Callable, known, program: str, tree: str) -> Rule:
    title, *paragraphs = inspect.cleandoc(says.__doc__ or known.code).split("\n\n")
    texts = [" ".join(paragraph.split()) for paragraph in paragraphs]
    texts = [text for text in texts if not re.match(r"(Args|Returns|Source):", text)]
    do = [text.removeprefix("Do: ") for text in texts if text.startswith("Do: ")]
    return Rule(
        code=known.code,
        program=program,
        tree=tree,
        severity=known.severity,
        basis=known.basis,
        source=known.source,
        title=title,
        why=" ".join(text for text in texts if not text.startswith("Do: ")),
        do=do[0] if do else "",
    )
