import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdw as jd
from jaxdw.launch import composed
from jaxdw.machine.grid import map_grid, program_of
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
    """Returns arguments of `map_grid` and the program, exponents well spread.

    27 of 32 output sticks: no whole number of blocks.
    """
    sizes = {"channels": 80, "height": 8, "width": 7, "padding": 1}
    config = jd.ConvConfig(**(sizes | conv))
    shard = jd.ShardConfig(scheme=scheme, grid=(2, 2))
    plan = jd.make_plan(config, shard, compute)
    maps = jd.make_maps(plan).composed
    program = program_of(plan)
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        values = np.ldexp(rng.standard_normal(shape), rng.integers(-9, 9, shape))
        return values.astype(np.float32)

    x, w = draw(*config.input_shape), draw(*config.weight_shape)
    bias = draw(config.channels) if config.bias else None
    operands = composed.load(maps, x, w, bias, program)
    sticks = maps.sticks.index[..., :27]
    return [operands.sticks, sticks, operands.weights, operands.bias], program


def assert_same_bits(arguments: list, program):
    want = jax.jit(functools.partial(map_grid, program=program, exact=False))
    got = jax.jit(functools.partial(pallas_grid, program=program, interpret=True))
    want, got = (np.asarray(way(*arguments)) for way in (want, got))
    assert want.shape == got.shape
    assert np.unique(want).size > 50  # of all values
    np.testing.assert_array_equal(got.view(np.uint32), want.view(np.uint32))


@pytest.mark.parametrize(("scheme", "compute", "conv"), CASES)
def test_the_kernel_gives_the_bits_of_map_grid(scheme, compute, conv):
    arguments, program = drawn(scheme, compute, conv)
    assert_same_bits([*arguments, None, None], program)


@pytest.mark.parametrize("own", [False, True])
def test_nhw_shards_share_arrays_or_have_their_own_and_are_poisoned(own):
    arguments, program = drawn("height", FLOAT32, {"bias": True})
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
    poison = jnp.asarray(channels_written), jnp.asarray(windows_written)
    assert_same_bits([l1, sticks, weights, bias, *poison], program)


@pytest.mark.parametrize(("scheme", "compute", "conv"), CASES)
def test_triton_takes_the_kernel(scheme, compute, conv):
    """Lowered for a GPU, on any machine: no operation that Triton does not have."""
    arguments, program = drawn(scheme, compute, conv)
    kernel = functools.partial(pallas_grid, program=program, interpret=False)
    traced = jax.jit(kernel).trace(*arguments, None, None)
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("xla.gpu.triton") == 1


def test_a_run_takes_the_kernel_that_the_environment_asks_for(monkeypatch):
    conv = jd.ConvConfig(channels=40, height=6, width=5, padding=1, bias=True)
    plan = jd.make_plan(conv, jd.ShardConfig(scheme="block", grid=(2, 2)), LOFI)
    maps = jd.make_maps(plan)
    rng = np.random.default_rng(0)
    shapes = (conv.input_shape, conv.weight_shape, (conv.channels,))
    operands = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    want = jd.run(plan, maps, *operands).output
    assert not program_of(plan).pallas
    monkeypatch.setenv("JAXDW_PALLAS", "1")
    assert program_of(plan).pallas
    np.testing.assert_array_equal(jd.run(plan, maps, *operands).output, want)
    text = str(
        jax.make_jaxpr(lambda x: jd.run(plan, maps, x, *operands[1:]).output)(
            operands[0]
        )
    )
    assert "pallas_call" in text
