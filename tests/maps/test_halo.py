import numpy as np
import oracles
import strategies
from examples import halo_geometry
from hypothesis import given

import jaxdw as jd


@given(strategies.convs(max_channels=100), strategies.shards())
def test_haloed_shards_hold_the_sticks_the_oracle_names(conv, shard):
    plan = jd.make_plan(conv, shard, must_fit=False)
    maps = jd.make_maps(plan)
    input_rows, sticks = plan.input_shard.rows, plan.window.num_inputs
    halo_rows, want = oracles.haloed_shards(*halo_geometry(plan), input_rows)
    assert maps.halo.index.shape == (plan.num_nhw_shards, halo_rows)
    for got_shard, want_shard in zip(maps.halo.index.tolist(), want, strict=True):
        for row, entry in zip(got_shard, want_shard, strict=True):
            if entry[0] == "stick":
                assert row == entry[1] * input_rows + entry[2]
                assert maps.shard.index.ravel()[row] == row < sticks
            else:
                assert row == (
                    maps.halo.padding if entry[0] == "pad" else maps.halo.poison
                )


@given(strategies.convs(max_channels=100), strategies.shards())
def test_every_output_is_collected_once_from_its_own_core(conv, shard):
    plan = jd.make_plan(conv, shard, must_fit=False)
    collect = jd.make_maps(plan).collect
    assert len(set(collect.index.tolist())) == plan.window.num_outputs
    for output, place in enumerate(collect.index):
        nhw_shard, row = divmod(int(place), plan.output_shard.rows)
        part = plan.shard_ranges[nhw_shard]
        assert (part.first_output + row, row < part.num_outputs) == (output, True)


def test_input_rows_past_the_tensor_are_padding():
    plan = jd.make_plan(jd.ConvConfig(channels=32, height=5, width=9))
    shard = jd.make_maps(plan).shard
    assert shard.index.ravel().tolist() == [*range(45), *[shard.padding] * 19]


def test_output_rows_past_a_core_are_never_computed():
    plan = jd.make_plan(jd.ConvConfig(channels=32, height=5, width=9))
    top_left = jd.make_maps(plan).top_left
    assert top_left.index.shape == (1, 32)
    assert (top_left.index[0, 21:] == top_left.poison).all()
    assert np.array_equal(top_left.index[0, :8], [0, 1, 2, 3, 4, 5, 6, 9])


def test_a_core_of_a_block_grid_starts_its_windows_where_the_plan_says():
    conv = jd.ConvConfig(channels=64, height=9, width=11, padding=1)
    plan = jd.make_plan(conv, jd.ShardConfig(scheme="block"))
    index = jd.make_maps(plan).top_left.index
    assert len(index) > 1
    for shard, rows in enumerate(index.tolist()):
        starts = plan.top_left(shard * plan.num_channel_shards).tolist()
        assert rows[: len(starts)] == starts
