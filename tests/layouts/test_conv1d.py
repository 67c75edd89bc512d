import numpy as np
import oracles
import oracles_ttnn
import pytest
from layout_examples import MAP_BUILDERS, first_rule
from ttnn_examples import ttnn_plan

from jaxdw.layouts.certificate import weights_of
from jaxdw.layouts.conv1d import Conv1dWeights
from jaxdw.maps import regular


@pytest.mark.parametrize("override", [0, 32])
@pytest.mark.parametrize("channels", [40, 64])
def test_the_statement_is_that_of_the_loops(channels, override):
    plan = ttnn_plan(
        "conv1d", channels=channels, grid=(2, 1), act_block_h_override=override
    )
    block_h = plan.act_block[0]
    assert block_h == (1 if override else 3)
    weights = weights_of(plan)
    assert isinstance(weights, Conv1dWeights)
    w = np.arange(1, channels * 3 + 1).reshape(plan.conv.weight_shape)
    matrix = oracles_ttnn.conv1d_weights(w, block_h)
    l1 = oracles.tilize(matrix)
    np.testing.assert_array_equal(weights.matrix() + 1, matrix)
    np.testing.assert_array_equal(weights.weight_lanes()[0] + 1, l1.ravel())
    assert weights.weight_tile_ids().tolist() == [[*range(len(l1))]]
    [met] = weights.pairing()
    for tap in range(3):
        tiles = met[tap, :channels] // 1024
        assert (tiles == tap * block_h * 2 + np.arange(channels) // 32).all()
        assert (l1.flat[met[tap, :channels]] == w[:, 0, 0, tap]).all()
    assert (met[:, channels:] < 0).all()


MUTANTS = [
    (
        "prepare",
        "weight_rows",
        "np.arange(matrix.lanes)",
        "np.arange(matrix.lanes - 1)",
    ),
    ("prepare", "weight_rows", "matrix.row(lanes, r, s)", "matrix.row(lanes, r, 0)"),
    (
        "prepare",
        "prepare_map",
        "* taps + np.arange(taps)",
        "* taps + np.arange(taps)[::-1]",
    ),
    ("pairing", "pairing_map", "copies.index[:, 0]", "copies.index[:, 1]"),
    ("pairing", "dense_of", "* tiles.columns_per_core +", "* 2 +"),
    ("read", "_weight_maps", "weight_tile_ids(core)", "weight_tile_ids(core)[::-1]"),
    ("multicast", "make_multicast", "core % plan", "core // plan"),
]


@pytest.mark.parametrize(("rule", "name", "old", "new"), MUTANTS)
def test_a_changed_line_in_a_map_builder_is_named(monkeypatch, rule, name, old, new):
    plan = ttnn_plan("conv1d", width=200, channels=90)
    assert plan.num_nhw_shards > 1
    builder = MAP_BUILDERS.get(name) or getattr(regular, name)
    assert first_rule(monkeypatch, plan, builder, old, new) == rule
