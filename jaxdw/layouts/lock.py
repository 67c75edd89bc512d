"""The lockfile of layouts: when, and which, maps of a layout change."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from jaxdw.errors import ConfigError
from jaxdw.files import whole_file

LOCK_SCHEMA = 1

Digests = Mapping[str, Mapping[str, str]]  # of each map, by `layout_key`


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LayoutChange:
    """One difference between a lockfile and the layouts of today.

    Attributes:
      map: whose digest differs; None if the configuration is on one side only.
    """

    kind: Literal["added", "removed", "changed"]
    key: str
    map: str | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.key}" + (f": {self.map}" if self.map else "")


def write_lock(path: str | Path, entries: Digests) -> None:
    """Writes a lockfile, whole or not at all.

    Raises:
      ConfigError: the folder does not exist or cannot be written.
    """
    lock = {"schema": LOCK_SCHEMA, "layouts": {k: dict(v) for k, v in entries.items()}}
    with whole_file(path) as draft:
        draft.write_text(json.dumps(lock, indent=1, sort_keys=True) + "\n")


def check_lock(path: str | Path, entries: Digests) -> list[LayoutChange]:
    """Returns how these layouts differ from those of a lockfile.

    Raises:
      ConfigError: no lockfile of this schema.
    """
    locked = _read_lock(Path(path))
    changes = []
    for key in sorted({*locked, *entries}):
        if key not in locked:
            changes.append(LayoutChange(kind="added", key=key))
        elif key not in entries:
            changes.append(LayoutChange(kind="removed", key=key))
        else:
            old, new = locked[key], entries[key]
            changes += [
                LayoutChange(kind="changed", key=key, map=name)
                for name in sorted({*old, *new})
                if old.get(name) != new.get(name)
            ]
    return changes


def _read_lock(path: Path) -> Digests:
    try:
        lock = json.loads(path.read_text())
        schema, layouts = lock["schema"], lock["layouts"]
        digests = [layout.values() for layout in layouts.values()]
        if not all(isinstance(one, str) for some in digests for one in some):
            raise TypeError("digests must be text")
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise ConfigError(
            f"`path` (={str(path)!r}) must be a lockfile ({error}); write one first"
        ) from error
    if schema != LOCK_SCHEMA:
        raise ConfigError(
            f"the schema of {str(path)!r} (={schema!r}) must be {LOCK_SCHEMA}; write "
            "the lockfile anew"
        )
    return layouts
