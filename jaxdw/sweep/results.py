"""The files of a sweep: rows are appended to one, and read from four kinds."""

import csv
import dataclasses
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jaxdw.errors import ConfigError, needing
from jaxdw.files import whole_file
from jaxdw.shown import ShownList
from jaxdw.sweep.rows import COLUMNS, NAMES, Row, name_of_row, told_by_both, whole_row


class ResultStore:
    """A folder with `rows.jsonl`, open for one sweep at a time.

    Rows are appended whole and flushed to the disk; a last line cut short by a kill is
    dropped when the folder is opened again.

    Raises:
      ConfigError: a folder that cannot be made or written, another sweep in it, a file
        of another schema, a full disk.
    """

    def __init__(self, directory: str | Path):
        self.directory = Path(directory)
        self.path = self.directory / "rows.jsonl"

    def __enter__(self) -> "ResultStore":
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b")
        except OSError as error:
            raise ConfigError(
                f"`out` (={str(self.directory)!r}) must be a folder that can be "
                f"written: {error}; choose another"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise ConfigError(
                f"`out` (={str(self.directory)!r}) is in use by another sweep; wait "
                "for it or choose another folder"
            ) from error
        try:
            self._read_back()
        except ConfigError:
            self._file.close()
            raise
        return self

    def __exit__(self, *_) -> None:
        self._file.close()

    def _read_back(self) -> None:
        self._file.seek(0)
        text = self._file.read()
        whole = text[: text.rfind(b"\n") + 1]
        if len(whole) < len(text):
            self._file.truncate(len(whole))
        rows, older = _parsed(whole, self.path)
        self.rows = {row["key"]: row for row in rows}
        if older:
            self._rewrite()

    def append(self, rows: Iterable[Row]) -> None:
        """Appends rows; those whose key is there already are left out."""
        fresh = {
            row["key"]: {name: row.get(name) for name in NAMES}
            for row in rows
            if row["key"] not in self.rows
        }
        text = "".join(json.dumps(row) + "\n" for row in fresh.values()).encode()
        self._file.seek(0, os.SEEK_END)
        before = self._file.tell()
        try:
            self._file.write(text)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            self._undo(before)
            raise ConfigError(
                f"`out` (={str(self.directory)!r}) cannot be written: {error}; the "
                f"{len(self.rows)} rows before are safe: make room and run the same "
                "command again"
            ) from error
        self.rows |= fresh

    def drop(self, keys: Iterable[str]) -> None:
        """Takes rows out, so that they can be appended anew."""
        gone = set(keys)
        if not gone:
            return
        self.rows = {key: row for key, row in self.rows.items() if key not in gone}
        self._rewrite()

    def _rewrite(self) -> None:
        with whole_file(self.path) as draft:
            file = draft.open("a+b")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.writelines(
                json.dumps(row).encode() + b"\n" for row in self.rows.values()
            )
            file.flush()
            os.fsync(file.fileno())
        self._file.close()
        self._file = file

    def _undo(self, size: int) -> None:
        try:
            self._file.close()
        except OSError:
            pass
        os.truncate(self.path, size)
        self._file = self.path.open("a+b")

    def export(self) -> tuple[Path, ...]:
        """Writes `rows.csv`, and `rows.parquet` if duckdb is installed."""
        table = self.directory / "rows.csv"
        with (
            whole_file(table) as draft,
            draft.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, NAMES, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows.values())
        try:
            duckdb = _duckdb()
        except ConfigError:
            return self.path, table
        parquet = self.directory / "rows.parquet"
        types = ", ".join(f"{name}: '{_SQL[kind]}'" for name, kind, _ in COLUMNS)
        with whole_file(parquet) as draft:
            duckdb.connect().execute(
                f"COPY (SELECT * FROM read_json({_quoted(self.path)}, "
                f"columns={{{types}}}, format='newline_delimited')) "
                f"TO {_quoted(draft)} (FORMAT parquet)"
            )
        return self.path, table, parquet


_SQL = {int: "BIGINT", str: "VARCHAR", float: "DOUBLE", bool: "BOOLEAN"}


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _duckdb():
    with needing("parquet", "duckdb"):
        import duckdb
    return duckdb


def _parsed(text: bytes, path: Path) -> tuple[list[Row], bool]:
    """Returns the rows of a .jsonl, and whether some had to be completed."""
    rows, older = [], False
    for number, line in enumerate(text.splitlines(), 1):
        place = f"{path}, line {number}"
        try:
            found = json.loads(line)
        except ValueError as error:
            raise ConfigError(
                f"{place} is not JSON: {error}; remove the line"
            ) from error
        if not isinstance(found, dict):
            raise ConfigError(f"{place} must be a row, an object; remove the line")
        rows.append(whole_row(found, place))
        older |= len(found) < len(NAMES)
    return rows, older


def read_rows(path: str | Path) -> list[Row]:
    """Returns the rows of a folder, or of a .jsonl, .csv or .parquet file.

    Raises:
      ConfigError: a file that is absent, of another kind or another schema.
    """
    path = _rows_file(path)
    try:
        if path.suffix == ".jsonl":
            return ShownList(_parsed(path.read_bytes(), path)[0])
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8") as file:
                return ShownList(_typed(row, path) for row in csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    columns, rows = query(path, "SELECT * FROM rows")
    return ShownList(
        whole_row(dict(zip(columns, r, strict=True)), str(path)) for r in rows
    )


def _typed(row: dict[str, str], path: Path) -> Row:
    found = {}
    for name, kind, _ in COLUMNS:
        if name in row:
            value = row[name] == "True" if kind is bool else row[name]
            found[name] = None if row[name] == "" else kind(value)
    return whole_row(found, str(path))


_READERS = {".jsonl": "read_json", ".csv": "read_csv", ".parquet": "read_parquet"}


def _rows_file(path: str | Path) -> Path:
    found = Path(path)
    if found.is_dir():
        found = found / "rows.jsonl"
    if not found.exists():
        raise ConfigError(
            f"`{found}` must exist; name the folder of a sweep, or its .jsonl, .csv or "
            ".parquet"
        )
    if found.suffix not in _READERS:
        raise ConfigError(f"`{found}` must end in {', '.join(_READERS)}")
    return found


def query(path: str | Path, sql: str) -> tuple[list[str], list[tuple]]:
    """Returns column names and rows of an SQL query; the file is the table `rows`.

    Raises:
      ConfigError: no duckdb, a file that cannot be read, SQL that is wrong.
    """
    duckdb = _duckdb()
    path = _rows_file(path)
    reader = _READERS[path.suffix]
    connection = duckdb.connect()
    try:
        connection.execute(
            f"CREATE VIEW rows AS SELECT * FROM {reader}({_quoted(path)})"
        )
        cursor = connection.execute(sql)
        columns = (cursor.description if cursor else None) or ()
        found = cursor.fetchall() if columns else []
    except duckdb.Error as error:
        raise ConfigError(f"{path}: {error}") from error
    if not columns:
        raise ConfigError(f"`sql` (={sql!r}) must ask for rows; try SELECT * FROM rows")
    return [column[0] for column in columns], found


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One configuration that two sweeps disagree on.

    Attributes:
      kind: added, removed, or changed.
      columns: name -> (before, after), of a change.
    """

    kind: str
    key: str
    name: str
    columns: dict[str, tuple[Any, Any]]


def compare_rows(before: list[Row], after: list[Row]) -> Iterator[Change]:
    """Yields what changed, configurations matched by their key.

    Times, versions and columns that one side's schema lacks do not count.
    """
    old, new = ({row["key"]: row for row in rows} for rows in (before, after))
    for key in sorted(
        old.keys() | new.keys(), key=lambda k: name_of_row(new.get(k) or old[k])
    ):
        row = new.get(key) or old[key]
        if key not in new or key not in old:
            kind = "added" if key in new else "removed"
            yield Change(kind=kind, key=key, name=name_of_row(row), columns={})
            continue
        columns = {
            name: (old[key][name], new[key][name])
            for name in told_by_both(old[key], new[key])
            if old[key][name] != new[key][name]
        }
        if columns:
            yield Change(
                kind="changed", key=key, name=name_of_row(row), columns=columns
            )
