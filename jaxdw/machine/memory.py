"""Memory of the emulated chip: data, and which of it was ever written."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import Array, Bool, PyTree, Shaped

from jaxdw.maps.indexmap import IndexMap, gather, gather_written


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Memory:
    """Rows of memory (pages, sticks) and a flag for each: was it ever written?

    Invariant: `data.shape[: written.ndim] == written.shape`; unwritten rows hold
    poison, NaN in floats and 255 in bytes.
    """

    data: Shaped[Array, "..."]
    written: Bool[Array, "..."]

    @classmethod
    def full(cls, data: Shaped[Array, "rows ..."]) -> "Memory":
        """Returns memory whose every row was written."""
        return cls(data, jnp.ones(data.shape[0], bool))

    def move(self, index_map: IndexMap) -> "Memory":
        """Returns the memory that holds, row for row, what the map names.

        The map counts the rows of this memory in row-major order.
        """
        axes = self.written.ndim
        data = self.data.reshape(-1, *self.data.shape[axes:])
        written = self.written.reshape(-1)
        return Memory(gather(data, index_map), gather_written(written, index_map))


def made(results: PyTree) -> PyTree:
    """Returns the results of a call of a jitted function, made once, in memory.

    XLA on a CPU would fuse the call into every use of its results: it rounds the input
    again at each kernel position (measured: 6 times slower).
    """
    if jax.default_backend() != "cpu":
        return results
    return set_xla_metadata(results, inlineable="false")
