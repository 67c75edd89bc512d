"""`jaxdw plan`: what tt-metal would do with a layer, no arrays."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxdw.cli import exports, paste
from jaxdw.cli.options import (
    add_layer_options,
    announce,
    base_address,
    configs,
    planned,
    refuse_void,
)
from jaxdw.cli.parser import take
from jaxdw.cli.screen import make_console, show, show_rows
from jaxdw.cli.vocabulary import ALL
from jaxdw.errors import ConfigError
from jaxdw.escapes import json_text
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
        "its breakdown and a sharding that does fit). --program all shows the device "
        "programs side by side.",
    )
    views = parser.add_mutually_exclusive_group()
    take(views, "--table", "--json", "--args", "--ttnn")
    take(parser, "--pcc", "--fail-on", "--base-address", paste.MESSAGE)
    take(parser, "--visualizer", "--npe")
    add_layer_options(parser)
    parser.set_defaults(command=_plan)


def _plan(args: argparse.Namespace) -> int:
    if not args.args and args.visualizer is None:
        refuse_void(args, ("--base-address",), "--args or --visualizer")
    if args.visualizer is not None:  # before a layer that does not fit is refused
        shown = exports.planned_for_report(args)
        exports.write_visualizer(args, shown, "jaxdw plan")
    if args.program == ALL:
        return _compare(args)
    if args.pcc:
        raise ConfigError(
            f"`--pcc` must come with --program {ALL}; use `jaxdw run` for one program"
        )
    for message in args.l1_message or ():
        lines = paste.message_lines(message, configs(args), args.arch)
        print(*lines, sep="\n", file=sys.stderr if args.json else None)
    plans = _plans(args)
    plan = plans[0]
    if args.npe is not None:
        exports.write_npe(args, plan)
    if not args.json and not args.ttnn:
        announce(plan)
    if args.table:
        _print_table(plans)
    elif args.json:
        _print_json(plans)
    elif args.ttnn:
        from jaxdw.exports.ttnn import ttnn_text

        print(ttnn_text(plan))
    elif args.args:
        _print_args(plan, base_address(args, plan.arch))
    else:
        _print_tables(plans)
    if args.fail_on is None:
        return OK
    gate = args.fail_on.replace("-", " ")
    return FOUND if any(finding.fails(gate) for finding in plan.findings) else OK


def _plans(args: argparse.Namespace) -> tuple["Plan", ...]:
    """Returns the plan, and with it what jaxdw ranked below if it chose the scheme."""
    from jaxdw.plan.planner import PROGRAMS, rank_plans

    kind = PROGRAMS.get(args.program)
    if args.scheme != "auto" or kind is None or kind.chooses_scheme:
        return (planned(args, must_fit=True),)
    return rank_plans(*configs(args), args.arch, program=args.program)


def _compare(args: argparse.Namespace) -> int:
    """Shows what every program makes of the layer; what one refuses is said there."""
    from jaxdw.report.facts import BOUNDS_MISLEAD
    from jaxdw.report.programs import by_program, program_columns, side_by_side

    for option, given in (
        ("--args", args.args),
        ("--ttnn", args.ttnn),
        ("--l1-message", args.l1_message),
        ("--npe", args.npe),
        ("--fail-on", args.fail_on),
    ):
        if given:
            raise ConfigError(
                f"`{option}` must come with one program, not --program {ALL}; try "
                "--program ttnn"
            )
    configured = configs(args)
    found = by_program(*configured, args.arch)
    if not any(not isinstance(plan, str) for plan in found.values()):
        raise ConfigError("\n".join(dict.fromkeys(map(str, found.values()))))
    columns = program_columns(found, pcc=_pcc if args.pcc else None)
    if args.json:
        print(json_text({"programs": columns, "note": BOUNDS_MISLEAD}))
        return OK
    from jaxdw.report import text

    rows = side_by_side(columns)
    if args.table:
        print(*text.markdown(rows), BOUNDS_MISLEAD, sep="\n")
        return OK
    show_rows("Programs side by side", rows)
    print(BOUNDS_MISLEAD)
    return OK


def _pcc(plan: "Plan") -> float:
    """Returns the PCC of a plan's emulation, with the tensors of `jaxdw run`."""
    from jaxdw.judge.compare import judge
    from jaxdw.judge.draws import draw
    from jaxdw.judge.reference import reference
    from jaxdw.launch.emulator import run
    from jaxdw.maps.maps import make_maps

    x, w, bias = draw(plan.conv, "random", 0)
    output = run(plan, make_maps(plan), x, w, bias).output
    want = reference(plan.conv, x, w, bias)
    return judge(output, want, plan.conv, plan.compute).pcc


def _print_table(plans: tuple["Plan", ...]) -> None:
    from jaxdw.report import facts, text

    print(*text.markdown([facts.plan_row(plan) for plan in plans]), sep="\n")


def _print_json(plans: tuple["Plan", ...]) -> None:
    from jaxdw.report import facts

    plan = plans[0]
    report = {
        "plan": facts.plan_facts(plan),
        "l1": facts.l1_facts(plan) | {"buffers": facts.l1_rows(plan)},
        "cycles": facts.cycle_facts(plan),
        "traffic": dataclasses.asdict(plan.traffic),
        "findings": [dataclasses.asdict(finding) for finding in plan.findings],
        "alternatives": [facts.plan_row(other) for other in plans[1:]],
    }
    print(json_text(report))


def _print_tables(plans: "Sequence[Plan]") -> None:
    from jaxdw.report import facts
    from jaxdw.report.text import plan_tables, rows_table

    console = make_console()
    for table in plan_tables(plans[0]):
        show(console, table)
    if len(plans) > 1:
        title = f"Best {min(_SHOWN, len(plans))} of {len(plans)} plans that fit"
        rows = [facts.plan_row(other) for other in plans[:_SHOWN]]
        shown = [{name: row[name] for name in _SHOWN_COLUMNS} for row in rows]
        show(console, rows_table(title, shown))
    findings = plans[0].findings
    for finding in findings:
        print(f"FINDING {finding}")
    if not findings:
        print("No known defect.")


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
