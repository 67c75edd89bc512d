"""Which cores go on with an earlier launch's weights, or another column's."""

import numpy as np
import pytest
from fault_examples import FAULTS, FLOAT32, plan_of, spoilt, whole_numbers

import jaxdw as jd


@pytest.mark.parametrize(
    ("fault", "scheme", "cores"),
    [
        ("rectangle-short", "height", [3]),
        ("rectangle-axes-swapped", "height", [1, 2, 3]),
        ("receiver-missing", "height", [3]),
        ("rectangle-short", "block", [9, 10, 11]),
        ("receiver-missing", "block", [11]),
    ],
)
def test_cores_that_the_multicast_leaves_out_keep_old_weights(fault, scheme, cores):
    plan = plan_of(scheme, height=16)  # 128 outputs: 4 NHW shards of 4 image rows
    assert plan.num_nhw_shards == 4
    operands, earlier = (whole_numbers(plan.conv, seed) for seed in (0, 1))
    want = jd.reference(plan.conv, *operands)
    old = jd.reference(plan.conv, operands.x, earlier.w)
    for core in cores:
        shard, column = divmod(core, plan.num_channel_shards)
        rows = slice(4 * shard, 4 * shard + 4)
        width = plan.input_shard.channels
        channels = slice(column * width, column * width + width)
        want[:, rows, :, channels] = old[:, rows, :, channels]
    np.testing.assert_array_equal(spoilt(plan, fault, operands), want)


def test_cores_without_outputs_are_not_missed():
    """4 cores by request, of which the first 2 hold all outputs."""
    shard = jd.ShardConfig(scheme="height", cores=4)
    plan = jd.make_plan(plan_of("height").conv, shard, FLOAT32)
    operands, earlier = (whole_numbers(plan.conv, seed) for seed in (0, 1))
    want = jd.reference(plan.conv, *operands)
    want[:, 4:] = jd.reference(plan.conv, operands.x, earlier.w)[:, 4:]
    got = spoilt(plan, "receiver-missing", operands, earlier)
    np.testing.assert_array_equal(got, want)
    assert not FAULTS["rectangle-short"].applies(plan)


def test_swapped_axes_send_a_column_the_weights_of_another():
    plan = plan_of("block", channels=64)  # 2 by 2 cores: sender 1 writes row 1
    operands = whole_numbers(plan.conv, 0)
    want = jd.reference(plan.conv, *operands)
    crossed = np.concatenate([operands.w[32:], operands.w[32:]])
    want[:, 4:] = jd.reference(plan.conv, operands.x, crossed)[:, 4:]
    got = spoilt(plan, "rectangle-axes-swapped", operands)
    np.testing.assert_array_equal(got, want)
