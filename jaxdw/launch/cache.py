"""What XLA compiles: kept between runs, and counted. Imports JAX only if it must."""

import os
from pathlib import Path

from jaxdw.errors import ConfigError


def cache_directory() -> Path:
    """Returns `$JAXDW_CACHE`, or `jaxdw` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("JAXDW_CACHE") or Path(base) / "jaxdw")


def own_folder(directory: str | Path, name: str = "JAXDW_CACHE") -> Path:
    """Returns the folder, made for its owner alone if it is new.

    What is read from it will run.

    Args:
      name: what named it.

    Raises:
      ConfigError: others own it or may write to it.
    """
    path = Path(directory)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    except (OSError, ValueError):
        return path  # JAX says that it keeps nothing, and goes on
    if found.st_uid not in (os.getuid(), 0):
        raise ConfigError(
            f"`{name}` (={str(path)!r}) must be your own folder, not that of "
            f"user {found.st_uid}: programs in it will run; name another"
        )
    if found.st_mode & 0o022:
        raise ConfigError(
            f"`{name}` (={str(path)!r}, mode {found.st_mode & 0o777:o}) must not "
            "be writable by others: programs in it will run; use `chmod go-w` or name "
            "another folder"
        )
    return path


def cache_settings(directory: str | Path) -> dict[str, str | int | bool]:
    """Returns settings of JAX for a process that is jaxdw's own.

    They keep every computation, however small, and run it in the thread that calls.
    """
    return {
        "jax_cpu_enable_async_dispatch": False,
        "jax_compilation_cache_dir": str(directory),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }


class _Programs:
    folder: Path | None = None


def keep_programs(directory: str | Path | None) -> None:
    """Has this process keep whole programs in a folder, and run those that it holds.

    Args:
      directory: that nobody else may write to (`own_folder`): what is read from it
        runs. None to keep none.
    """
    _Programs.folder = None if directory is None else Path(directory)


def programs_folder() -> Path | None:
    """Returns where this process keeps whole programs; None if it keeps none."""
    return _Programs.folder


def enable_cache(directory: str | Path | None = None) -> Path:
    """Keeps what this process compiles for the next one, as the command does.

    Call it before the first computation of JAX.

    Args:
      directory: the command's own if None: `$JAXDW_CACHE`, or the user's cache folder.

    Returns:
      The folder.

    Raises:
      ConfigError: others own it or may write to it.
    """
    import jax

    name = "JAXDW_CACHE" if directory is None else "directory"
    directory = own_folder(cache_directory() if directory is None else directory, name)
    for name, value in cache_settings(directory).items():
        jax.config.update(name, value)
    keep_programs(directory)
    return directory


def check_platform() -> None:
    """Starts JAX if the environment names its platform.

    Raises:
      ConfigError: JAX cannot run on it.
    """
    asked = os.environ.get("JAX_PLATFORMS")
    if not asked or asked == "cpu":
        return
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines() or ["JAX finds no such device"]
        raise ConfigError(
            f"`JAX_PLATFORMS` (={asked!r}) must be one that JAX can run on here: "
            f"{why[0]}; unset it, or use cpu"
        ) from error


class CompileClock:
    """Counts what XLA compiles inside its block, and the seconds of it."""

    _active: "CompileClock | None" = None
    _listening = False

    def __init__(self):
        self.seconds = 0.0
        self.compilations = 0

    def __enter__(self):
        cls = type(self)
        if not cls._listening:
            from jax import monitoring

            monitoring.register_event_duration_secs_listener(cls._on_duration)
            monitoring.register_event_listener(cls._on_event)
            cls._listening = True
        cls._active = self
        return self

    def __exit__(self, *_):
        type(self)._active = None

    @classmethod
    def _on_duration(cls, event: str, duration_secs: float, **_):
        if cls._active is None:
            return
        if event.startswith(("/jax/core/compile/", "/jaxdw/")):
            cls._active.seconds += duration_secs
        if event == "/jax/core/compile/backend_compile_duration":
            cls._active.compilations += 1

    @classmethod
    def _on_event(cls, event: str, **_):
        if cls._active is not None and event == "/jax/compilation_cache/cache_hits":
            cls._active.compilations -= 1
