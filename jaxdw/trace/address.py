"""What a core would read if a byte address stood where a tile id belongs."""

import dataclasses

from jaxdw.errors import refuse
from jaxdw.plan.plan import Plan
from jaxdw.plan.units import TILE_BYTES, round_up
from jaxdw.trace.pages import weight_table
from jaxdw.trace.provenance import provenance_of


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes of one page that a read touches.

    Attributes:
      slot: of the bank, counted from the weights' base; negative before it.
      tile: whose page it is; None for memory before or behind the weights.
      first_byte: in the page.
    """

    bank: int
    slot: int
    tile: int | None
    first_byte: int
    num_bytes: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One read of a page's size.

    Attributes:
      l1_tile: place in weight_cb that it fills.
      wanted: the tile id that belongs there; asked: the one the kernel computes.
    """

    l1_tile: int
    wanted: int
    asked: int
    local_address: int
    noc_address: int
    pieces: tuple[Piece, ...]

    @property
    def is_right(self) -> bool:
        """Whether it reads the wanted tile all the same."""
        return [piece.tile for piece in self.pieces] == [self.wanted]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AddressTrace:
    """Both mistakes that a byte address in the place of a tile id can be.

    Attributes:
      reader: the core whose reads fill the L1 of `core`; itself, or its sender.
      as_base: the reads with `address` as the weights' base and tile ids from 0.
      as_tile_id: the reads with the true base and the bytes from there to `address` as
        the start tile id. Either is empty where it starts below 0 or leads past the
        reach of a NoC address.
    """

    address: int
    base_address: int
    core: int
    reader: int
    as_base: tuple[Read, ...]
    as_tile_id: tuple[Read, ...]


def explain_address(
    plan: Plan, address: int, core: int, base_address: int = 0
) -> AddressTrace:
    """Returns what `core` would get if `address` stood where its tile id belongs.

    Either it stands where the weights' address does, and tile ids count from 0; or its
    offset from that address stands for the start tile id.

    Args:
      address: bytes, `base_address + 2048` for one; base_address: of the weights.

    Raises:
      ConfigError: an address past the reach of a NoC address, no such core, an
        unaligned or negative base.
    """
    problems = []
    if not 0 <= core < plan.num_output_cores:
        problems.append(
            f"`core` (={core}) must be one of {plan.num_output_cores}; use 0 to "
            f"{plan.num_output_cores - 1}"
        )
    reach = 1 << plan.arch.noc_local_address_bits
    if not 0 <= address < reach:
        problems.append(
            f"`address` (={address:#x}) must lie below {reach:#x}, the reach of a NoC "
            f"address; use one near {base_address:#x}"
        )
    refuse(problems)
    reader = int(provenance_of(plan).weight_sources[core])
    start = address - base_address
    return AddressTrace(
        address=address,
        base_address=base_address,
        core=core,
        reader=reader,
        as_base=_reads(plan, reader, 0, address, base_address),
        as_tile_id=_reads(plan, reader, start, base_address, base_address),
    )


def _reads(
    plan: Plan, reader: int, start: int, asked_base: int, base_address: int
) -> tuple[Read, ...]:
    """Returns the reads of tile ids from `start` on with `asked_base` as the base."""
    if start < 0:
        return ()
    arch, num_tiles = plan.arch, len(weight_table(plan, base_address).bank)
    page_bytes = TILE_BYTES[plan.conv.weights_dtype]
    pitch = round_up(page_bytes, arch.dram_align_bytes)
    reads = []
    for place, wanted in enumerate(plan.weight_tile_ids(reader)):
        asked = wanted - plan.start_tile(reader) + start
        row, bank = divmod(asked, arch.num_banks)
        offset = asked_base - base_address + row * pitch  # from the base in its bank
        local = base_address + arch.bank_offset_bytes[bank] + offset
        if local + page_bytes > 1 << arch.noc_local_address_bits:
            return ()
        pieces, done = [], 0
        while done < page_bytes:
            slot, first = divmod(offset + done, pitch)
            tile = slot * arch.num_banks + bank
            piece = Piece(
                bank=bank,
                slot=slot,
                tile=tile if 0 <= tile < num_tiles else None,
                first_byte=first,
                num_bytes=min(page_bytes - done, pitch - first),
            )
            pieces.append(piece)
            done += piece.num_bytes
        reads.append(
            Read(
                l1_tile=place,
                wanted=wanted,
                asked=asked,
                local_address=local,
                noc_address=arch.noc_address(arch.bank_noc_xy[bank], local),
                pieces=tuple(pieces),
            )
        )
    return tuple(reads)
