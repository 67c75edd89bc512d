import dataclasses

import oracles
import pytest
import strategies
from hypothesis import given

import jaxdw as jd
from jaxdw.plan.window import UNWRITTEN


def plan_of(scheme: str, grid=None, **conv) -> jd.Plan:
    conv = {"channels": 64, "height": 8, "width": 8, "padding": 1, **conv}
    return jd.make_plan(jd.ConvConfig(**conv), jd.ShardConfig(scheme=scheme, grid=grid))


def test_a_plan_is_a_key():
    assert plan_of("block") == plan_of("block")
    assert hash(plan_of("block")) == hash(plan_of("block"))
    assert plan_of("block") != plan_of("width")


def test_core_1_of_the_width_example_starts_at_tile_1():
    plan = plan_of("width")
    assert plan.weight_matrix_shape == (32, 64)
    assert plan.weight_tile_grid == (1, 2)
    assert [plan.weight_tile_ids(core) for core in range(2)] == [(0,), (1,)]


@pytest.mark.parametrize("core", [-1, 2])
def test_a_core_outside_the_plan_is_refused(core):
    with pytest.raises(jd.ConfigError, match=rf"`core` \(={core}\).*2 cores"):
        plan_of("width").weight_tile_ids(core)
    with pytest.raises(jd.ConfigError, match=rf"`core` \(={core}\).*2 cores"):
        plan_of("width").top_left(core)


def test_32_kernel_positions_of_32_channels_fill_one_tile():
    assert plan_of("width", channels=32, kernel=(4, 8)).effective_tiles == 1


@given(strategies.convs(), strategies.shards())
def test_tile_ids_equal_the_oracle(conv, shard):
    plan = jd.make_plan(conv, shard, must_fit=False)
    for core in range(plan.num_cores):
        assert list(plan.weight_tile_ids(core)) == oracles.weight_tile_ids(
            shard.scheme,
            core,
            plan.num_nhw_shards,
            plan.num_channel_shards,
            conv.channels,
            conv.taps,
        )


@given(strategies.convs(), strategies.shards())
def test_readers_and_receivers_equal_the_oracle(conv, shard):
    plan = jd.make_plan(conv, shard, must_fit=False)
    senders = oracles.multicast_receivers(
        shard.scheme, plan.num_nhw_shards, plan.num_channel_shards, shard.grid[0]
    )
    received = sorted(core for cores in senders.values() for core in cores)
    assert received == [
        c for c in range(plan.num_cores) if c not in plan.weight_readers
    ]
    for broadcast in plan.core_grid.broadcasts():
        assert broadcast.num_dests == len(senders[broadcast.sender])


def test_traffic_of_the_plans_block_example():
    traffic = plan_of("block", bias=True).traffic
    assert dataclasses.asdict(traffic) == {
        "tiles_per_bank": (1 + 2, 1 + 2, *[0] * 10),
        "weight_tiles_per_core": (1, 1, 0, 0),
        "bias_tiles_per_core": (1, 1, 1, 1),
        "multicast_sent_bytes": (2048, 2048, 0, 0),
        "multicast_received_bytes": (0, 0, 2048, 2048),
        "multicast_stray_bytes": 0,
        # rows 0-3 of the image each, plus one row of the other core's and 20 pads
        "halo_local_bytes": 2 * 32 * 128,
        "halo_remote_bytes": 2 * 8 * 128,
        "halo_padding_bytes": 2 * 20 * 128,
    }


@given(strategies.convs(), strategies.shards())
def test_traffic_counts_what_the_transfers_and_ids_say(conv, shard):
    plan = jd.make_plan(dataclasses.replace(conv, bias=True), shard, must_fit=False)
    traffic = plan.traffic
    read = [0] * 12
    for core in range(plan.num_cores):
        ids = plan.bias_tile_ids(core)
        if core in plan.weight_readers:
            ids += plan.weight_tile_ids(core)
            assert traffic.weight_tiles_per_core[core] == len(
                plan.weight_tile_ids(core)
            )
        for tile in ids:
            read[tile % 12] += 1
    assert traffic.tiles_per_bank == tuple(read)
    received = sum(traffic.multicast_received_bytes)
    assert received == sum(
        b.num_dests * traffic.multicast_sent_bytes[b.sender]
        for b in plan.core_grid.broadcasts()
    )
    pads, copies = plan.halo_transfers()
    stick_bytes = plan.num_channel_shards * plan.halo_shard.channels * 2
    stick_bytes *= shard.scheme != "width" or any(conv.padding)
    local = copies[:, 0] == copies[:, 2]
    assert traffic.halo_local_bytes == copies[local, 4].sum() * stick_bytes
    assert traffic.halo_remote_bytes == copies[~local, 4].sum() * stick_bytes
    assert traffic.halo_padding_bytes == pads[:, 2].sum() * stick_bytes


def test_a_partial_row_of_cores_lets_the_multicast_stray():
    plan = plan_of("height", channels=32, height=20, width=20)
    assert plan.num_cores == 13
    assert plan.traffic.multicast_stray_bytes == 3 * 2048


def test_width_without_padding_moves_no_sticks():
    traffic = plan_of("width", padding=0).traffic
    assert traffic.halo_local_bytes + traffic.halo_padding_bytes == 0
    assert plan_of("height", padding=0).traffic.halo_local_bytes > 0


def test_float32_activations_double_the_stick_bytes():
    bf16, fp32 = plan_of("block").traffic, plan_of("block", dtype="float32").traffic
    assert fp32.halo_remote_bytes == 2 * bf16.halo_remote_bytes


def test_halo_rows_are_no_more_than_the_hungriest_core_writes():
    sources = plan_of("height", height=11, width=13).halo_sources()
    assert (sources != UNWRITTEN).all(axis=1).any()


def test_float32_weights_alone_double_the_multicast_bytes():
    weights = plan_of("block", weights_dtype="float32").traffic
    assert weights.multicast_sent_bytes == (4096, 4096, 0, 0)
    activations = plan_of("block", dtype="float32").traffic
    assert activations.multicast_sent_bytes == (2048, 2048, 0, 0)


def test_tiles_are_counted_over_the_banks_of_the_chip():
    conv = jd.ConvConfig(channels=320, height=8, width=8, padding=1)
    plan = jd.make_plan(conv, arch="blackhole")
    assert plan.traffic.tiles_per_bank == (8, 8, 8, 8, 7, 7, 7, 7)


def test_width_with_padding_on_the_left_alone_moves_sticks():
    assert plan_of("width", padding=(0, 0, 1, 0)).traffic.halo_local_bytes > 0
