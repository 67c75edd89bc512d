import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdw as jd
from jaxdw.launch import host
from jaxdw.machine.cores import static_of
from jaxdw.maps.indexmap import IndexMap, make_index_map
from jaxdw.maps.maps import compose_maps
from jaxdw.numerics import formats


def both(values: np.ndarray) -> tuple[np.ndarray, jax.Array]:
    return values, jnp.asarray(values)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "bfloat8_b", "bfloat4_b"])
def test_values_are_held_alike_in_pieces_and_whole(dtype):
    """More than one piece of a host array, the last not full; NaN and infinity too."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3, 1367, 16)).astype(np.float32)
    values *= np.exp2(rng.integers(-9, 9, values.shape[:2]))[..., None].astype("f4")
    values[0, 0, 3], values[0, 1, 5], values[2, -1, 2] = np.nan, np.inf, -np.nan
    assert values.size > host._PIECE_ELEMS
    on_host, on_device = (host.hold(v, dtype) for v in both(values))
    assert isinstance(on_host, np.ndarray)
    np.testing.assert_array_equal(
        on_host.view(np.uint32), np.asarray(on_device).view(np.uint32)
    )
    tiles = values.reshape(-1)[: 64 * 1024].reshape(64, 1024)
    held = np.asarray(formats.unpack(formats.pack(tiles, dtype), dtype))
    if dtype != "float32":
        assert not np.array_equal(held, tiles, equal_nan=True)
    np.testing.assert_array_equal(
        on_host.reshape(-1)[: 64 * 1024].view(np.uint32), held.ravel().view(np.uint32)
    )


@pytest.mark.parametrize("xp", [np, jnp])
def test_trailing_axes_are_filled_up(xp):
    found = host.padded(xp.ones((2, 1, 2)), (2, 3), 7)
    assert isinstance(found, type(xp.ones(1)))
    assert found.tolist() == [[[1, 1, 7], [7, 7, 7]]] * 2


def test_sticks_are_rounded_and_filled_up_to_whole_shards():
    conv = jd.ConvConfig(channels=40, height=2, width=3, kernel=1)
    plan = jd.make_plan(conv, jd.ShardConfig(scheme="width", grid=(2, 1)))
    x = np.full(conv.input_shape, 1 + 2**-8 + 2**-12, np.float32)
    sticks = host.host_sticks(jnp.asarray(x), static_of(plan))
    assert (sticks.shape, sticks.dtype) == ((6, 64), jnp.bfloat16)
    assert (sticks[:, :40] == 1 + 2**-7).all()
    assert (sticks[:, 40:] == 0).all()


@pytest.mark.parametrize("way", [0, 1])
@pytest.mark.parametrize("in_order", [False, True])
def test_outputs_are_collected_without_padding(way, in_order):
    """Two shards of 3 rows and 4 channels, an output of 2 x 2 x 3."""
    shards = both(np.arange(24, dtype=np.float32).reshape(2, 3, 4))[way]
    collect = None if in_order else make_index_map(np.array([5, 6, 7, 0]), 6)
    found = host.collected(shards, collect, (1, 2, 2, 3))
    assert isinstance(found, type(shards))
    rows = np.arange(24).reshape(6, 4)[:4, :3]
    if not in_order:
        rows = np.array([[20, 21, 22], [0, 0, 0], [np.nan] * 3, [0, 1, 2]])
    np.testing.assert_array_equal(found, rows.reshape(1, 2, 2, 3))


def test_rows_of_shards_that_only_fill_a_mesh_are_never_collected():
    shards = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    collect = make_index_map(np.array([3, 4, 5]), 4)  # the last shard is none
    found = host.collected(shards, collect, (1, 1, 3, 2))
    np.testing.assert_array_equal(found[0, 0], [[6, 7], [0, 0], [np.nan] * 2])


def planned(**conv) -> jd.Plan:
    example = {"channels": 90, "height": 8, "width": 8, "padding": 1, "bias": True}
    shard = jd.ShardConfig(scheme="block")
    return jd.make_plan(jd.ConvConfig(**(example | conv)), shard)


@pytest.mark.parametrize("dtype", ["float32", "bfloat8_b"])
def test_lanes_hold_each_channels_weights_and_bias(dtype):
    plan = planned(weights_dtype=dtype)
    maps = compose_maps(jd.make_maps(plan))
    rng = np.random.default_rng(0)
    w, bias = rng.standard_normal((90, 9)), rng.standard_normal(90)
    w, bias = w.astype(np.float32), bias.astype(np.float32)
    padded = np.zeros((10, plan.num_channel_shards * plan.input_shard.channels))
    padded[:9, :90], padded[9, :90] = w.T, bias
    want = np.asarray(formats.round_to(jnp.asarray(padded, jnp.float32), dtype))
    for values, added in zip(both(w.reshape(90, 1, 3, 3)), both(bias), strict=True):
        weights = host.weights_in_lanes(maps, values, dtype)
        biases = host.bias_in_lanes(maps, added, dtype)
        assert isinstance(weights, type(values))
        np.testing.assert_array_equal(weights, want[:9])
        np.testing.assert_array_equal(biases, want[9])


def test_a_bias_that_is_not_there_has_no_lanes():
    maps = compose_maps(jd.make_maps(planned(bias=False)))
    assert host.bias_in_lanes(maps, None, "bfloat16") is None


def test_preparation_keeps_bf16_and_float32():
    for dtype, host_dtype in (("bfloat16", jnp.bfloat16), ("bfloat4_b", jnp.float32)):
        static = static_of(planned(weights_dtype=dtype))
        found = host.host_tensor(jnp.full((2, 3), 1 + 2**-12), static)
        assert (found.shape, found.dtype) == ((6,), host_dtype)
        assert (found == (1 if dtype == "bfloat16" else 1 + 2**-12)).all()


@pytest.mark.parametrize("dtype", ["bfloat8_b", "bfloat4_b"])
def test_lanes_apart_share_exponents_with_their_neighbours_in_the_tile(dtype):
    """Each lane is alone in its block; its 15 neighbours in L1 set the exponent."""
    plan = planned(weights_dtype=dtype, bias=False, kernel=1, padding=0, channels=32)
    maps = jd.make_maps(plan)
    lanes = np.arange(32) // 2 * 16 + np.arange(32) % 2 * 3  # 2 lanes of 16 blocks
    pairing = IndexMap(lanes.reshape(1, 1, 32).astype(np.int32), maps.pairing.size)
    prepare = maps.weights.prepare
    index = np.full(prepare.index.shape, prepare.padding, np.int32)
    index[:, 0], index[:, 3], index[:, 5] = 0, 1, 2  # of every run of 16
    index[:, 16], index[:, 19], index[:, 21] = 0, 1, 2
    weights = dataclasses.replace(maps.weights, prepare=IndexMap(index, 32))
    maps = dataclasses.replace(maps, weights=weights, pairing=pairing)
    composed = compose_maps(maps)
    assert composed.blocks is not None
    assert composed.blocks.index.shape == (1, 16, 16)
    w = np.zeros((32, 1, 1, 1), np.float32)
    w[:3, 0, 0, 0] = 9.3, 40.4, 64.0  # the third lies in no lane
    block = np.zeros((1, 16), np.float32)
    block[0, [0, 3, 5]] = w[:3, 0, 0, 0]
    alone = np.asarray(formats.round_to(jnp.asarray(block), dtype))[0, [0, 3]]
    assert alone.tolist() == ([9, 40] if dtype == "bfloat8_b" else [16, 48])
    for values in both(w):
        found = host.weights_in_lanes(composed, values, dtype)
        np.testing.assert_array_equal(found, np.tile(alone, 16)[None])
    x = np.ones(plan.conv.input_shape, np.float32)
    for keep in ((), ("dram",)):
        output = jd.run(plan, maps, x, w, keep=keep).output
        np.testing.assert_array_equal(output[0, 0, 0], np.tile(alone, 16))
