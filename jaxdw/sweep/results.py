"""The files of a sweep: rows are appended to one, and read from four kinds."""

import csv
import dataclasses
import fcntl
import json
import os
import reprlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from jaxdw.errors import ConfigError
from jaxdw.escapes import cell_text, formula_free, json_text
from jaxdw.files import whole_file
from jaxdw.shown import ShownList
from jaxdw.sweep.rows import COLUMNS, NAMES, Row, name_of_row, told_by_both, whole_row
from jaxdw.sweep.sql import answer, duckdb, read_parquet, write_parquet

FILES = ("rows.jsonl", "rows.csv", "rows.parquet")  # of a sweep's folder


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
        except (OSError, ValueError) as error:  # ValueError: a zero byte in it
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
            if not self._is_current():  # replaced between the opening and the lock
                self._file.close()
                return self.__enter__()
            self._drop_drafts()
            self._read_back()
        except ConfigError:
            self._file.close()
            raise
        return self

    def __exit__(self, *_) -> None:
        self._file.close()

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    def _drop_drafts(self) -> None:
        """Removes what a sweep that was killed had not finished writing."""
        for name in FILES:
            for draft in self.directory.glob(f".{name}.*"):
                draft.unlink(missing_ok=True)

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
        text = "".join(json_text(row) + "\n" for row in fresh.values()).encode()
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
                json_text(row).encode() + b"\n" for row in self.rows.values()
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
            _write_csv(file, self.rows.values())
        try:
            duckdb()
        except ConfigError:
            return self.path, table
        parquet = self.directory / "rows.parquet"
        with whole_file(parquet) as draft:
            write_parquet(tuple(self.rows.values()), draft)
        return self.path, table, parquet


def _write_csv(file: TextIO, rows: Iterable[Row]) -> None:
    usual = csv.writer(file, lineterminator="\n")
    quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    usual.writerow(NAMES)
    for row in rows:
        cells = [
            formula_free(cell) if isinstance(cell, str) else cell
            for cell in (row[name] for name in NAMES)
        ]
        # a carriage return is not quoted by itself before Python 3.13
        returns = "\r" in "".join([cell for cell in cells if isinstance(cell, str)])
        (quoting if returns else usual).writerow(cells)


def _parsed(text: bytes, path: Path) -> tuple[list[Row], bool]:
    """Returns the rows of a .jsonl, and whether some had to be completed."""
    rows, older = [], False
    for number, line in enumerate(text.splitlines(), 1):
        place = f"{path}, line {number}"
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
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
      ConfigError: a file that is absent, of another kind or another schema, a cell of
        another type.
    """
    path = _rows_file(path)
    try:
        if path.suffix == ".jsonl":
            return ShownList(_parsed(path.read_bytes(), path)[0])
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8") as file:
                return ShownList(_csv_rows(file, path))
        return ShownList(whole_row(f, str(path)) for f in read_parquet(path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _csv_rows(file: TextIO, path: Path) -> Iterator[Row]:
    reader = csv.reader(file, strict=True)
    header = next(reader, [])
    twice = sorted({name for name in header if header.count(name) > 1})
    if "schema" not in header or twice:
        raise ConfigError(
            f"{path}, line 1 must name the columns of a sweep, each once, `schema` "
            f"among them (={', '.join(twice) or reprlib.repr(header)}); name a rows.csv"
        )
    for cells in reader:
        place = f"{path}, line {reader.line_num}"
        if len(cells) != len(header):
            raise ConfigError(
                f"{place} (={len(cells)} cells) must have one for each of the "
                f"{len(header)} columns; mend or remove the line"
            )
        found = dict(zip(header, cells, strict=True))
        typed = {
            name: _typed(found[name], kind)
            for name, kind, _ in COLUMNS
            if name in found
        }
        yield whole_row(typed, place)


def _typed(cell: str, kind: type) -> Any:
    """Returns the value of a cell, or the cell if it is none of that type."""
    if cell == "":
        return None
    if kind is bool:
        return {"True": True, "False": False}.get(cell, cell)
    try:
        return cell_text(cell) if kind is str else kind(cell)
    except ValueError:
        return cell


_SUFFIXES = (".jsonl", ".csv", ".parquet")


def _rows_file(path: str | Path) -> Path:
    found = Path(path)
    try:
        if found.is_dir():
            found = found / "rows.jsonl"
        exists = found.exists()
    except ValueError:  # a zero byte in it
        exists = False
    if not exists:
        raise ConfigError(
            f"`{found}` must exist; name the folder of a sweep, or its .jsonl, .csv or "
            ".parquet"
        )
    if found.suffix not in _SUFFIXES:
        raise ConfigError(f"`{found}` must end in {', '.join(_SUFFIXES)}")
    return found


def query(
    path: str | Path, sql: str, *, allow_files: bool = False
) -> tuple[list[str], list[tuple]]:
    """Returns column names and rows of an SQL query; the file is the table `rows`.

    The query reads that table and nothing else.

    Args:
      allow_files: whether it may read and write other files, too.

    Raises:
      ConfigError: as `read_rows` and `jaxdw.sweep.sql.answer`.
    """
    return answer(read_rows(path), sql, allow_files=allow_files)


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
            if not _same(old[key][name], new[key][name])
        }
        if columns:
            yield Change(
                kind="changed", key=key, name=name_of_row(row), columns=columns
            )


def _same(one: Any, other: Any) -> bool:
    return one == other or (one != one and other != other)  # NaN is NaN
