"""Files that are written whole or not at all."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from jaxdw.errors import ConfigError


def refuse_to_replace(
    option: str, path: str | Path, kept: Mapping[str, str | Path]
) -> None:
    """Refuses a file to write that is one to keep, by whatever name.

    Args:
      option: that names the file to write.
      kept: what is read or kept, by what it is.

    Raises:
      ConfigError: it is one of them.
    """
    for what, other in kept.items():
        if Path(path).resolve() == Path(other).resolve() or _is_same(path, other):
            raise ConfigError(
                f"`{option}` (={str(path)!r}) must not be {what} (={str(other)!r}), "
                "which it would replace; name another file"
            )


def _is_same(one: str | Path, other: str | Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


_drafts: set[Path] = set()  # being written


def drop_drafts() -> None:
    """Removes what this process, about to end, has not finished writing."""
    for draft in tuple(_drafts):
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Gives a draft beside `path` to write to, which replaces it at the end.

    If anything is raised before, `path` is as it was and the draft is gone. A file that
    is replaced keeps its mode, a link its target. A pipe or a device is written to as
    it stands.

    Raises:
      ConfigError: a folder, a file in one that does not exist or cannot be written, no
        room. Other errors of the body pass.
    """
    target = Path(path).resolve()
    if target.is_dir():
        raise ConfigError(f"`{path}` must be a file, not a folder; name a file in it")
    stands = target.exists() and not target.is_file()
    draft = target if stands else target.with_name(f".{target.name}.{os.getpid()}")
    try:
        if not stands:
            _drafts.add(draft)
        try:
            yield draft
            if not stands:
                if target.exists():
                    shutil.copymode(target, draft)
                draft.replace(target)
        finally:
            if not stands:
                draft.unlink(missing_ok=True)
                _drafts.discard(draft)
    except OSError as error:
        if error.filename is not None and Path(error.filename) != draft:
            raise
        raise ConfigError(
            f"`{path}` must be a file in a folder that can be written "
            f"({error.strerror or error}); make the folder, make room or name another"
        ) from error
