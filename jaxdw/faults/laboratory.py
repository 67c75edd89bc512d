"""The fault laboratory: what each mistake does to the result, and which check sees it.

Each fault runs on the three sets of host tensors of `jaxdw.judge.draws`. A weight
that meets nothing but padding leaves no trace.
"""

import dataclasses
from pathlib import Path

import ml_dtypes
import numpy as np
from jaxtyping import Bool, Float

from jaxdw.arch.arch import Arch
from jaxdw.faults.catalogue import CATALOGUE
from jaxdw.faults.used_chip import lay_out, run_launch
from jaxdw.judge.compare import pcc, ulp_distance
from jaxdw.judge.comparison import by_core, ranges
from jaxdw.judge.draws import draw
from jaxdw.judge.reference import reference
from jaxdw.plan.config import ComputeConfig, ConvConfig, ShardConfig
from jaxdw.plan.plan import Plan
from jaxdw.plan.planner import make_plan
from jaxdw.plan.program import ProgramName

RTOL, ATOL = 1e-2, 1e-1  # of the allclose check


@dataclasses.dataclass(frozen=True, kw_only=True)
class FaultRow:
    """What one fault did, and whether each check notices.

    A check notices if the faulty output fails it and the intact one passes. Figures
    are on random values against the intact run, PCC against the float64 reference.

    Attributes:
      fault: its id; `code`: of its finding, or None.
      wrong: share of outputs that differ, 0 to 1.
      channels, rows, cores: which outputs differ, as ranges; rows of the image.
      pcc_0_99, pcc_0_985: PCC above the figure, as tt-metal's own test asks.
      allclose: within 0.1 + 1 % of the intact output.
      ulp: at most 1 ULP from the intact output.
      pattern: equal to the intact output with weights of kernel position + 1.
      witness: equal to the intact output with witness values.
    """

    fault: str
    code: str | None
    stage: str
    pcc: float
    max_ulp: int
    wrong: float
    channels: str
    rows: str
    cores: str
    pcc_0_99: bool
    pcc_0_985: bool
    allclose: bool
    ulp: bool
    pattern: bool
    witness: bool


def laboratory(
    conv: ConvConfig,
    shard: ShardConfig | None = None,
    compute: ComputeConfig | None = None,
    arch: str | Path | Arch = "wormhole_b0",
    seed: int = 0,
    *,
    program: ProgramName = "depthwise",
) -> tuple[FaultRow, ...]:
    """Makes every mistake of the catalogue that applies, and measures it.

    Raises:
      ConfigError: as `make_plan`.
    """
    plan = make_plan(conv, shard, compute, arch, program=program, must_fit=False)
    launch = lay_out(plan)
    drawn = {v: draw(conv, v, seed) for v in ("random", "pattern", "witness")}
    earlier = draw(conv, "random", seed + 1)
    intact = {v: run_launch(launch, drawn[v], earlier) for v in drawn}
    want = reference(conv, *drawn["random"])
    rows = []
    for fault in CATALOGUE:
        if fault.applies(plan):
            spoilt = fault.inject(launch)
            outputs = {v: run_launch(spoilt, drawn[v], earlier) for v in drawn}
            rows.append(_row(plan, fault, intact, want, outputs))
    return tuple(rows)


def _row(plan, fault, intact, want, outputs) -> FaultRow:
    held = np.float32 if plan.conv.output_dtype == "float32" else ml_dtypes.bfloat16
    with np.errstate(over="ignore", invalid="ignore"):  # bytes taken for others
        right, got = (o["random"].astype(held) for o in (intact, outputs))
        correlation, intact_correlation = (
            pcc(output, want.astype(held), revision="branch") for output in (got, right)
        )
    ulp = ulp_distance(got, right, np.dtype(held).name)
    wrong = {v: differs(outputs[v], intact[v]) for v in intact}
    close = np.isclose(
        outputs["random"], intact["random"], rtol=RTOL, atol=ATOL, equal_nan=True
    )
    channels, rows, cores = where_wrong(plan, wrong["random"])
    return FaultRow(
        fault=fault.id,
        code=fault.code,
        stage=fault.stage,
        pcc=correlation,
        max_ulp=int(ulp.max()),
        wrong=float(wrong["random"].mean()),
        channels=channels,
        rows=rows,
        cores=cores,
        pcc_0_99=correlation <= 0.99 < intact_correlation,
        pcc_0_985=correlation <= 0.985 < intact_correlation,
        allclose=not close.all(),
        ulp=bool(ulp.max() > 1),
        pattern=bool(wrong["pattern"].any()),
        witness=bool(wrong["witness"].any()),
    )


def differs(
    a: Float[np.ndarray, "*shape"], b: Float[np.ndarray, "*shape"]
) -> Bool[np.ndarray, "*shape"]:
    """Returns where two outputs differ; NaN equals NaN."""
    return (a != b) & ~(np.isnan(a) & np.isnan(b))


def where_wrong(
    plan: Plan, wrong: Bool[np.ndarray, "n ho wo c"]
) -> tuple[str, str, str]:
    """Returns the channels, image rows and cores of wrong outputs, as ranges."""
    channels = np.flatnonzero(wrong.any(axis=(0, 1, 2)))
    rows = np.flatnonzero(wrong.any(axis=(0, 2, 3)))
    cores = np.flatnonzero(by_core(plan, wrong)[:, 1])
    return ranges(channels), ranges(rows), ranges(cores)
