"""Programs kept whole: another process neither traces nor lowers them.

JAX's own cache keeps what XLA compiles, under a name that only tracing and lowering
tell: 0.1 to 0.2 s for one launch. Here a program's name is spelt from all that it
depends on: jaxdw's own source, JAX and its settings, the machine, what is static, and
the shapes of its operands. A name that cannot be spelt keeps nothing.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pickle
import platform
import sys
import time
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxlib.version import __version__ as jaxlib_version

from jaxdw.files import whole_file
from jaxdw.launch.cache import programs_folder
from jaxdw.xla import compiler_options

LOADED = "/jaxdw/program_loaded"  # the event of JAX's monitoring, with its seconds
_LEAST = "jax_persistent_cache_min_compile_time_secs"
_NEVER_S = 1e9  # that compiling takes
_PACKAGE = Path(__file__).parents[1]
# settings that look into a computation, or run it otherwise
_OTHERWISE = (
    *("jax_disable_jit", "jax_debug_nans", "jax_debug_infs", "jax_log_compiles"),
    "jax_default_device",
)


_programs: dict[Hashable, Callable[..., Any]] = {}  # of this process, by kind


def call(jitted: Any, *operands: Any, one_thread: bool = True, **static: Any) -> Any:
    """Calls a jitted function, by the program kept for it if there is one.

    Args:
      jitted: what `jax.jit` returned; what is kept is compiled as the chip is.
      one_thread: as `xla.compiler_options` takes it.
      static: its static arguments, all of them by keyword.
    """
    folder = programs_folder()
    if folder is None or any(getattr(jax.config, name) for name in _OTHERWISE):
        return jitted(*operands, **static)
    leaves, structure = jax.tree.flatten(operands)
    settings = jax.config.values.values()
    options = compiler_options(jax.default_backend(), one_thread=one_thread)
    ways = *(options or {}).items(), *static.items(), *settings
    kind = folder, jitted, structure, *map(_kind, leaves), *ways
    program = _programs.get(kind)
    if program is not None:
        return program(*leaves)
    try:
        file = folder / f"{_name(jitted, operands, static, options)}.program"
    except TypeError:
        return jitted(*operands, **static)
    found = _run_kept(file, leaves)
    if found is None:
        program = _compiled(file, jitted, operands, static, options)
        found = program, program(*leaves)
    _programs[kind], result = found
    return result


def _kind(leaf: Any) -> Hashable:
    """Returns what decides the program within this process, cheaper than its name."""
    if isinstance(leaf, jax.Array):
        return leaf.aval, leaf.sharding
    return leaf.shape, leaf.dtype


def _run_kept(file: Path, leaves: list) -> tuple[Callable[..., Any], Any] | None:
    """Returns the program that a file holds, and what it returned.

    None if it holds none that runs.
    """
    from jax.experimental import serialize_executable

    started = time.perf_counter()
    try:
        executable, out_tree = pickle.loads(file.read_bytes())
        in_tree = jax.tree.structure((tuple(leaves), {}))
        program = serialize_executable.deserialize_and_load(
            executable, in_tree, out_tree
        )
        seconds = time.perf_counter() - started
        result = jax.block_until_ready(program(*leaves))
    except Exception:  # of a file that is absent, cut short, or of another JAX
        return None
    jax.monitoring.record_event_duration_secs(LOADED, seconds)
    return program, result


def _compiled(
    file: Path, jitted: Any, operands: tuple, static: dict, options: dict | None
) -> Callable[..., Any]:
    """Compiles a program of the operands' arrays, and keeps it if that can be done.

    What JAX's own cache gives back cannot be: it lacks its code when it is loaded once
    more. So JAX is not to cache what is kept here.
    """
    from jax.experimental import serialize_executable

    leaves, structure = jax.tree.flatten(operands)

    def of_leaves(*leaves: Any) -> Any:
        return jitted.__wrapped__(*structure.unflatten(leaves), **static)

    lowered = jax.jit(of_leaves, compiler_options=options).lower(*leaves)
    hits = _Hits.count
    least = getattr(jax.config, _LEAST)
    jax.config.update(_LEAST, _NEVER_S)
    try:
        program = lowered.compile()
    finally:
        jax.config.update(_LEAST, least)
    if _Hits.count > hits:
        return program
    try:
        executable, _, out_tree = serialize_executable.serialize(program)
        held = pickle.dumps((executable, out_tree))
        with whole_file(file) as draft:
            draft.write_bytes(held)
    except Exception:  # no room, or a backend whose programs cannot be kept
        pass
    return program


class _Hits:
    """Programs that JAX's own cache gave back to this process."""

    count = 0

    @classmethod
    def on_event(cls, event: str, **_: Any) -> None:
        cls.count += event == "/jax/compilation_cache/cache_hits"


jax.monitoring.register_event_listener(_Hits.on_event)


def _name(jitted: Any, operands: tuple, static: dict, options: dict | None) -> str:
    spelt = [
        jitted.__module__,
        jitted.__qualname__,
        _spelt(operands),
        {name: _spelt_once(value) for name, value in static.items()},
        options,
        _settings(),
        _surroundings(),
    ]
    return hashlib.sha256(json.dumps(spelt, sort_keys=True).encode()).hexdigest()[:40]


def _spelt(value: Any) -> Any:
    """Spells a value as JSON: all of it, but of arrays only shape, type and place.

    Raises:
      TypeError: a value of another kind.
    """
    if isinstance(value, np.ndarray | jax.Array):
        weak = bool(getattr(value, "weak_type", False))
        on = value.devices() if isinstance(value, jax.Array) else ()
        where = sorted([device.platform, device.id] for device in on)
        return ["array", list(value.shape), value.dtype.name, weak, where]
    if dataclasses.is_dataclass(value):
        own = {
            f.name: _spelt(getattr(value, f.name)) for f in dataclasses.fields(value)
        }
        return [type(value).__qualname__, own]
    if isinstance(value, tuple | list):
        return [type(value).__qualname__, *map(_spelt, value)]
    if isinstance(value, Mapping):
        return ["mapping", [[_spelt(k), _spelt(v)] for k, v in value.items()]]
    if value is None or type(value) in (str, int, float, bool):
        return value
    raise TypeError(f"{type(value)} is not spelt")


_spelt_once = functools.lru_cache(maxsize=256, typed=True)(_spelt)


def _settings() -> dict[str, str]:
    """Returns JAX's settings as they stand, but for those of its own cache."""
    return {
        name: repr(value)
        for name, value in jax.config.values.items()
        if not name.startswith(("jax_compilation_cache", "jax_persistent_cache"))
    }


@functools.cache
def _surroundings() -> list[Any]:
    """Returns what stays while this process lasts: source, JAX, machine."""
    source = hashlib.sha256()
    for file in sorted(_PACKAGE.rglob("*.py")):
        source.update(file.read_bytes())
    flags = {name: value for name, value in os.environ.items() if "XLA" in name}
    devices = [f"{d.device_kind} {d.client.platform_version}" for d in jax.devices()]
    versions = [jax.__version__, jaxlib_version, sys.version]
    return [source.hexdigest(), flags, devices, versions, _processor()]


def _processor() -> list[str]:
    """Returns what is known of the processor, its instructions among it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return [platform.machine(), platform.processor(), platform.version()]
    told = ("model name", "flags", "Features", "CPU part")
    return sorted({line for line in lines if line.startswith(told)})
