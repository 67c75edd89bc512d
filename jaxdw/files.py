"""Files that are written whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from jaxdw.errors import ConfigError


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Gives a draft beside `path` to write to, which replaces it at the end.

    If anything is raised before, `path` is as it was and the draft is gone.

    Raises:
      ConfigError: the folder does not exist or cannot be written, or has no room.
    """
    path = Path(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            yield draft
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"`{path}` must be a file in a folder that can be written "
            f"({error.strerror}); make the folder, make room or name another"
        ) from error
