"""One layer or whole models: jaxdw against the libraries that compute the same.

From an NHWC image and OIHW weights to an NHWC image, steady state: plans, maps,
sessions and other layouts are made ready before. Each contender has a process of its
own, jaxdw's schemes share one. They take turns layer by layer: a machine that is slower
for some minutes is so for all.
"""

import argparse
import contextlib
import dataclasses
import functools
import itertools
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import get_args

from rich.table import Table

from bench import plots
from bench.contenders import (
    Contender,
    contend,
    jaxdw,
    lax_conv,
    numpy_sticks,
    onnxruntime_conv,
    torch_conv,
)
from bench.harness import (
    DISTURBED,
    Record,
    console,
    environment,
    fresh_process,
    in_fresh_process,
    names,
    write_lines,
)
from bench.layers import (
    DEFAULT_LAYER,
    WAYS,
    bare_layers,
    layer_name,
    layer_of,
    name_of,
)
from jaxdw.errors import refuse
from jaxdw.plan.config import ConvConfig, Scheme, ShardConfig
from jaxdw.plan.planner import PROGRAMS

TORCH = "torch channels_last"
LAX = "lax.conv_general_dilated"
SYNCHRONOUS = "float32 height, synchronous dispatch"

Suites = Mapping[str, Counter[ConvConfig]]  # layers and their counts, by model
Seconds = Mapping[tuple[str, ConvConfig], float]  # of one statistic, by contender
STATISTICS = ("median", "tenth", "cpu")  # of the runs of a layer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Goal:
    """A ratio of two contenders' sums, and what is asked of it for MobileNetV2.

    Attributes:
      statistic: of the runs of a layer that is summed: `median` or `tenth`.
    """

    what: str
    over: str
    asked: float
    aimed: float | None = None
    statistic: str = "median"
    at_least: bool = False

    def text(self, bound: float | None) -> str:
        if bound is None:
            return ""
        return f"at {'least' if self.at_least else 'most'} {bound:g}"

    def met(self, ratio: float) -> bool:
        return ratio >= self.asked if self.at_least else ratio <= self.asked


_OVER_TORCH = {  # median asked and aimed, 10th percentile asked
    "float32": (2.0, 1.3, 1.3),
    "fpu LoFi": (4.0, 2.5, 3.0),
    "fpu HiFi4": (8.0, 4.0, 6.5),
}
GOALS = (
    *(
        Goal(
            what=f"{way} {scheme}",
            over=TORCH,
            asked=tenth if statistic == "tenth" else median,
            aimed=None if statistic == "tenth" else aimed,
            statistic=statistic,
        )
        for way, (median, aimed, tenth) in _OVER_TORCH.items()
        for scheme in (*get_args(Scheme), "height, loaded")
        for statistic in ("median", "tenth")
    ),
    Goal(what=LAX, over="fpu LoFi height", asked=15, at_least=True),
    *(
        Goal(what=f"fpu {fidelity} height regular", over=way, asked=1.3)
        for fidelity, way in (
            ("LoFi", "fpu LoFi height"),
            ("HiFi4", "fpu HiFi4 height"),
        )
    ),
)


def contenders(
    schemes: Sequence[Scheme], programs: Sequence[str] = ("depthwise",)
) -> list[Contender]:
    """Returns all contenders, those of one process next to each other.

    In float32 all device programs compute alike: only `depthwise` is among them.
    """
    found = [
        Contender(
            name=f"{name_of(compute)} {scheme}{_suffix(program)}{', loaded' * loaded}",
            process=name_of(compute),
            prepare=functools.partial(
                jaxdw,
                compute=compute,
                shard=ShardConfig(scheme=scheme),
                program=program,
                loaded=loaded,
            ),
            compute=compute,
        )
        for compute in WAYS
        for scheme in schemes
        for program in programs
        for loaded in (False, True)
        if program == "depthwise" or (compute.arithmetic == "fpu" and not loaded)
    ]
    synchronous = functools.partial(
        jaxdw, compute=WAYS[0], shard=ShardConfig(), synchronous=True
    )
    libraries = (
        (TORCH, functools.partial(torch_conv, channels_last=True), ("torch",)),
        ("torch", functools.partial(torch_conv, channels_last=False), ("torch",)),
        ("onnxruntime", onnxruntime_conv, ("onnxruntime", "onnx")),
        (LAX, lax_conv, ()),
        ("numpy stick loop", numpy_sticks, ()),
    )
    return [
        *found,
        Contender(
            name=SYNCHRONOUS,
            process=SYNCHRONOUS,
            prepare=synchronous,
            compute=WAYS[0],
        ),
        *(
            Contender(name=name, process=name, prepare=prepare, libraries=needed)
            for name, prepare, needed in libraries
        ),
    ]


def _suffix(program: str) -> str:
    return "" if program == "depthwise" else f" {program}"


def add_options(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--layer", type=layer_of, metavar="CxHxW[kK][sS][nN]")
    what.add_argument("--models", type=names, default=(), help="joined by commas")
    parser.add_argument("--schemes", type=names, default=("height",))
    parser.add_argument(
        "--programs", type=names, default=("depthwise",), metavar="NAMES",
        help=f"any of {', '.join(PROGRAMS)}, joined by commas",
    )  # fmt: skip
    parser.add_argument(
        "--only", type=names, default=(), metavar="PARTS",
        help="contenders whose name holds one of these, joined by commas",
    )  # fmt: skip
    plots.add_option(parser)


def main(args: argparse.Namespace) -> None:
    """Prints the layers, the sums and what was asked of them; writes the records."""
    refuse(
        [
            f"`--schemes` (={scheme}) must be among {', '.join(get_args(Scheme))}"
            for scheme in args.schemes
            if scheme not in get_args(Scheme)
        ]
        + [
            f"`--programs` (={program}) must be among {', '.join(PROGRAMS)}"
            for program in args.programs
            if program not in PROGRAMS
        ]
    )
    suites: Suites = {model: bare_layers(model) for model in args.models}
    if not suites:
        layer = args.layer or layer_of(DEFAULT_LAYER)
        suites = {layer_name(layer): Counter([layer])}
    convs = list(dict.fromkeys(itertools.chain.from_iterable(suites.values())))
    found = contenders(args.schemes, args.programs)
    if args.only:
        legal = ", ".join(c.name for c in found)
        found = [c for c in found if any(part in c.name for part in args.only)]
        parts = ",".join(args.only)
        refuse([] if found else [f"`--only` (={parts}) must be part of one of {legal}"])
    records = compete(found, convs, args.runs)
    timings = {
        statistic: {
            (r["contender"], ConvConfig(**r["layer"])): r[statistic] for r in records
        }
        for statistic in STATISTICS
    }
    ratios, here = [], in_fresh_process(environment)
    for model, layers in suites.items():
        own = of_layers(records, layers)
        disturbed = {r["contender"] for r in own if r["disturbed"]}
        totals = {name: sums(layers, of) for name, of in timings.items()}
        ratios += goals(model, totals, disturbed)
        for name in totals["median"]:
            line = {"bench": "conv", "model": model, "contender": name}
            own_sums = {f"sum_{of}": totals[of][name] for of in STATISTICS}
            records.append(here | line | own_sums)
    write_lines([*records, *(here | ratio for ratio in ratios)], args.json)
    _print(suites, timings, records, ratios)
    if args.plot:
        _plot(args.plot, convs, timings["median"])


def compete(
    found: Iterable[Contender], convs: Sequence[ConvConfig], runs: int
) -> list[Record]:
    """Runs each process's contenders, layer by layer; those not installed are named."""
    teams: list[list[Contender]] = []
    for _, group in itertools.groupby(found, lambda contender: contender.process):
        team = list(group)
        missing = [contender.name for contender in team if not contender.installed]
        if missing:
            print(f"not installed: {', '.join(missing)}", file=sys.stderr)
        else:
            teams.append(team)
    records = []
    with contextlib.ExitStack() as stack:
        places = [(team, stack.enter_context(fresh_process())) for team in teams]
        for conv, (team, process) in itertools.product(convs, places):
            entries = [(contender, conv) for contender in team]
            records += process.submit(contend, entries, runs).result()
    return [{"bench": "conv"} | record for record in records]


def of_layers(records: Iterable[Record], layers: Counter[ConvConfig]) -> list[Record]:
    """Returns the measurements of a model's layers."""
    return [
        record
        for record in records
        if "layer" in record and ConvConfig(**record["layer"]) in layers
    ]


def sums(layers: Counter[ConvConfig], seconds: Seconds) -> dict[str, float]:
    """Returns each contender's sum of medians over a model's layers, as often as it
    has them."""
    found = dict.fromkeys((name for name, _ in seconds), 0.0)
    for name in found:
        found[name] = sum(seconds[name, conv] * n for conv, n in layers.items())
    return found


def goals(
    model: str, totals: Mapping[str, Mapping[str, float]], disturbed: Collection[str]
) -> list[Record]:
    """Returns the ratios of the goals whose two contenders ran.

    Args:
      totals: by statistic and contender.
    """
    return [
        {
            "bench": "conv",
            "model": model,
            **dataclasses.asdict(goal),
            "reached": totals[goal.statistic][goal.what]
            / totals[goal.statistic][goal.over],
            "disturbed": sorted({goal.what, goal.over} & set(disturbed)),
        }
        for goal in GOALS
        if {goal.what, goal.over} <= totals[goal.statistic].keys()
    ]


def _print(
    suites: Suites,
    timings: Mapping[str, Seconds],
    records: list[Record],
    ratios: list[Record],
) -> None:
    for model, layers in suites.items():
        totals = {name: sums(layers, of) for name, of in timings.items()}
        if len(layers) > 1:
            seconds, shown = timings["median"], list(totals["median"])
            console().print(_layers_table(model, layers, seconds, shown))
        console().print(_sums_table(model, layers, totals, records))
        goals_table = _goals_table(model, [r for r in ratios if r["model"] == model])
        if goals_table.row_count:
            console().print(goals_table)


def _layers_table(
    model: str, layers: Counter[ConvConfig], seconds: Seconds, contenders: list[str]
) -> Table:
    table = Table(title=f"{model}, ms of each layer, median")
    table.add_column("layer")
    table.add_column("times", justify="right")
    shown = [name for name in contenders if not _beside_height(name, contenders)]
    for name in shown:
        table.add_column(name, justify="right")
    for conv, count in layers.items():
        cells = [f"{seconds[name, conv] * 1e3:.3f}" for name in shown]
        table.add_row(layer_name(conv), str(count), *cells)
    return table


def _beside_height(name: str, contenders: list[str]) -> bool:
    """Whether a contender differs from another, shown in its place, by its scheme."""
    words = ["height" if w in ("block", "width") else w for w in name.split()]
    return " ".join(words) in set(contenders) - {name}


def _sums_table(
    model: str,
    layers: Counter[ConvConfig],
    totals: Mapping[str, Mapping[str, float]],
    records: list[Record],
) -> Table:
    loads = [r["load"] for r in of_layers(records, layers)]
    table = Table(
        title=f"{model}, {layers.total()} layers, sums; load {min(loads):.1f} to "
        f"{max(loads):.1f}",
        caption="10th: 10th percentile; CPU: of all threads; disturbed: layers whose "
        f"median is over {DISTURBED} times the fastest run; measure again when nothing "
        "else runs here",
    )
    table.add_column("contender")
    heads = (
        "ms, median",
        "10th",
        "CPU",
        f"over {TORCH}",
        "10th",
        "first calls, s",
        "threads",
        "PCC at least",
        "peak MB",
        "disturbed",
    )
    for head in heads:
        table.add_column(head, justify="right")
    for name in totals["median"]:
        own = [r for r in of_layers(records, layers) if r["contender"] == name]
        milliseconds = (f"{totals[of][name] * 1e3:.3f}" for of in STATISTICS)
        ratios = (
            f"{totals[of][name] / totals[of][TORCH]:.2f}"
            if TORCH in totals[of]
            else "not run"
            for of in ("median", "tenth")
        )
        table.add_row(
            name,
            *milliseconds,
            *ratios,
            f"{sum(r['first'] for r in own):.1f}",
            str(own[0]["threads"]),
            f"{min(r['pcc'] for r in own):.6f}",
            f"{max(r['peak_bytes'] for r in own) / 1e6:.0f}",
            str(sum(r["disturbed"] for r in own) or ""),
        )
    return table


def _goals_table(model: str, ratios: list[Record]) -> Table:
    table = Table(title=f"{model}, what is asked of mobilenet_v2 on 8x8")
    for head in ("ratio of sums", "asked", "aimed", "reached", ""):
        table.add_column(head, justify="left" if "sums" in head else "right")
    for ratio in ratios:
        goal = Goal(**{f.name: ratio[f.name] for f in dataclasses.fields(Goal)})
        table.add_row(
            f"{goal.what} over {goal.over}{_of_statistic(goal)}",
            goal.text(goal.asked),
            goal.text(goal.aimed),
            f"{ratio['reached']:.2f}",
            _verdict(goal, ratio),
        )
    return table


def _of_statistic(goal: Goal) -> str:
    return ", 10th percentile" if goal.statistic == "tenth" else ""


def _verdict(goal: Goal, ratio: Record) -> str:
    """Judges, unless the contender was disturbed whose slowness flatters the ratio."""
    flattering = goal.what if goal.at_least else goal.over
    if flattering in ratio["disturbed"]:
        return f"not judged, disturbed: {flattering}"
    return "met" if goal.met(ratio["reached"]) else "missed"


def _plot(path: str, convs: Sequence[ConvConfig], seconds: Seconds) -> None:
    layers = [layer_name(conv) for conv in convs]
    plots.draw_lines(
        path,
        {
            name: (layers, [seconds[name, conv] for conv in convs])
            for name in dict.fromkeys(name for name, _ in seconds)
        },
        across="layer",
        title="Depthwise layers",
    )
