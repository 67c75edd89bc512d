"""From a question to its Plan, or to the ranked plans that could answer it."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from jaxdw.arch.arch import Arch, load_arch
from jaxdw.errors import UnsupportedError, refuse
from jaxdw.plan.config import (
    ComputeConfig,
    ConvConfig,
    Scheme,
    ShardConfig,
    joint_problems,
)
from jaxdw.plan.conv1d.plan import Conv1dPlan
from jaxdw.plan.depthwise.program import DepthwisePlan
from jaxdw.plan.l1 import L1OutOfMemory
from jaxdw.plan.plan import Plan
from jaxdw.plan.problems import choice_problem
from jaxdw.plan.program import TTNN
from jaxdw.plan.regular.plan import RegularPlan
from jaxdw.words import meant

# Every device program that plans can be made for.
PROGRAMS: dict[str, type[Plan]] = {
    kind.program: kind for kind in (DepthwisePlan, RegularPlan, Conv1dPlan)
}


def make_plan(
    conv: ConvConfig,
    shard: ShardConfig | None = None,
    compute: ComputeConfig | None = None,
    arch: str | Path | Arch = "wormhole_b0",
    *,
    program: str = "depthwise",
    must_fit: bool = True,
) -> Plan:
    """Plans one depthwise conv2d as tt-metal would.

    Args:
      shard: HEIGHT on the chip's whole grid if None; `scheme="auto"` takes the first
        of `rank_plans`.
      compute: `ComputeConfig()` if None.
      arch: a chip's name, a path to a TOML like those in `jaxdw/arch`, or an `Arch`.
      program: the device program, one of `PROGRAMS`, or `ttnn` for whichever of
        `regular` and `conv1d` ttnn 0.81.1 takes; `scheme="auto"` is then ttnn's choice.
      must_fit: refuse what does not fit L1; False plans it all the same, to look at or
        to emulate a layer that the real system would slice first. `auto` then takes,
        if nothing fits, the plan that lacks least.

    Raises:
      ConfigError: with every rule that the configuration breaks, one to a line:
        sizes below 1, a kernel larger than the padded input, unknown names, a grid
        larger than the chip's, an override that is no multiple of 32, a 32-bit
        output of a 16-bit Dst, an input shard that does not hold the input.
      L1OutOfMemory: buffers that do not fit one core, with a sharding that does.
    """
    shard, compute = shard or ShardConfig(), compute or ComputeConfig()
    arch, kind = load_arch(arch), _kind(program, conv)
    refuse(_problems(kind, conv, shard, compute, arch))
    if shard.scheme == "auto" and not kind.chooses_scheme:
        return _rank(kind, conv, shard, compute, arch, must_fit)[0]
    plan = kind.place(conv, shard, compute, arch)
    if must_fit and not plan.l1.fits:
        named = f"the program {plan.program} of {plan.tree}"
        raise L1OutOfMemory(
            plan.l1.problems(), plan.l1, *_suggestion(plan, shard), named
        )
    return plan


def rank_plans(
    conv: ConvConfig,
    shard: ShardConfig | None = None,
    compute: ComputeConfig | None = None,
    arch: str | Path | Arch = "wormhole_b0",
    *,
    program: str = "depthwise",
) -> tuple[Plan, ...]:
    """Returns every plan of a layer that fits L1, the best first.

    Tried are the schemes that the program's kernels are for (HEIGHT alone for
    `conv1d`), or the one of `shard`, on every number of cores inside `shard.grid` that
    the search could be limited to, or on `shard.cores` alone; what the tree refuses is
    left out. The order: fewest cycles by the lower bounds of `plan.cycles`, then fewest
    findings worse than performance (assumed ones not counted), fewest cores, least L1,
    then HEIGHT, WIDTH, BLOCK. This is jaxdw's choice: tt-metal's own auto sharding
    estimates the circular buffers of another program (conv2d_utils.cpp @002a3f41,
    determine_conv_config_for_auto_shard).

    Args:
      shard: `ShardConfig(scheme="auto")` if None.

    Raises:
      ConfigError: as `make_plan`.
      L1OutOfMemory: no plan fits; the breakdown is that of the one that lacks least.
    """
    shard, compute = shard or ShardConfig(scheme="auto"), compute or ComputeConfig()
    arch, kind = load_arch(arch), _kind(program, conv)
    refuse(_problems(kind, conv, shard, compute, arch))
    return _rank(kind, conv, shard, compute, arch, must_fit=True)


def _kind(program: str, conv: ConvConfig) -> type[Plan]:
    """Returns the program of that name; `ttnn` is whichever ttnn 0.81.1 takes."""
    program = meant("program", program, (*PROGRAMS, TTNN))
    if program == TTNN:
        refuse(conv.problems())
        program = RegularPlan.chosen(conv)
    if program not in PROGRAMS:
        refuse(choice_problem("program", program, (*PROGRAMS, TTNN)))
    return PROGRAMS[program]


def _problems(
    kind: type[Plan],
    conv: ConvConfig,
    shard: ShardConfig,
    compute: ComputeConfig,
    arch: Arch,
) -> list[str]:
    found = conv.problems() + shard.problems(arch) + compute.problems()
    found += joint_problems(conv, shard, compute)
    return found or kind.problems(conv, shard, compute, arch)


def _candidates(
    kind: type[Plan],
    conv: ConvConfig,
    shard: ShardConfig,
    compute: ComputeConfig,
    arch: Arch,
) -> Iterator[Plan]:
    """Yields one plan for each scheme and core grid that a limit can lead to."""
    if shard.keeps_cores:
        yield kind.place(conv, shard, compute, arch)
        return
    limit_x, limit_y = shard.grid or arch.grid
    everywhere = [(x, y) for y in range(1, limit_y + 1) for x in range(1, limit_x + 1)]
    schemes = kind.schemes if shard.scheme == "auto" else (shard.scheme,)
    seen = set()
    for scheme in schemes:
        # the largest limits first, so that a grid is named by the widest one
        for grid in reversed(everywhere):
            config = dataclasses.replace(shard, scheme=scheme, grid=grid)
            core_grid = kind.find_core_grid(conv, config, arch)
            if (scheme, core_grid) not in seen:
                seen.add((scheme, core_grid))
                yield kind.place(conv, config, compute, arch, core_grid)


def _rank(
    kind: type[Plan],
    conv: ConvConfig,
    shard: ShardConfig,
    compute: ComputeConfig,
    arch: Arch,
    must_fit: bool,
) -> tuple[Plan, ...]:
    plans = list(_candidates(kind, conv, shard, compute, arch))
    fitting = [plan for plan in plans if plan.l1.fits]
    if not fitting:
        nearest = max(plans, key=lambda plan: plan.l1.free_bytes)
        if must_fit:
            raise L1OutOfMemory(nearest.l1.problems(), nearest.l1, None)
        return (nearest,)
    return tuple(
        sorted(
            fitting,
            key=lambda plan: (
                plan.cycles.total,
                sum(finding.fails("wrong values") for finding in plan.findings),
                plan.num_cores,
                plan.l1.used_bytes,
                get_args(Scheme).index(plan.scheme),
            ),
        )
    )


def _suggestion(plan: Plan, asked: ShardConfig) -> tuple[ShardConfig | None, int]:
    """Returns a sharding that fits by the same program, and its launches.

    It is of the plan's own scheme if one fits.
    """
    free = dataclasses.replace(
        asked, grid=None, cores=None, input_shard=None, act_block_h_override=0
    )
    if plan.chooses_scheme:
        return _tree_suggestion(plan, free)
    for scheme in (plan.scheme, "auto"):
        wanted = dataclasses.replace(free, scheme=scheme)
        try:
            ranked = _rank(
                type(plan), plan.conv, wanted, plan.compute, plan.arch, must_fit=True
            )
            return ranked[0].shard, 1
        except (L1OutOfMemory, UnsupportedError):
            continue
    return None, 1


def _tree_suggestion(plan: Plan, free: ShardConfig) -> tuple[ShardConfig | None, int]:
    """Returns what the tree makes of a layer that it may shard or slice itself."""
    for changes in (
        {"scheme": "auto"},
        {"memory": "dram"},
        {"scheme": "auto", "memory": "dram"},
    ):
        shard = dataclasses.replace(free, **changes)
        asked = plan.conv, shard, plan.compute, plan.arch
        if _problems(type(plan), *asked):
            continue
        try:
            found = type(plan).place(*asked)
        except UnsupportedError:
            continue
        if found.l1.fits:
            return shard, found.slices
    return None, 1
