"""Outputs in other places: units that are exchanged, rolled, late or cleared.

A move is found, not guessed: every unit of one output is looked up among those of
another by all its bits.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int, Int64, UInt64

from jaxdw.faults.file_layouts import LAYOUTS, has_layout
from jaxdw.faults.units import REVERSING, ROLLING, UNITS, Units, units_of
from jaxdw.faults.used_chip import Output
from jaxdw.plan.plan import Plan

_LEAST = 16  # elements that a move has to explain
_MOST_LISTED = 4  # units named one by one


@dataclasses.dataclass(frozen=True)
class Move:
    """One way from an output to another.

    Attributes:
      fault: id in the catalogue.
      detail: which units.
      output: what it makes of the output; NaN where that is not known.
    """

    fault: str
    detail: str
    output: Output


def mixed(values: Output) -> UInt64[np.ndarray, " outputs"]:
    """Returns a number for each value, the same for the same bits; 0 and -0 alike."""
    values = np.where(np.isnan(values), np.float32(np.nan), values + np.float32(0))
    bits = values.astype(np.float32).view(np.uint32).ravel().astype(np.uint64)
    bits = (bits ^ np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
    return (bits ^ (bits >> np.uint64(29))) * np.uint64(0x94D049BB133111EB)


def sum_of(values: Output) -> int:
    """Returns what does not change when values change places."""
    values = np.where(np.isnan(values), np.float32(np.nan), values + np.float32(0))
    return int(values.view(np.uint32).sum(dtype=np.uint64))


def _unit_sums(
    units: Units, numbers: UInt64[np.ndarray, " outputs"]
) -> UInt64[np.ndarray, " units"]:
    rng = np.random.default_rng(0)
    odd = rng.integers(0, 2**63, units.index.shape[1], dtype=np.uint64) * 2 + 1
    padded = np.append(numbers, np.uint64(1))
    return (padded[units.index] * odd).sum(axis=1, dtype=np.uint64)


def moves(plan: Plan, want: Output, got: Output) -> Iterator[Move]:
    """Yields every move that makes `got` of `want`, the simplest division first.

    One that leaves places unknown has NaN there.
    """
    yield from _as_a_whole(plan, want, got)
    numbers = mixed(want), mixed(got)
    reordered = []
    for name in UNITS:
        units = units_of(plan, name)
        if len(units.index) < 2:
            continue
        sums = [_unit_sums(units, n) for n in numbers]
        order = _order(units, *sums)
        if order is not None:
            fault, detail = _describe(units, order)
            move = Move(fault, detail, reorder(want, units, order))
            if fault == "reordered":
                reordered.append(move)
            else:
                yield move
            continue
        shift = _shift(*sums) if name in ROLLING else None
        if shift is not None:
            yield _late(units, want, shift)
        else:
            yield from _repeated(units, want, *sums)
    yield from reordered[:1]


def _order(
    units: Units, want: UInt64[np.ndarray, " units"], got: UInt64[np.ndarray, " units"]
) -> Int64[np.ndarray, " units"] | None:
    """Returns the unit of `want` in each place of `got`; None if some are of neither.

    Units that are alike (channels of zeros) leave several orders: a regular one is
    taken before any other. None, too, if all units are in their own place.
    """
    moved = np.flatnonzero(want != got)
    if not moved.size or not np.array_equal(np.sort(want[moved]), np.sort(got[moved])):
        return None
    order = np.arange(len(want))
    if len(moved) > 2:
        for regular in _regular_orders(units, want, got):
            if np.array_equal(want[regular], got):
                return regular
    by_sum = moved[np.argsort(want[moved], kind="stable")]
    order[moved[np.argsort(got[moved], kind="stable")]] = by_sum
    return order


def _regular_orders(
    units: Units, want: UInt64[np.ndarray, " units"], got: UInt64[np.ndarray, " units"]
) -> Iterator[Int64[np.ndarray, " units"]]:
    own = np.arange(len(want))
    if units.name in REVERSING:
        yield own[::-1]
    if units.name == "channel" and len(own) % 2 == 0:
        yield own ^ 1
    if units.name in ROLLING:
        once = np.unique(want, return_counts=True)
        single = once[0][once[1] == 1]
        telling = np.flatnonzero(np.isin(want, single))[:1]
        for unit in telling:  # the one roll that brings it where it is
            for place in np.flatnonzero(got == want[unit]):
                yield np.roll(own, place - unit)


def reorder(want: Output, units: Units, order: Int[np.ndarray, " units"]) -> Output:
    """Returns an output with each unit's values from the unit that `order` gives."""
    flat, moved = want.ravel(), want.ravel().copy()
    to, source = units.index, units.index[order]
    both = (to >= 0) & (source >= 0)
    moved[to[both]] = flat[source[both]]
    return moved.reshape(want.shape)


def _describe(units: Units, order: Int64[np.ndarray, " units"]) -> tuple[str, str]:
    """Returns the id and the words for an order of units."""
    count, own = len(order), np.arange(len(order))
    changed = np.flatnonzero(order != own)
    plural = units.plural.replace("-", " ")
    if len(changed) == 2:
        first, second = changed
        return f"{units.plural}-swapped", f"{plural} {first} and {second}"
    steps = (own - order) % count
    if (steps == steps[0]).all() and units.name in ROLLING:
        step = int(steps[0]) if steps[0] <= count // 2 else int(steps[0]) - count
        return f"{units.plural}-rolled", f"{plural} rolled by {step}"
    if (order == own[::-1]).all() and units.name in REVERSING:
        return f"{units.plural}-reversed", f"all {count} {plural} in reverse"
    if units.name == "channel" and count % 2 == 0 and (order == own ^ 1).all():
        return "channels-paired", "channels 2 i and 2 i + 1 for each other"
    rolled = _rolled_inside(order)
    if rolled is not None:
        return "reordered", f"{plural} rolled by {rolled[1]} within every {rolled[0]}"
    listed = ", ".join(f"{order[i]} in place of {i}" for i in changed[:_MOST_LISTED])
    more = ", ..." * (len(changed) > _MOST_LISTED)
    return "reordered", f"{len(changed)} {plural} in another order: {listed}{more}"


def _rolled_inside(order: Int64[np.ndarray, " units"]) -> tuple[int, int] | None:
    """Returns the length of equal groups, and the roll within each."""
    count = len(order)
    for group in range(3, count // 2 + 1):
        if count % group == 0:
            inside = order.reshape(-1, group) - np.arange(0, count, group)[:, None]
            steps = (np.arange(group) - inside) % group
            alike = (inside >= 0).all() and (inside < group).all()
            if alike and (steps == steps[0, 0]).all():
                return group, int(steps[0, 0])
    return None


def _shift(want: UInt64[np.ndarray, " units"], got) -> int | None:
    """Returns by how many places all units are late, but those past an end."""
    count = len(want)
    for step in (1, -1, 2, -2, 3, -3, 4, -4):
        kept = count - abs(step)
        if kept < 2:
            continue
        early, late = (want, got) if step > 0 else (got, want)
        if np.array_equal(early[:kept], late[abs(step) :]) and (want != got).any():
            if len(np.unique(want)) > 2:
                return step
    return None


def _late(units: Units, want: Output, step: int) -> Move:
    count = len(units.index)
    order = np.arange(count) - step
    inside = (order >= 0) & (order < count)
    moved = reorder(want, units, np.clip(order, 0, count - 1))
    flat = moved.ravel()
    flat[units.index[~inside][units.index[~inside] >= 0]] = np.nan
    plural = units.plural.replace("-", " ")
    way = "late" if step > 0 else "early"
    end = "first" if step > 0 else "last"
    detail = f"{plural} {abs(step)} {way}; nothing says what the {end} {abs(step)} hold"
    return Move(f"{units.plural}-late", detail, flat.reshape(want.shape))


def _repeated(
    units: Units, want: Output, want_sums: UInt64[np.ndarray, " units"], got_sums
) -> Iterator[Move]:
    """Yields the move that has units hold what others should."""
    changed = np.flatnonzero(want_sums != got_sums)
    found = {int(s): i for i, s in reversed(list(enumerate(want_sums)))}
    sources = [found.get(int(got_sums[i]), -1) for i in changed]
    if not changed.size or -1 in sources or units.index.shape[1] < _LEAST:
        return
    order = np.arange(len(want_sums))
    order[changed] = sources
    moved = reorder(want, units, order)
    one = units.plural[:-1].replace("-", " ")
    listed = ", ".join(
        f"{one} {i} holds what {order[i]} should" for i in changed[:_MOST_LISTED]
    )
    yield Move("repeated", listed + ", ..." * (len(changed) > _MOST_LISTED), moved)


def _as_a_whole(plan: Plan, want: Output, got: Output) -> Iterator[Move]:
    for name, layout in LAYOUTS.items():
        if has_layout(name, plan):
            moved = layout(plan, want)
            if np.array_equal(moved, got, equal_nan=True):
                yield Move(name, "", moved)
