"""Where compiled programs are kept between runs. Imports nothing of JAX."""

import os
from pathlib import Path


def cache_directory() -> Path:
    """Returns `$JAXDW_CACHE`, or `jaxdw` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("JAXDW_CACHE") or Path(base) / "jaxdw")


def cache_settings(directory: str | Path) -> dict[str, str | int]:
    """Returns the settings of JAX that keep every program, however small."""
    return {
        "jax_compilation_cache_dir": str(directory),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
