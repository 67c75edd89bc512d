import chex
import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxdw as jd
from jaxdw.maps.banks import deal_map, read_map

PLANS_BASE = 0x1D4DA0


def test_noc_addresses_are_those_the_plans_printed():
    table = jd.bank_table(2, 2048, PLANS_BASE, "wormhole_b0")
    assert [hex(a) for a in table.noc_address] == ["0x2c00001d4da0", "0x400401d4da0"]


@pytest.mark.parametrize("arch", ["wormhole_b0", "blackhole"])
@pytest.mark.parametrize("page_bytes", [2048, 4096, 1088, 576, 100])
def test_every_address_equals_the_oracle(arch, page_bytes):
    base = PLANS_BASE // 64 * 64
    table = jd.bank_table(40, page_bytes, base, arch)
    for page in range(40):
        got = (
            table.bank[page],
            table.slot[page],
            table.local_address[page],
            table.noc_address[page],
        )
        assert got == oracles.page_address(page, page_bytes, base, arch)


@given(st.integers(1, 100), st.sampled_from(["wormhole_b0", "blackhole"]))
def test_pages_are_dealt_as_the_oracle_deals(num_pages, arch):
    table = jd.bank_table(num_pages, 2048, 0, arch)
    deal = deal_map(table)
    want = oracles.deal(num_pages, table.num_banks)
    got = [[p for p in bank if p != deal.poison] for bank in deal.index.tolist()]
    assert got == want
    loads = [len(bank) for bank in got]
    assert max(loads) - min(loads) <= 1
    assert deal.index.shape == (table.num_banks, table.num_slots)


@given(st.integers(1, 100), st.sampled_from(["wormhole_b0", "blackhole"]))
def test_reading_every_page_undoes_the_deal(num_pages, arch):
    table = jd.bank_table(num_pages, 2048, 0, arch)
    read = read_map(table, np.arange(num_pages))
    dealt = deal_map(table).index.ravel()
    chex.assert_trees_all_equal(dealt[read.index], np.arange(num_pages, dtype=np.int32))


def test_no_read_and_a_read_past_the_buffer_find_nothing():
    table = jd.bank_table(13, 2048, 0, "wormhole_b0")
    read = read_map(table, np.array([-1, 12, 23, 24]))
    dealt = [*deal_map(table).index.ravel().tolist(), None, "poison"]
    assert [dealt[place] for place in read.index] == ["poison", 12, 14, "poison"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0, 2048, 0), r"`num_pages` \(=0\) must be at least 1"),
        ((1, 0, 0), r"`page_bytes` \(=0\) must be at least 1"),
        ((1, 2048, 48), r"`base_address` \(=0x30\) must be a multiple of 32.*try 0x20"),
        ((1, 2048, -32), r"`base_address` \(=-0x20\).*try 0x0$"),
        ((1, 2048, 1 << 36), r"must lie below 0x1000000000"),
        # bank 1 alone, 1 GiB up its endpoint, ends past the reach
        ((3, 2048, (1 << 36) - (1 << 30)), r"must lie below 0x1000000000"),
    ],
)
def test_an_impossible_buffer_is_refused(arguments, sentence):
    with pytest.raises(jd.ConfigError, match=sentence):
        jd.bank_table(*arguments, "wormhole_b0")


def test_a_buffer_may_end_where_the_reach_of_an_address_does():
    table = jd.bank_table(1, 64, (1 << 36) - 64, "blackhole")
    assert table.local_address.tolist() == [(1 << 36) - 64]


def test_slots_are_the_pages_of_the_fullest_bank():
    slots = [jd.bank_table(n, 64, 0, "blackhole").num_slots for n in (1, 8, 9)]
    assert slots == [1, 1, 2]
