"""The library's messages about circular buffers in L1, and plans held against them."""

import dataclasses
import re
from collections.abc import Iterable

from jaxdw.plan.plan import Plan

_CORES = r"core\s+range\s+\[(?P<cores>[^\[\]]{1,120})\]"
_CLASH = re.compile(
    _CORES
    + r"\.?\s+L1\s+buffer\s+allocated\s+at\s+(?P<lowest>\d+)\s+and\s+static\s+circular"
    r"\s+buffer\s+region\s+ends\s+at\s+(?P<end>\d+)"
)
_GROW = re.compile(
    _CORES + r"\s+grow\s+to\s+(?P<end>\d+)\s+B\s+which\s+is\s+beyond\s+max\s+L1\s+size"
    r"\s+of\s+(?P<lowest>\d+)\s+B"
)
_NUMBERS = re.compile(r"\d+")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class L1Message:
    """One refusal.

    Attributes:
      end: where the circular buffers end; limit: the lowest buffer, or the end of L1.
      clash: whether they run into buffers; False if past the end of L1.
      cores: of the rectangle named, (x, y) from core (0, 0); None if it is another.
      raw: as the library wrote it.
    """

    end: int
    limit: int
    clash: bool
    cores: tuple[int, int] | None
    raw: str

    @property
    def text(self) -> str:
        """Returns the message in short."""
        of = "the lowest buffer" if self.clash else "the end of L1"
        cores = f" on {self.cores[0]}x{self.cores[1]} cores" if self.cores else ""
        return (
            f"circular buffers end at {self.end}, {of} is {self.limit}: "
            f"{self.end - self.limit} bytes too many{cores}"
        )


def find_messages(text: str) -> tuple[L1Message, ...]:
    """Returns the messages of a text, each once, in order."""
    found = [
        (match.start(), _message(match, clash))
        for pattern, clash in ((_CLASH, True), (_GROW, False))
        for match in pattern.finditer(text)
    ]
    in_order = sorted(found, key=lambda pair: pair[0])
    return tuple(dict.fromkeys(message for _, message in in_order))


def _message(match: re.Match, clash: bool) -> L1Message:
    corners = [int(number) for number in _NUMBERS.findall(match["cores"])]
    whole = len(corners) == 4 and corners[:2] == [0, 0]
    return L1Message(
        end=int(match["end"]),
        limit=int(match["lowest"]),
        clash=clash,
        cores=(corners[2] + 1, corners[3] + 1) if whole else None,
        raw=" ".join(match[0].split()),
    )


def held_against(message: L1Message, plans: Iterable[Plan]) -> list[str]:
    """Returns what each program's plan says beside a message, a line for each."""
    lines = [f"Yours says: {message.text}."]
    for plan in plans:
        l1 = plan.l1
        would = l1.message
        if would is None and l1.fits:
            would = (
                f"nothing: circular buffers end at {l1.region_end}, the lowest buffer "
                f"is {l1.lowest_buffer}, {l1.free_bytes} bytes free"
            )
        elif would is None:
            would = "; ".join(l1.problems())
        lines.append(
            f"{plan.tree}, program {plan.program}, {plan.scheme} on "
            f"{plan.grid[0]}x{plan.grid[1]} cores, would say: {would}. "
            f"{_beside(message, plan)}."
        )
    return lines


def _beside(message: L1Message, plan: Plan) -> str:
    limit = plan.l1.lowest_buffer if message.clash else plan.arch.l1_size_bytes
    apart = []
    for what, yours, ours in (
        ("region end", message.end, plan.l1.region_end),
        ("lowest buffer" if message.clash else "L1 size", message.limit, limit),
    ):
        difference = ours - yours
        apart.append(
            f"{what} {'the same' if not difference else f'{difference:+d} bytes'}"
        )
    if message.cores is not None and message.cores != plan.grid:
        apart.append("other cores")
    return "Against yours: " + ", ".join(apart)
