"""Points a second of a sweep: cold, with what was compiled before, plans only.

Each sweep is `run_sweep` on all cores from a process of its own: cold with an empty
folder for what is compiled, warm with the one that the cold sweep left.
"""

import argparse
import dataclasses
import statistics
import tempfile
from collections import Counter
from collections.abc import Sequence

from rich.table import Table

from bench import plots
from bench.harness import (
    Record,
    console,
    cpu_cores,
    environment,
    in_fresh_process,
    names,
    timed,
    write_lines,
)
from jaxdw.sweep.rows import Point, Row
from jaxdw.sweep.runner import run_sweep
from jaxdw.sweep.space import Space


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """One sweep: its seconds, start of the worker processes included."""

    seconds: float
    compilations: int
    compile_seconds: float  # making or loading programs, all processes together
    statuses: dict[str, int]


def swept(
    points: Sequence[Point], cache: str, plan_only: bool, processes: int
) -> Sweep:
    """Runs the points into a folder of their own.

    Raises:
      AssertionError: a row failed or broke.
    """

    def sweep() -> list[Row]:
        with tempfile.TemporaryDirectory() as folder:
            return run_sweep(
                points, folder, processes=processes, plan_only=plan_only, cache=cache
            )

    rows, seconds = timed(sweep)
    statuses = Counter(row["status"] for row in rows)
    if statuses["fail"] or statuses["error"]:
        raise AssertionError(f"the sweep went wrong: {dict(statuses)}")
    return Sweep(
        seconds=seconds,
        compilations=sum(row["compilations"] for row in rows),
        compile_seconds=sum(row["seconds_compile"] for row in rows),
        statuses=dict(statuses),
    )


def measure_sweeps(
    points: Sequence[Point], runs: int, processes: int
) -> dict[str, list[Sweep]]:
    """Sweeps `runs` times in each of the three ways, turn by turn."""
    found = {"cold": [], "warm": [], "plan only": []}
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as cache:
            for name, sweeps in found.items():
                arguments = (points, cache, name == "plan only", processes)
                sweeps.append(in_fresh_process(swept, *arguments))
    return found


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", type=names, default=("mobilenet_v2",))
    parser.add_argument("--schemes", type=names, default=("height", "block", "width"))
    parser.add_argument("--fidelities", type=names, default=("LoFi", "HiFi4"))
    parser.add_argument("--sample", type=int, help="points drawn from the space")
    parser.add_argument("--processes", type=int, default=cpu_cores())
    plots.add_option(parser)


def main(args: argparse.Namespace) -> None:
    """Prints the rates; writes a record for each way to sweep, with all its runs."""
    space = Space(
        models=args.models,
        schemes=args.schemes,
        fidelities=args.fidelities,
        sample=args.sample,
    )
    points = space.points()
    found = measure_sweeps(points, args.runs, args.processes)
    here = in_fresh_process(environment)
    records = [
        here | _record(name, sweeps, space, len(points), args.processes)
        for name, sweeps in found.items()
    ]
    write_lines(records, args.json)
    console().print(_table(records, len(points)))
    if args.plot:
        plots.draw_bars(
            args.plot,
            {record["way"]: record["per_second"] for record in records},
            across="points a second",
            title=f"{len(points)} points, {args.processes} processes",
        )


def _record(
    name: str, sweeps: list[Sweep], space: Space, points: int, processes: int
) -> Record:
    seconds = statistics.median(sweep.seconds for sweep in sweeps)
    return {
        "bench": "sweep",
        "way": name,
        "space": dataclasses.asdict(space),
        "points": points,
        "processes": processes,
        "runs": len(sweeps),
        "seconds": seconds,
        "per_second": points / seconds,
        "compilations": statistics.median(sweep.compilations for sweep in sweeps),
        "sweeps": [dataclasses.asdict(sweep) for sweep in sweeps],
    }


def _table(records: list[Record], points: int) -> Table:
    first = records[0]
    table = Table(
        title=f"{points} points on {first['processes']} processes, "
        f"medians of {first['runs']} sweeps"
    )
    table.add_column("sweep")
    heads = (
        "seconds",
        "points a second",
        "compilations",
        "s making programs",
    )
    for head in heads:
        table.add_column(head, justify="right")
    for record in records:
        spent = statistics.median(s["compile_seconds"] for s in record["sweeps"])
        table.add_row(
            record["way"],
            f"{record['seconds']:.2f}",
            f"{record['per_second']:,.1f}",
            f"{record['compilations']:g}",
            f"{spent:.1f}",
        )
    return table
