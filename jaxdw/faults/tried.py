"""One explanation of an output, made and compared with the file."""

import dataclasses

import numpy as np
from jaxtyping import Bool

from jaxdw.faults.causes import Match
from jaxdw.faults.used_chip import Output
from jaxdw.judge.compare import output_ulp_type, signed_ulp
from jaxdw.plan.plan import Plan

NEAR = 0.05  # residue of every channel, as a share of its spread
_WORTH_ULP = 4  # a residue of as much may still be rounding alone
Mask = Bool[np.ndarray, "n ho wo c"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tried:
    """What a mistake would give, next to the file.

    Attributes:
      fault: id of the catalogue, or two joined by ` + `; empty for the emulation.
      output, unknown: what it gives, and which outputs it does not determine; None if
        it explains nothing.
      num_unknown, differing: outputs that it does not determine, or otherwise.
      residue: of the worst channel, root mean square as a share of its spread.
      distance: of all outputs, as a share of their size.
    """

    fault: str
    detail: str
    match: Match
    output: Output | None
    unknown: Mask | None
    num_unknown: int
    differing: int
    residue: float
    distance: float


def try_output(
    plan: Plan,
    found: Output,
    output: Output,
    unknown: Mask,
    *,
    fault: str,
    detail: str,
) -> Tried:
    """Compares what a mistake would give with the file, where it determines it."""
    known = ~unknown
    differing = int(np.count_nonzero(known & ~alike(output, found)))
    residue = distance = np.inf if differing else 0.0
    finite = np.isfinite(found) & np.isfinite(output) | unknown
    if differing and finite.all():
        residue, distance = _distances(output, found, known)
    match: Match = "none" if differing else "exact"
    if differing and residue <= _WORTH_ULP * NEAR:
        dtype = output_ulp_type(plan.conv)
        ulp = int(np.abs(signed_ulp(output[known], found[known], dtype)).max())
        if residue <= NEAR or ulp <= 2:
            match = "1 ULP" if ulp <= 1 else "near"
    return Tried(
        fault=fault,
        detail=detail,
        match=match,
        output=None if match == "none" else output,
        unknown=None if match == "none" else unknown,
        num_unknown=int(np.count_nonzero(unknown)),
        differing=differing,
        residue=residue,
        distance=distance,
    )


def _distances(output: Output, found: Output, known: Mask) -> tuple[float, float]:
    """Returns the residue of the worst channel and the distance of all."""
    channels = output.shape[-1]
    want, got, known = (v.reshape(-1, channels) for v in (output, found, known))
    want = np.where(known, want, 0).astype(np.float64)
    error = np.where(known, want - got, 0) ** 2
    count = np.maximum(known.sum(axis=0), 1)
    mean = want.sum(axis=0) / count
    spread = np.where(known, want - mean, 0) ** 2
    size = np.sqrt((want**2).sum())
    distance = float(np.sqrt(error.sum()) / size) if size else np.inf
    floor = spread.sum() / max(int(known.sum()), 1) * 1e-4  # for constant channels
    if not floor:
        return np.inf, distance
    share = error.sum(axis=0) / count / (spread.sum(axis=0) / count + floor)
    return float(np.sqrt(share.max())), distance


def alike(a: Output, b: Output) -> Mask:
    """Returns where two outputs are equal; NaN equals NaN."""
    return (a == b) | (np.isnan(a) & np.isnan(b))
