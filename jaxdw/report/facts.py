"""What a person asks of a plan or a verdict, as plain values by stable names."""

import dataclasses
from typing import TYPE_CHECKING

from jaxdw.plan.findings import SEVERITIES
from jaxdw.plan.known import known
from jaxdw.plan.l1 import L1Use
from jaxdw.plan.plan import Plan

if TYPE_CHECKING:
    from jaxdw.judge.compare import Verdict

# Source: tt-metal branch @002a3f41, its authors' note on depthwise convs by pool2d.
BOUNDS_MISLEAD = (
    "Bounds of the matrix unit alone mislead: upstream measured the depthwise branch "
    "about 4 times slower overall than regular, for what it does stick by stick is "
    "outside the bounds."
)
BY_MATMUL = "JDW036"  # the finding that none of the programs runs the layer


def program_facts(plan: Plan) -> dict[str, object]:
    """Returns which program the figures are of, of which tree, and how well known."""
    return {
        "program": plan.program,
        "tree": plan.tree,
        "upstream_program": plan.upstream_program,
        "known": {quantity: by for quantity, (by, _) in known(plan.program).items()},
    }


def elsewhere(plan: Plan) -> str | None:
    """Returns that the tree itself runs the layer otherwise; None if it does not."""
    if plan.upstream_program != plan.program:
        return (
            f"NOT THE PROGRAM THAT RUNS: {plan.tree} gives this layer to its "
            f"{plan.upstream_program} program; figures are of {plan.program}."
        )
    for finding in plan.findings:
        if finding.code == BY_MATMUL:
            return f"NOT THE PROGRAM THAT RUNS: {finding.text}."
    return None


def plan_facts(plan: Plan) -> dict[str, object]:
    """Returns what a person asks of a plan first, as plain values."""
    cores = range(plan.num_output_cores)
    return program_facts(plan) | {
        "arch": plan.arch.name,
        "scheme": plan.scheme,
        "grid": list(plan.grid),
        "cores": plan.num_cores,
        "formats": f"{plan.conv.dtype} x {plan.conv.weights_dtype} -> "
        f"{plan.conv.output_dtype}",
        "math_fidelity": plan.compute.math_fidelity,
        "input": list(plan.conv.input_shape),
        "kernel": "x".join(map(str, plan.conv.kernel)),
        "output": list(plan.output_shape),
        "input_shard": list(plan.input_shard),
        "halo_shard": list(plan.halo_shard),
        "output_shard": list(plan.output_shard),
        "weight_matrix": list(plan.weight_matrix_shape),
        "weight_tile_grid": list(plan.weight_tile_grid),
        "weight_tiles_per_core": plan.weight_tiles_per_core,
        **plan.own_facts(),
        "start_tiles": [plan.start_tile(core) for core in cores],
        "weight_readers": list(plan.weight_readers),
        "l1_fits": plan.l1.fits,
    }


def l1_rows(plan: Plan) -> list[dict[str, object]]:
    """Returns a row for each buffer of one core."""
    return buffer_rows(plan.l1)


def buffer_rows(l1: L1Use) -> list[dict[str, object]]:
    """Returns a row for each buffer."""
    return [
        {
            "buffer": buffer.name,
            "place": buffer.place,
            "cb": "" if buffer.cb is None else buffer.cb,
            "page_bytes": buffer.page_bytes,
            "pages": buffer.pages,
            "bytes": buffer.num_bytes,
            "address": buffer.address,
        }
        for buffer in l1.buffers
    ]


def l1_facts(plan: Plan) -> dict[str, object]:
    """Returns the sums of one core's L1, in bytes."""
    return l1_sums(plan.l1)


def l1_sums(l1: L1Use) -> dict[str, object]:
    """Returns the sums of one L1, in bytes."""
    return {
        "circular_buffers": l1.static_bytes,
        "l1_buffers": l1.buffer_bytes,
        "region_end": l1.region_end,
        "lowest_buffer": l1.lowest_buffer,
        "capacity": l1.capacity_bytes,
        "free": l1.free_bytes,
        "fits": l1.fits,
    }


def cycle_facts(plan: Plan) -> dict[str, object]:
    """Returns the bounds of each resource, their sum in sequence, and the time."""
    cycles = plan.cycles
    return dataclasses.asdict(cycles) | {
        "total": cycles.total,
        "binding": cycles.binding,
        "microseconds": round(cycles.total / plan.arch.clock_hz * 1e6, 3),
    }


def plan_row(plan: Plan) -> dict[str, object]:
    """Returns a plan as one row: sizes in sticks x channels, L1 in bytes."""
    conv = plan.conv
    held, output = plan.l1.of("source"), plan.l1.of("output")
    case = "x".join(map(str, (conv.batch, conv.channels, conv.height, conv.width)))
    return {
        "case": f"{case} k{_one(conv.kernel)} s{_one(conv.stride)}",
        "program": plan.program,
        "scheme": plan.scheme,
        "grid": "x".join(map(str, plan.grid)),
        "cores": plan.num_cores,
        "in_shard": "x".join(map(str, plan.input_shard)),
        "halo_shard": "x".join(map(str, plan.halo_shard)),
        "out_shard": "x".join(map(str, plan.output_shard)),
        "tiles": plan.weight_tiles_per_core,
        "static_bytes": plan.l1.static_bytes,
        "halo_bytes": held.num_bytes if held else 0,
        "out_bytes": output.num_bytes if output else 0,
        "free_bytes": plan.l1.free_bytes,
        "cycles": plan.cycles.total,
        "binding": plan.cycles.binding,
        "findings": " ".join(finding.code for finding in plan.findings),
    }


def _one(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"


def meaning(plan: Plan, verdict: "Verdict") -> str:
    """Returns in words what a verdict and the findings beside it say together."""
    grave = [finding for finding in plan.findings if finding.fails("wrong values")]
    worst = max(grave, key=lambda f: SEVERITIES.index(f.severity), default=None)
    known = worst and f"{worst.code}, {worst.severity}; see `jaxdw rule {worst.code}`"
    if not verdict.passed:
        why = f" Known: {known}." if known else ""
        return f"The result is not what tt-metal's own test asks.{why}"
    said = ["The result is as right as tt-metal's own test asks."]
    if verdict.exact < verdict.outputs and plan.compute.arithmetic == "fpu":
        said.append(
            f"{plan.compute.math_fidelity} multiplies with few bits: most outputs are "
            "off in their last places, and by many ULPs where a sum cancels."
        )
    if known:
        said.append(
            f"The chip itself would not get there: {known}. What it should compute is "
            "emulated."
        )
    return " ".join(said)


def verdict_facts(verdict: "Verdict") -> dict[str, object]:
    """Returns a verdict as plain values, the share of exact outputs spelt out."""
    from jaxdw.judge.compare import scale_in_words

    share = verdict.exact / verdict.outputs
    return {
        "exact": f"{verdict.exact} of {verdict.outputs} outputs ({share:.4%})",
        "max_ulp": verdict.max_ulp,
        "mean_ulp": f"{verdict.mean_ulp:.6f}",
        "small_error": f"{verdict.small_error:.3g}",
        "pcc": repr(verdict.pcc),
        "gain": _figure(verdict.gain, ".6f", scale_in_words(verdict.gain)),
        "snr_db": _figure(verdict.snr_db, ".2f"),
        "rule": verdict.rule,
    }


def _figure(value: float | None, form: str, words: str = "") -> str:
    said = "none" if value is None else format(value, form)
    return f"{said}: {words}" if words else said
