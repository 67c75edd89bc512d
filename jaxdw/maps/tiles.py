"""Tilization: row-major matrices against tiles in face order.

A 32x32 tile is stored as its four 16x16 faces, left to right, top to bottom, each
row-major. Source: tt-metal tech_reports/tensor_layouts/tensor_layouts.md @0570a01;
tests/golden/tilize.npz (ttnn 0.81.1).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int64, Shaped

from jaxdw.maps.indexmap import (
    FormulaMap,
    HostOrDevice,
    IndexMap,
    gather,
    make_index_map,
)
from jaxdw.plan.units import FACE, FACE_ROWS, TILE, TILE_ELEMS, round_up, tile_place


def matrix_place(
    element: Int64[np.ndarray, "..."], row_elems: int, tiles_per_row: int
) -> Int64[np.ndarray, "..."]:
    """Returns the flat row-major place of each element of a stream of tiles.

    Args:
      element: its place in the stream, 1,024 elements to a tile in memory order.
      row_elems: elements between two rows of the matrix.
      tiles_per_row: tiles before the stream wraps to the next 32 rows.
    """
    tile, inside = np.divmod(element, TILE_ELEMS)
    row, column = tile_place(inside)
    row = tile // tiles_per_row * TILE + row
    return row * row_elems + tile % tiles_per_row * TILE + column


@functools.lru_cache(maxsize=256)
def tilize_map(rows: int, columns: int) -> IndexMap:
    """Returns the map from the face rows of a matrix to those of its tiles.

    Sources are the matrix's runs of 16 elements, row by row; destinations are
    `[tiles, 64]` in memory order. Rows and columns are multiples of 32.
    """
    first = np.arange(rows * columns // FACE) * FACE
    index = matrix_place(first, columns, columns // TILE) // FACE
    return make_index_map(index.reshape(-1, FACE_ROWS), rows * columns // FACE)


def tilize_formula(rows: int, columns: int) -> FormulaMap:
    """Returns the same map as a formula, for matrices too large for a table."""

    def sources(places: Int64[np.ndarray, "..."]) -> Int64[np.ndarray, "..."]:
        return matrix_place(places * FACE, columns, columns // TILE) // FACE

    face_rows = rows * columns // FACE
    return FormulaMap(sources, face_rows, face_rows)


@functools.lru_cache(maxsize=256)
def untilize_map(rows: int, columns: int) -> IndexMap:
    """Returns the inverse of `tilize_map`: `[rows, columns / 16]` from face rows."""
    forward = tilize_map(rows, columns).index.ravel()
    index = np.empty_like(forward)
    index[forward] = np.arange(len(forward), dtype=np.int32)
    return make_index_map(index.reshape(rows, columns // FACE), len(forward))


def tilize_rows(
    matrix: Shaped[Array, "rows columns"], index_map: IndexMap
) -> Shaped[Array, "tiles 1024"]:
    """Moves a matrix of whole tiles into tiles by a map of its face rows."""
    tiles = gather(matrix.reshape(-1, FACE), index_map)
    return tiles.reshape(-1, TILE_ELEMS)


_tilize = jax.jit(tilize_rows)
_untilize = jax.jit(gather)


def tilize(matrix: Shaped[HostOrDevice, "*padded"]) -> Shaped[Array, "tiles 1024"]:
    """Tilizes the last two axes, padding both with zeros to whole tiles.

    Returns:
      Tiles in memory order: leading axes, then tile rows, then tile columns.

    Raises:
      ValueError: fewer than 2 axes.
    """
    matrix = jnp.asarray(matrix)
    if matrix.ndim < 2:
        raise ValueError(f"`matrix` (={matrix.shape}) must have at least 2 axes")
    *leading, rows, columns = matrix.shape
    pad_rows, pad_columns = (
        round_up(rows, TILE) - rows,
        round_up(columns, TILE) - columns,
    )
    if pad_rows or pad_columns:
        pads = [(0, 0)] * len(leading) + [(0, pad_rows), (0, pad_columns)]
        matrix = jnp.pad(matrix, pads)
    matrix = matrix.reshape(-1, columns + pad_columns)
    return _tilize(matrix, tilize_map(*matrix.shape))


def untilize(
    tiles: Shaped[HostOrDevice, "tiles elems"], shape: tuple[int, ...]
) -> Shaped[Array, "*result"]:
    """Returns the tensor of `shape` that `tilize` turned into these tiles.

    Raises:
      ValueError: `shape` has fewer than 2 axes or needs another number of tiles.
    """
    if len(shape) < 2:
        raise ValueError(f"`shape` (={shape}) must have at least 2 axes")
    *leading, rows, columns = shape
    padded_rows, padded_columns = round_up(rows, TILE), round_up(columns, TILE)
    matrix_rows = int(np.prod(leading, dtype=np.int64)) * padded_rows
    num_tiles = matrix_rows * padded_columns // TILE_ELEMS
    if tiles.shape != (num_tiles, TILE_ELEMS):
        raise ValueError(
            f"`tiles` (={tiles.shape}) must be ({num_tiles}, {TILE_ELEMS}) for a "
            f"tensor of shape {shape}"
        )
    index_map = untilize_map(matrix_rows, padded_columns)
    matrix = _untilize(jnp.asarray(tiles).reshape(-1, FACE), index_map)
    padded = matrix.reshape(*leading, padded_rows, padded_columns)
    return padded[..., :rows, :columns]
