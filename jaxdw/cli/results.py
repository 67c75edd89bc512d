"""`jaxdw query` and `jaxdw compare`: what stands in the files of sweeps."""

import argparse
import dataclasses
import json

from jaxdw.cli.parser import take
from jaxdw.cli.screen import show_rows

SAME, DIFFERENT = 0, 1
_ABREAST = 12  # columns; rows of more are shown one below the other


def add(commands) -> None:
    """Adds both commands to a parser's commands."""
    query = commands.add_parser(
        "query",
        help="SQL over the rows of a sweep",
        description="Runs an SQL query; the file's rows are the table `rows`. Needs "
        "the extra jaxdw[parquet].",
    )
    query.add_argument(
        "file", metavar="FILE", help="a sweep's folder, or its jsonl, csv or parquet"
    )
    query.add_argument(
        "sql", metavar="SQL", help="such as 'SELECT layer, pcc FROM rows'"
    )
    take(query, "--json", text="one JSON object to a row")
    query.set_defaults(command=_query)
    compare = commands.add_parser(
        "compare",
        help="what changed between two sweeps",
        description="Matches the configurations of two sweeps and prints what changed; "
        "times and versions do not count. Exit status 0 if nothing did, 1 otherwise.",
    )
    compare.add_argument(
        "before", metavar="BEFORE", help="a sweep's folder, or its jsonl, csv, parquet"
    )
    compare.add_argument("after", metavar="AFTER", help="another")
    take(compare, "--json", text="one JSON object to a change")
    compare.set_defaults(command=_compare)


def _query(args: argparse.Namespace) -> int:
    from jaxdw.sweep.results import query

    columns, found = query(args.file, args.sql)
    rows = [dict(zip(columns, values, strict=True)) for values in found]
    if args.json:
        for row in rows:
            print(json.dumps(row, default=str))
        return SAME
    if len(columns) > _ABREAST:
        for row in rows:
            facts = [{"column": name, "value": v} for name, v in row.items()]
            show_rows(args.file, facts)
    elif rows:
        show_rows(args.file, rows)
    print(f"{len(rows)} rows")
    return SAME


def _compare(args: argparse.Namespace) -> int:
    from jaxdw.sweep.results import compare_rows, read_rows

    changes = list(compare_rows(read_rows(args.before), read_rows(args.after)))
    if args.json:
        for change in changes:
            print(json.dumps(dataclasses.asdict(change), default=str))
        return DIFFERENT if changes else SAME
    for change in changes:
        columns = ", ".join(
            f"{name} {before} -> {after}"
            for name, (before, after) in change.columns.items()
        )
        print(f"{change.kind}: {change.name}" + (f": {columns}" if columns else ""))
    print(f"{len(changes)} configurations differ")
    return DIFFERENT if changes else SAME
