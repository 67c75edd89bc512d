"""A weight tile as a page in DRAM, and the bytes of its elements."""

import dataclasses
import functools
from typing import Literal

from jaxdw.maps.banks import BankTable, bank_table
from jaxdw.numerics.formats import BLOCK, MAGNITUDE_BITS
from jaxdw.plan.plan import Plan
from jaxdw.plan.units import FACE, FACE_ELEMS, TILE_BYTES, TILE_ELEMS, tile_place


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One weight tile in DRAM; `bank`, `slot` and addresses as in `BankTable`."""

    tile: int
    tile_row: int
    tile_column: int
    bank: int
    slot: int
    local_address: int
    noc_address: int
    num_bytes: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One element of a tile: its face, its place there, its bytes in the tile.

    Attributes:
      index: 0 to 1,023, in memory order.
      byte: of the element, or of its code in a block format.
      nibble: of that byte, in bfloat4_b.
      exponent_byte: shared with 15 others, in a block format.
    """

    index: int
    face: int
    face_row: int
    face_column: int
    byte: int
    num_bytes: int
    nibble: Literal["low", "high"] | None
    exponent_byte: int | None


def element_of(element: int, dtype: str) -> Element:
    """Returns where an element of a tile lies.

    Args:
      element: 0 to 1,023, in memory order; dtype: of the tile.
    """
    row, column = tile_place(element)
    num_bytes, exponent = 1, None
    nibble: Literal["low", "high"] | None = None
    if dtype not in MAGNITUDE_BITS:
        num_bytes = TILE_BYTES[dtype] // TILE_ELEMS
        byte = element * num_bytes
    else:
        exponent = element // BLOCK
        byte = TILE_ELEMS // BLOCK + element
        if dtype == "bfloat4_b":
            byte = TILE_ELEMS // BLOCK + element // 2
            nibble = "high" if element % 2 else "low"
    return Element(
        index=element,
        face=element // FACE_ELEMS,
        face_row=row % FACE,
        face_column=column % FACE,
        byte=byte,
        num_bytes=num_bytes,
        nibble=nibble,
        exponent_byte=exponent,
    )


@functools.lru_cache(maxsize=8)
def weight_table(plan: Plan, base_address: int) -> BankTable:
    """Returns where the prepared weights' tiles lie in DRAM.

    Raises:
      ConfigError: an unaligned or negative base.
    """
    rows, columns = plan.weight_tile_grid
    num_bytes = TILE_BYTES[plan.conv.weights_dtype]
    return bank_table(rows * columns, num_bytes, base_address, plan.arch)


def page_of(plan: Plan, table: BankTable, tile: int) -> Page:
    """Returns the page of one tile of `weight_table`."""
    tile_row, tile_column = divmod(tile, plan.weight_tile_grid[1])
    return Page(
        tile=tile,
        tile_row=tile_row,
        tile_column=tile_column,
        bank=int(table.bank[tile]),
        slot=int(table.slot[tile]),
        local_address=int(table.local_address[tile]),
        noc_address=int(table.noc_address[tile]),
        num_bytes=TILE_BYTES[plan.conv.weights_dtype],
    )
