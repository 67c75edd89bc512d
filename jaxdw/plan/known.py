"""How well each figure of each device program is known, as one table.

The evidence, the best first: `silicon`, equal to a run recorded on a chip; `real
kernels`, the library's own kernels run in the functional simulator ttsim @56694c8a;
`real planner`, the library's host code run on a mock device; `source`, read in the
library's code; `assumed`, none of these.
"""

from typing import Literal, NamedTuple, get_args

Evidence = Literal["silicon", "real kernels", "real planner", "source", "assumed"]
Quantity = Literal[
    "choice", "layout", "L1", "slices", "weights", "moves", "arithmetic", "cycles"
]


class Known(NamedTuple):
    """Evidence for one quantity, and what it covers."""

    by: Evidence
    what: str


_TTNN: dict[Quantity, Known] = {
    "choice": Known("real planner", "the library's rule, disassembled and run"),
    "layout": Known("real planner", "1,065 stored plans, every one equal"),
    "L1": Known("real planner", "buffers, addresses and messages of the same plans"),
    "slices": Known("real planner", "launches of the same plans, 0 to 15"),
    "weights": Known("real planner", "20 stored tensors, every element"),
    "moves": Known("real planner", "rows after halo; which rows are read, by source"),
}
_BOUNDS = Known("source", "lower bounds, work over peak rate: no prediction")

KNOWN: dict[str, dict[Quantity, Known]] = {
    "depthwise": {
        "choice": Known("source", "detection of depthwise convs"),
        "layout": Known("real planner", "shards, halo, grids as ttnn 0.81.1 has them"),
        "L1": Known("source", "the program was never merged, its buffers not seen"),
        "slices": Known("assumed", "one launch, whatever its size"),
        "weights": Known("silicon", "two outputs recorded, one right and one wrong"),
        "moves": Known("silicon", "the same two outputs"),
        "arithmetic": Known(
            "silicon", "LoFi, bf16: 4,096 outputs; other formats by the real kernels"
        ),
        "cycles": _BOUNDS,
    },
    "regular": {
        **_TTNN,
        "arithmetic": Known(
            "real kernels", "bf16 tensors, both Dst; SFPU activations by source"
        ),
        "cycles": _BOUNDS,
    },
    "conv1d": {
        **_TTNN,
        "arithmetic": Known("real kernels", "bf16 tensors; float32 on the SFPU: not"),
        "cycles": _BOUNDS,
    },
}


def known(program: str) -> dict[Quantity, Known]:
    """Returns how well a program is known; one that no table lists not at all."""
    quantities: tuple[Quantity, ...] = get_args(Quantity)
    nothing = dict.fromkeys(quantities, Known("assumed", "no evidence listed"))
    return KNOWN.get(program, nothing)
