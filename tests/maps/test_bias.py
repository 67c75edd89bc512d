import chex
import numpy as np
import oracles

import jaxdw as jd
from jaxdw.maps.bias import bias_lanes


def test_bias_is_row_0_of_its_tiles():
    conv = jd.ConvConfig(channels=70, height=8, width=8, padding=1, bias=True)
    plan = jd.make_plan(conv, jd.ShardConfig(scheme="width", grid=(3, 1)))
    bias = np.arange(1, 71, dtype=np.float32)
    result = jd.run(
        plan,
        jd.make_maps(plan),
        np.zeros(conv.input_shape, np.float32),
        np.zeros(conv.weight_shape, np.float32),
        bias,
        keep=("bias", "bias_tiles"),
    )
    want = oracles.bias_matrix(bias, 96)
    chex.assert_trees_all_equal(np.asarray(result.memories["bias"], np.float32), want)
    chex.assert_trees_all_equal(
        np.asarray(result.memories["bias_tiles"], np.float32), oracles.tilize(want)
    )
    chex.assert_trees_all_equal(
        np.asarray(result.output), np.broadcast_to(bias, plan.output_shape)
    )


def test_channels_find_their_bias_in_row_0_of_their_tiles():
    lanes = bias_lanes(2)
    want = [*range(16), *range(256, 272), *range(1024, 1040), *range(1280, 1296)]
    assert lanes.index.tolist() == [want]
    assert lanes.size == 2048
