"""Results as text and as a notebook's HTML: tables, and drawings where matplotlib is.

`print(plan)` is what `jaxdw plan` prints. The HTML carries its own colours, light and
dark, and no script.
"""

import dataclasses
import functools
import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from jaxdw.judge.compare import Verdict
from jaxdw.launch.emulator import Emulation
from jaxdw.maps.maps import Maps
from jaxdw.plan.findings import Finding
from jaxdw.plan.l1 import L1Use
from jaxdw.plan.plan import Plan
from jaxdw.report import facts
from jaxdw.report import html as page
from jaxdw.report.terminal import Terminal

_WIDTH = 160
_names = itertools.count()  # ids of drawings, unlike all others of a notebook


@functools.singledispatch
def text(shown: Any) -> str:
    """Returns a result as the command prints it; what has no table by its repr."""
    return repr(shown)


@functools.singledispatch
def html(shown: Any) -> str:
    """Returns a result as a notebook shows it."""
    return _framed(page.note(str(shown)))


@text.register
def _(plan: Plan) -> str:
    from jaxdw.report.text import plan_tables

    found = [f"FINDING {finding}" for finding in plan.findings]
    return _tables(*plan_tables(plan)) + "\n".join(found or ["No known defect."])


@html.register
def _(plan: Plan) -> str:
    drawn = _drawn(plan)
    return _framed(
        page.facts(repr(plan).strip("<>"), _words(facts.plan_facts(plan)))
        + drawn
        + _l1(plan.l1)
        + page.facts("Cycles, lower bounds", facts.cycle_facts(plan))
        + _findings(plan.findings)
    )


@text.register
def _(l1: L1Use) -> str:
    from jaxdw.report.text import facts_table, rows_table

    return _tables(
        rows_table("L1 of one core", facts.buffer_rows(l1)),
        facts_table("L1", facts.l1_sums(l1)),
    ).rstrip()


@html.register
def _(l1: L1Use) -> str:
    return _framed(_l1(l1))


@html.register
def _(finding: Finding) -> str:
    return _framed(_findings([finding]))


@text.register(tuple)
@text.register(list)
def _(shown: Sequence[Any]) -> str:
    if shown and isinstance(shown[0], dict):
        from jaxdw.report.sweep_table import summary_table

        return _tables(summary_table(shown)).rstrip()
    return "\n".join(map(str, shown))


@html.register(tuple)
@html.register(list)
def _(shown: Sequence[Any]) -> str:
    if shown and isinstance(shown[0], dict):
        return _framed(page.table(f"{len(shown)} rows", _shortened(shown)))
    return _framed(_findings(shown))


@text.register
def _(result: Emulation) -> str:
    from jaxdw.report.text import facts_table

    return _tables(facts_table("Emulation", _emulated(result))).rstrip()


@html.register
def _(result: Emulation) -> str:
    return _framed(
        page.facts("Emulation", _words(_emulated(result))) + _drawn(result.plan)
    )


@text.register
def _(verdict: Verdict) -> str:
    from jaxdw.report.text import facts_table

    table = facts_table("Against float64", facts.verdict_facts(verdict))
    return _tables(table) + ("PASS" if verdict.passed else "FAIL")


@html.register
def _(verdict: Verdict) -> str:
    said = "PASS" if verdict.passed else "FAIL"
    return _framed(page.facts(f"Against float64: {said}", facts.verdict_facts(verdict)))


@html.register
def _(maps: Maps) -> str:
    return _framed(page.note(repr(maps)))


def _words(named: dict[str, object]) -> dict[str, object]:
    from jaxdw.report.text import shown

    return {name: shown(value) for name, value in named.items()}


def _emulated(result: Emulation) -> dict[str, object]:
    plan = result.plan
    return {
        "plan": repr(plan),
        "output": f"{'x'.join(map(str, result.output.shape))} float32, values of "
        f"{plan.conv.output_dtype}",
        **{
            f"memory {name}": f"{'x'.join(map(str, m.shape))} {m.dtype}"
            for name, m in result.memories.items()
        },
        **dataclasses.asdict(result.traffic),
    }


_ROW = (
    "model", "layer", "arch", "program", "scheme", "weights_dtype", "fidelity", "grid",
    "cores", "cycles", "pcc", "status", "findings",
)  # fmt: skip
_MOST_ROWS = 40


def _shortened(rows: Sequence[dict[str, Any]]) -> list[dict[str, object]]:
    """Returns the columns that a person looks at, of so many rows as fit a screen."""
    found: list[dict[str, object]] = [
        {name: "" if row.get(name) is None else row[name] for name in _ROW}
        for row in rows[:_MOST_ROWS]
    ]
    if len(rows) > _MOST_ROWS:
        more: dict[str, object] = dict.fromkeys(_ROW, "...")
        found.append(more | {"model": f"{len(rows)} in all"})
    return found


def _l1(l1: L1Use) -> str:
    tables = page.table("L1 of one core", facts.buffer_rows(l1))
    sums = page.facts("L1", facts.l1_sums(l1))
    try:
        from jaxdw.report.drawing import svg
        from jaxdw.report.sweep_figures import draw_l1
    except ImportError:
        return tables + sums
    drawn = svg(
        draw_l1(l1), f"jaxdw-l1-{next(_names)}", "buffers of one core by address"
    )
    return page.figure(drawn, "L1 of one core from its first to its last byte.") + (
        tables + sums
    )


def _drawn(plan: Plan) -> str:
    try:
        from jaxdw.report.drawing import svg
        from jaxdw.report.sweep_figures import draw_use
    except ImportError:
        return ""
    name, label = f"jaxdw-use-{next(_names)}", f"{plan.num_cores} cores by use"
    caption = f"Cores of {plan.arch.name}; the stronger, the more is real work."
    return page.figure(svg(draw_use(plan), name, label), caption)


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return page.note("No known defect.")
    rows = [
        {
            "code": finding.code,
            "severity": finding.severity,
            "basis": finding.basis,
            "what": finding.text,
            "source": finding.source,
        }
        for finding in findings
    ]
    return page.table("Known defects met", rows)


def _tables(*tables: Any) -> str:
    console = Terminal(width=_WIDTH, file=io.StringIO())
    with console.capture() as captured:
        for table in tables:
            show = console.print_whole if isinstance(table, Table) else console.print
            show(table)
    return "\n".join(line.rstrip() for line in captured.get().split("\n"))


@functools.cache
def _colours() -> str:
    """Returns the colours of the pages, for what stands in a notebook."""
    template = Path(__file__).with_name("page.html").read_text("utf-8")
    start, end = template.index(":root {"), template.index("body {")
    return template[start:end].replace(":root", ".jaxdw")


def _framed(body: str) -> str:
    style = ".jaxdw table { font-size: 0.9em; } .jaxdw caption { text-align: left; "
    style += "font-weight: 600; } .jaxdw td, .jaxdw th { text-align: left; "
    style += "padding-right: 1em; vertical-align: top; }"
    return (
        f'<div class="jaxdw"><style>{_colours()}{style}.jaxdw {{ color: var(--ink); '
        f"background: var(--paper); padding: 0.5em; }}</style>{body}</div>"
    )
