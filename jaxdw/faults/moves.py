"""Outputs in other places: units that are exchanged, rolled, late or cleared.

A move is found, not guessed: every unit of one output is looked up among those of
another by all its bits.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Int, Int64, UInt64

from jaxdw.faults.used_chip import Output
from jaxdw.judge.comparison import core_of
from jaxdw.plan.plan import Plan
from jaxdw.plan.units import FACE, TILE, TILE_ELEMS, round_up, tile_place

_LEAST = 16  # elements that a move has to explain
_MOST_LISTED = 4  # units named one by one


@dataclasses.dataclass(frozen=True)
class Units:
    """The equal parts that an output has in one way of dividing it.

    Attributes:
      name, plural: of one and of several.
      index: `[units, elements]`, places in the output; -1 past the end.
    """

    name: str
    plural: str
    index: Int[np.ndarray, "units elements"]


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


UNITS: dict[str, tuple[str, Callable[[Plan], Int[np.ndarray, "units elements"]]]] = {
    "image": ("images", lambda plan: _places(plan).reshape(plan.conv.batch, -1)),
    "NHW shard": ("shards", lambda plan: _shards(plan)),
    "channel shard": ("channel-shards", lambda plan: _channel_shards(plan)),
    "core": ("cores", lambda plan: _cores(plan)),
    "row": ("image-rows", lambda plan: _along(plan, 1)),
    "column": ("image-columns", lambda plan: _along(plan, 2)),
    "channel": ("channels", lambda plan: _along(plan, 3)),
    "stick": ("sticks", lambda plan: _places(plan).reshape(-1, plan.conv.channels)),
    "tile": ("tiles", lambda plan: _tiles(plan, TILE)),
    "face": ("faces", lambda plan: _tiles(plan, FACE)),
}


ROLLING = ("row", "column", "channel", "stick")  # and late
REVERSING = ("row", "column", "channel")


def _places(plan: Plan) -> Int[np.ndarray, "n ho wo c"]:
    return np.arange(np.prod(plan.output_shape)).reshape(plan.output_shape)


def _along(plan: Plan, axis: int) -> Int[np.ndarray, "units elements"]:
    places = np.moveaxis(_places(plan), axis, 0)
    return places.reshape(len(places), -1)


def _padded(parts: list[np.ndarray]) -> Int[np.ndarray, "units elements"]:
    most = max((part.size for part in parts), default=0)
    return np.array(
        [np.pad(p.ravel(), (0, most - p.size), constant_values=-1) for p in parts]
    ).reshape(len(parts), most)


def _shards(plan: Plan) -> Int[np.ndarray, "units elements"]:
    sticks = _places(plan).reshape(-1, plan.conv.channels)
    shard, _ = core_of(plan)
    return _padded([sticks[shard == s] for s in range(plan.num_nhw_shards)])


def _channel_shards(plan: Plan) -> Int[np.ndarray, "units elements"]:
    sticks = _places(plan).reshape(-1, plan.conv.channels)
    return _padded([sticks[:, columns] for columns in _columns(plan)])


def _columns(plan: Plan) -> list[slice]:
    width = plan.output_shard.channels
    return [slice(c, c + width) for c in range(0, plan.conv.channels, width)]


def _cores(plan: Plan) -> Int[np.ndarray, "units elements"]:
    sticks = _places(plan).reshape(-1, plan.conv.channels)
    shard, _ = core_of(plan)
    own = [sticks[shard == s] for s in range(plan.num_nhw_shards)]
    return _padded([part[:, columns] for part in own for columns in _columns(plan)])


def _tiles(plan: Plan, side: int) -> Int[np.ndarray, "units elements"]:
    """Squares of the output as a matrix of sticks, as tiles of a tensor are."""
    sticks = _places(plan).reshape(-1, plan.conv.channels)
    rows, columns = (round_up(size, side) for size in sticks.shape)
    past = (0, rows - sticks.shape[0]), (0, columns - sticks.shape[1])
    matrix = np.pad(sticks, past, constant_values=-1)
    squares = matrix.reshape(rows // side, side, columns // side, side)
    return squares.swapaxes(1, 2).reshape(-1, side * side)


@functools.lru_cache(maxsize=16)
def units_of(plan: Plan, name: str) -> Units:
    """Divides a plan's output; one unit if it cannot be divided so."""
    plural, index = UNITS[name]
    return Units(name, plural, index(plan))


def mixed(values: Output) -> UInt64[np.ndarray, " outputs"]:
    """Returns a number for each value, the same for the same bits; 0 and -0 alike."""
    values = np.where(np.isnan(values), np.float32(np.nan), values + np.float32(0))
    bits = values.astype(np.float32).view(np.uint32).ravel().astype(np.uint64)
    bits = (bits ^ np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
    return (bits ^ (bits >> np.uint64(29))) * np.uint64(0x94D049BB133111EB)


def sum_of(values: Output) -> int:
    """Returns what does not change when values change places."""
    return int(mixed(values).sum(dtype=np.uint64))


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
    sources = [found.get(int(got_sums[i])) for i in changed]
    if not changed.size or None in sources or units.index.shape[1] < _LEAST:
        return
    order = np.arange(len(want_sums))
    order[changed] = sources
    moved = reorder(want, units, order)
    one = units.plural[:-1].replace("-", " ")
    listed = ", ".join(
        f"{one} {i} holds what {order[i]} should" for i in changed[:_MOST_LISTED]
    )
    yield Move("repeated", listed + ", ..." * (len(changed) > _MOST_LISTED), moved)


# What a whole output is when it is read, or written, in another layout


def _nchw_bytes(plan: Plan, values: Output) -> Output:
    return values.transpose(0, 3, 1, 2).reshape(values.shape)


def _read_as_nchw(plan: Plan, values: Output) -> Output:
    n, h, w, c = values.shape
    return values.reshape(n, c, h, w).transpose(0, 2, 3, 1)


def _transposed_image(plan: Plan, values: Output) -> Output:
    return values.swapaxes(1, 2)


def _tile_order(plan: Plan) -> Int[np.ndarray, " outputs"]:
    """Returns the output's places in the order of tiles in memory."""
    row, column = tile_place(np.arange(TILE_ELEMS))
    return units_of(plan, "tile").index[:, row * TILE + column].ravel()


def _tilized(plan: Plan, values: Output) -> Output:
    return values.ravel()[_tile_order(plan)].reshape(values.shape)


def _untilized(plan: Plan, values: Output) -> Output:
    flat = np.empty_like(values.ravel())
    flat[_tile_order(plan)] = values.ravel()
    return flat.reshape(values.shape)


def _square_transposed(side: int) -> Callable[[Plan, Output], Output]:
    def transpose(plan: Plan, values: Output) -> Output:
        index = units_of(plan, "tile" if side == TILE else "face").index
        turned = index.reshape(-1, side, side).swapaxes(1, 2).reshape(index.shape)
        flat = np.empty_like(values.ravel())
        flat[index.ravel()] = values.ravel()[turned.ravel()]
        return flat.reshape(values.shape)

    return transpose


def _middle_faces(plan: Plan, values: Output) -> Output:
    """Exchanges the second and third face of every tile."""
    index = units_of(plan, "tile").index.reshape(-1, 2, FACE, 2, FACE)
    turned = index.transpose(0, 3, 2, 1, 4)
    flat = np.empty_like(values.ravel())
    flat[index.ravel()] = values.ravel()[turned.ravel()]
    return flat.reshape(values.shape)


def _shard_after_shard(plan: Plan, values: Output) -> Output:
    sticks = values.reshape(-1, plan.conv.channels)
    parts = [sticks[:, columns].ravel() for columns in _columns(plan)]
    return np.concatenate(parts).reshape(values.shape)


def _bytes_swapped(plan: Plan, values: Output) -> Output:
    bits = values.view(np.uint32)
    if plan.conv.output_dtype == "float32":
        return bits.byteswap().view(np.float32)
    swapped = (bits >> 8 & 0x00FF0000) | (bits << 8 & 0xFF000000)
    return swapped.astype(np.uint32).view(np.float32)


LAYOUTS: dict[str, Callable[[Plan, Output], Output]] = {
    "file-is-nchw": _nchw_bytes,
    "read-as-nchw": _read_as_nchw,
    "rows-as-columns": _transposed_image,
    "left-tilized": _tilized,
    "tilized-twice": _untilized,
    "tiles-transposed": _square_transposed(TILE),
    "faces-transposed": _square_transposed(FACE),
    "faces-column-major": _middle_faces,
    "shard-after-shard": _shard_after_shard,
    "bytes-swapped": _bytes_swapped,
}


def has_layout(name: str, plan: Plan) -> bool:
    """Whether a layout is another than the output's own, and is of its size."""
    _, height, width, channels = plan.output_shape
    sticks = plan.window.num_outputs
    if name in ("file-is-nchw", "read-as-nchw"):
        return height * width > 1 and channels > 1
    if name == "rows-as-columns":
        return height == width > 1
    if name == "shard-after-shard":
        return plan.output_shard.channels < channels and sticks > 1
    if name == "bytes-swapped":
        return plan.conv.output_dtype != "bfloat8_b"
    side = FACE if name == "faces-transposed" else TILE
    return not sticks % side and not channels % side


def _as_a_whole(plan: Plan, want: Output, got: Output) -> Iterator[Move]:
    for name, layout in LAYOUTS.items():
        if has_layout(name, plan):
            moved = layout(plan, want)
            if np.array_equal(moved, got, equal_nan=True):
                yield Move(name, "", moved)
