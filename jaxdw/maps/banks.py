"""DRAM banks: interleaved pages, their addresses, and reads by page id.

Source: tt-metal dataflow_api_addrgen.h (InterleavedAddrGen): page `p` of a buffer lies
in bank `p % banks`, `p // banks` pages above the buffer's base, which is the same in
every bank. Checked against the NoC addresses of the plans (tests/maps/test_banks.py).
"""

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from jaxdw.arch.arch import Arch, load_arch
from jaxdw.errors import ConfigError, refuse
from jaxdw.maps.indexmap import IndexMap, make_index_map
from jaxdw.plan.units import round_up


@dataclasses.dataclass(frozen=True, kw_only=True)
class BankTable:
    """Where each page of an interleaved buffer lies; one entry for each page id.

    Invariants: `page == slot * num_banks + bank`; `local_address` counts bytes inside
    the bank's NoC endpoint; `noc_address` adds the endpoint's coordinates on top.
    """

    num_banks: int
    bank: Int64[np.ndarray, " pages"]
    slot: Int64[np.ndarray, " pages"]  # pages from the buffer's base, not bytes
    local_address: Int64[np.ndarray, " pages"]
    noc_address: Int64[np.ndarray, " pages"]

    @property
    def num_slots(self) -> int:
        """Pages of the fullest bank."""
        return -(-len(self.bank) // self.num_banks)


def bank_table(
    num_pages: int, page_bytes: int, base_address: int, arch: str | Path | Arch
) -> BankTable:
    """Builds the bank table of an interleaved DRAM buffer.

    Args:
      page_bytes: bytes of one page, before alignment.
      base_address: bytes; where the buffer starts in every bank.

    Raises:
      ConfigError: no pages, a page below 1 byte, a base that is negative or unaligned,
        a buffer past the reach of a NoC address.
    """
    arch = load_arch(arch)
    problems = []
    if num_pages < 1:
        problems.append(f"`num_pages` (={num_pages}) must be at least 1; try 1")
    if page_bytes < 1:
        problems.append(f"`page_bytes` (={page_bytes}) must be at least 1; try 2048")
    align, reach = arch.dram_align_bytes, 1 << arch.noc_local_address_bits
    if base_address < 0 or base_address % align:
        near = max(0, base_address // align * align)
        problems.append(
            f"`base_address` (={base_address:#x}) must be a multiple of {align} from "
            f"0 up; try {near:#x}"
        )
    if base_address >= reach:
        problems.append(
            f"`base_address` (={base_address:#x}) must lie below {reach:#x}, the reach "
            "of a NoC address; use a lower one"
        )
    refuse(problems)
    page = np.arange(num_pages, dtype=np.int64)
    bank, slot = page % arch.num_banks, page // arch.num_banks
    offsets = np.array(arch.bank_offset_bytes, np.int64)
    local = base_address + slot * round_up(page_bytes, align) + offsets[bank]
    end = int(local.max()) + page_bytes
    if end > reach:
        raise ConfigError(
            f"the buffer (ends at {end:#x}) must lie below {reach:#x}; use fewer pages "
            f"than {num_pages} or a lower base than {base_address:#x}"
        )
    endpoint = np.array(
        [arch.noc_address(noc_xy, 0) for noc_xy in arch.bank_noc_xy], np.int64
    )
    return BankTable(
        num_banks=arch.num_banks,
        bank=bank,
        slot=slot,
        local_address=local,
        noc_address=endpoint[bank] | local,
    )


def deal_map(table: BankTable) -> IndexMap:
    """Returns the map that deals pages over the banks: `[banks, slots]` from page ids.

    A slot past a bank's last page is memory that nobody wrote.
    """
    num_pages = len(table.bank)
    index = np.full((table.num_banks, table.num_slots), num_pages + 1, np.int32)
    index[table.bank, table.slot] = np.arange(num_pages)
    return make_index_map(index, num_pages)


def read_map(table: BankTable, page_ids: np.ndarray) -> IndexMap:
    """Returns the map of reads by page id: places in `[banks, slots]`, row-major.

    Args:
      page_ids: any shape; a negative id stands for no read. An id past the buffer
        reads memory that nobody wrote.
    """
    page_ids = np.asarray(page_ids, np.int64)
    bank, slot = page_ids % table.num_banks, page_ids // table.num_banks
    num_places = table.num_banks * table.num_slots
    inside = (page_ids >= 0) & (slot < table.num_slots)
    place = np.where(inside, bank * table.num_slots + slot, num_places + 1)
    return make_index_map(place, num_places)
