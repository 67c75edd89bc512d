"""Comparing arrays of sources, and the first place where they differ."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from jaxdw.layouts.definition import UNWRITTEN, ZERO
from jaxdw.maps.indexmap import HostOrDevice, IndexMap

SHAPE = "shape of the map"  # the place of a failure after which nothing else is sure

Locator = Callable[..., tuple[int | None, str]]
Namer = Callable[[int], str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The first counter-example of one comparison.

    Attributes:
      rule: one of `RULES`.
      core: whose memory it is in; None if no core's.
      count: how many counter-examples there are.
    """

    rule: str
    core: int | None
    place: str
    expected: str
    found: str
    count: int = 1

    def __str__(self) -> str:
        core = "" if self.core is None else f"core {self.core}, "
        more = f" (and {self.count - 1} more)" if self.count > 1 else ""
        return (
            f"{self.rule}: {core}{self.place}: expected {self.expected}, found "
            f"{self.found}{more}"
        )


def held(index: HostOrDevice, size: int) -> np.ndarray:
    """Returns a map's sources; sentinels, and what is out of range, by their names."""
    index = np.asarray(index)
    inside = (index >= 0) & (index < size)
    return np.where(inside, index, np.where(index == size, ZERO, UNWRITTEN))


def through(places: np.ndarray, index_map: IndexMap, width: int = 0) -> np.ndarray:
    """Returns the sources of the destinations at `places`.

    Args:
      width: if given, a place stands for so many destinations, a last axis.
    """
    table = np.asarray(index_map.index).reshape(-1, *(width,) * bool(width))
    inside = (places >= 0) & (places < len(table))
    found = held(table[np.where(inside, places, 0)], index_map.size)
    nothing = np.where(places == ZERO, ZERO, UNWRITTEN)
    if width:
        inside, nothing = inside[..., None], nothing[..., None]
    return np.where(inside, found, nothing)


def source_name(source: int) -> str:
    """Says what a source stands for, sentinels too."""
    if source == ZERO:
        return "zero"
    return "memory that nobody wrote" if source == UNWRITTEN else f"source {source}"


def equal(rule: str, place: str, want: object, got: object) -> Iterator[Failure]:
    """Yields a failure of no one core if two values differ."""
    if want != got:
        want, got = str(want), str(got)
        yield Failure(rule=rule, core=None, place=place, expected=want, found=got)


def compare(
    rule: str, want: np.ndarray, got: HostOrDevice, place: Locator, name: Namer
) -> Iterator[Failure]:
    """Yields the first counter-example, if there is one.

    Args:
      place: gives core and place of an index into `want`.
      name: says what a value stands for.
    """
    got = np.asarray(got)
    wrong = want != got
    if wrong.any():
        at = tuple(int(i) for i in np.unravel_index(wrong.argmax(), wrong.shape))
        core, where = place(*at)
        yield Failure(
            rule=rule,
            core=core,
            place=where,
            expected=name(want[at].item()),
            found=name(got[at].item()),
            count=int(np.count_nonzero(wrong)),
        )


def check_map(
    rule: str,
    index_map: IndexMap,
    want: np.ndarray,
    num_sources: int,
    place: Locator,
    name: Namer = source_name,
) -> Iterator[Failure]:
    """Compares one map with what it has to be, its shape and sources as well."""
    got = held(index_map.index, index_map.size)
    yield from equal(rule, "number of sources", num_sources, index_map.size)
    yield from equal(rule, SHAPE, want.shape, got.shape)
    if want.shape == got.shape:
        yield from compare(rule, want, got, place, name)
