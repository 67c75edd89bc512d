"""The units that everything counts in: tile, face, element, byte.

A 32x32 tile is stored as its four 16x16 faces, left to right, top to bottom, each
row-major. Source: tt-metal tech_reports/tensor_layouts/tensor_layouts.md @0570a01.
"""

TILE = 32  # rows and columns of a tile
FACE = 16  # rows and columns of a face
TILE_ELEMS = TILE * TILE
FACE_ELEMS = FACE * FACE
FACE_ROWS = TILE_ELEMS // FACE  # rows of 16 elements in one tile

# Bytes of one tile. Source: tt-metal dataflow_api_addrgen.h; ttnn 0.81.1, host.
TILE_BYTES: dict[str, int] = {
    "bfloat16": 2048,
    "float32": 4096,
    "bfloat8_b": 1088,
    "bfloat4_b": 576,
}


def stick_elem_bytes(dtype: str) -> int:
    """Returns the bytes of one element of a row-major stick in L1.

    Block formats have no sticks: they become bf16 before the halo.
    Source: tt-metal halo_device_operation.cpp @001d8351.
    """
    return 4 if dtype == "float32" else 2


def round_up(value: int, multiple: int) -> int:
    """Returns the least multiple of `multiple` that is not below `value`."""
    return -(-value // multiple) * multiple


def tile_place(element):
    """Returns the row and column, in its tile, of an element in memory order.

    Args:
      element: 0 to 1,023, or an array of such.
    """
    face, inside = element // FACE_ELEMS, element % FACE_ELEMS
    row = face // 2 * FACE + inside // FACE
    return row, face % 2 * FACE + inside % FACE


def tile_element(row, column):
    """Returns the element, in memory order, at a tile's row and column.

    Args:
      row, column: 0 to 31, or arrays of such.
    """
    face = row // FACE * 2 + column // FACE
    return face * FACE_ELEMS + row % FACE * FACE + column % FACE
