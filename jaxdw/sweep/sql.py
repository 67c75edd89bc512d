"""Rows as a table of DuckDB, and as parquet."""

import concurrent.futures
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxdw.errors import ConfigError, needing
from jaxdw.sweep.rows import COLUMNS, Row

_TYPES = {int: "BIGINT", str: "VARCHAR", float: "DOUBLE", bool: "BOOLEAN"}
_LOCKED = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",  # a query names no variable of Python
}
_READING = ("SELECT", "EXPLAIN", "MULTI")  # PIVOT is of several statements


def duckdb() -> Any:
    """Returns the library.

    Raises:
      ConfigError: it is not installed.
    """
    with needing("parquet", "duckdb"):
        import duckdb
    return duckdb


def answer(
    rows: Sequence[Row], sql: str, *, allow_files: bool = False
) -> tuple[list[str], list[tuple]]:
    """Returns column names, no two alike, and rows of a query of the table `rows`.

    Args:
      allow_files: whether it may read and write files, and load extensions.

    Raises:
      ConfigError: no duckdb, SQL that is wrong, more than one statement, one that asks
        for no rows.
    """
    db = duckdb()
    try:
        _check(db.extract_statements(sql), sql, allow_files)
        connection = db.connect(config=_LOCKED)
        _make_table(connection, rows)
        if not allow_files:
            connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        cursor = connection.execute(sql)
        names = [column[0] for column in cursor.description or ()]
        found = cursor.fetchall() if names else []
    except db.Error as error:
        message = str(error)
        if not allow_files and "disabled by configuration" in message:
            message += "\nuse --allow-files (allow_files=True) if you trust the query"
        raise ConfigError(f"`sql` (={sql!r}): {message}") from error
    return _unlike(names), found


def _check(statements: Sequence[Any], sql: str, allow_files: bool) -> None:
    kinds = [statement.type.name for statement in statements]
    allowed = (*_READING, "COPY") if allow_files else _READING
    if len(kinds) != 1 or kinds[0] not in allowed:
        raise ConfigError(
            f"`sql` (={sql!r}) must ask for rows, in one statement; try SELECT * FROM "
            "rows"
        )


def _unlike(names: Sequence[str]) -> list[str]:
    """Returns names of which those that came before have a number added."""
    result: list[str] = []
    for name in names:
        unlike, number = name, 1
        while unlike in result or (number > 1 and unlike in names):
            number += 1
            unlike = f"{name}_{number}"
        result.append(unlike)
    return result


def _make_table(connection: Any, rows: Sequence[Row]) -> None:
    columns = ", ".join(
        f"unnest(${number}::{_TYPES[kind]}[]) AS {name}"
        for number, (name, kind, _) in enumerate(COLUMNS, 1)
    )
    values = [[row[name] for row in rows] for name, _, _ in COLUMNS]
    connection.execute(f"CREATE TABLE rows AS SELECT {columns}", values)


def write_parquet(rows: Sequence[Row], path: Path) -> None:
    """Writes rows as parquet.

    Raises:
      OSError: no room, or a file that cannot be written.
    """
    # in the main thread DuckDB makes an error of its own of an interrupt
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        thread.submit(_write_parquet, rows, path).result()


def _write_parquet(rows: Sequence[Row], path: Path) -> None:
    db = duckdb()
    connection = db.connect(config=_LOCKED)
    _make_table(connection, rows)
    name = str(path).replace("'", "''")
    try:
        connection.execute(f"COPY rows TO '{name}' (FORMAT parquet)")
    except db.IOException as error:
        raise OSError(str(error)) from error


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of a parquet file.

    The file is opened here: DuckDB takes a path for a pattern, and folders such as
    `scheme=block` for columns.

    Raises:
      ConfigError: no duckdb, or a file that it cannot read.
      OSError: a file that cannot be opened.
    """
    db = duckdb()
    with path.open("rb") as file:
        try:
            cursor = db.connect(config=_LOCKED).execute(
                f"SELECT * FROM read_parquet('/dev/fd/{file.fileno()}')"
            )
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except db.Error as error:
            raise ConfigError(f"{path} is no parquet file: {error}") from error
