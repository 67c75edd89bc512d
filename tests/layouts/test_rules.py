import dataclasses

import numpy as np
import pytest
import strategies
from examples import uneven_plan
from hypothesis import given
from hypothesis import strategies as st
from layout_examples import MAP_BUILDERS, first_rule, mutate, spoil

import jaxdw as jd
from jaxdw.layouts.certificate import certify, digests
from jaxdw.maps import depthwise
from jaxdw.maps import maps as all_maps

BUILDERS = MAP_BUILDERS | {
    "prepare_map": depthwise.prepare_map,
    "pairing_map": depthwise.pairing_map,
}

MUTANTS = [
    ("prepare", "prepare_map", "* taps + tap, num", "* taps + tap[::-1], num"),
    ("prepare", "prepare_map", "num_elems, num_weights,", "num_elems, 0,"),
    ("prepare", "prepare_map", "range(round_up(count, FACE))", "range(FACE)"),
    ("tilize", "tilize_map", "columns // FACE) *", "columns // FACE)[::-1] *"),
    ("tilize", "tilize_map", "(-1, FACE_ROWS)", "(FACE_ROWS, -1).T"),
    ("deal", "bank_table", "bank, slot = page %", "bank, slot = (page + 1) %"),
    ("deal", "deal_map", "] = np.arange(num_pages)", "] = np.arange(num_pages)[::-1]"),
    ("read", "read_map", "bank * table.num_slots + slot", "slot * table.num_slots"),
    ("read", "_weight_maps", "weight_tile_ids(core)", "weight_tile_ids(0)"),
    ("multicast", "make_multicast", "core % plan", "core // plan"),
    ("multicast", "make_multicast", "box.x0, box.y0, box.x1", "box.y0, box.x0, box.x1"),
    ("multicast", "make_multicast", "box.x1, box.y1", "box.x1 + 1, box.y1"),
    ("multicast", "make_multicast", "= broadcast.num_dests", "= 1"),
    ("multicast", "make_multicast", "xy(core)", "xy(core - 1)"),
    ("pairing", "pairing_map", "(taps * channels)", "(taps * channels)[::-1]"),
    ("pairing", "pairing_map", "* TILE_ELEMS", "* TILE_ELEMS + 1"),
    ("bias prepare", "bias_prepare_map", "index[0, ", "index[1, "),
    ("bias read", "_bias_maps", "bias_tile_ids(core)", "bias_tile_ids(0)"),
    ("shard", "shard_map", "np.minimum(index,", "np.minimum(index + 1,"),
    ("halo", "halo_map", "copies[:, 0] * input_rows", "copies[:, 2]"),
    ("halo", "halo_map", "step * within", "0 * within"),
    ("halo", "halo_map", "size + 1, np.int32", "size, np.int32"),
    ("top_left", "top_left_map", "= starts", "= starts + 1"),
    ("top_left", "top_left_map", "plan.halo_shard.rows + 1", "0"),
    ("collect", "collect_map", "* plan.output_rows + rows", "* plan.output_rows"),
    ("taps", "make_maps", "tap_offsets()", "tap_offsets()[::-1]"),
    ("channels", "make_maps", "plan.output_shard.channels", "plan.conv.channels"),
    ("channels", "make_maps", "* plan.input_shard.channels", "* plan.conv.channels"),
]


@pytest.mark.parametrize(("rule", "name", "old", "new"), MUTANTS)
def test_a_changed_line_in_a_map_builder_is_named(monkeypatch, rule, name, old, new):
    plan = uneven_plan()
    assert first_rule(monkeypatch, plan, BUILDERS[name], old, new) == rule


def test_mistakes_that_cancel_are_named(monkeypatch):
    """Without face order in preparation and tilization alike all weights arrive."""
    plan = uneven_plan("height")
    plain = "def matrix_place(element, row_elems, tiles_per_row):\n    return element\n"
    for name in ("prepare_map", "tilize_map"):
        mutate(monkeypatch, BUILDERS[name], lambda source: plain + source)
    certificate = certify(plan, all_maps.make_maps(plan))
    rules = {failure.rule for failure in certificate.failures}
    assert rules == {"prepare", "tilize", "bias tilize", "bias"}


STAGES = {
    **{f"weights.{stage}": stage for stage in ("prepare", "tilize", "deal", "read")},
    **{
        f"bias.{stage}": f"bias {stage}"
        for stage in ("prepare", "tilize", "deal", "read")
    },
    **{stage: stage for stage in ("shard", "halo", "top_left", "collect")},
}


@given(
    strategies.convs(max_channels=200, max_size=9),
    strategies.any_shards(),
    st.sampled_from(sorted(STAGES)),
    st.integers(0, 2**32),
    st.integers(0, 2**32),
)
def test_one_wrong_entry_anywhere_is_named(conv, shard, stage, at, step):
    plan = jd.make_plan(dataclasses.replace(conv, bias=True), shard, must_fit=False)

    def change(index, size):
        at_entry = at % index.size
        another = index.flat[at_entry] + 1 + step % (size + 1)
        index.flat[at_entry] = another % (size + 2)
        return index

    maps = jd.make_maps(plan)
    certificate = certify(plan, spoil(maps, stage, change))
    if stage == "halo":
        nhw_shard = at % maps.halo.index.size // plan.halo_shard.rows
        if nhw_shard * plan.output_shard.rows >= plan.window.num_outputs:
            assert certificate.holds  # computes nothing, so its halo is of no use
            return
    assert certificate.failures[0].rule == STAGES[stage]
    assert certificate.digest != certify(plan).digest


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_an_entry_out_of_range_is_memory_that_nobody_wrote(stage):
    plan = uneven_plan()

    def change(index, size):
        at = int(np.flatnonzero(index.ravel() < size)[0])
        index.flat[at] = -1
        return index

    failures = certify(plan, spoil(jd.make_maps(plan), stage, change)).failures
    assert failures[0].rule == STAGES[stage]
    assert failures[0].found == "memory that nobody wrote"


@pytest.mark.parametrize("stage", sorted(STAGES))
@pytest.mark.parametrize(
    "change",
    [lambda i, _: i[:-1], lambda i, _: i.ravel(), lambda i, _: i[..., None]],
    ids=["short", "flat", "deep"],
)
def test_a_map_of_another_shape_is_a_failure_not_a_crash(stage, change):
    plan = uneven_plan()
    maps = jd.make_maps(plan)
    changed = spoil(maps, stage, change)
    if digests(changed) == digests(maps):
        return
    assert STAGES[stage] in {f.rule for f in certify(plan, changed).failures}
