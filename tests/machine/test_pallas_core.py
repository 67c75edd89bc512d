import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdw as jd
from jaxdw.launch import composed
from jaxdw.machine.cores import Static, arithmetic_of, run_cores, static_of
from jaxdw.machine.pallas_core import pallas_grid

FLOAT32 = jd.ComputeConfig(arithmetic="float32")
LOFI, HIFI4 = jd.ComputeConfig(), jd.ComputeConfig(math_fidelity="HiFi4")
WIDE_LOFI = dataclasses.replace(LOFI, fp32_dest_acc=True)
WIDE_HIFI4 = dataclasses.replace(HIFI4, fp32_dest_acc=True)
ALL_FLOAT32 = {
    "dtype": "float32",
    "weights_dtype": "float32",
    "output_dtype": "float32",
}

# scheme, compute, conv: 80 channels are padded to 96, one block and a half
CASES = [
    ("height", FLOAT32, {"activation": "gelu", "bias": True}),
    ("width", FLOAT32, {"output_dtype": "bfloat8_b", "weights_dtype": "bfloat8_b"}),
    ("height", LOFI, {"activation": "relu6", "bias": True}),
    ("block", LOFI, {"kernel": 5, "activation": "silu", "output_dtype": "bfloat8_b"}),
    ("height", LOFI, {"kernel": 1, "channels": 16, "weights_dtype": "bfloat4_b"}),
    ("width", LOFI, {"kernel": 7, "padding": 3, "channels": 32}),
    ("block", HIFI4, {"kernel": 2, "bias": True, "output_dtype": "bfloat8_b"}),
    ("height", WIDE_LOFI, {"activation": "gelu_approx"}),
    ("width", WIDE_HIFI4, {"kernel": 1, "bias": True, **ALL_FLOAT32}),
]


def drawn(scheme: str, compute: jd.ComputeConfig, conv: dict):
    """Returns arguments of `run_cores`, exponents well spread.

    27 of 32 output sticks: no whole number of blocks.
    """
    sizes = {"channels": 80, "height": 8, "width": 7, "padding": 1}
    config = jd.ConvConfig(**(sizes | conv))
    shard = jd.ShardConfig(scheme=scheme, grid=(2, 2))
    plan = jd.make_plan(config, shard, compute)
    maps = jd.make_maps(plan).composed
    static = static_of(plan)
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        values = np.ldexp(rng.standard_normal(shape), rng.integers(-9, 9, shape))
        return values.astype(np.float32)

    x, w = draw(*config.input_shape), draw(*config.weight_shape)
    bias = draw(config.channels) if config.bias else None
    sticks = composed.load_sticks(maps, x, static)
    lanes = composed.load_weights(maps, w, bias, static)
    return [sticks, maps.sticks.index[..., :27], lanes.weights, lanes.bias], static


def assert_same_bits(arguments: list, static: Static, **written):
    runs = [
        jax.jit(functools.partial(run_cores, static=on, form="float", **written))
        for on in (static, dataclasses.replace(static, backend="pallas"))
    ]
    want, got = (np.asarray(run(*arguments)) for run in runs)
    assert want.shape == got.shape
    assert np.unique(want).size > 50  # of all values
    np.testing.assert_array_equal(got.view(np.uint32), want.view(np.uint32))


@pytest.mark.parametrize(("scheme", "compute", "conv"), CASES)
def test_the_kernel_gives_the_bits_of_xla(scheme, compute, conv):
    assert_same_bits(*drawn(scheme, compute, conv))


@pytest.mark.parametrize("own", [False, True])
def test_nhw_shards_share_arrays_or_have_their_own_and_are_poisoned(own):
    arguments, static = drawn("height", FLOAT32, {"bias": True})
    l1, sticks, weights, bias = arguments
    num_shards, _, num_sticks = sticks.shape
    assert num_shards == 2
    rng = np.random.default_rng(1)
    channels_written = rng.random((num_shards, l1.shape[-1])) < 0.7
    windows_written = rng.random((num_shards, num_sticks)) < 0.7
    if own:
        l1, weights, bias = (jnp.stack([v, v[::-1] * 3]) for v in (l1, weights, bias))
    else:
        channels_written = channels_written[0]
    assert_same_bits(
        [l1, sticks, weights, bias],
        static,
        channels_written=channels_written,
        windows_written=windows_written,
    )


@pytest.mark.parametrize(("scheme", "compute", "conv"), CASES)
def test_triton_takes_the_kernel(scheme, compute, conv):
    """Lowered for a GPU, on any machine: no operation that Triton does not have."""
    arguments, static = drawn(scheme, compute, conv)
    kernel = functools.partial(
        pallas_grid,
        arithmetic=arithmetic_of(static, "float"),
        activation=static.activation,
        output_dtype=static.output_dtype,
        compute=static.compute,
        interpret=False,
    )
    traced = jax.jit(kernel).trace(*arguments)
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("xla.gpu.triton") == 1
