"""What XLA compiles: kept between runs, and counted. Imports JAX only to count."""

import os
from pathlib import Path


def cache_directory() -> Path:
    """Returns `$JAXDW_CACHE`, or `jaxdw` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("JAXDW_CACHE") or Path(base) / "jaxdw")


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


def enable_cache(directory: str | Path | None = None) -> Path:
    """Keeps what this process compiles for the next one, as the command does.

    Call it before the first computation of JAX.

    Args:
      directory: the command's own if None: `$JAXDW_CACHE`, or the user's cache folder.

    Returns:
      The folder.
    """
    import jax

    directory = cache_directory() if directory is None else Path(directory)
    for name, value in cache_settings(directory).items():
        jax.config.update(name, value)
    return directory


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
        if event.startswith("/jax/core/compile/"):
            cls._active.seconds += duration_secs
        if event == "/jax/core/compile/backend_compile_duration":
            cls._active.compilations += 1

    @classmethod
    def _on_event(cls, event: str, **_):
        if cls._active is not None and event == "/jax/compilation_cache/cache_hits":
            cls._active.compilations -= 1
