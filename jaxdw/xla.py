"""What XLA is told beside the computation itself."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import Array, PyTree, Shaped

USE_CALLERS_THREAD = True  # False: small computations are dispatched as JAX does
ONE_THREAD_BYTES = 2**19  # that XLA clears without another thread


def compiler_options(backend: str) -> dict[str, str] | None:
    """Returns what XLA is told of the chip's computations.

    On a CPU with 512-bit vectors they use their full width (measured: 1.5 times faster
    than the 256 bits that XLA chooses itself).
    """
    return {"xla_cpu_prefer_vector_width": "512"} if backend == "cpu" else None


def computed_once(results: PyTree) -> PyTree:
    """Returns the results of a call of a jitted function, computed once, in memory.

    XLA on a CPU would fuse the call into every use of its results: it rounds the input
    again at each kernel position (measured: 6 times slower).
    """
    if jax.default_backend() != "cpu":
        return results
    return set_xla_metadata(results, inlineable="false")


def in_parts(
    part: Callable[[Any, int], Shaped[Array, "..."]],
    length: int,
    *,
    into: Shaped[Array, "*shape"],
    at: tuple[int, ...],
    axis: int,
    one_thread: bool,
) -> Shaped[Array, "*shape"]:
    """Writes values into an array; in one thread, if that is quicker.

    XLA on a CPU spreads even a microsecond's work over threads, and waits for those
    that sleep (measured: 50 to 100 us, more than a small layer takes). What a loop
    writes into parts of an array it does not spread. Nor the clearing of the array
    before, up to `ONE_THREAD_BYTES`. Such a launch takes 0.1 s longer to compile; less
    if parts are sliced with `allow_negative_indices=False`.

    Args:
      part: from the first along `axis`, and how many along it, to those values.
      length: of all values along `axis`.
      at: where in `into` they begin.
      one_thread: False where the work is worth another thread, or the array larger.
    """
    if length == 1 or not one_thread or jax.default_backend() != "cpu":
        return jax.lax.dynamic_update_slice(into, part(0, length), at)
    size = -(-length // 2)

    def add_part(n: jax.Array, done: jax.Array) -> jax.Array:
        first = n * (length - size)
        starts = [*at[:axis], at[axis] + first, *at[axis + 1 :]]
        return jax.lax.dynamic_update_slice(
            done, part(first, size), starts, allow_negative_indices=False
        )

    return jax.lax.fori_loop(0, 2, add_part, into)


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
    bits = jnp.where(is_high, packed >> 16 << 16, packed << 16)
    values = jax.lax.bitcast_convert_type(bits, jnp.float32)
    return values.reshape(*packed.shape[:axis], length, *packed.shape[axis + 2 :])


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
