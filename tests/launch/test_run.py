import dataclasses
import math

import jax
import jax.numpy as jnp
import jaxtyping
import ml_dtypes
import numpy as np
import oracles
import pytest

import jaxdw as jd
from jaxdw.launch.bucketed import run_bucketed
from jaxdw.machine import pallas_core
from jaxdw.maps.indexmap import IndexMap, make_index_map

FLOAT32 = jd.ComputeConfig(arithmetic="float32")
EXAMPLE = {"channels": 64, "height": 8, "width": 8, "padding": 1}
SIGNIFICANT_BITS = {"float32": 24, "bfloat16": 8, "bfloat8_b": 7, "bfloat4_b": 3}


def plan_of(scheme: str, **conv) -> jd.Plan:
    conv = jd.ConvConfig(**(EXAMPLE | conv))
    return jd.make_plan(conv, jd.ShardConfig(scheme=scheme), FLOAT32)


def draw(conv: jd.ConvConfig):
    """Draws values that bf16 holds."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.standard_normal(shape).astype(ml_dtypes.bfloat16).astype(np.float32)

    bias = normal(conv.channels) if conv.bias else None
    return normal(*conv.input_shape), normal(*conv.weight_shape), bias


def held(value: float, dtype: str) -> float:
    """Returns what a tensor of one value holds in that dtype; no value is a tie."""
    step = 2.0 ** (math.frexp(value)[1] - SIGNIFICANT_BITS[dtype])
    return round(value / step) * step


@pytest.mark.parametrize("keep", [(), ("dram",)], ids=["composed", "staged"])
@pytest.mark.parametrize(
    ("dtype", "weights_dtype", "output_dtype"),
    [
        ("float32", "float32", "float32"),
        ("bfloat16", "bfloat16", "float32"),
        ("float32", "bfloat16", "float32"),
        ("bfloat16", "float32", "float32"),
        ("float32", "float32", "bfloat16"),
        ("float32", "float32", "bfloat8_b"),
        ("float32", "bfloat8_b", "float32"),
        ("bfloat16", "bfloat4_b", "float32"),
    ],
)
def test_activations_weights_and_output_each_have_their_own_dtype(
    dtype, weights_dtype, output_dtype, keep
):
    plan = plan_of(
        "block",
        height=2,
        width=2,
        kernel=1,
        padding=0,
        bias=True,
        dtype=dtype,
        weights_dtype=weights_dtype,
        output_dtype=output_dtype,
    )
    value = 1 + 2**-3 + 2**-8 + 2**-11  # another one in every dtype
    x, w, bias = (
        np.full(shape, value, np.float32)
        for shape in (plan.conv.input_shape, plan.conv.weight_shape, (64,))
    )
    output = jd.run(plan, jd.make_maps(plan), x, w, bias, keep=keep).output
    weight = held(value, weights_dtype)
    want = held(held(value, dtype) * weight + weight, output_dtype)
    np.testing.assert_array_equal(output, np.full(output.shape, want, np.float32))


@pytest.mark.parametrize("scheme", ["height", "block"])
def test_an_image_row_that_does_not_divide_32_is_split_over_cores(scheme):
    plan = plan_of(scheme, height=9, width=11, stride=(1, 2))
    conv = plan.conv
    assert plan.num_nhw_shards > 1
    x, w, _ = draw(conv)
    total = oracles.conv(
        x, w, None, conv.stride, conv.padding, conv.dilation, np.float32
    )
    output = jd.run(plan, jd.make_maps(plan), x, w).output
    np.testing.assert_array_equal(output, oracles.bf16_round(total))


def test_a_bias_that_the_middle_core_never_read_spoils_that_core_alone():
    plan = plan_of("height", bias=True, height=12, channels=32)
    assert plan.num_nhw_shards == 3
    x, w, bias = draw(plan.conv)
    maps = jd.make_maps(plan)
    assert maps.bias is not None
    index = maps.bias.read.index.copy()
    index[1] = maps.bias.read.poison
    read = make_index_map(index, maps.bias.read.size)
    maps = dataclasses.replace(maps, bias=dataclasses.replace(maps.bias, read=read))
    composed = jd.run(plan, maps, x, w, bias).output
    staged = jd.run(plan, maps, x, w, bias, keep=("dram",)).output
    np.testing.assert_array_equal(composed, staged)
    spoiled = np.isnan(np.asarray(composed).reshape(96, 32)).all(axis=1)
    assert spoiled.tolist() == [False] * 32 + [True] * 32 + [False] * 32


@pytest.mark.parametrize("program", ["depthwise", "regular"])
@pytest.mark.parametrize("compute", [FLOAT32, jd.ComputeConfig()])
def test_one_tile_of_a_bias_that_was_never_read_spoils_its_channels_alone(
    program, compute
):
    conv = jd.ConvConfig(**EXAMPLE | {"channels": 96, "bias": True, "height": 12})
    plan = jd.make_plan(conv, jd.ShardConfig(), compute, program=program)
    assert (plan.num_nhw_shards, plan.channel_tiles) == (3, 3)
    maps = jd.make_maps(plan)
    assert maps.bias is not None
    index = maps.bias.read.index.copy()
    index[1, 2] = maps.bias.read.poison
    read = make_index_map(index, maps.bias.read.size)
    maps = dataclasses.replace(maps, bias=dataclasses.replace(maps.bias, read=read))
    operands = draw(plan.conv)
    composed = np.asarray(jd.run(plan, maps, *operands).output)
    kept = jd.run(plan, maps, *operands, keep=("l1_bias", "output_shards"))
    np.testing.assert_array_equal(composed, kept.output)
    spoiled = np.zeros((96, 96), bool)
    spoiled[32:64, 64:] = True
    np.testing.assert_array_equal(np.isnan(composed.reshape(96, 96)), spoiled)
    np.testing.assert_array_equal(
        np.isnan(kept.memories["output_shards"]).reshape(96, 96), spoiled
    )
    tiles = np.isnan(kept.memories["l1_bias"]).reshape(3, 3, -1)
    assert np.argwhere(tiles.all(axis=2)).tolist() == [[1, 2]]
    assert tiles.any(axis=2).sum() == 1


def test_kept_input_shards_and_sender_semaphores_are_those_before_halo_and_after_send():
    plan = plan_of("block")
    x, w, _ = draw(plan.conv)
    keep = ("sender_semaphores", "input_shards")
    kept = jd.run(plan, jd.make_maps(plan), x, w, keep=keep).memories
    assert kept["sender_semaphores"].tolist() == [0] * 4
    sticks = x.reshape(64, 64)
    for core, shard in enumerate(np.asarray(kept["input_shards"], np.float32)):
        row, column = divmod(core, 2)
        want = sticks[32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
        np.testing.assert_array_equal(shard, want)


@pytest.mark.parametrize(
    ("weights_dtype", "host_dtype"),
    [
        ("bfloat16", jnp.bfloat16),
        ("float32", jnp.float32),
        ("bfloat8_b", jnp.float32),
        ("bfloat4_b", jnp.float32),
    ],
)
def test_prepared_weights_are_of_the_dtype_the_host_prepares_in(
    weights_dtype, host_dtype
):
    plan = plan_of("width", weights_dtype=weights_dtype)
    w = np.full(plan.conv.weight_shape, 1 + 2**-12, np.float32)
    assert jd.prepare_weights(plan, w).dtype == host_dtype


def test_emulate_passes_compute_chip_and_keep_on():
    conv = jd.ConvConfig(**EXAMPLE)
    x, w, _ = draw(conv)
    result = jd.emulate(
        conv, None, x, w, compute=FLOAT32, arch="blackhole", keep=("dram",)
    )
    assert result.plan.compute == FLOAT32
    assert result.plan.arch.name == "blackhole"
    assert set(result.memories) == {"dram"}


@pytest.mark.parametrize("stage", ["halo", "pairing", "collect", "weights.prepare"])
@pytest.mark.parametrize("index", [-1, 10**6])
@pytest.mark.parametrize("way", ["composed", "staged", "bucketed", "mesh"])
def test_an_index_that_its_map_does_not_have_is_refused_by_name(way, index, stage):
    plan = plan_of("block")
    maps = jd.make_maps(plan)
    part, _, field = stage.rpartition(".")
    holder = getattr(maps, part) if part else maps
    spoiled = getattr(holder, field)
    values = spoiled.index.copy()
    values.flat[values.size // 3] = index
    holder = dataclasses.replace(holder, **{field: IndexMap(values, spoiled.size)})
    maps = dataclasses.replace(maps, **{part: holder}) if part else holder
    x, w, _ = draw(plan.conv)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("a",))
    ways = {
        "composed": lambda: jd.run(plan, maps, x, w),
        "staged": lambda: jd.run(plan, maps, x, w, keep=("dram",)),
        "mesh": lambda: jd.run(plan, maps, x, w, mesh=mesh),
        "bucketed": lambda: run_bucketed(plan, maps, x, w),
    }
    sentence = (
        rf"^`maps\.{stage}` \(={index}\) must hold indices from 0 to {spoiled.poison}; "
        rf"use {spoiled.padding} for padding, {spoiled.poison} for memory"
    )
    with pytest.raises(jd.ConfigError, match=sentence):
        ways[way]()


@pytest.mark.parametrize("stage", ["halo", "pairing"])
@pytest.mark.parametrize("past", [0, 1])
def test_both_sentinels_are_indices_that_every_map_has(stage, past):
    plan = plan_of("block")
    maps = jd.make_maps(plan)
    spoiled = getattr(maps, stage)
    values = spoiled.index.copy()
    real = np.flatnonzero(values < spoiled.size)
    values.flat[real[len(real) // 3]] = spoiled.size + past
    spoiled = dataclasses.replace(maps, **{stage: IndexMap(values, spoiled.size)})
    x, w, _ = draw(plan.conv)
    output = np.asarray(jd.run(plan, spoiled, x, w).output)
    staged = jd.run(plan, spoiled, x, w, keep=("dram",)).output
    np.testing.assert_array_equal(output, staged)
    assert np.isnan(output).any() == past
    right = np.asarray(jd.run(plan, maps, x, w).output)
    assert 0 < (output != right).mean() < 0.51


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("keep", [(), ("dram",)])
@pytest.mark.parametrize("arithmetic", ["float32", "fpu"])
def test_the_pallas_kernel_gives_the_same_bits_in_every_way(arithmetic, keep, grad):
    compute = jd.ComputeConfig(arithmetic=arithmetic)
    plan = dataclasses.replace(
        plan_of("block", channels=40, bias=True), compute=compute
    )
    maps = jd.make_maps(plan)
    x, w, bias = draw(plan.conv)
    if grad and keep:
        return
    jax.clear_caches()

    def output(w, backend: str):
        return jd.run(plan, maps, x, w, bias, keep=keep, backend=backend).output

    def kernels(backend: str) -> int:
        found = jax.make_jaxpr(lambda w: output(w, backend))(jnp.asarray(w))
        return str(found).count("pallas_call")

    if grad:
        want, got = (
            jax.grad(lambda w, on=on: output(w, on).sum())(w)
            for on in ("xla", "pallas")
        )
    else:
        want, got = (output(w, backend) for backend in ("xla", "pallas"))
    np.testing.assert_array_equal(got, want)
    assert (kernels("xla"), kernels("pallas")) == (0, 1)


def test_pieces_and_meshes_take_the_pallas_kernel():
    plan = plan_of("block", channels=40, bias=True)
    maps = jd.make_maps(plan)
    x, w, bias = draw(plan.conv)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("a",))
    want = np.asarray(jd.run(plan, maps, x, w, bias).output)
    called = []
    kernel = pallas_core.pallas_grid

    def spy(*arguments, **options):
        called.append(arguments[0].shape)
        return kernel(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pallas_core, "pallas_grid", spy)
        on_mesh = jd.run(plan, maps, x, w, bias, mesh=mesh, backend="pallas").output
        assert len(called) == 1
        pieces = run_bucketed(plan, maps, x, w, bias, backend="pallas")
        assert called[1:] == [(256, 128)]
    np.testing.assert_array_equal(on_mesh, want)
    np.testing.assert_array_equal(pieces, want)


def test_an_unknown_backend_is_refused():
    plan = plan_of("block")
    x, w, _ = draw(plan.conv)
    jaxtyping.config.update("jaxtyping_disable", True)  # as for a user
    try:
        with pytest.raises(jd.ConfigError, match=r"`backend` \(='cuda'\).*xla, pallas"):
            jd.run(plan, jd.make_maps(plan), x, w, backend="cuda")
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
