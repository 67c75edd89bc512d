"""Misled reads against bytes that lie in the banks as the maps deal them."""

import functools

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import jaxdw as jd
from jaxdw.maps.banks import bank_table, read_map
from jaxdw.plan.units import TILE_BYTES
from jaxdw.trace.address import explain_address

BASE = 0x1D4D80  # of the plans, aligned to both chips


def plan_of(scheme: str = "block", **fields) -> jd.Plan:
    conv = {"channels": 64, "height": 8, "width": 8, "padding": 1} | fields
    return jd.make_plan(
        jd.ConvConfig(**conv), jd.ShardConfig(scheme=scheme), must_fit=False
    )


@functools.cache
def misled(scheme: str):
    """Returns a plan, random pages by tile, and the banks they are dealt to."""
    dtype = "bfloat4_b" if scheme == "block" else "bfloat16"
    plan = plan_of(scheme, channels=320, weights_dtype=dtype)
    tile = np.asarray(jd.make_maps(plan).weights.deal.index)
    rng = np.random.default_rng(0)
    pages = rng.integers(0, 255, (np.prod(plan.weight_tile_grid), TILE_BYTES[dtype]))
    unwritten = np.full((2, pages.shape[1]), 255)  # sentinels of a map
    banks = np.concatenate([pages, unwritten])[tile]
    return plan, pages, banks.reshape(plan.arch.num_banks, -1)


@settings(max_examples=25)
@given(
    st.sampled_from(["height", "width", "block"]), st.integers(-3000, 9000), st.data()
)
def test_a_misled_base_reads_just_those_bytes(scheme, offset, data):
    plan, pages, banks = misled(scheme)
    core = data.draw(st.integers(0, plan.num_cores - 1))
    trace = explain_address(plan, BASE + offset, core, BASE)
    assert trace.reader in plan.weight_readers
    page_bytes = pages.shape[1]
    assert [read.l1_tile for read in trace.as_base] == [
        *range(plan.weight_tiles_per_core)
    ]
    for read in trace.as_base:
        assert read.asked == read.wanted - plan.start_tile(trace.reader)
        bank, slot = read.asked % 12, read.asked // 12
        start = slot * page_bytes + offset
        local = BASE + start + plan.arch.bank_offset_bytes[bank]
        assert read.local_address == local
        noc_xy = plan.arch.bank_noc_xy[bank]
        assert read.noc_address == plan.arch.noc_address(noc_xy, local)
        assert sum(piece.num_bytes for piece in read.pieces) == page_bytes
        for piece in read.pieces:
            assert piece.bank == bank
            assert piece.slot * page_bytes + piece.first_byte == start
            start += piece.num_bytes
            if piece.tile is None:
                assert not 0 <= piece.slot * 12 + bank < len(pages)
                continue
            ends = slice(piece.first_byte, piece.first_byte + piece.num_bytes)
            there = banks[bank, start - piece.num_bytes : start]
            np.testing.assert_array_equal(there, pages[piece.tile][ends])


@pytest.mark.parametrize("offset", [1, 2, 13])
def test_a_tile_id_in_bytes_reads_what_the_emulator_reads_with_that_id(offset):
    plan, pages, banks = misled("width")
    core = 3
    trace = explain_address(plan, BASE + offset, core, BASE)
    ids = np.array(plan.weight_tile_ids(core)) + offset - plan.start_tile(core)
    table = bank_table(len(pages), pages.shape[1], 0, plan.arch)
    slots = np.concatenate([banks.reshape(-1, 2048), np.full((2, 2048), 255)])
    l1 = slots[read_map(table, ids).index]
    for read, got in zip(trace.as_tile_id, l1, strict=True):
        (piece,) = read.pieces
        if piece.tile is None:
            assert (got == 255).all()  # nobody wrote it
        else:
            np.testing.assert_array_equal(got, pages[piece.tile])


def test_base_plus_2048_of_the_plans_reads_memory_behind_tile_0_of_bank_0():
    plan = plan_of("width")
    trace = explain_address(plan, 0x1D4DA0 + 2048, 1, 0x1D4DA0)
    (read,) = trace.as_base
    assert (read.wanted, read.asked, read.noc_address) == (1, 0, 0x2C00001D55A0)
    (piece,) = read.pieces
    assert (piece.bank, piece.slot, piece.tile) == (0, 1, None)
    assert not read.is_right
    (read,) = trace.as_tile_id
    assert (read.asked, read.pieces[0].bank, read.pieces[0].slot) == (2048, 8, 170)


def test_the_true_base_is_right_for_a_core_that_starts_at_tile_0():
    plan = plan_of("width")
    assert explain_address(plan, BASE, 0, BASE).as_base[0].is_right
    assert not explain_address(plan, BASE, 1, BASE).as_base[0].is_right
    assert explain_address(plan, BASE + 1, 1, BASE).as_tile_id[0].is_right
    assert explain_address(plan, BASE - 32, 1, BASE).as_tile_id == ()
    assert explain_address(plan, 2**36 - 32, 1, BASE).as_base == ()


def test_a_receiver_gets_what_its_sender_misreads():
    trace = explain_address(plan_of("block"), BASE + 2048, 3, BASE)
    assert (trace.core, trace.reader) == (3, 1)


def test_refusals_name_the_value_the_rule_and_a_way_out():
    message = r"`core` \(=4\) must be one of 4; use 0 to 3\n`address` \(=-0x1\)"
    with pytest.raises(jd.ConfigError, match=message):
        explain_address(plan_of(), -1, 4)
