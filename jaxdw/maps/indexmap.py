"""The index map: for each destination its one source, or nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int32, Shaped

HostOrDevice = np.ndarray | jax.Array  # maps are built as the one, run as the other


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class IndexMap:
    """A gather: destination `i` takes source `index[i]`.

    Invariant: `0 <= index <= size + 1`. `size` is padding, which reads as zero;
    `size + 1` is memory that nobody wrote, which reads as poison.
    """

    index: Int32[HostOrDevice, "..."]
    size: int = dataclasses.field(metadata={"static": True})  # number of sources

    @property
    def padding(self) -> int:
        return self.size

    @property
    def poison(self) -> int:
        return self.size + 1


def make_index_map(index: np.ndarray, size: int) -> IndexMap:
    """Checks an index array on the host and returns it as a map of int32.

    Raises:
      ValueError: an index below 0 or above the poison sentinel, or too many sources.
    """
    if size + 1 > np.iinfo(np.int32).max:
        raise ValueError(f"`size` (={size}) must leave int32 room for two sentinels")
    if index.size:
        least, most = int(index.min()), int(index.max())
        if least < 0 or most > size + 1:
            raise ValueError(
                f"`index` (={least} to {most}) must lie in 0 to {size + 1} (={size} "
                f"sources, then padding, then poison)"
            )
    return IndexMap(np.ascontiguousarray(index, dtype=np.int32), size)


def compose(outer: IndexMap, inner: IndexMap) -> IndexMap:
    """Returns the one map that moves as `inner` and then `outer` do.

    `outer` counts the destinations of `inner` in row-major order.

    Raises:
      ValueError: `outer` expects another number of sources than `inner` fills.
    """
    if outer.size != inner.index.size:
        raise ValueError(
            f"`outer.size` (={outer.size}) must equal the destinations of `inner` "
            f"(={inner.index.size})"
        )
    sentinels = np.array([inner.padding, inner.poison], np.int32)
    table = np.concatenate([np.asarray(inner.index).ravel(), sentinels])
    return IndexMap(table[np.asarray(outer.index)], inner.size)


def widen(index_map: IndexMap, width: int) -> IndexMap:
    """Returns the map of elements for a map of rows of `width` elements.

    Destinations gain a last axis of `width`; sentinels stay what they are.
    """
    rows = np.asarray(index_map.index, np.int64)[..., None]
    size = index_map.size * width
    elements = rows * width + np.arange(width)
    elements = np.where(rows == index_map.padding, size, elements)
    elements = np.where(rows == index_map.poison, size + 1, elements)
    return make_index_map(elements, size)


def offset_shards(index_map: IndexMap) -> IndexMap:
    """Turns a map `[shards, ...]` into rows of one shard into one into all shards."""
    local = np.asarray(index_map.index, np.int64)
    num_shards = local.shape[0]
    shard = np.arange(num_shards).reshape(-1, *(1,) * (local.ndim - 1))
    beyond = (num_shards - 1) * index_map.size  # from a local sentinel to a global one
    step = np.where(local < index_map.size, shard * index_map.size, beyond)
    return make_index_map(local + step, num_shards * index_map.size)


def gather(source: Shaped[Array, "..."], index_map: IndexMap) -> Shaped[Array, "..."]:
    """Gathers along the leading axis: padding reads as 0, unwritten memory as poison.

    Poison is NaN in floats and the type's maximum in integers.

    Args:
      source: `[size, ...]`.

    Returns:
      `[*index.shape, ...]` of the source's dtype.
    """
    if source.shape[0] != index_map.size:
        raise ValueError(
            f"`source` (={source.shape[0]} rows) must have the {index_map.size} rows "
            f"its map was made for"
        )
    found = source.at[index_map.index].get(mode="fill", fill_value=0)
    poison = jnp.nan
    if jnp.issubdtype(source.dtype, jnp.integer):
        poison = np.iinfo(source.dtype).max
    unwritten = _unwritten(index_map, source.ndim)
    return jnp.where(unwritten, jnp.asarray(poison, source.dtype), found)


def gather_written(
    written: Bool[Array, "..."], index_map: IndexMap
) -> Bool[Array, "..."]:
    """Moves the flags that say which memory was written, as `gather` moves data."""
    found = written.at[index_map.index].get(mode="fill", fill_value=True)
    return found & ~_unwritten(index_map, written.ndim)


def _unwritten(index_map: IndexMap, source_ndim: int) -> Bool[Array, "..."]:
    trailing = (1,) * (source_ndim - 1)
    unwritten = jnp.asarray(index_map.index == index_map.poison)
    return unwritten.reshape(*index_map.index.shape, *trailing)
