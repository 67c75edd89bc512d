import chex
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import strategies
from absl.testing import parameterized
from hypothesis import given

import jaxdw as jd
from jaxdw.maps.depthwise import pairing_map


def witness(conv: jd.ConvConfig) -> np.ndarray:
    """Gives every (c, kh, kw) its own value."""
    size = int(np.prod(conv.weight_shape))
    return np.arange(1, size + 1, dtype=np.float32).reshape(conv.weight_shape)


def plan_of(channels: int, shards: int, kernel, layout: str = "final") -> jd.Plan:
    conv = jd.ConvConfig(
        channels=channels,
        height=16,
        width=16,
        kernel=kernel,
        weights_dtype="float32",
    )
    shard = jd.ShardConfig(scheme="width", grid=(shards, 1), weight_layout=layout)
    plan = jd.make_plan(conv, shard, must_fit=False)
    assert plan.num_channel_shards == shards
    return plan


class PrepareWeightsTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters((64, 2, 3), (48, 2, 3), (96, 3, 5), (320, 1, 7))
    def test_prepared_weights_equal_the_oracle(self, channels, shards, kernel):
        plan = plan_of(channels, shards, kernel)
        w = witness(plan.conv)
        matrix = self.variant(lambda w: jd.prepare_weights(plan, w))(jnp.asarray(w))
        chex.assert_trees_all_equal(
            np.asarray(matrix), oracles.prepare_final(w, shards)
        )


@given(strategies.convs(max_channels=700), strategies.shards())
def test_prepared_weights_equal_the_oracle_everywhere(conv, shard):
    conv = jd.ConvConfig(**(conv.__dict__ | {"weights_dtype": "float32"}))
    plan = jd.make_plan(conv, shard, must_fit=False)
    w = witness(conv)
    matrix = np.asarray(jd.prepare_weights(plan, w))
    want = oracles.prepare_final(w, plan.num_channel_shards)
    chex.assert_trees_all_equal(matrix, want)
    assert matrix.shape == plan.weight_matrix_shape
    tiles = np.asarray(jd.tilize(matrix))
    chex.assert_trees_all_equal(tiles, oracles.tilize(want))
    assert len(tiles) == np.prod(plan.weight_tile_grid)
    real = matrix[matrix != 0]
    assert sorted(real.tolist()) == w.ravel().tolist()  # each weight just once


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 5), (4, 8)])
@pytest.mark.parametrize(("channels", "shards"), [(64, 2), (16, 1), (90, 3)])
def test_up_to_32_kernel_positions_match_the_literal_listing(channels, shards, kernel):
    plan = plan_of(channels, shards, kernel)
    w = witness(plan.conv)
    chex.assert_trees_all_equal(
        np.asarray(jd.prepare_weights(plan, w)),
        oracles.prepare_final_literal(w, shards),
    )


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize(
    ("layout", "oracle"),
    [
        ("tile_chunks", oracles.prepare_tile_chunks),
        ("concatenated", oracles.prepare_concatenated),
    ],
)
@pytest.mark.parametrize(
    ("channels", "shards"), [(64, 2), (48, 2), (128, 4), (480, 8), (70, 2), (33, 1)]
)
def test_older_layouts_equal_their_own_listings(
    layout, oracle, channels, shards, kernel
):
    plan = plan_of(channels, shards, kernel, layout)
    w = witness(plan.conv)
    chex.assert_trees_all_equal(
        np.asarray(jd.prepare_weights(plan, w)), oracle(w, shards)
    )


@pytest.mark.parametrize(("channels", "shards"), [(64, 2), (48, 2), (128, 4)])
def test_tile_chunks_agrees_with_final_where_the_plans_examples_lie(channels, shards):
    final, older = (
        plan_of(channels, shards, 3, name) for name in ("final", "tile_chunks")
    )
    w = witness(final.conv)
    chex.assert_trees_all_equal(
        jd.prepare_weights(final, w), jd.prepare_weights(older, w)
    )


def test_weights_of_another_shape_are_refused():
    with pytest.raises(jd.ConfigError, match=r"`w` \(=\(64, 3, 3\)\).*\(64, 1, 3, 3\)"):
        jd.prepare_weights(plan_of(64, 2, 3), np.zeros((64, 3, 3)))


@pytest.mark.parametrize(("channels", "shards", "kernel"), [(64, 2, 3), (90, 3, 5)])
def test_windows_meet_tiles_in_memory_order(channels, shards, kernel):
    """The stick of kernel position k lies at k * channels of the core."""
    plan = plan_of(channels, shards, kernel)
    pairing = pairing_map(plan)
    per_core = plan.input_shard.channels
    assert pairing.index.shape == (1, kernel**2, per_core)
    assert pairing.size == 1024 * plan.weight_tiles_per_core
    for tap in range(kernel**2):
        for lane in (0, 1, per_core - 1):
            assert pairing.index[0, tap, lane] == tap * per_core + lane


@given(strategies.convs(max_channels=700), strategies.shards())
def test_every_window_element_meets_its_own_weight(conv, shard):
    """Through oracles for preparation and tiles, of every core's channels."""
    conv = jd.ConvConfig(**(conv.__dict__ | {"weights_dtype": "float32"}))
    plan = jd.make_plan(conv, shard, must_fit=False)
    w, channels = witness(conv), plan.input_shard.channels
    tiles = oracles.tilize(oracles.prepare_final(w, plan.num_channel_shards))
    met = pairing_map(plan).index[0]
    for core in range(plan.num_channel_shards):
        held = tiles[list(plan.weight_tile_ids(core))].ravel()[met]
        own = w.reshape(conv.channels, -1).T[:, core * channels :][:, :channels]
        want = np.zeros((conv.taps, channels), np.float32)
        want[:, : own.shape[1]] = own
        np.testing.assert_array_equal(held, want)
