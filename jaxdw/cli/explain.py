"""`jaxdw explain`: where a weight, tile, page, core or address lies, and why."""

import argparse
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jaxdw.cli.options import (
    add_layer_options,
    announce,
    base_address,
    core_xy,
    planned,
)
from jaxdw.cli.parser import take
from jaxdw.cli.screen import make_console, show
from jaxdw.errors import ConfigError, needing, refuse
from jaxdw.escapes import json_text
from jaxdw.files import whole_file

if TYPE_CHECKING:
    from jaxdw.plan.plan import Plan

OK = 0
_SHOWN = 16  # rows of a table in the plain view


@dataclasses.dataclass(frozen=True)
class Answer:
    """What was asked, answered: `tables` are facts (a dict) or rows (a list)."""

    name: str
    tables: list[tuple[str, Any]]
    json: dict[str, Any]
    trace: Any = None


def add(commands) -> None:
    """Adds the command to a parser's commands."""
    parser = commands.add_parser(
        "explain",
        help="where a weight lives and why: tile, face, bank, L1, cores, products",
        description="Traces weights through one depthwise conv2d, both ways: exit "
        "status 0, or 2 for what the layer does not have. A layer that does not fit "
        "L1 is explained all the same.",
    )
    asked = parser.add_argument_group("questions; with none of them, an overview")
    take(asked, "--weight")
    take(asked, "--pixel", was="--output")
    take(asked, "--tile", "--bank", "--core", "--address")
    views = parser.add_argument_group("views")
    take(views, "--json", "--html", "--csv", "--base-address")
    add_layer_options(parser)
    parser.set_defaults(command=_explain)


def _explain(args: argparse.Namespace) -> int:
    for option, needed in (("address", "core"), ("pixel", "weight")):
        if getattr(args, option) is not None and getattr(args, needed) is None:
            raise ConfigError(
                f"`--{option}` must come with the {needed} it is about; add --{needed}"
            )
    plan = planned(args)
    base = base_address(args, plan.arch)
    if args.core is not None:
        args.core = core_xy(args, plan)
    answers = _answers(args, plan, base)
    if args.html is not None:
        _write_page(args, plan, base, answers)
    if args.csv is not None:
        _write_csv(args.csv, plan, base, answers)
    if args.json:
        from jaxdw.report.facts import plan_facts

        found = {answer.name: answer.json for answer in answers}
        print(json_text({"plan": plan_facts(plan), **found}))
    else:
        announce(plan)
        _print_tables(answers)
    return OK


def _answers(args: argparse.Namespace, plan: "Plan", base: int) -> list[Answer]:
    """Answers every question, or refuses with all that is wrong with any."""
    asked = {
        _weight: args.weight,
        _tile: args.tile,
        _page: args.bank,
        _misread: args.address,
        _core: args.core if args.address is None else None,
    }
    answers, problems = [], []
    for answer, question in asked.items():
        if question is not None:
            try:
                answers.append(answer(args, plan, base))
            except ConfigError as error:
                problems.append(str(error))
    refuse(problems)
    return answers or [_overview(plan, base)]


def _weight(args: argparse.Namespace, plan: "Plan", base: int) -> Answer:
    from jaxdw.report import traces
    from jaxdw.trace.weight import explain_weight

    trace = explain_weight(plan, *args.weight, base_address=base, output=args.pixel)
    tables: list[tuple[str, Any]] = [("Weight", traces.weight_facts(plan, trace))]
    if args.pixel is not None:
        tables.append(("Product", traces.product_facts(plan, trace.product)))
    tables.append(("In weight_cb of", traces.holder_rows(trace.holders)))
    held = {"readers": trace.readers, "receivers": trace.receivers}
    return Answer("weight", tables, _plain(trace) | held, trace)


def _tile(args: argparse.Namespace, plan: "Plan", base: int) -> Answer:
    from jaxdw.report import traces
    from jaxdw.trace.weight import explain_tile

    trace = explain_tile(plan, *args.tile, base_address=base)
    tables: list[tuple[str, Any]] = [
        ("Tile", traces.tile_facts(plan, trace)),
        ("In weight_cb of", traces.holder_rows(trace.holders)),
    ]
    return Answer("tile", tables, _plain(trace), trace)


def _page(args: argparse.Namespace, plan: "Plan", base: int) -> Answer:
    from jaxdw.report import traces
    from jaxdw.trace.weight import explain_slot

    trace = explain_slot(plan, *args.bank, base_address=base)
    tables = [
        ("Page", traces.tile_facts(plan, trace)),
        ("In weight_cb of", traces.holder_rows(trace.holders)),
    ]
    return Answer("page", tables, _plain(trace), trace)


def _core(args: argparse.Namespace, plan: "Plan", base: int) -> Answer:
    from jaxdw.report import traces
    from jaxdw.trace.core import explain_core

    trace = explain_core(plan, *args.core)
    tables = [
        ("Core", traces.core_facts(plan, trace)),
        ("Haloed shard", traces.run_rows(trace)),
    ]
    rows_from = {str(core): rows for core, rows in trace.rows_from.items()}
    return Answer("core", tables, _plain(trace) | {"rows_from": rows_from})


def _misread(args: argparse.Namespace, plan: "Plan", base: int) -> Answer:
    from jaxdw.report import traces
    from jaxdw.trace.address import explain_address
    from jaxdw.trace.core import explain_core

    core = explain_core(plan, *args.core).core
    if core is None:
        raise ConfigError(
            f"`--core` (={args.core}) must be one of the {plan.num_output_cores} that "
            "hold weights; use 0,0 for one"
        )
    relative, value = args.address
    trace = explain_address(plan, value + base * relative, core, base)
    tables = [
        ("Address", traces.address_facts(plan, trace)),
        (
            "As the weights' address, tile ids from 0",
            traces.read_rows(plan, trace.as_base),
        ),
        (
            "Its offset from the base as the tile id",
            traces.read_rows(plan, trace.as_tile_id),
        ),
    ]
    return Answer("address", tables, _plain(trace))


def _overview(plan: "Plan", base: int) -> Answer:
    from jaxdw.report import traces
    from jaxdw.report.facts import plan_facts

    rows, columns = plan.weight_tile_grid
    tiles = traces.tile_rows(plan, range(rows * columns), base)
    cores = traces.core_rows(plan, range(plan.num_output_cores))
    tables = [
        ("Plan", plan_facts(plan)),
        ("Weight tiles", tiles),
        ("Cores", cores),
    ]
    return Answer("overview", tables, {"tiles": tiles, "cores": cores})


def _plain(trace: Any) -> dict[str, Any]:
    """Returns a trace as JSON has it, addresses in hexadecimal."""

    def hexed(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {
            name: hex(value)
            if name.endswith("address") and isinstance(value, int)
            else value
            for name, value in pairs
        }

    return dataclasses.asdict(trace, dict_factory=hexed)


def _print_tables(answers: list[Answer]) -> None:
    from jaxdw.report import text

    console = make_console()
    for answer in answers:
        for title, content in answer.tables:
            if isinstance(content, dict):
                show(console, text.facts_table(title, content))
            elif content:
                shown = content[:_SHOWN]
                if len(shown) < len(content):
                    title += f", {len(shown)} of {len(content)}"
                show(console, text.rows_table(title, shown))


def _write_page(
    args: argparse.Namespace, plan: "Plan", base: int, answers: list[Answer]
) -> None:
    page, html = _page_rooms()
    from jaxdw.trace.provenance import provenance_of

    traced = {answer.name: answer.trace for answer in answers}
    weight, tile = traced.get("weight"), traced.get("tile") or traced.get("page")
    core = provenance_of(plan).cores_at.get(args.core, 0)
    if args.core is None and weight is not None:
        users = [weight.product] if weight.product else weight.holders
        core = users[0].core if users else core
    sections = [
        html.Section(
            f"answer-{answer.name}",
            answer.tables[0][0],
            "\n".join(_table(html, *table) for table in answer.tables if table[1]),
        )
        for answer in answers
        if answer.name != "overview"
    ]
    drawn = page(
        plan,
        core=core,
        base_address=base,
        answers=sections,
        tile=None if tile is None else tile.page.tile,
        weight=weight,
    )
    with whole_file(args.html) as draft:
        draft.write_text(drawn, "utf-8")


def _write_csv(folder: str, plan: "Plan", base: int, answers: list[Answer]) -> None:
    from jaxdw.exports.csv_files import plan_tables, write_csv

    tables = plan_tables(plan, base)
    for answer in answers:
        if answer.name == "overview":
            continue
        for title, content in answer.tables:
            rows = [content] if isinstance(content, dict) else content
            tables[f"{answer.name} {title}"] = rows
    write_csv(tables, folder)


def _page_rooms() -> tuple[Callable[..., str], Any]:
    with needing("html", "matplotlib", "jinja2"):
        from jaxdw.report import html
        from jaxdw.report.plan_page import explain_page
    return explain_page, html


def _table(html: Any, title: str, content: Any) -> str:
    if isinstance(content, dict):
        return html.facts(title, content)
    return html.table(title, content)
