"""The index map: for each destination its one source, or nothing."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Int32, PyTree, Shaped

from jaxdw.errors import UnsupportedError, refuse

HostOrDevice = np.ndarray | jax.Array  # maps are built as the one, run as the other
Tree = TypeVar("Tree")
Alike = TypeVar("Alike", np.ndarray, jax.Array)  # what comes in as the one leaves so


@runtime_checkable
class Sources(Protocol):
    """What names the one source of each destination: a table, or a formula.

    `size` counts the sources, `destinations` the destinations.
    """

    @property
    def size(self) -> int: ...

    @property
    def destinations(self) -> int: ...

    def at(self, places: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
        """Returns the sources of destinations, counted in row-major order.

        A place of `destinations` is padding, one more is poison: so are their sources,
        `size` and `size + 1`.
        """
        ...


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

    @property
    def destinations(self) -> int:
        return self.index.size

    def at(self, places: Int[np.ndarray, "*shape"]) -> Int32[np.ndarray, "*shape"]:
        """Returns the sources of destinations, as `Sources.at`."""
        sentinels = np.array([self.padding, self.poison], np.int32)
        return np.concatenate([np.asarray(self.index).ravel(), sentinels])[places]

    def reshape(self, *shape: int) -> "IndexMap":
        """Returns the same map with its destinations in another shape."""
        return IndexMap(self.index.reshape(*shape), self.size)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FormulaMap:
    """A gather too large for a table: destination `i` takes source `rule(i)`.

    It answers single places on the host; no array of all is ever made.
    """

    rule: Callable[[np.ndarray], np.ndarray] = dataclasses.field(
        metadata={"static": True}
    )
    size: int = dataclasses.field(metadata={"static": True})
    destinations: int = dataclasses.field(metadata={"static": True})

    def at(self, places: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
        """Returns the sources of destinations, as `Sources.at`."""
        places = np.asarray(places, np.int64)
        inside = places < self.destinations
        found = self.rule(np.where(inside, places, 0))
        return np.where(inside, found, self.size + places - self.destinations)


def as_table(sources: Sources, question: str) -> IndexMap:
    """Returns a map that has a table.

    Args:
      question: what it is for, "traced" for one.

    Raises:
      UnsupportedError: it is a formula.
    """
    if not isinstance(sources, IndexMap):
        raise UnsupportedError(
            f"a map (={sources.destinations} elements) must be a table to be "
            f"{question}; this one is a formula, too large for a table: use a layer of "
            "fewer channels, whose places follow the same formula"
        )
    return sources


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


def check_indices(maps: PyTree) -> None:
    """Checks that every map of a tree names sources that it has.

    Raises:
      ConfigError: an index below 0 or past the sentinels.
    """
    found = []
    leaves, _ = jax.tree_util.tree_flatten_with_path(
        maps, is_leaf=lambda leaf: isinstance(leaf, IndexMap)
    )
    for path, leaf in leaves:
        if not isinstance(leaf, IndexMap) or not leaf.index.size:
            continue
        least, most = int(leaf.index.min()), int(leaf.index.max())
        if least < 0 or most > leaf.poison:
            found.append(
                f"`maps{jax.tree_util.keystr(path)}` (={least if least < 0 else most}) "
                f"must hold indices from 0 to {leaf.poison}; use {leaf.padding} for "
                f"padding, {leaf.poison} for memory that nobody wrote"
            )
    refuse(found)


def poison_outside(maps: Tree) -> Tree:
    """Returns traced maps in which sources that a map does not have are poison.

    `check_indices` refuses those of maps at hand, which can be looked at.
    """

    def checked(leaf: Any) -> Any:
        if not isinstance(leaf, IndexMap):
            return leaf
        outside = (leaf.index < 0) | (leaf.index > leaf.poison)
        return IndexMap(jnp.where(outside, leaf.poison, leaf.index), leaf.size)

    return jax.tree.map(checked, maps, is_leaf=lambda leaf: isinstance(leaf, IndexMap))


def compose(outer: IndexMap, inner: IndexMap) -> IndexMap:
    """Returns the one map that moves as `inner` and then `outer` do.

    `outer` counts the destinations of `inner` in row-major order.

    Raises:
      ValueError: `outer` expects another number of sources than `inner` fills.
    """
    if outer.size != inner.destinations:
        raise ValueError(
            f"`outer.size` (={outer.size}) must equal the destinations of `inner` "
            f"(={inner.destinations})"
        )
    return IndexMap(inner.at(np.asarray(outer.index)), inner.size)


def follow(
    elements: Int[np.ndarray, "*shape"], rows: Sources, width: int = 1
) -> Int[np.ndarray, "*shape"]:
    """Returns the source of each element, where whole rows of `width` elements move.

    Sentinels are those of elements: `rows.destinations * width` and one more before,
    `rows.size * width` and one more after.
    """
    elements = np.asarray(elements, np.int64)
    row, inside = np.divmod(elements, width)
    row = np.where(elements > rows.destinations * width, rows.destinations + 1, row)
    return element_of(rows.at(row), inside, rows.size, width)


def element_of(
    row: Int[np.ndarray, "..."], inside: Int[np.ndarray, "..."], size: int, width: int
) -> Int[np.ndarray, "..."]:
    """Returns an element of each row; sentinels of rows become those of elements.

    Args:
      inside: which element of the row; size: how many rows there are.
    """
    row = np.asarray(row, np.int64)
    return np.where(row < size, row * width + inside, size * (width - 1) + row)


def widen(index_map: IndexMap, width: int) -> IndexMap:
    """Returns the map of elements for a map of rows of `width` elements.

    Destinations gain a last axis of `width`; sentinels stay what they are.
    """
    rows = np.asarray(index_map.index)[..., None]
    elements = element_of(rows, np.arange(width), index_map.size, width)
    return make_index_map(elements, index_map.size * width)


def narrow(index_map: IndexMap, width: int) -> IndexMap:
    """Returns the row, of `width` elements, in which each source of a map lies.

    Sentinels stay what they are.
    """
    xp = np if isinstance(index_map.index, np.ndarray) else jnp
    unwritten = index_map.index == index_map.poison
    size = index_map.size // width
    return IndexMap(xp.where(unwritten, size + 1, index_map.index // width), size)


def offset_shards(index_map: IndexMap) -> IndexMap:
    """Turns a map `[shards, ...]` into rows of one shard into one into all shards."""
    local = np.asarray(index_map.index, np.int64)
    num_shards = local.shape[0]
    shard = np.arange(num_shards).reshape(-1, *(1,) * (local.ndim - 1))
    beyond = (num_shards - 1) * index_map.size  # from a local sentinel to a global one
    step = np.where(local < index_map.size, shard * index_map.size, beyond)
    return make_index_map(local + step, num_shards * index_map.size)


def gather(source: Shaped[Alike, "..."], index_map: IndexMap) -> Shaped[Alike, "..."]:
    """Gathers along the leading axis: padding reads as 0, unwritten memory as poison.

    Poison is NaN in floats and the type's maximum in integers. Host arrays are gathered
    on the host.

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
    poison = np.nan
    if jnp.issubdtype(source.dtype, jnp.integer):
        poison = np.iinfo(source.dtype).max
    if isinstance(source, np.ndarray):
        ends = np.zeros((2, *source.shape[1:]), source.dtype)
        ends[1] = poison
        return np.concatenate([source, ends])[np.asarray(index_map.index)]
    found = source.at[index_map.index].get(mode="fill", fill_value=0)
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
