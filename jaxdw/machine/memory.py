"""Memory of the emulated chip: data, and which of it was ever written."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Shaped

from jaxdw.maps.indexmap import Alike, HostOrDevice, IndexMap, gather, gather_written


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


def poisoned(
    result: Float32[Alike, "nhw outputs channels"],
    channels_written: Bool[HostOrDevice, "*written_nhw channels"] | None,
    windows_written: Bool[HostOrDevice, "nhw outputs"] | None,
) -> Float32[Alike, "nhw outputs channels"]:
    """Returns NaN for outputs of which a weight or a window element is poison.

    Args:
      channels_written, windows_written: whether all weights and all window elements of
        an output were ever written; None for all.
    """
    xp: Any = np if isinstance(result, np.ndarray) else jnp
    nan = np.float32(np.nan)
    if channels_written is not None:
        written = channels_written.reshape(-1, 1, result.shape[-1])
        result = xp.where(written, result, nan)
    if windows_written is not None:
        result = xp.where(windows_written[:, :, None], result, nan)
    return result
