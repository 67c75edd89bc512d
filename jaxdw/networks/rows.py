"""Rows of what was found of a network, kept in a folder as they come."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from jaxdw.errors import ConfigError
from jaxdw.networks.settings import CHOSEN

Row = dict[str, Any]

SCHEMA = 1
FILE = "accuracy.jsonl"


class Column(NamedTuple):
    name: str
    kind: type
    meaning: str


_FIGURES = (
    Column("pcc", float, "by tt-metal's definition"),
    Column("gain", float, "least squares; PCC cannot see it"),
    Column("snr_db", float, "signal to noise, empty if equal"),
)

COLUMNS: tuple[Column, ...] = (
    Column("schema", int, "version of these columns"),
    Column("key", str, "of what was computed"),
    Column("kind", str, "control, output, layer, only, without, remedy, folded, gain"),
    Column("model", str, "the file"),
    Column("sample", str, "its name"),
    Column("layer", str, "the one told of"),
    Column("output", str, "of the network"),
    Column("way", str, "chip, float32, bf16"),
    *(Column(a.column, a.kind, a.meaning) for a in CHOSEN),
    *_FIGURES,
    Column("argmax", float, "share of positions with the same largest class"),
    Column("metric", float, "of --metric"),
    Column("outputs", int, "elements of a layer's output"),
    Column("exact", int, "equal to the rounded float64 reference"),
    Column("max_ulp", int, "over outputs above 1 % of the largest"),
    Column("mean_ulp", float, "over the same"),
    Column("passed", bool, "tt-metal's own threshold, on real activations"),
    Column("worst_channel", int, "with the lowest SNR"),
    Column("worst_snr_db", float, "of that channel"),
    Column("channels_zeroed", int, "kernels that the format makes zero"),
    *(Column(f"random_{n}", kind, "on random normals") for n, kind, _ in _FIGURES),
    Column("random_passed", bool, "tt-metal's own threshold, on random normals"),
    Column("conv_gain", float, "of the sums alone, without bias and activation"),
    Column("cycles", int, "lower bound of the layer, or of all"),
    Column("left_out", str, "of the network beside the layer; a remedy's file"),
    Column("error", str, "of what was refused"),
)
NAMES = tuple(column.name for column in COLUMNS)


def key_of(*facts: Any) -> str:
    """Returns a name of what was computed, the same on every machine."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def whole(row: Row) -> Row:
    """Returns a row with all its columns."""
    unknown = row.keys() - set(NAMES)
    assert not unknown, unknown
    return dict.fromkeys(NAMES) | {"schema": SCHEMA} | row


class RowStore:
    """A folder of rows by key; rows of one key belong together.

    `rows` are those of this process' question, old and new.
    """

    def __init__(self, folder: str | os.PathLike[str] | None):
        """Opens a folder, made if it does not exist; None for none.

        Raises:
          ConfigError: a folder that cannot be made or read, rows of another schema.
        """
        self._path = None if folder is None else Path(folder) / FILE
        self._held: dict[str, list[Row]] = {}
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            text = self._path.read_text("utf-8") if self._path.exists() else ""
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"`--out` (={str(folder)!r}) must be a folder that can be read and "
                f"written ({error}); name another"
            ) from None
        for number, line in enumerate(text.splitlines(), 1):
            self._take(line, number, last=not text.endswith("\n"))
        if text and not text.endswith("\n"):  # cut short by a kill
            self._path.write_text(text[: text.rfind("\n") + 1], "utf-8")

    def _take(self, line: str, number: int, last: bool) -> None:
        try:
            rows = json.loads(line)
            if not isinstance(rows, list) or not all(
                isinstance(row, dict) and row.get("schema") == SCHEMA for row in rows
            ):
                raise ValueError(f"no rows of schema {SCHEMA}")
            self._held[rows[0]["key"]] = [whole(row) for row in rows]
        except (ValueError, KeyError, IndexError, AssertionError) as error:
            if last:
                return
            raise ConfigError(
                f"{self._path}, line {number} must be rows of `jaxdw accuracy` "
                f"({error}); use a new folder"
            ) from None

    def held(self, key: str) -> list[Row] | None:
        """Returns the rows of a key that the folder has."""
        return self._held.get(key)

    def append(self, key: str, rows: Iterable[Row]) -> list[Row]:
        """Keeps the rows of one key, written at once.

        Raises:
          ConfigError: a file that cannot be written, no room.
        """
        found = [whole({**row, "key": key}) for row in rows]
        if self._path is not None and found:
            line = json.dumps(found, allow_nan=False).encode() + b"\n"
            try:
                with open(self._path, "ab") as file:
                    file.write(line)
            except OSError as error:
                raise ConfigError(
                    f"`--out` (={str(self._path.parent)!r}) cannot be written: "
                    f"{error}; the rows before are safe: make room and run the same "
                    "command again"
                ) from error
        self._held[key] = found
        return found
