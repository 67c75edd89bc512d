import dataclasses
import itertools

import chex
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import oracles
import pytest
import strategies
from absl.testing import parameterized
from examples import halo_geometry
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxdw as jd
from jaxdw.launch import composed, emulator
from jaxdw.maps.banks import read_map
from jaxdw.maps.indexmap import make_index_map

SCHEMES = ("height", "width", "block")
FLOAT32 = jd.ComputeConfig(arithmetic="float32")
EXAMPLE = {"channels": 64, "height": 8, "width": 8, "padding": 1}


def draw(conv: jd.ConvConfig, seed: int = 0):
    """Draws values that bf16 holds."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.standard_normal(shape).astype(ml_dtypes.bfloat16).astype(np.float32)

    bias = normal(conv.channels) if conv.bias else None
    return normal(*conv.input_shape), normal(*conv.weight_shape), bias


def oracle(conv: jd.ConvConfig, x, w, bias) -> np.ndarray:
    """float32 in kernel-position order, one rounding."""
    total = oracles.conv(
        x, w, bias, conv.stride, conv.padding, conv.dilation, np.float32
    )
    return oracles.bf16_round(total)


def plan_of(scheme: str, grid=None, **conv) -> jd.Plan:
    shard = jd.ShardConfig(scheme=scheme, grid=grid)
    return jd.make_plan(jd.ConvConfig(**(EXAMPLE | conv)), shard, FLOAT32)


class RunTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.product(scheme=SCHEMES, traced_maps=[False, True])
    def test_output_equals_the_loop_bit_for_bit(self, scheme, traced_maps):
        plan = plan_of(scheme, bias=True, channels=80, height=9)
        maps = jd.make_maps(plan)
        x, w, bias = draw(plan.conv)

        def run(maps, x, w, bias):
            return jd.run(plan, maps, x, w, bias).output

        if traced_maps:
            output = self.variant(run)(maps, x, w, bias)
        else:
            output = self.variant(lambda *values: run(maps, *values))(x, w, bias)
        chex.assert_trees_all_equal(np.asarray(output), oracle(plan.conv, x, w, bias))


@settings(max_examples=12)
@given(strategies.convs(max_channels=70, max_size=9), strategies.shards(), st.data())
def test_any_scheme_on_any_grid_equals_the_loop(conv, shard, data):
    conv = dataclasses.replace(conv, bias=data.draw(st.booleans()))
    x, w, bias = draw(conv)
    output = jd.emulate(conv, shard, x, w, bias, compute=FLOAT32).output
    chex.assert_trees_all_equal(np.asarray(output), oracle(conv, x, w, bias))


LOFI, HIFI4 = jd.ComputeConfig(), jd.ComputeConfig(math_fidelity="HiFi4")
WIDE_DST = dataclasses.replace(LOFI, fp32_dest_acc=True)
WIDE_HIFI4 = dataclasses.replace(HIFI4, fp32_dest_acc=True)
ALL_FLOAT32 = {"dtype": "float32", "weights_dtype": "float32"}


@pytest.mark.parametrize(
    ("compute", "fields"),
    [
        (FLOAT32, ALL_FLOAT32 | {"output_dtype": "float32", "activation": "gelu"}),
        (FLOAT32, {"weights_dtype": "bfloat8_b", "activation": "silu"}),
        (LOFI, {"activation": "relu"}),
        (LOFI, {"weights_dtype": "bfloat4_b", "output_dtype": "bfloat8_b"}),
        (LOFI, {"kernel": (5, 5), "activation": "gelu_approx"}),
        (WIDE_DST, {"weights_dtype": "bfloat8_b", "activation": "relu6"}),
        (WIDE_DST, ALL_FLOAT32 | {"output_dtype": "float32", "activation": "gelu"}),
        (jd.ComputeConfig(math_fidelity="HiFi2"), {"dtype": "bfloat8_b"}),
        (jd.ComputeConfig(math_fidelity="HiFi3"), {"activation": "silu"}),
        (HIFI4, {"dtype": "float32", "activation": "gelu"}),
        (WIDE_HIFI4, {"kernel": (5, 5), "output_dtype": "bfloat8_b"}),
    ],
    ids=str,
)
def test_the_result_does_not_depend_on_scheme_or_grid(compute, fields):
    conv = jd.ConvConfig(**(EXAMPLE | {"channels": 80} | fields), bias=True)
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal(conv.input_shape), rng.standard_normal(conv.weight_shape)
    bias = rng.standard_normal(conv.channels)
    first, *others = [
        jd.emulate(conv, shard, x, w, bias, compute=compute).output
        for shard in (
            jd.ShardConfig(scheme="height"),
            jd.ShardConfig(scheme="width", grid=(2, 1)),
            jd.ShardConfig(scheme="block"),
        )
    ]
    assert np.isfinite(first).all()
    for output in others:
        chex.assert_trees_all_equal(first, output)


def faulty(maps: jd.Maps, stage: str, seed: int) -> jd.Maps:
    """Spoils a few entries of one stage's map, sentinels included."""
    rng = np.random.default_rng(seed)

    def spoil(index_map):
        index = index_map.index.copy()
        flat = index.reshape(-1)
        places = rng.choice(np.flatnonzero(flat < index_map.size), 3)
        flat[places] = rng.integers(0, index_map.size + 2, 3)
        return make_index_map(index, index_map.size)

    part, _, field = stage.rpartition(".")
    holder = getattr(maps, part) if part else maps
    if stage == "multicast.num_dests":
        changed = {"num_dests": holder.num_dests + (holder.num_dests > 0)}
    elif stage == "multicast.rect":
        changed = {"rect": holder.rect[:, [1, 0, 3, 2]]}
    elif stage == "taps":
        changed = {"taps": maps.taps[::-1].copy()}
    else:
        changed = {field: spoil(getattr(holder, field))}
    holder = dataclasses.replace(holder, **changed)
    return dataclasses.replace(maps, **{part: holder}) if part else holder


STAGES = [
    *(f"{t}.{s}" for t in ("weights", "bias") for s in ("prepare", "tilize")),
    *(f"{t}.{s}" for t in ("weights", "bias") for s in ("deal", "read")),
    *("multicast.num_dests", "multicast.rect"),
    *("pairing", "shard", "halo", "top_left", "taps", "collect"),
]


def spoiled(maps: jd.Maps, stage: str) -> jd.Maps:
    """Puts poison where the first element of a stage should come from."""
    holder = maps.weights if stage.startswith("weights") else maps
    field = stage.split(".")[-1]
    index_map = getattr(holder, field)
    index = index_map.index.copy()
    index.flat[0] = index_map.poison
    holder = dataclasses.replace(
        holder, **{field: make_index_map(index, index_map.size)}
    )
    return dataclasses.replace(maps, weights=holder) if stage != field else holder


@pytest.mark.parametrize("compute", [FLOAT32, LOFI], ids=str)
@pytest.mark.parametrize(
    "stage",
    [
        "weights.prepare",
        "weights.tilize",
        "weights.deal",
        "weights.read",
        "pairing",
        "shard",
        "halo",
        "top_left",
        "collect",
    ],
)
def test_one_poisoned_element_is_the_same_staged_and_composed(stage, compute):
    plan = dataclasses.replace(plan_of("block", channels=90), compute=compute)
    maps = spoiled(jd.make_maps(plan), stage)
    x, w, _ = draw(plan.conv)
    composed = jd.run(plan, maps, x, w).output
    staged = jd.run(plan, maps, x, w, keep=("dram",)).output
    np.testing.assert_array_equal(composed, staged)
    assert not np.array_equal(composed, jd.run(plan, jd.make_maps(plan), x, w).output)


@pytest.mark.parametrize("stage", [None, *STAGES])
def test_staged_and_composed_matrix_unit_runs_give_the_same_bits(stage):
    check_staged_and_composed(
        dataclasses.replace(plan_of("block", bias=True, channels=90), compute=LOFI),
        stage,
    )


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("stage", [None, *STAGES])
def test_staged_and_composed_runs_give_the_same_bits(scheme, stage):
    check_staged_and_composed(
        plan_of(scheme, bias=True, channels=90, height=9, kernel=5, padding=2), stage
    )


def check_staged_and_composed(plan: jd.Plan, stage: str | None):
    x, w, bias = draw(plan.conv)
    right = jd.run(plan, jd.make_maps(plan), x, w, bias).output
    changed = False
    for seed in range(20 if stage else 1):
        maps = jd.make_maps(plan)
        maps = faulty(maps, stage, seed) if stage else maps
        composed = jd.run(plan, maps, x, w, bias).output
        staged = jd.run(plan, maps, x, w, bias, keep=("dram",)).output
        np.testing.assert_array_equal(composed, staged)
        changed |= not np.array_equal(composed, right, equal_nan=True)
        if changed and seed >= 2:
            break
    silent = stage is None or (plan.scheme == "width" and stage.startswith("multicast"))
    assert changed != silent  # a fault in any stage reaches the output


def test_height_weights_consumed_as_width_are_wrong():
    """Every core gets tile 0, as before the weight preparation was fixed."""
    width, height = plan_of("width"), plan_of("height")
    maps = jd.make_maps(width)
    older = jd.make_maps(height).weights
    table = jd.bank_table(4, 2048, 0, "wormhole_b0")
    weights = dataclasses.replace(older, read=read_map(table, np.array([[0], [0]])))
    x, w, _ = draw(width.conv)
    wrong = jd.run(width, dataclasses.replace(maps, weights=weights), x, w).output
    right = oracle(width.conv, x, w, None)
    assert not np.isnan(wrong).any()  # every read found a tile
    assert jd.pcc(wrong, right) < 0.5


def test_a_byte_offset_in_place_of_a_tile_id_reads_memory_nobody_wrote():
    """Core 1 adds 2048 bytes to the base: bank 0, slot 1, which is page 12."""
    plan = plan_of("width")
    maps = jd.make_maps(plan)
    page = 2048 // 2048 * plan.arch.num_banks
    table = jd.bank_table(2, 2048, 0, "wormhole_b0")
    read = read_map(table, np.array([[0], [page]]))
    weights = dataclasses.replace(maps.weights, read=read)
    x, w, _ = draw(plan.conv)
    broken = dataclasses.replace(maps, weights=weights)
    result = jd.run(plan, broken, x, w, keep=("l1_weights",))
    assert jnp.isnan(result.memories["l1_weights"][1]).all()
    right = oracle(plan.conv, x, w, None)
    np.testing.assert_array_equal(result.output[..., :32], right[..., :32])
    assert np.isnan(result.output[..., 32:]).all()


def test_an_older_layout_shows_where_it_is_wrong():
    conv = jd.ConvConfig(channels=480, height=8, width=8, padding=1)
    x, w, _ = draw(conv)
    shard = jd.ShardConfig(scheme="width", grid=(8, 1), weight_layout="tile_chunks")
    result = jd.emulate(conv, shard, x, w, compute=FLOAT32)
    assert "JDW001" in [f.code for f in result.plan.findings]
    assert not np.array_equal(result.output, oracle(conv, x, w, None), equal_nan=True)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_memory_is_what_the_oracles_say(scheme):
    plan = plan_of(scheme, bias=True, channels=90, height=9)
    conv = plan.conv
    x, w, bias = draw(conv)
    result = jd.run(plan, jd.make_maps(plan), x, w, bias, keep=emulator.MEMORIES)
    kept = {k: np.asarray(v, np.float32) for k, v in result.memories.items()}
    assert set(kept) == set(emulator.MEMORIES)
    tiles = oracles.tilize(oracles.prepare_final(w, plan.num_channel_shards))
    np.testing.assert_array_equal(kept["tiles"], tiles)
    padded = plan.input_shard.channels
    bias_tiles = oracles.tilize(
        oracles.bias_matrix(bias, plan.num_channel_shards * padded)
    )
    for core in range(plan.num_cores):
        ids = list(plan.weight_tile_ids(core))
        np.testing.assert_array_equal(kept["l1_weights"][core], tiles[ids])
        ids = list(plan.bias_tile_ids(core))
        np.testing.assert_array_equal(kept["l1_bias"][core], bias_tiles[ids])
    dram = result.memories["dram"]
    for bank, pages in enumerate(oracles.deal(len(tiles), 12)):
        for slot in range(dram.shape[1]):
            if slot < len(pages):
                want = tiles[pages[slot]].astype(ml_dtypes.bfloat16).tobytes()
            else:
                want = b"\xff" * 2048
            assert np.asarray(dram[bank, slot]).tobytes() == want
    sticks = np.zeros((conv.batch * 9 * 8, plan.num_channel_shards * padded), "f4")
    sticks[:, :90] = x.reshape(-1, 90)
    _, haloed = oracles.haloed_shards(*halo_geometry(plan), plan.input_shard.rows)
    for core in range(plan.num_cores):
        nhw_shard, channel_shard = divmod(core, plan.num_channel_shards)
        channels = slice(channel_shard * padded, (channel_shard + 1) * padded)
        for row, entry in enumerate(haloed[nhw_shard]):
            want = {"pad": 0.0, "unwritten": np.nan}.get(entry[0])
            if want is None:
                want = sticks[entry[1] * plan.input_shard.rows + entry[2], channels]
            got = kept["haloed_shards"][core, row]
            np.testing.assert_array_equal(got, np.broadcast_to(want, got.shape))
        part = plan.shard_ranges[nhw_shard]
        assert np.isnan(kept["output_shards"][core, part.num_outputs :]).all()
        assert not np.isnan(kept["output_shards"][core, : part.num_outputs]).any()
    assert (kept["receiver_semaphores"] == 1).all()
    assert not np.isnan(result.output).any()


def test_only_what_was_asked_for_is_kept():
    plan = plan_of("block")
    x, w, _ = draw(plan.conv)
    maps = jd.make_maps(plan)
    assert jd.run(plan, maps, x, w).memories == {}
    kept = jd.run(plan, maps, x, w, keep=("weights", "tiles")).memories
    assert set(kept) == {"weights", "tiles"}


def test_one_trace_serves_every_call_of_a_shape():
    plan = plan_of("height")
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(maps, x, w):
        return jd.run(plan, maps, x, w).output

    for seed in range(3):
        x, w, _ = draw(plan.conv, seed)
        run(jd.make_maps(plan), x, w)


def compiled_computations() -> int:
    way = composed.load_and_run
    told = itertools.product((False, True), repeat=2)
    ways = (composed.compiled(way, "cpu", *each) for each in told)
    return sum(run._cache_size() for run in ways)


def test_a_layer_is_one_compiled_computation_on_any_grid():
    computations = compiled_computations()
    conv = jd.ConvConfig(channels=32, height=12, width=8, padding=1)
    x, w, _ = draw(conv)
    for grid in [(2, 1), (1, 2), (3, 1)]:
        jd.emulate(conv, jd.ShardConfig(grid=grid), x, w)
    assert compiled_computations() == computations + 1


def test_inputs_are_rounded_to_the_activations_dtype_as_the_host_does():
    conv = jd.ConvConfig(channels=32, height=1, width=1, kernel=1)
    x = np.full(conv.input_shape, 1 + 2**-8, np.float32)  # a tie: to even, down
    w = np.full(conv.weight_shape, 1 + 3 * 2**-8, np.float32)  # up
    output = jd.emulate(conv, jd.ShardConfig(), x, w, compute=FLOAT32).output
    assert (np.asarray(output) == 1 + 2**-6).all()


def test_integers_are_taken_as_values():
    conv = jd.ConvConfig(channels=32, height=2, width=2, kernel=2)
    x, w = np.full(conv.input_shape, 3), np.full(conv.weight_shape, 2)
    assert (np.asarray(jd.emulate(conv, jd.ShardConfig(), x, w).output) == 24).all()


@pytest.mark.parametrize(
    ("conv", "arrays", "sentence"),
    [
        ({}, {"x": (1, 8, 64, 8)}, r"`x` \(=\(1, 8, 64, 8\)\).*\(1, 8, 8, 64\), NHWC"),
        ({}, {"w": (1, 64, 3, 3)}, r"`w` \(=\(1, 64, 3, 3\)\).*\(64, 1, 3, 3\)"),
        ({}, {"bias": (64,)}, r"`bias` \(=\(64,\)\).*ConvConfig\(bias=True\)"),
        ({"bias": True}, {}, r"`bias` \(=None\) must be given"),
        ({"bias": True}, {"bias": (1, 64)}, r"`bias` \(=\(1, 64\)\).*\(64,\)"),
    ],
)
def test_arrays_of_another_shape_are_refused(conv, arrays, sentence):
    plan = plan_of("block", **conv)
    shapes = {"x": plan.conv.input_shape, "w": plan.conv.weight_shape, **arrays}
    values = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    with pytest.raises(jd.ConfigError, match=sentence):
        jd.run(plan, jd.make_maps(plan), **values)


def test_all_problems_of_a_call_arrive_together():
    plan = plan_of("block")
    with pytest.raises(jd.ConfigError, match=r"(?s)`x`.*`w`.*`keep` \(=l2\)"):
        jd.run(plan, jd.make_maps(plan), np.zeros(1), np.zeros(1), keep=("l2",))


@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_derivatives_are_those_of_the_float32_convolution(scheme, activation):
    plan = jd.make_plan(
        jd.ConvConfig(
            channels=40, height=5, width=5, padding=1, bias=True, activation=activation
        ),
        jd.ShardConfig(scheme=scheme),
    )
    maps = jd.make_maps(plan)
    arrays = draw(plan.conv)
    seed = np.random.default_rng(2).standard_normal(plan.output_shape)

    def loss(x, w, bias):
        return (jd.run(plan, maps, x, w, bias).output * seed.astype(np.float32)).sum()

    gradients = jax.grad(loss, argnums=(0, 1, 2))(*arrays)
    step = 1e-4
    for position, gradient in enumerate(gradients):
        assert gradient.shape == arrays[position].shape
        rng = np.random.default_rng(position)
        for place in rng.integers(0, arrays[position].size, 5):
            values = []
            for sign in (1, -1):
                moved = [array.astype(np.float64) for array in arrays]
                moved[position].flat[place] += sign * step
                values.append((jd.reference(plan.conv, *moved) * seed).sum())
            want = (values[0] - values[1]) / (2 * step)
            np.testing.assert_allclose(
                np.ravel(gradient)[place], want, rtol=2e-4, atol=2e-4
            )


def test_derivatives_under_an_outer_jit_are_the_same():
    plan = plan_of("block")
    maps = jd.make_maps(plan)
    x, w, _ = draw(plan.conv)

    def loss(w):
        return (jd.run(plan, maps, x, w).output ** 2).sum()

    plain, jitted = jax.grad(loss)(w), jax.jit(jax.grad(loss))(w)
    np.testing.assert_allclose(plain, jitted, rtol=1e-5)
    assert np.abs(plain).min() > 0


def test_derivatives_with_kept_memories_or_traced_maps_are_refused():
    plan = plan_of("block")
    x, w, _ = draw(plan.conv)

    def loss(w, maps, keep):
        return jd.run(plan, maps, x, w, keep=keep).output.sum()

    maps = jd.make_maps(plan)
    with pytest.raises(jd.UnsupportedError, match="without `keep`"):
        jax.grad(loss)(w, maps, ("dram",))
    with pytest.raises(jd.UnsupportedError, match="closed over"):
        jax.jit(lambda w, maps: jax.grad(loss)(w, maps, ()))(w, maps)


@pytest.mark.parametrize(
    ("dtype", "page_bytes"), [("bfloat8_b", 1088), ("bfloat4_b", 576)]
)
def test_banks_hold_the_packed_bytes_of_block_formats(dtype, page_bytes):
    plan = plan_of("block", weights_dtype=dtype, bias=True)
    x, w, bias = draw(plan.conv)
    keep = ("tiles", "dram", "bias_dram", "l1_weights")
    result = jd.run(plan, jd.make_maps(plan), x, w, bias, keep=keep)
    tiles = np.asarray(result.memories["tiles"])
    assert tiles.dtype == np.float32  # packed last, as the host does
    assert result.memories["dram"].shape == (12, 1, page_bytes)
    assert result.memories["bias_dram"].shape == (12, 1, page_bytes)
    for tile in range(2):
        raw = np.asarray(result.memories["dram"][tile, 0]).tobytes()
        assert raw == np.asarray(jd.pack(tiles, dtype))[tile].tobytes()
    assert (np.asarray(result.memories["dram"][2:]) == 255).all()
    held = np.asarray(jd.unpack(jd.pack(tiles, dtype), dtype))
    for core in range(4):
        np.testing.assert_array_equal(
            result.memories["l1_weights"][core], held[[core % 2]]
        )
    assert plan.traffic.multicast_sent_bytes == (page_bytes, page_bytes, 0, 0)


@pytest.mark.parametrize(
    ("scale", "compute"),
    [(2.0**-100, LOFI), (1.0, LOFI), (2.0**60, LOFI), (1.0, HIFI4), (1.0, WIDE_HIFI4)],
)
def test_any_operands_at_any_fidelity_agree_with_core_sticks(scale, compute):
    plan = dataclasses.replace(plan_of("block"), compute=compute)
    x, w, _ = draw(plan.conv)
    x = (x * scale).astype(np.float32)
    output = np.asarray(jd.run(plan, jd.make_maps(plan), x, w).output)
    image = np.pad(x[0], [(1, 1), (1, 1), (0, 0)])
    windows = np.stack(
        [image[y : y + 3, z : z + 3].reshape(9, -1) for y in range(8) for z in range(8)]
    )
    weights = w.reshape(1, 64, 9).swapaxes(1, 2)
    want = jd.core_sticks(windows, weights, compute=plan.compute)
    np.testing.assert_array_equal(output.reshape(64, 64), want)


@pytest.mark.parametrize("options", [{}, {"keep": ("dram",)}, {"mesh": True}])
def test_arrays_that_an_outer_jit_closes_over_are_run(options):
    if options.get("mesh"):
        options = {"mesh": jax.sharding.Mesh(np.array(jax.devices()[:1]), ("a",))}
    conv = jd.ConvConfig(channels=32, height=6, width=6, padding=1)
    plan = jd.make_plan(conv, compute=jd.ComputeConfig(arithmetic="float32"))
    maps = jd.make_maps(plan)
    x, w, _ = map(jnp.asarray, (*draw(conv)[:2], 0))

    def scaled(scale):
        return jd.run(plan, maps, x, w, **options).output * scale

    want = np.asarray(jd.run(plan, maps, x, w).output)
    np.testing.assert_array_equal(jax.jit(scaled)(2.0), 2 * want)
    total, _ = jax.lax.scan(
        lambda sum, s: (sum + scaled(s), None), 0 * want, jnp.ones(2)
    )
    np.testing.assert_array_equal(total, 2 * want)


def test_what_cannot_be_kept_or_is_not_real_is_refused():
    conv = jd.ConvConfig(channels=32, height=4, width=4)
    plan = jd.make_plan(conv)
    maps = jd.make_maps(plan)
    x, w = np.ones(conv.input_shape), np.ones(conv.weight_shape)
    with pytest.raises(jd.ConfigError, match=r"`keep` \(='dram'\) .*use \('dram',\)"):
        jd.run(plan, maps, x, w, keep="dram")
    with pytest.raises(jd.ConfigError, match=r"`keep` \(=''\) .*use \('',\)"):
        jd.run(plan, maps, x, w, keep="")
    with pytest.raises(jd.ConfigError, match=r"`keep` \(=bias, l1_bias\).* no bias"):
        jd.run(plan, maps, x, w, keep=("bias", "dram", "l1_bias"))
    with pytest.raises(jd.ConfigError, match=r"`w` \(=complex128\).*real numbers"):
        jd.run(plan, maps, x, w * 1j)
    assert list(jd.run(plan, maps, x, w, keep=["dram"]).memories) == ["dram"]


def test_one_computation_serves_host_and_device_arrays_in_float32():
    conv = jd.ConvConfig(channels=32, height=5, width=9)
    plan = jd.make_plan(conv, compute=jd.ComputeConfig(arithmetic="float32"))
    maps = jd.make_maps(plan)
    x, w = np.ones(conv.input_shape), np.ones(conv.weight_shape)
    jd.run(plan, maps, x, w)
    before = compiled_computations()
    jd.run(plan, maps, jnp.asarray(x), jnp.asarray(w))
    assert compiled_computations() == before
