"""Traffic on the NoC: DRAM reads by tile id, and weights multicast to the grid."""

import dataclasses

import jax
from jaxtyping import Array, Float

from jaxdw.machine.memory import Memory
from jaxdw.maps.indexmap import IndexMap, gather, gather_written
from jaxdw.maps.maps import DramMaps
from jaxdw.maps.multicast import Delivery, Multicast, handshake
from jaxdw.maps.tiles import tilize_rows
from jaxdw.numerics import formats


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Upload:
    """One host tensor on its way into DRAM, every stage of it.

    Attributes:
      matrix: `[rows, columns]`, row-major, of the tensor's dtype before packing.
      tiles: `[tiles, 1024]` in memory order.
      dram: `[banks, slots, page bytes]`, packed.
    """

    matrix: Float[Array, "rows columns"]
    tiles: Float[Array, "tiles 1024"]
    dram: Memory


def upload(host: Float[Array, " elements"], maps: DramMaps, dtype: str) -> Upload:
    """Prepares, tilizes, packs and deals a flat host tensor over the DRAM banks.

    Both maps of the matrix are tables.
    """
    assert isinstance(maps.prepare, IndexMap)
    assert isinstance(maps.tilize, IndexMap)
    matrix = gather(host, maps.prepare)
    tiles = tilize_rows(matrix, maps.tilize)
    packed = formats.pack(tiles, dtype)
    return Upload(matrix=matrix, tiles=tiles, dram=Memory.full(packed).move(maps.deal))


def read(dram: Memory, maps: DramMaps) -> Memory:
    """Reads each core's tiles from DRAM into its L1: `[cores, tiles, page bytes]`."""
    return dram.move(maps.read)


def multicast(l1: Memory, arguments: Multicast) -> tuple[Memory, Delivery]:
    """Plays the handshake and delivers the senders' tiles to their receivers."""
    delivery = handshake(arguments)
    received = Memory(
        gather(l1.data, delivery.source), gather_written(l1.written, delivery.source)
    )
    return received, delivery
