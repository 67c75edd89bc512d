"""What each device program makes of one layer, side by side."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from jaxdw.arch.arch import Arch
from jaxdw.errors import ConfigError, UnsupportedError
from jaxdw.plan.config import ComputeConfig, ConvConfig, ShardConfig
from jaxdw.plan.plan import Plan
from jaxdw.plan.planner import PROGRAMS, make_plan
from jaxdw.report.facts import elsewhere

Column = dict[str, object]


def by_program(
    conv: ConvConfig,
    shard: ShardConfig,
    compute: ComputeConfig,
    arch: str | Path | Arch,
) -> dict[str, Plan | str]:
    """Plans a layer by every program, whether it fits or not.

    Returns:
      By the program's name its plan, or the sentences with which it refuses.
    """
    found: dict[str, Plan | str] = {}
    for program in PROGRAMS:
        try:
            found[program] = make_plan(
                conv, shard, compute, arch, program=program, must_fit=False
            )
        except (ConfigError, UnsupportedError) as error:
            found[program] = str(error)
    return found


def program_columns(
    found: Mapping[str, Plan | str], *, pcc: Callable[[Plan], float] | None = None
) -> dict[str, Column]:
    """Returns the facts of each program, by its name.

    Args:
      pcc: emulates a plan and returns its PCC; None for no such fact.
    """
    return {
        program: {"tree": PROGRAMS[program].tree, "outcome": f"refused: {plan}"}
        if isinstance(plan, str)
        else _column(plan, pcc)
        for program, plan in found.items()
    }


def side_by_side(columns: Mapping[str, Column]) -> list[Column]:
    """Returns a row for each fact, a column for each program; empty if it has none."""
    names = dict.fromkeys(name for column in columns.values() for name in column)
    return [
        {"fact": name.replace("_", " ")}
        | {program: column.get(name, "") for program, column in columns.items()}
        for name in names
    ]


def _column(plan: Plan, pcc: Callable[[Plan], float] | None) -> Column:
    l1, cycles = plan.l1, plan.cycles
    outcome = "fits" if l1.fits else l1.message or "; ".join(l1.problems())
    column: Column = {
        "tree": plan.tree,
        "outcome": outcome,
        "runs": "yes" if elsewhere(plan) is None else "no, " + _who_runs(plan),
        "math_fidelity": plan.compute.math_fidelity,
        "scheme": plan.scheme,
        "input_grid": f"{plan.core_grid.x}x{plan.core_grid.y}",
        "output_grid": f"{plan.output_grid.x}x{plan.output_grid.y}",
        "cores": plan.num_cores,
        "cores_that_compute": plan.num_output_cores,
        "launches": plan.slices,
        "l1_static_bytes": l1.static_bytes,
        "l1_region_end": l1.region_end,
        "l1_lowest_buffer": l1.lowest_buffer,
        "fits": l1.fits,
    }
    bounds = dataclasses.asdict(cycles)
    column |= {f"cycles_{name}": bound for name, bound in bounds.items()}
    column["cycles_total"] = cycles.total
    column["findings"] = " ".join(finding.code for finding in plan.findings)
    if pcc is not None:
        try:
            column["pcc"] = pcc(plan)
        except UnsupportedError as error:
            column["pcc"] = f"not modelled: {error}"
    return column


def _who_runs(plan: Plan) -> str:
    """Returns what the plan's tree runs the layer with instead."""
    if plan.upstream_program != plan.program:
        return f"{plan.upstream_program} does"
    return "its matmul does"
