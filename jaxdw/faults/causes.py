"""What explains an output, and the report of a diagnosis."""

import dataclasses
import html
from typing import Any, Literal

from jaxdw.judge.comparison import Comparison

Match = Literal["exact", "1 ULP", "near", "weights", "possible", "none"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cause:
    """One explanation of an output, and how well it was tested.

    Attributes:
      faults: ids of the catalogue, two joined by ` + ` for two mistakes at once; those
        in one tuple cannot be told apart on these tensors.
      texts: one sentence for each.
      details: which units, which factor, for each; empty if the ids say all.
      match: `exact`: every output that it determines; `1 ULP`: within that; `near`: to
        the residue, on every channel; `weights`: a convolution of this input with
        other weights, on every channel; `possible`: equal where it determines an
        output, but what differs depends on memory that nobody knows; `none`: the
        nearest, which does not explain the output.
      outputs, unknown: how many there are; how many it does not determine.
      differing: outputs that it determines otherwise.
      residue: of the worst channel, root mean square as a share of its spread.
    """

    faults: tuple[str, ...]
    texts: tuple[str, ...]
    details: tuple[str, ...]
    match: Match
    outputs: int
    unknown: int
    differing: int
    residue: float

    @property
    def name(self) -> str:
        """The ids in words: `a or b`."""
        return " or ".join(self.faults)

    @property
    def text(self) -> str:
        """One sentence for a person."""
        named = " or ".join(
            f"{fault} ({text}{': ' * bool(detail)}{detail})"
            for fault, text, detail in zip(
                self.faults, self.texts, self.details, strict=True
            )
        )
        return f"{named}; {self._how}"

    @property
    def _how(self) -> str:
        determined = self.outputs - self.unknown
        if self.match == "weights":
            return (
                "every channel that can be fitted is this convolution with other "
                f"weights (residue at most {self.residue:.2g}), which are not the "
                "plan's own in any order or scale"
            )
        if self.match == "possible":
            return (
                f"equal on the {determined:,} outputs that it determines; the other "
                f"{self.unknown:,} depend on memory that nobody knows"
            )
        if self.match == "exact":
            how = f"reproduces {determined:,} outputs bit for bit"
        elif self.match == "1 ULP":
            how = f"reproduces {determined:,} outputs to 1 ULP"
        elif self.match == "near":
            how = f"to a residue of {self.residue:.2g} on every channel"
        else:
            how = f"leaves {self.differing:,} of {determined:,} outputs unexplained"
        if self.unknown:
            how += f"; {self.unknown:,} depend on memory that nobody knows"
        return how


@dataclasses.dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Where and how an output differs from the emulation, and why if that is known.

    `str` of it is the report.

    Attributes:
      comparison: where and how it differs.
      causes: what reproduces the output, the best first.
      possible: what cannot be excluded, as it depends on memory that nobody knows.
      nearest: what comes nearest if nothing reproduces it; None if nothing is nearer
        than the emulation itself.
      tried: faults of the catalogue that were tried, pairs not counted.
    """

    comparison: Comparison
    causes: tuple[Cause, ...]
    possible: tuple[Cause, ...]
    nearest: Cause | None
    tried: int

    @property
    def is_right(self) -> bool:
        """Whether the output is the emulation's, bit for bit."""
        return self.comparison.kind == "identical"

    @property
    def named(self) -> tuple[str, ...]:
        """The ids named first; empty if the output is right or no cause is known."""
        first = (*self.causes, *self.possible)[:1]
        return first[0].faults if first else ()

    @property
    def verdict(self) -> str:
        """What a person asks first, in one line."""
        if self.is_right:
            return "identical to the emulation"
        if self.causes:
            return f"cause: {self.causes[0].text}"
        if self.possible:
            return f"possible, not proved: {self.possible[0].text}"
        return "no known cause reproduces it"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    __repr__ = __str__

    def lines(self) -> list[str]:
        """The report, a line for each statement."""
        lines = [*self.comparison.lines()]
        if self.is_right:
            return lines
        lines.append("")
        lines += [f"cause {rank}: {c.text}" for rank, c in enumerate(self.causes, 1)]
        if not self.causes:
            lines.append(f"no known cause reproduces it; {self.tried} were tried")
        lines += [f"possible, not proved: {cause.text}" for cause in self.possible]
        if self.nearest is not None:
            lines.append(f"nearest: {self.nearest.text}")
        return lines

    def to_json(self) -> dict[str, Any]:
        """The same as what `json.dumps` takes."""
        return {
            "verdict": self.verdict,
            "right": self.is_right,
            "comparison": dataclasses.asdict(self.comparison),
            "causes": [dataclasses.asdict(cause) for cause in self.causes],
            "possible": [dataclasses.asdict(cause) for cause in self.possible],
            "nearest": None
            if self.nearest is None
            else dataclasses.asdict(self.nearest),
            "tried": self.tried,
        }

    def _repr_html_(self) -> str:
        verdict, *lines = (html.escape(line) for line in (self.verdict, *self.lines()))
        body = "\n".join(lines)
        return f"<p><strong>{verdict}</strong></p><pre>{body}</pre>"
