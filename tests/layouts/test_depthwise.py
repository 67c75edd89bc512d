import numpy as np
import oracles
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdw.layouts.definition import ZERO, Definition
from jaxdw.layouts.depthwise import DepthwiseWeights


@given(strategies.convs(max_channels=90, max_size=7), st.integers(1, 4))
@settings(max_examples=15)
def test_the_statement_is_that_of_the_loops(conv, shards):
    weights = DepthwiseWeights(Definition(conv, 1, shards, 32))
    w = np.arange(1, conv.channels * conv.taps + 1).reshape(conv.weight_shape)
    prepared = oracles.tilize(oracles.prepare_final(w, shards))
    for shard, lanes in enumerate(weights.weight_lanes()):
        ids = oracles.weight_tile_ids(
            "width", shard, 1, shards, conv.channels, conv.taps
        )
        assert weights.weight_tile_ids()[shard].tolist() == ids
        got = prepared[ids[: len(lanes) // 1024]].ravel()
        np.testing.assert_array_equal(got, np.where(lanes == ZERO, 0, lanes + 1))
