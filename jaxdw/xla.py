"""What XLA is told beside the computation itself."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import Array, Bool, Float32, PyTree, Shaped, UInt32

USE_CALLERS_THREAD = True  # False: small computations are dispatched as JAX does


def compiler_options(
    backend: str, *, one_thread: bool = False
) -> dict[str, str] | None:
    """Returns what XLA is told of the chip's computations.

    On a CPU with 512-bit vectors they use their full width (measured: 1.5 times faster
    than the 256 bits that XLA chooses itself).

    Args:
      one_thread: whether XLA is to leave out the pass that spreads a computation over
        threads. It spreads even 0.02 ms of work, and waits 0.05 to 0.1 ms for a thread
        that sleeps.
    """
    if backend != "cpu":
        return None
    options = {"xla_cpu_prefer_vector_width": "512"}
    if one_thread:
        options["xla_disable_hlo_passes"] = "cpu-parallel-task-assigner"
    return options


def computed_once(results: PyTree) -> PyTree:
    """Returns the results of a call of a jitted function, computed once, in memory.

    XLA on a CPU would fuse the call into every use of its results: it rounds the input
    again at each kernel position (measured: 6 times slower).
    """
    if jax.default_backend() != "cpu":
        return results
    return set_xla_metadata(results, inlineable="false")


def in_pairs(
    part: Callable[[int, int], Shaped[Array, "..."]], length: int, *, axis: int
) -> Shaped[Array, "..."]:
    """Returns values of bf16, in float32, both halves computed in one loop.

    A chain in which each operation waits for the one before leaves most of a core idle:
    two such chains side by side take little longer than one. XLA runs them so if both
    make one result, here the 16 bits of two values. It takes 0.2 s longer to compile.

    Args:
      part: from the first along `axis`, and how many along it, to those values.
      length: of all values along `axis`, even.
    """
    size = length // 2

    @jax.jit
    def both() -> Shaped[Array, "..."]:
        bits = (
            jax.lax.bitcast_convert_type(part(first, size), jnp.uint32)
            for first in (0, size)
        )
        low, high = bits
        return low >> 16 | high

    packed = jnp.expand_dims(computed_once(both()), axis)
    is_high = jnp.arange(2).reshape(2, *[1] * (packed.ndim - 1 - axis)) == 1
    values = half_of(packed, is_high)
    return values.reshape(*packed.shape[:axis], length, *packed.shape[axis + 2 :])


def half_of(
    words: UInt32[Array, "..."], is_upper: Bool[Array, "..."]
) -> Float32[Array, "..."]:
    """Returns the bf16 that one half of each word holds, in float32."""
    bits = jnp.where(is_upper, words & jnp.uint32(0xFFFF0000), words << 16)
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


def may_run_in_caller() -> bool:
    """Whether `in_callers_thread` helps and costs nothing.

    It does nothing that `jax_cpu_enable_async_dispatch=False` does not, and what it
    compiles is not kept in JAX's compilation cache.
    """
    return (
        USE_CALLERS_THREAD
        and jax.default_backend() == "cpu"
        and not jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
        and jax.config.read("jax_cpu_enable_async_dispatch")
    )


def in_callers_thread(function: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """Returns a function that, jitted, runs in the thread that calls it, on a CPU.

    JAX hands a computation to another thread and puts the caller to sleep, which wakes
    some 0.07 ms late: more than a small layer takes. A computation with a host callback
    runs in the caller's thread, even if XLA finds that nobody needs what it returns and
    drops it. Only `jax_cpu_enable_async_dispatch`, a setting of the whole process, does
    the same (openxla/xla issue 18608).
    """

    def never() -> np.ndarray:
        raise AssertionError("a callback that XLA drops was called")

    def with_callback(value: jax.Array) -> jax.Array:
        called = jax.pure_callback(never, jax.ShapeDtypeStruct((), value.dtype))
        return jnp.where(np.zeros((), bool), called, value)

    @functools.wraps(function)
    def wrapped(*arguments: object, **options: object) -> PyTree:
        leaves, structure = jax.tree.flatten(function(*arguments, **options))
        if not isinstance(leaves[0], Tracer):  # not compiled: jax_disable_jit
            return structure.unflatten(leaves)
        return structure.unflatten([with_callback(leaves[0]), *leaves[1:]])

    return wrapped
