"""Prepared weights against the plan that reads them: what they are instead."""

import dataclasses
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import Bool, Float32
from numpy.typing import ArrayLike

from jaxdw.arrays.read import read_array
from jaxdw.arrays.real import as_float32
from jaxdw.errors import ConfigError, UnsupportedError, refuse
from jaxdw.layouts.hypotheses import (
    Evidence,
    PreparedForm,
    explanations,
)
from jaxdw.layouts.preparations import SourceIndex
from jaxdw.layouts.values import other_values, rounding
from jaxdw.numerics import formats
from jaxdw.plan.plan import Plan
from jaxdw.plan.units import (
    FACE,
    FACE_ELEMS,
    TILE,
    TILE_BYTES,
    TILE_ELEMS,
    tile_element,
    tile_place,
)

_MOVED = 0.99  # share of the values that differ
Weight = tuple[int, int, int]  # channel, kernel row, kernel column


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One element that is not the plan's.

    Attributes:
      row, column: of the prepared matrix.
      tile: its id in DRAM; `lane` counts its 1,024 elements in memory order.
      weight: what belongs there; None for padding.
      found_weight: the one weight that has the value found; None if not just one has.
    """

    row: int
    column: int
    tile: int
    face: int
    lane: int
    weight: Weight | None
    expected: float
    found: float
    found_weight: Weight | None

    def __str__(self) -> str:
        instead = f" ({weight_text(self.found_weight)})" if self.found_weight else ""
        return (
            f"matrix row {self.row}, column {self.column} (tile {self.tile}, face "
            f"{self.face}, lane {self.lane}): expected {self.expected:g} "
            f"({weight_text(self.weight)}), found {self.found:g}{instead}"
        )


def weight_text(weight: Weight | None) -> str:
    if weight is None:
        return "padding"
    return f"channel {weight[0]}, kernel position {weight[1:]}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Identification:
    """What some prepared weights are.

    Attributes:
      verdict: a sentence.
      matches: whether they are the plan's, exactly in the weights' dtype.
      hypotheses: the mistakes that explain data that do not match; several where these
        weights cannot tell one from another.
      indistinguishable: the mistakes that these weights could not show in data that
        match.
      differing: elements that are not the plan's; None for data of another shape.
      first: the first of them.
    """

    verdict: str
    matches: bool
    hypotheses: tuple[str, ...] = ()
    indistinguishable: tuple[str, ...] = ()
    differing: int | None = None
    first: Difference | None = None


def identify(
    plan: Plan,
    data: ArrayLike,
    weights: ArrayLike,
    kind: PreparedForm = "matrix",
    core: int | None = None,
) -> Identification:
    """Says whether prepared weights are the plan's, or what they are instead.

    Both are rounded to the weights' dtype as the host does and compared exactly; 0 and
    -0, and all NaN, are equal.

    Args:
      data: `matrix`: row-major `[rows, columns]`, axes of 1 beside them allowed;
        `tiles`: `[tiles, 1024]` in memory order, ids counting up; `l1`: the same of one
        core's weight buffer, or its first tiles. Tiles may be raw bytes, `uint8 [tiles,
        page bytes]` of the weights' dtype.
      weights: the original `[C, 1, kh, kw]`.
      core: whose L1 it is.

    Raises:
      ConfigError: weights or data of no fitting shape, an unknown kind, a core that is
        missing, out of range, or not asked for.
      UnsupportedError: L1 that holds a part of its weights at a time; a matrix too
        large for a table.
    """
    array, w = np.asarray(data), np.asarray(weights).astype(np.float32)
    if kind == "matrix" and array.ndim > 2:
        array = array.reshape([size for size in array.shape if size > 1])
    refuse(_problems(plan, array, w, kind, core))
    if kind == "l1":
        _refuse_streams(plan)
    if array.dtype == np.uint8 and kind != "matrix":
        array = np.asarray(formats.unpack(array, plan.conv.weights_dtype))
    evidence = Evidence(plan, array.astype(np.float32), w, kind, core or 0)
    names, own = tuple(explanations(evidence)), evidence.own
    if own is None:
        verdict = f"not the plan's: {' or '.join(names)}"
        if not names and kind == "l1":
            verdict = "no known layout: the plan reads past the end of its own tensor"
        elif not names:
            rows, columns = plan.weight_matrix_shape
            verdict = (
                f"no known layout: its shape {array.shape} is not that of the plan's "
                f"{rows}x{columns} matrix, {rows * columns // TILE_ELEMS} tiles"
            )
        return Identification(verdict=verdict, matches=False, hypotheses=names)
    wrong = evidence.wrong(own)
    if not wrong.any():
        verdict = "matches the plan"
        if names:
            verdict += f"; these weights could not show: {'; '.join(names)}"
        return Identification(
            verdict=verdict, matches=True, indistinguishable=names, differing=0
        )
    if not names:
        names = tuple(other_values(evidence))
    moved = _are_moved(evidence, own, wrong)
    first = _difference(evidence, own, int(wrong.argmax()), moved)
    differing = int(np.count_nonzero(wrong))
    verdict = f"not the plan's: {' or '.join(names)}"
    if not names:
        verdict = _unexplained(evidence, own, wrong, first)
    return Identification(
        verdict=verdict,
        matches=False,
        hypotheses=names,
        differing=differing,
        first=first,
    )


def _problems(
    plan: Plan, data: np.ndarray, w: np.ndarray, kind: str, core: int | None
) -> list[str]:
    found = []
    if w.shape != plan.conv.weight_shape:
        found.append(
            f"`weights` (={w.shape}) must have the planned shape "
            f"{plan.conv.weight_shape}, [C, 1, kernel height, kernel width]"
        )
    if kind not in get_args(PreparedForm):
        found.append(
            f"`kind` (={kind!r}) must be one of {', '.join(get_args(PreparedForm))}"
        )
    elif kind == "matrix":
        if data.ndim != 2 or not data.size or any(size % TILE for size in data.shape):
            found.append(
                f"`data` (={data.shape}) must be a matrix of whole 32x32 tiles; the "
                f"plan's is {plan.weight_matrix_shape}"
            )
    else:
        page_bytes = TILE_BYTES[plan.conv.weights_dtype]
        width = page_bytes if data.dtype == np.uint8 else TILE_ELEMS
        most = plan.weight_tiles_per_core
        if data.ndim != 2 or not data.size or data.shape[1] != width:
            found.append(
                f"`data` (={data.dtype} {data.shape}) must be [tiles, {TILE_ELEMS}] "
                f"values, or uint8 [tiles, {page_bytes}] for the bytes of "
                f"{plan.conv.weights_dtype} tiles"
            )
        elif kind == "l1" and len(data) > most:
            found.append(
                f"`data` (={len(data)} tiles) must be at most the {most} weight tiles "
                f"of a core; pass the first {most}"
            )
    cores = plan.num_output_cores
    if kind == "l1" and (core is None or not 0 <= core < cores):
        found.append(f"`core` (={core}) must say whose L1 it is; use 0 to {cores - 1}")
    elif kind != "l1" and core is not None:
        found.append(f"`core` (={core}) must be left out unless kind='l1'")
    return found


def _refuse_streams(plan: Plan) -> None:
    buffer = plan.l1.of("weights")
    assert buffer is not None
    held = buffer.asked_bytes // TILE_BYTES[plan.conv.weights_dtype]
    if held < plan.weight_tiles_per_core:
        raise UnsupportedError(
            f"the weight buffer (={held} tiles) must hold all "
            f"{plan.weight_tiles_per_core} tiles of a core to be compared: those of "
            f"program {plan.program!r} follow each other in it; use kind='matrix' or "
            "'tiles'"
        )


def _unexplained(
    evidence: Evidence,
    own: SourceIndex,
    wrong: Bool[np.ndarray, "runs 16"],
    first: Difference,
) -> str:
    """Returns a sentence on data that no mistake explains."""
    differing = int(np.count_nonzero(wrong))
    off = rounding(evidence, own)
    if off is not None:
        return f"{off}; {differing} of {wrong.size} elements differ"
    padding = (own.reshape(wrong.shape)[wrong] == evidence.padding).all()
    what = "every weight is in its place, but" if padding else "no known layout:"
    return f"{what} {differing} of {wrong.size} elements differ, the first at {first}"


def _are_moved(
    evidence: Evidence, own: SourceIndex, wrong: Bool[np.ndarray, "runs 16"]
) -> bool:
    """Whether values that differ are those of other weights: nearly all are some.

    Where they are not, one that equals a weight does so by chance.
    """
    found = evidence.runs[wrong]
    there = np.isin(found, evidence.sources[: evidence.padding])
    return bool(there.mean() >= _MOVED)


def _difference(
    evidence: Evidence, own: SourceIndex, at: int, moved: bool
) -> Difference:
    """Locates one element of the data, counted through them.

    Args:
      moved: whether a value found is taken for a weight from elsewhere.
    """
    plan, kernel_w = evidence.plan, evidence.plan.conv.kernel[1]
    tile_columns = plan.weight_tile_grid[1]
    if evidence.kind == "matrix":
        row, column = divmod(at, own.shape[1])
        tile = row // TILE * tile_columns + column // TILE
    else:
        tile, lane = divmod(at, TILE_ELEMS)
        if evidence.kind == "l1":
            tile = plan.weight_tile_ids(evidence.core)[tile]
        row, column = tile_place(lane)
        row = tile // tile_columns * TILE + row
        column = tile % tile_columns * TILE + column
    lane = tile_element(row % TILE, column % TILE)
    found = evidence.runs.flat[at]
    same = np.flatnonzero(evidence.sources[: evidence.padding] == found)

    def weight(index: int) -> Weight | None:
        if index >= evidence.padding:
            return None
        channel, tap = divmod(index, plan.conv.taps)
        return channel, *divmod(tap, kernel_w)

    run = own.reshape(-1, FACE)[at // FACE]
    return Difference(
        row=row,
        column=column,
        tile=tile,
        face=lane // FACE_ELEMS,
        lane=lane,
        weight=weight(int(own.flat[at])),
        expected=float(evidence.values(run)[0, at % FACE]),
        found=float(found),
        found_weight=weight(int(same[0])) if moved and len(same) == 1 else None,
    )


def load_dump(
    path: str | Path, dtype: str, *, name: str = "path"
) -> Float32[np.ndarray, "..."]:
    """Reads prepared weights from a file, for `identify`.

    Args:
      path: as for `read_array`: an array of values, or `uint8 [tiles, page bytes]`;
        `.bin`, raw tiles one after another.
      dtype: of raw tiles.
      name: what messages call the file.

    Returns:
      The values; `[tiles, 1024]` of raw tiles.

    Raises:
      ConfigError: as `read_array`; another dtype, no whole number of tiles.
    """
    if dtype not in TILE_BYTES:
        raise ConfigError(
            f"`dtype` (={dtype!r}) must be one of {', '.join(TILE_BYTES)}"
        )
    is_raw = str(path).endswith(".bin")
    array = read_array(path, "uint8" if is_raw else None, name=name).values
    if array.dtype != np.uint8:
        return as_float32(array, name)
    page_bytes = TILE_BYTES[dtype]
    if not array.size or array.size % page_bytes:
        raise ConfigError(
            f"`{name}` (={str(path)!r}, {array.size} bytes) must hold {dtype} tiles of "
            f"{page_bytes} bytes; give the dtype that it was packed in"
        )
    return np.asarray(formats.unpack(array.reshape(-1, page_bytes), dtype))
