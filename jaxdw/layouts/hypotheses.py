"""What prepared weights may be instead of the plan's: mistakes, as index arrays.

An index array says for each element of the data which weight would be there if one
certain mistake had been made. It explains the data if the original weights, gathered by
it and rounded to the weights' dtype, are the data exactly.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Literal, get_args

import jax
import ml_dtypes
import numpy as np
from jaxtyping import Bool, Float32, Int, Shaped

from jaxdw.layouts.preparations import (
    Arrangement,
    MatrixShape,
    SourceIndex,
    matrix_of,
    other_preparations,
)
from jaxdw.maps.depthwise import prepare_map
from jaxdw.numerics import formats
from jaxdw.plan.config import WeightLayoutName
from jaxdw.plan.depthwise.layout import WeightLayout, make_weight_layout
from jaxdw.plan.depthwise.weights import weight_layout
from jaxdw.plan.plan import Plan
from jaxdw.plan.units import FACE, TILE, TILE_ELEMS, round_up

PreparedForm = Literal["matrix", "tiles", "l1"]

_PROBE = 256  # runs of 16 elements that a hypothesis has to explain before all others
_NEAREST = 8  # channels that may have been rolled into the place of the first one


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Data, and the weights of which they were made.

    An index counts weights (`channel * taps + tap`); `padding` stands for a zero,
    `unknown` for memory past the tensor.

    Attributes:
      host: what the host makes of the weights first; None if it rounds them.
      packed: the dtype that holds the values; None for the plan's own.
    """

    plan: Plan
    data: Float32[np.ndarray, "rows columns"]
    weights: Float32[np.ndarray, "c one kh kw"]
    kind: PreparedForm
    core: int
    host: Callable[[np.ndarray], np.ndarray] | None = None
    packed: str | None = None

    @property
    def padding(self) -> int:
        return self.weights.size

    @property
    def unknown(self) -> int:
        return self.weights.size + 1

    @property
    def dtype(self) -> str:
        return self.plan.conv.weights_dtype

    @functools.cached_property
    def sources(self) -> Float32[np.ndarray, " sources"]:
        """The weights as the host prepares them, then padding and unknown memory."""
        dtype = "bfloat16" if self.dtype == "bfloat16" else "float32"
        weights = self.weights.ravel()
        held = _round_to(weights, dtype) if self.host is None else self.host(weights)
        return np.concatenate([held, np.array([0, np.nan], np.float32)])

    @functools.cached_property
    def runs(self) -> Float32[np.ndarray, "runs 16"]:
        """The data as the weights' dtype holds them; blocks of it are such runs."""
        return _round_to(self.data.reshape(-1, FACE), self.dtype)

    @functools.cached_property
    def _probe(self) -> Int[np.ndarray, " runs"]:
        """Some runs, half of them not all zeros."""
        rng = np.random.default_rng(0)
        telling = np.flatnonzero((self.runs != 0).any(axis=1))
        parts = [
            rng.choice(part, min(len(part), _PROBE // 2), replace=False)
            for part in (telling, np.arange(len(self.runs)))
        ]
        return np.unique(np.concatenate(parts))

    @functools.cached_property
    def own(self) -> SourceIndex | None:
        """The plan's index; None for data of another shape."""
        return self.arrange(matrix_of(self.plan))

    def arrange(self, matrix: SourceIndex) -> SourceIndex | None:
        """Returns the index of the data if they come of this matrix, None if not."""
        if self.kind == "matrix":
            return matrix if matrix.shape == self.data.shape else None
        tiles = by_tiles(matrix)
        if self.kind == "tiles":
            return tiles if tiles.shape == self.data.shape else None
        return self.read(tiles, np.array(self.plan.weight_tile_ids(self.core)))

    def read(
        self, tiles: SourceIndex, ids: Int[np.ndarray, " n"]
    ) -> SourceIndex | None:
        """Returns the index of L1 that holds these tiles, None if compute lacks one."""
        ids = ids[: len(self.data)]
        inside = (ids >= 0) & (ids < len(tiles))
        if not inside[: self.plan.multiplied_tiles].all():
            return None
        found = tiles[np.where(inside, ids, 0)]
        return np.where(inside[:, None], found, self.unknown)

    def differs(self, index: SourceIndex) -> bool:
        """Whether an index is not the plan's, as far as it is known."""
        own = self.own
        return own is None or bool(((index != own) & (index != self.unknown)).any())

    def values(self, index: SourceIndex) -> Float32[np.ndarray, "runs 16"]:
        """Returns what an index puts into runs of 16 elements."""
        found = self.sources[index].reshape(-1, FACE)
        return _round_to(_round_to(found, self.packed or self.dtype), self.dtype)

    def wrong(
        self,
        index: SourceIndex,
        order: SourceIndex | None = None,
        rows: SourceIndex | slice = slice(None),
    ) -> Bool[np.ndarray, "runs 16"]:
        """Returns where the data are not what an index puts there.

        Args:
          order: `order[i]` instead of each weight `i`.
          rows: the runs to compare.
        """
        index = index.reshape(-1, FACE)[rows]
        if order is not None:
            index = np.append(order.ravel(), [self.padding, self.unknown])[index]
        runs, want = self.runs[rows], self.values(index)
        same = (runs == want) | (np.isnan(runs) & np.isnan(want))
        return ~same & (index != self.unknown)

    def explained(self, index: SourceIndex, order: SourceIndex | None = None) -> bool:
        """Whether an index explains the data; most fail on a few runs already."""
        return not any(
            self.wrong(index, order, rows).any() for rows in (self._probe, slice(None))
        )


def _round_to(values: np.ndarray, dtype: str) -> np.ndarray:
    """Rounds to float32 values of a dtype as the host does; runs of 16 are blocks."""
    if dtype == "float32":
        return values
    if dtype == "bfloat16":
        with np.errstate(over="ignore"):  # to infinity
            return values.astype(ml_dtypes.bfloat16).astype(np.float32)
    rows = max(_PROBE, 1 << (len(values) - 1).bit_length())  # few shapes to compile
    padded = np.pad(values, [(0, rows - len(values)), (0, 0)])
    return np.asarray(_round_blocks(padded, dtype))[: len(values)]


_round_blocks = jax.jit(formats.round_to, static_argnums=1)


def by_tiles(matrix: SourceIndex) -> SourceIndex:
    """Returns `[tiles, 1024]` in memory order: the tiles of a matrix, face by face."""
    rows, columns = matrix.shape
    faces = matrix.reshape(rows // TILE, 2, FACE, columns // TILE, 2, FACE)
    return faces.transpose(0, 3, 1, 4, 2, 5).reshape(-1, TILE_ELEMS)


def _untilized(
    tiles: Shaped[np.ndarray, "tiles 1024"], shape: MatrixShape
) -> Shaped[np.ndarray, "rows columns"]:
    """Returns the matrix that `by_tiles` takes apart into these tiles, of any dtype."""
    rows, columns = shape
    faces = tiles.reshape(rows // TILE, columns // TILE, 2, 2, FACE, FACE)
    return faces.transpose(0, 2, 4, 1, 3, 5).reshape(shape)


def _squares(matrix: SourceIndex) -> SourceIndex:
    """Returns `[tiles, 1024]`: the 32x32 squares of a matrix, each row by row."""
    rows, columns = matrix.shape
    squares = matrix.reshape(rows // TILE, TILE, columns // TILE, TILE)
    return squares.swapaxes(1, 2).reshape(-1, TILE_ELEMS)


def _of_squares(tiles: SourceIndex, shape: MatrixShape) -> SourceIndex:
    """Returns the matrix that `_squares` takes apart into these tiles."""
    rows, columns = shape
    squares = tiles.reshape(rows // TILE, columns // TILE, TILE, TILE)
    return squares.swapaxes(1, 2).reshape(shape)


def matrix_index(plan: Plan, layout: WeightLayout) -> SourceIndex:
    """Returns the index of the matrix that a layout makes of the plan's weights."""
    prepared = prepare_map(layout, channels=plan.conv.channels, taps=plan.conv.taps)
    return np.asarray(prepared.index)


def _other_layouts(plan: Plan) -> Iterator[Arrangement]:
    """Yields all revisions of program `depthwise`, for every number of channel shards
    that the chip allows."""
    program = "" if plan.program == "depthwise" else "program='depthwise', "
    conv = plan.conv
    most = min(math.prod(plan.arch.grid), -(-conv.channels // TILE))
    for revision in get_args(WeightLayoutName):
        for shards in range(1, max(most, plan.num_channel_shards) + 1):
            layout = make_weight_layout(
                revision, channels=conv.channels, taps=conv.taps, num_shards=shards
            )
            name = "the HEIGHT layout"
            if shards > 1:
                name = f"the WIDTH or BLOCK layout of {shards} channel shards"
            if revision != "final":
                name = f"revision {revision!r} of {name}"
            build = functools.partial(matrix_index, plan, layout)
            yield program + name, (layout.rows, layout.columns), build


def _own_mistakes(plan: Plan, kind: PreparedForm) -> Iterator[Arrangement]:
    """Yields what slips in the plan's own preparation make of its matrix."""
    conv, shards = plan.conv, plan.num_output_shards
    rows, columns = shape = plan.weight_matrix_shape
    own = functools.cache(lambda: matrix_of(plan))

    def plain(rows: int) -> SourceIndex:
        tap, channel = np.arange(rows)[:, None], np.arange(columns)
        real = (tap < conv.taps) & (channel < conv.channels)
        return np.where(real, channel * conv.taps + tap, conv.channels * conv.taps)

    def stacked(shape: MatrixShape) -> SourceIndex:
        return own().reshape(rows, shards, -1).swapaxes(0, 1).reshape(shape)

    heights = {rows, round_up(conv.taps, TILE)} if plan.program == "depthwise" else ()
    for height in sorted(heights):
        name = "face order row-major: matrix row k is kernel position k"
        yield name, (height, columns), functools.partial(plain, height)
    name = "face order row-major: every tile holds its weights row by row"
    yield name, shape, lambda: _of_squares(by_tiles(own()), shape)
    twice = ("tiles untilized twice", "tiles never tilized")
    for name in twice[:1] if kind == "matrix" else twice:
        yield name, shape, lambda: _untilized(_squares(own()), shape)
    if kind == "matrix":
        name = "the tiles of the matrix in memory order, taken for its rows"
        yield name, shape, lambda: by_tiles(own()).reshape(shape)
    else:
        name = "the matrix row by row, taken for tiles: never tilized"
        yield name, shape, lambda: _untilized(own().reshape(-1, TILE_ELEMS), shape)
    if shards > 1 and columns % shards == 0:
        name = "shards concatenated instead of interleaved in columns"
        for apart in ((shards * rows, columns // shards), shape):
            yield name, apart, functools.partial(stacked, apart)


def _orders(plan: Plan) -> dict[str, SourceIndex]:
    """Returns, by name, which weight stands in the place of each."""
    weight = np.arange(plan.conv.channels * plan.conv.taps)
    weight = weight.reshape(plan.conv.channels, -1)
    across = np.arange(plan.conv.taps).reshape(plan.conv.kernel).T.ravel()
    return {
        "kernel positions transposed": weight[:, across],
        "kernel rotated by 180 degrees": weight[:, ::-1],
        "channel order reversed": weight[::-1],
    }


def _rolls(evidence: Evidence, own: SourceIndex) -> dict[str, SourceIndex]:
    """Returns rolls of the channels that could explain the first channel's weights.

    Rolled by `step`, the place of channel `c` holds channel `c + step`.
    """
    channels, taps = evidence.plan.conv.channels, evidence.plan.conv.taps
    weight = np.arange(channels * taps).reshape(channels, taps)
    first = int(own.min()) // taps
    if first >= channels:  # nothing but padding
        return {}
    places = np.flatnonzero(own.ravel() // taps == first)
    there = weight[:, own.ravel()[places] % taps]
    with np.errstate(invalid="ignore"):  # infinities
        found = evidence.runs.ravel()[places].astype(np.float64)
        distance = np.abs(evidence.sources[there] - found).sum(axis=1)
    nearest = np.argsort(distance, kind="stable")[:_NEAREST]
    steps = sorted(int(channel - first) % channels for channel in nearest)
    return {
        f"channels rolled by {step}": np.roll(weight, -step, axis=0) for step in steps
    }


def _moved_shards(evidence: Evidence, own: SourceIndex) -> Iterator[str]:
    """Yields the exchange of whole channel shards that explains the data."""
    plan, shards = evidence.plan, evidence.plan.num_channel_shards
    shape = plan.weight_matrix_shape

    def parts(runs: np.ndarray) -> list[bytes]:
        matrix = runs.reshape(own.shape) + 0.0  # no -0
        if evidence.kind == "tiles":
            matrix = _untilized(matrix, shape)
        split = matrix.reshape(shape[0], shards, -1).swapaxes(0, 1)
        return [np.ascontiguousarray(part).tobytes() for part in split]

    want, found = parts(evidence.values(own)), parts(evidence.runs)
    moved = [core for core in range(shards) if found[core] != want[core]]
    if not moved:  # cores that these weights cannot tell apart
        busy = [c for c in range(shards) if weight_layout(plan).shard_channels[c]]
        pairs = itertools.combinations(busy, 2)
        moved = next(([a, b] for a, b in pairs if want[a] == want[b]), [])
    if not all(found[core] in want for core in moved):
        return
    swapped = [found[core] for core in moved[::-1]] == [want[core] for core in moved]
    if len(moved) == 2 and swapped:
        yield f"channels of cores {moved[0]} and {moved[1]} swapped"
    elif moved:
        owners = (want.index(found[core]) for core in moved)
        moves = zip(moved, owners, strict=True)
        text = ", ".join(
            f"core {core} has those of core {owner}" for core, owner in moves
        )
        yield f"channels of other cores: {text}"


def _other_reads(evidence: Evidence) -> Iterator[tuple[str, SourceIndex | None]]:
    """Yields what other tile ids put into L1."""
    plan, core = evidence.plan, evidence.core
    tiles = by_tiles(matrix_of(plan))
    ids, start = np.array(plan.weight_tile_ids(core)), plan.start_tile(core)
    for other in range(plan.num_output_shards):
        if other != core % plan.num_output_shards:
            theirs = np.array(plan.weight_tile_ids(other))
            yield f"the weights of core {other}", evidence.read(tiles, theirs)
    counted = start + np.arange(len(ids))
    yield "tile ids counted on from the first", evidence.read(tiles, counted)
    down = ids.reshape(len(plan.weights.read_rows), -1).T.ravel()
    yield "tiles read column by column", evidence.read(tiles, down)
    offset = ids - start + start * plan.arch.num_banks
    yield "an address offset in place of a tile id", evidence.read(tiles, offset)


def explanations(evidence: Evidence) -> Iterator[str]:
    """Yields the mistakes that explain the data; two at once if no single one does.

    One that leaves every element where the plan has it is no mistake.
    """
    plan, own = evidence.plan, evidence.own
    arranged: list[tuple[str, SourceIndex]] = []
    wanted = None if evidence.kind == "l1" else evidence.data.size
    makers = (
        *_other_layouts(plan),
        *_own_mistakes(plan, evidence.kind),
        *other_preparations(plan, wanted),
    )
    for name, shape, build in makers:
        size = math.prod(shape)
        if evidence.kind == "l1" or size == evidence.data.size:
            index = evidence.arrange(build())
            if index is not None and evidence.differs(index):
                arranged.append((name, index))
    if evidence.kind == "l1":
        arranged += [
            (name, index)
            for name, index in _other_reads(evidence)
            if index is not None and evidence.differs(index)
        ]
    names = [name for name, index in arranged if evidence.explained(index)]
    if own is not None:
        for name, order in (_orders(plan) | _rolls(evidence, own)).items():
            if (np.diff(order.ravel()) != 1).any() and evidence.explained(own, order):
                names.append(name)
        is_own = plan.program == "depthwise" and plan.shard.weight_layout == "final"
        if evidence.kind != "l1" and is_own and plan.num_channel_shards > 1:
            names += _moved_shards(evidence, own)
    yield from dict.fromkeys(names)
    if not names and not (own is not None and evidence.explained(own)):
        for name, index in arranged:
            for order_name, order in _orders(plan).items():
                if evidence.explained(index, order):
                    yield f"{name}, {order_name}"
