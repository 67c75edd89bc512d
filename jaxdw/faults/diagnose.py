"""Which mistake produced this output: the catalogue, ranked against a user's result.

Every fault that applies to the plan runs on the user's own tensors. Memory of earlier
launches is not known then: outputs that depend on it are left out of the comparison.
"""

import dataclasses
from typing import Literal

import ml_dtypes
import numpy as np
from jaxtyping import Float, Float32
from numpy.typing import ArrayLike

from jaxdw.errors import refuse
from jaxdw.faults.catalogue import CATALOGUE
from jaxdw.faults.used_chip import lay_out, run_launch
from jaxdw.judge.compare import ulp_distance
from jaxdw.judge.draws import Operands
from jaxdw.plan.config import ConvConfig
from jaxdw.plan.plan import Plan

Match = Literal["exact", "1 ULP", "near", "other weights", "none"]

NEAR = 0.05  # root mean square distance, as a share of the candidate's own spread
LEAST_KNOWN = 32  # outputs that must not depend on unknown memory
EXPLAINED = 0.95  # share of variance that other weights must explain
_LINEAR = {None: (-np.inf, np.inf), "relu": (0, np.inf), "relu6": (0, 6)}
_TEXTS = {fault.id: fault.text for fault in CATALOGUE}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """What faults would give; NaN where it depends on memory nobody knows.

    `faults` give the same bits on these tensors; with `intact`, so does no fault.
    """

    faults: tuple[str, ...]
    intact: bool
    output: Float32[np.ndarray, "n ho wo c"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """One explanation of an output.

    Attributes:
      faults: ids that cannot be told apart on these tensors; with `intact`, those that
        would not show.
      intact: no fault explains it as well.
      match: `exact`; every output within `1 ULP`; `near`, within 5 % of the spread in
        the root mean square; `other weights`: some weights explain the output, which
        are not those given; `none`, nothing in the catalogue does.
      outputs, unknown: how many there are; how many were not compared.
      differing: compared outputs that are not equal.
      distance: root mean square, as a share of the candidate's spread.
    """

    faults: tuple[str, ...]
    intact: bool
    match: Match
    outputs: int
    unknown: int
    differing: int
    distance: float

    @property
    def text(self) -> str:
        """One sentence for a person."""
        if self.match == "none":
            return "none of these: no fault of the catalogue explains the output"
        compared = self.outputs - self.unknown
        if self.match == "exact":
            how = f"equal on all {compared} outputs compared"
        elif self.match == "other weights":
            how = "the output is this convolution with other weights"
        else:
            how = (
                f"{self.match}: {self.differing} of {compared} outputs differ, "
                f"distance {self.distance:.2g}"
            )
        if self.unknown and self.match != "other weights":
            how += f"; {self.unknown} depend on memory nobody knows"
        if self.intact:
            hidden = f"; would not show: {', '.join(self.faults)}" * bool(self.faults)
            return f"no fault: the emulation, {how}{hidden}"
        named = " or ".join(f"{fault} ({_TEXTS[fault]})" for fault in self.faults)
        return f"{named}: {how}"


def diagnose(
    plan: Plan,
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None,
    output: ArrayLike,
) -> tuple[Diagnosis, ...]:
    """Returns what explains an output, the best first; never empty.

    Equality goes before nearness; of equal ones, the explanation that leaves fewest
    outputs unknown is first. One that equals every output stands alone.

    Args:
      x: `[N, H, W, C]`; w: `[C, 1, kh, kw]`; bias: `[C]`, if and only if planned.
      output: `[N, Ho, Wo, C]` as the device gave it.

    Raises:
      ConfigError: an array of another shape than planned, a bias missing or not
        planned.
      UnsupportedError: a plan of another program than `depthwise`.
    """
    conv = plan.conv
    given = [("x", x, conv.input_shape), ("w", w, conv.weight_shape)]
    given += [("output", output, plan.output_shape)]
    given += [("bias", bias, (conv.channels,) if conv.bias else None)]
    refuse(
        [
            f"`{name}` (={shape}) must have the planned shape {planned}"
            for name, values, planned in given
            for shape in [None if values is None else np.shape(values)]
            if shape != planned
        ]
    )
    operands = Operands(
        np.asarray(x, np.float32),
        np.asarray(w, np.float32),
        None if bias is None else np.asarray(bias, np.float32),
    )
    return rank(plan, candidates(plan, operands), operands, np.asarray(output))


def candidates(plan: Plan, operands: Operands) -> tuple[Candidate, ...]:
    """Returns what every fault that applies would give, the same bits together."""
    launch = lay_out(plan, known=False)
    found: dict[bytes, list[str]] = {}
    outputs = {}
    runs = [("", launch)] + [
        (fault.id, fault.inject(launch)) for fault in CATALOGUE if fault.applies(plan)
    ]
    for name, spoilt in runs:
        output = run_launch(spoilt, operands) + np.float32(0)  # -0 is 0
        key = np.where(np.isnan(output), np.float32(np.nan), output).tobytes()
        found.setdefault(key, []).append(name)
        outputs[key] = output
    return tuple(
        Candidate(
            faults=tuple(name for name in names if name),
            intact="" in names,
            output=outputs[key],
        )
        for key, names in found.items()
    )


def rank(
    plan: Plan,
    found: tuple[Candidate, ...],
    operands: Operands,
    output: Float[np.ndarray, "n ho wo c"],
) -> tuple[Diagnosis, ...]:
    """Ranks candidates as `diagnose` does."""
    output = output.astype(np.float32)
    compared = [_compare(plan, candidate, output) for candidate in found]
    explained = _in_order([d for d in compared if d.match != "none"])
    if explained and explained[0].match == "exact" and not explained[0].unknown:
        return tuple(explained[:1])
    if other_weights(plan.conv, operands.x, output) >= EXPLAINED:
        explained += [
            dataclasses.replace(diagnosis, match="other weights")
            for diagnosis, candidate in zip(compared, found, strict=True)
            if "stale-weights" in candidate.faults
        ]
    none = Diagnosis(
        faults=(),
        intact=False,
        match="none",
        outputs=output.size,
        unknown=0,
        differing=output.size,
        distance=np.inf,
    )
    return tuple(explained) or (none,)


def _in_order(explained: list[Diagnosis]) -> list[Diagnosis]:
    """Sorts explanations: exact, then 1 ULP, then near.

    Of near ones, those within twice the least distance count alike, and no fault goes
    before a fault.
    """
    near = [d.distance for d in explained if d.match == "near"]

    def order(diagnosis: Diagnosis) -> tuple:
        kind = ("exact", "1 ULP", "near").index(diagnosis.match)
        is_near = diagnosis.match == "near"
        return (
            kind,
            is_near and diagnosis.distance > 2 * min(near),
            diagnosis.unknown,
            is_near and not diagnosis.intact,
            diagnosis.differing,
            diagnosis.distance,
        )

    return sorted(explained, key=order)


def _compare(
    plan: Plan, candidate: Candidate, output: Float32[np.ndarray, "n ho wo c"]
) -> Diagnosis:
    known = ~np.isnan(candidate.output)
    want, got = candidate.output[known].astype(np.float64), output[known]
    differing = int(np.count_nonzero(got != want))
    distance = _distance(got, want)
    held = np.float32 if plan.conv.output_dtype == "float32" else ml_dtypes.bfloat16
    match: Match = "none"
    if want.size >= min(LEAST_KNOWN, output.size):
        if differing == 0:
            match = "exact"
        elif ulp_distance(got, want, np.dtype(held).name).max() <= 1:
            match = "1 ULP"
        elif distance <= NEAR:
            match = "near"
    return Diagnosis(
        faults=candidate.faults,
        intact=candidate.intact,
        match=match,
        outputs=output.size,
        unknown=int(output.size - want.size),
        differing=differing,
        distance=distance,
    )


def _distance(got: Float[np.ndarray, " n"], want: Float[np.ndarray, " n"]) -> float:
    """Returns the root mean square error as a share of the spread; infinity if none."""
    with np.errstate(invalid="ignore", over="ignore"):
        spread = want.std() if want.size else 0.0
        error = np.sqrt(np.mean((got - want) ** 2)) if want.size else np.inf
        share = float(error / spread) if spread else np.inf
    return share if np.isfinite(share) else np.inf


def other_weights(
    conv: ConvConfig,
    x: Float32[np.ndarray, "n h w c"],
    output: Float[np.ndarray, "n ho wo c"],
) -> float:
    """Returns how much of an output some weights and bias explain, 0 to 1.

    A least-squares fit for every channel, over outputs that the activation leaves as
    they are; the share of variance is corrected for the number of weights. 0 if most
    channels have too few such outputs, or for an activation with no such part.
    """
    if conv.activation not in _LINEAR or not np.isfinite(output).all():
        return 0.0
    low, high = _LINEAR[conv.activation]
    taps = np.stack([*_taps(conv, x), np.ones(output.shape)], axis=-1)
    taps = taps.reshape(-1, conv.channels, conv.taps + 1).swapaxes(0, 1)
    y = output.astype(np.float64).reshape(-1, conv.channels).T
    used = (low < y) & (y < high)
    count = used.sum(axis=1)
    enough = count >= 2 * taps.shape[-1]
    if enough.mean() < 0.5:
        return 0.0
    taps, y, used, count = (v[enough] for v in (taps, y, used, count))
    taps = taps * used[..., None]
    normal = taps.swapaxes(1, 2) @ taps
    normal = normal + 1e-9 * normal.max() * np.eye(taps.shape[-1])
    fit = np.linalg.solve(normal, taps.swapaxes(1, 2) @ (y * used)[..., None])
    mean = (y * used).sum(axis=1) / count
    residual = ((y - (taps @ fit)[..., 0]) * used) ** 2
    spread = ((y - mean[:, None]) * used) ** 2
    freedom = np.sum(count - taps.shape[-1]) / np.sum(count - 1)
    total = spread.sum()
    return float(1 - residual.sum() / total / freedom) if total else 0.0


def _taps(
    conv: ConvConfig, x: Float32[np.ndarray, "n h w c"]
) -> list[Float[np.ndarray, "n ho wo c"]]:
    top, bottom, left, right = conv.padding
    image = np.pad(x.astype(np.float64), [(0, 0), (top, bottom), (left, right), (0, 0)])
    (kernel_h, kernel_w), (stride_h, stride_w) = conv.kernel, conv.stride
    (dilation_h, dilation_w) = conv.dilation
    rows = image.shape[1] - dilation_h * (kernel_h - 1)
    columns = image.shape[2] - dilation_w * (kernel_w - 1)
    return [
        image[:, i : i + rows : stride_h, j : j + columns : stride_w]
        for i in range(0, dilation_h * kernel_h, dilation_h)
        for j in range(0, dilation_w * kernel_w, dilation_w)
    ]
