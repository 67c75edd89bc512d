"""`jaxdw rule`, `models`, `chips`, `programs`: what jaxdw knows, to look up."""

import argparse
import dataclasses
import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from jaxdw.cli.parser import take
from jaxdw.cli.spelling import spelt
from jaxdw.cli.vocabulary import OPTIONS
from jaxdw.errors import refuse
from jaxdw.plan.problems import choice_problem

OK = 0
Row = Mapping[str, object]


def add(commands) -> None:
    """Adds the commands to a parser's commands."""
    rule = commands.add_parser(
        "rule",
        help="what a finding means: why it happens, how sure it is, what to do",
        description="Lists the findings, or explains one: what goes wrong, why, since "
        "when, how sure, what to do, and the source.",
    )
    rule.add_argument("code", metavar="CODE", nargs="?", help="such as JDW005")
    models = commands.add_parser(
        "models",
        help="the networks that a sweep knows, and their depthwise layers",
        description="Lists the networks by name, or the depthwise layers of one.",
    )
    models.add_argument("model", metavar="NAME", nargs="?", help="such as mobilenet_v2")
    chips = commands.add_parser(
        "chips",
        help="the chips, their cores and memories",
        description="Lists the chips with their cores, L1 and DRAM, or all of one.",
    )
    chips.add_argument("chip", metavar="NAME", nargs="?", help="or a TOML file")
    programs = commands.add_parser(
        "programs",
        help="tt-metal's device programs, and how well each is known here",
        description="Lists the device programs, and the evidence for each quantity.",
    )
    for parser, command in (
        (rule, _rule), (models, _models), (chips, _chips), (programs, _programs),
    ):  # fmt: skip
        take(parser, "--json")
        parser.set_defaults(command=command)


def _rule(args: argparse.Namespace) -> int:
    from jaxdw.plan.rules import BASIS, rules

    found = [
        {"code": rule.code}
        | dataclasses.asdict(rule)
        | {"meaning": f"{rule.basis}: {BASIS[rule.basis]}"}
        for rule in rules()
    ]
    if args.code is not None:
        code = args.code.upper()
        refuse(choice_problem("code", code, tuple({r["code"]: 0 for r in found})))
        found = [row for row in found if row["code"] == code]
    if args.json:
        return _print_json("rules", found)
    if args.code is None:
        columns = ("code", "severity", "basis", "program", "title")
        return _print_table("Findings", ({c: r[c] for c in columns} for r in found))
    for row in found:
        print(f"{row['code']} {row['severity']} ({row['program']})")
        for name, text in (
            ("what", row["title"]),
            ("why", row["why"]),
            ("where", row["tree"]),
            ("sure", row["meaning"]),
            ("do", spelt(row["do"], {o.dest: o.name for o in OPTIONS.values()})),
            ("source", row["source"]),
        ):
            print(textwrap.fill(f"  {name:<8}{text}", 88, subsequent_indent=" " * 10))
    print(
        "Does it concern a layer? `jaxdw plan` prints each finding that a layer meets."
    )
    return OK


def _models(args: argparse.Namespace) -> int:
    from jaxdw.models import zoo

    if args.model is None:
        rows = [_model_row(name) for name in zoo.MODELS]
        title = "Networks"
    else:
        layers = zoo.layers(args.model.lower())
        rows = [_layer_row(layer) for layer in layers]
        title = f"Depthwise layers of {args.model.lower()}"
    if args.json:
        return _print_json("models" if args.model is None else "layers", rows)
    return _print_table(title, rows)


def _model_row(name: str) -> Row:
    from jaxdw.models import zoo

    convs = [layer.conv for layer in zoo.layers(name)]
    kernels = sorted({conv.kernel for conv in convs})
    return {
        "model": name,
        "layers": len(convs),
        "distinct": len(set(convs)),
        "kernels": " ".join(f"{h}x{w}" for h, w in kernels),
        "channels": f"{min(c.channels for c in convs)} to "
        f"{max(c.channels for c in convs)}",
        "inputs": f"{min(c.height for c in convs)} to "
        f"{max(c.height for c in convs)} pixels",
    }


def _layer_row(layer) -> Row:
    from jaxdw.sweep.axes import joined

    conv = layer.conv
    return {
        "layer": layer.name,
        "channels": conv.channels,
        "size": joined((conv.height, conv.width)),
        "kernel": joined(conv.kernel),
        "stride": joined(conv.stride),
        "padding": joined(conv.padding),
        "bias": conv.bias,
        "activation": conv.activation or "",
    }


def _chips(args: argparse.Namespace) -> int:
    from jaxdw.arch.arch import NAMES, load_arch

    names = NAMES if args.chip is None else (args.chip,)
    chips = [load_arch(name) for name in names]
    if args.json:
        return _print_json("chips", [dataclasses.asdict(chip) for chip in chips])
    if args.chip is not None:
        facts = dataclasses.asdict(chips[0]).items()
        return _print_table(
            f"Chip {chips[0].name}", ({"fact": n, "value": str(v)} for n, v in facts)
        )
    return _print_table(
        "Chips",
        (
            {
                "chip": name,
                "cores": f"{chip.grid[0]}x{chip.grid[1]}",
                "L1 of a core (bytes)": f"{chip.l1_size_bytes:,}",
                "for buffers": f"{chip.l1_capacity_bytes:,}",
                "DRAM banks": chip.num_banks,
                "bytes/s a bank": f"{chip.bank_bytes_per_second / 1e9:g}e9",
                "clock": f"{chip.clock_hz / 1e9:g} GHz",
            }
            for name, chip in zip(names, chips, strict=True)
        ),
    )


def _programs(args: argparse.Namespace) -> int:
    from jaxdw.plan.known import known
    from jaxdw.plan.planner import PROGRAMS

    rows = [
        {"program": name, "tree": kind.tree, "schemes": " ".join(kind.schemes)}
        | {quantity: by for quantity, (by, _) in known(name).items()}
        for name, kind in PROGRAMS.items()
    ]
    if args.json:
        return _print_json("programs", rows)
    _print_table("Programs, and the evidence for what is said of each", rows)
    print("--program ttnn takes regular or conv1d, whichever ttnn 0.81.1 does.")
    return OK


def _print_json(name: str, rows: Sequence[Row]) -> int:
    print(json.dumps({name: rows}))
    return OK


def _print_table(title: str, rows: Iterable[Row]) -> int:
    from jaxdw.cli.screen import show_rows

    show_rows(title, list(rows))
    return OK
