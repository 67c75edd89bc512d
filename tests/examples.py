"""What several tests share: example plans and host tensors."""

import inspect
from collections.abc import Callable

import ml_dtypes
import numpy as np

import jaxdw as jd


def unchecked(function: Callable) -> Callable:
    """Returns a function as users have it, without the type checks of tests.

    For refusals of values that no annotation allows.
    """
    return inspect.unwrap(function)


def uneven_plan(
    scheme: str = "block", layout: str = "final", grid=(3, 3), **conv
) -> jd.Plan:
    """Plans 3 x 3 cores, 2 weight tiles each, uneven channels, rows, padding."""
    example = {
        "batch": 2,
        "channels": 200,
        "height": 10,
        "width": 9,
        "kernel": (3, 5),
        "padding": (2, 1, 0, 3),
        "bias": True,
    }
    shard = jd.ShardConfig(scheme=scheme, grid=grid, weight_layout=layout)
    return jd.make_plan(jd.ConvConfig(**(example | conv)), shard)


def width_plan(
    channels: int, shards: int, kernel=3, dtype="bfloat16", layout="final"
) -> jd.Plan:
    """Plans WIDTH sharding over just so many channel shards."""
    conv = jd.ConvConfig(
        channels=channels, height=16, width=16, kernel=kernel, weights_dtype=dtype
    )
    shard = jd.ShardConfig(scheme="width", grid=(shards, 1), weight_layout=layout)
    plan = jd.make_plan(conv, shard)
    assert plan.num_channel_shards == shards
    return plan


def distinct_weights(plan: jd.Plan, seed: int = 0) -> np.ndarray:
    """Draws weights that no two of are equal, in bf16 either."""
    size = int(np.prod(plan.conv.weight_shape))
    bits = np.random.default_rng(seed).permutation(np.arange(0x2000, 0x7F00))
    bits = np.concatenate([bits, bits | 0x8000]).astype(np.uint16)
    values = bits.view(ml_dtypes.bfloat16).astype(np.float32)[:size]
    return values.reshape(plan.conv.weight_shape)


def halo_geometry(plan: jd.Plan) -> tuple:
    """Returns what the loops of `oracles.haloed_shards` take of a plan."""
    conv = plan.conv
    return (
        conv.batch,
        conv.height,
        conv.width,
        conv.kernel,
        conv.stride,
        conv.padding,
        conv.dilation,
        plan.num_nhw_shards,
    )
