"""`jaxdw plan`: what tt-metal would do with a layer, no arrays."""

import argparse
import dataclasses
import json
import sys
from typing import TYPE_CHECKING

from jaxdw.cli.options import add_layer_options, base_address, configs
from jaxdw.errors import ConfigError
from jaxdw.plan.findings import SEVERITIES
from jaxdw.plan.units import TILE_BYTES, round_up

if TYPE_CHECKING:
    from jaxdw.plan.plan import Plan

OK, FOUND = 0, 1
_SHOWN = 10  # alternatives in the plain view
_SHOWN_COLUMNS = (
    "scheme", "grid", "cores", "out_shard", "free_bytes", "cycles", "binding",
    "findings",
)  # fmt: skip


def add(commands) -> None:
    """Adds the command to a parser's commands."""
    parser = commands.add_parser(
        "plan",
        help="core grid, shards, L1, cycle bounds and known defects of one convolution",
        description="Plans one depthwise conv2d as tt-metal would: exit status 0, 1 if "
        "a finding fails the gate, 2 refused (a layer that does not fit L1 too, with "
        "its breakdown and a sharding that does fit).",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_layer_options(parser)
    views = parser.add_mutually_exclusive_group()
    views.add_argument(
        "--table", action="store_true",
        help="Markdown, a row for the plan; with --scheme auto one for each that fits",
    )  # fmt: skip
    views.add_argument("--json", action="store_true", help="one JSON object")
    views.add_argument(
        "--args", action="store_true",
        help="compile-time and runtime arguments of every core's kernels",
    )  # fmt: skip
    parser.add_argument(
        "--fail-on", choices=[name.replace(" ", "-") for name in SEVERITIES],
        help="exit with 1 on a finding this bad or worse that is not assumed",
    )  # fmt: skip
    parser.set_defaults(command=_plan)


def _plan(args: argparse.Namespace) -> int:
    conv, shard, compute = configs(args)
    from jaxdw.plan.planner import make_plan, rank_plans

    if shard.scheme == "auto":
        plans = rank_plans(conv, shard, compute, args.arch)
    else:
        plans = (make_plan(conv, shard, compute, args.arch),)
    plan = plans[0]
    if args.table:
        _print_table(plans)
    elif args.json:
        _print_json(plans)
    elif args.args:
        _print_args(plan, base_address(args, plan.arch.dram_align_bytes))
    else:
        _print_tables(plans)
    if args.fail_on is None:
        return OK
    gate = args.fail_on.replace("-", " ")
    return FOUND if any(finding.fails(gate) for finding in plan.findings) else OK


def _print_table(plans: tuple["Plan", ...]) -> None:
    from jaxdw.report import text

    print(*text.markdown([text.plan_row(plan) for plan in plans]), sep="\n")


def _print_json(plans: tuple["Plan", ...]) -> None:
    from jaxdw.report import text

    plan = plans[0]
    report = {
        "plan": text.plan_facts(plan),
        "l1": text.l1_facts(plan) | {"buffers": text.l1_rows(plan)},
        "cycles": text.cycle_facts(plan),
        "traffic": dataclasses.asdict(plan.traffic),
        "findings": [dataclasses.asdict(finding) for finding in plan.findings],
        "alternatives": [text.plan_row(other) for other in plans[1:]],
    }
    print(json.dumps(report))


def _print_tables(plans: tuple["Plan", ...]) -> None:
    from rich.console import Console

    from jaxdw.report import text

    plan = plans[0]
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    console.print(text.facts_table("Plan", text.plan_facts(plan)))
    console.print(text.rows_table("L1 of one core", text.l1_rows(plan)))
    console.print(text.facts_table("L1", text.l1_facts(plan)))
    console.print(text.facts_table("Cycles, lower bounds", text.cycle_facts(plan)))
    console.print(text.facts_table("Traffic", dataclasses.asdict(plan.traffic)))
    if len(plans) > 1:
        console.print(
            text.rows_table(
                f"Best {min(_SHOWN, len(plans))} of {len(plans)} plans that fit",
                [
                    {name: text.plan_row(other)[name] for name in _SHOWN_COLUMNS}
                    for other in plans[:_SHOWN]
                ],
            )
        )
    for finding in plan.findings:
        console.print(f"FINDING {finding}", markup=False)
    if not plan.findings:
        console.print("No known defect.")


def _print_args(plan: "Plan", weight_address: int) -> None:
    if plan.upstream_program != plan.program:
        raise ConfigError(
            f"`--args` needs a layer of the {plan.program} program, not of upstream's "
            f"{plan.upstream_program} one (kernel {plan.conv.kernel}, input "
            f"{plan.conv.height}x{plan.conv.width}); use a larger kernel or input"
        )
    rows, columns = plan.weight_tile_grid
    page_bytes = round_up(
        TILE_BYTES[plan.conv.weights_dtype], plan.arch.dram_align_bytes
    )
    pages_per_bank = -(-rows * columns // plan.arch.num_banks)
    arguments = plan.arguments(
        weight_address=weight_address,
        bias_address=weight_address + pages_per_bank * page_bytes,
    )
    for name, args in arguments.compile_time.items():
        print(f"{name}, compile time:")
        for arg in args:
            print(f"  {arg.index:2} {arg.name} = {arg.value}")
    for core in range(plan.num_cores):
        logical = (core % plan.grid[0], core // plan.grid[0])
        noc = plan.arch.worker_noc_xy(logical)
        print(f"core {core}, logical {logical}, NoC {noc}:")
        for name, args in arguments.runtime.items():
            shown = ", ".join(f"{a.index} {a.name}={_shown(a)}" for a in args[core])
            print(f"  {name}: {shown}")


def _shown(argument) -> str:
    if argument.name.endswith("_addr"):
        return hex(argument.value)
    return str(argument.value)
