"""Addresses and shards of a plan as CSV: weight tiles, cores, L1."""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdw.errors import ConfigError
from jaxdw.escapes import formula_free
from jaxdw.files import whole_file
from jaxdw.plan.plan import Plan
from jaxdw.report.facts import l1_rows
from jaxdw.report.traces import core_rows, tile_rows

Rows = Sequence[Mapping[str, Any]]


def plan_tables(plan: Plan, base_address: int) -> dict[str, Rows]:
    """Returns a plan's tables by the names of their files.

    Args:
      base_address: of the weights in every DRAM bank, bytes.
    """
    rows, columns = plan.weight_tile_grid
    return {
        "tiles": tile_rows(plan, range(rows * columns), base_address),
        "cores": core_rows(plan, range(plan.num_output_cores)),
        "l1": l1_rows(plan),
    }


def write_csv(tables: Mapping[str, Rows], folder: str | Path) -> list[Path]:
    """Writes a file `NAME.csv` for each table; returns them.

    Args:
      folder: made if it is not there; its other files stay.

    Raises:
      ConfigError: a folder that cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"`{folder}` must be a folder that can be made ({error.strerror}); name "
            "another"
        ) from error
    written = []
    for name, rows in tables.items():
        file = folder / f"{file_name(name)}.csv"
        with whole_file(file) as draft:
            draft.write_text(csv_text(rows), "utf-8")
        written.append(file)
    return written


def file_name(title: str) -> str:
    """Returns a table's title as the name of a file."""
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def csv_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Returns rows as CSV, lists in a cell as JSON."""
    rows = list(rows)
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, list | tuple | dict):
        return json.dumps(value)
    return formula_free(value) if isinstance(value, str) else value
