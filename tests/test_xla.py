"""What jaxdw tells XLA does what it says; a JAX that changes it fails here."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdw as jd
from jaxdw import xla
from jaxdw.launch import composed
from jaxdw.machine import cores, image

ON_CPU = pytest.mark.skipif(jax.default_backend() != "cpu", reason="of the CPU")


def long_work(x):
    return jax.lax.fori_loop(0, 300, lambda _, y: jnp.sin(y) + 1e-3, x)


@ON_CPU
def test_a_computation_in_the_callers_thread_is_ready_when_the_call_returns():
    x = jnp.ones(300_000)
    plain, in_caller = jax.jit(long_work), jax.jit(xla.in_callers_thread(long_work))
    want = jax.block_until_ready((plain(x), in_caller(x)))[0]
    found = in_caller(x)
    assert found.is_ready()
    np.testing.assert_array_equal(found, want)
    assert not plain(x).is_ready()


def test_xla_drops_the_callback():
    lowered = jax.jit(xla.in_callers_thread(long_work)).lower(jnp.ones(64))
    assert "callback" in lowered.as_text()
    assert "custom-call" not in lowered.compile().as_text()


SCRIPT = """
import jax
{setting}
import numpy as np, jaxdw as jd
from jaxdw.launch import composed
conv = jd.ConvConfig(channels=32, height=6, width=6)
jd.emulate(conv, None, np.ones(conv.input_shape), np.ones(conv.weight_shape))
way = composed.load_and_run
ways = [composed.compiled(way, "cpu", own, True) for own in (True, False)]
print([way._cache_size() for way in ways])
"""


@ON_CPU
@pytest.mark.parametrize(
    ("setting", "want"),
    [
        ("", "[1, 0]"),
        ("jax.config.update('jax_cpu_enable_async_dispatch', False)", "[0, 1]"),
        ("jax.config.update('jax_compilation_cache_dir', '{folder}')", "[0, 1]"),
        ("from jaxdw import xla; xla.USE_CALLERS_THREAD = False", "[0, 1]"),
    ],
)
def test_the_callers_thread_is_used_unless_a_setting_speaks_against_it(
    setting, want, tmp_path
):
    script = SCRIPT.format(setting=setting.format(folder=tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == want


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_large_float32_run_is_waited_for_if_memory_is_kept(is_kept, monkeypatch):
    monkeypatch.setattr(composed, "keep_memory", lambda most: is_kept)
    monkeypatch.setattr(composed, "_MOST_SMALL_OUTPUTS", 8)
    used = []
    compiled = composed.compiled
    monkeypatch.setattr(
        composed,
        "compiled",
        lambda way, backend, in_caller, one_thread: (
            used.append(in_caller) or compiled(way, backend, in_caller, one_thread)
        ),
    )
    conv = jd.ConvConfig(channels=32, height=6, width=6)
    x, w = np.ones(conv.input_shape), np.ones(conv.weight_shape)
    jd.emulate(conv, None, x, w, compute=jd.ComputeConfig(arithmetic="float32"))
    assert used == [is_kept and xla.may_run_in_caller()]


@ON_CPU
@pytest.mark.parametrize("one_thread", [True, False])
def test_xla_spreads_work_over_threads_unless_told_not_to(one_thread):
    options = xla.compiler_options("cpu", one_thread=one_thread)
    x = jnp.ones((64, 1024))
    lowered = jax.jit(lambda x: sum(x**n for n in range(64))).lower(x)
    text = lowered.compile(compiler_options=options).as_text()
    assert ("outer_dimension_partitions" in text) != one_thread


@pytest.mark.parametrize("form", ["float", "integer"])
@pytest.mark.parametrize(("size", "fits"), [(80, True), (90, False)])
def test_a_small_launch_is_computed_in_one_thread(form, size, fits, monkeypatch):
    conv = jd.ConvConfig(channels=64, height=size, width=size, padding=1)
    plan = jd.make_plan(conv, must_fit=False)
    maps, asked = jd.make_maps(plan), []

    def compiled(way, backend, in_caller, one_thread):
        asked.append(one_thread)
        output, ordinary = jnp.ones(plan.output_shape), jnp.int32(form == "float")
        return lambda *operands, **static: (output, ordinary)

    monkeypatch.setattr(composed, "compiled", compiled)
    operands = jnp.ones(conv.input_shape), jnp.ones(conv.weight_shape), None
    composed.run_composed(maps, *operands, cores.static_of(plan))
    assert asked == ([fits] if form == "float" else [fits, False])


@pytest.mark.parametrize("size", [1.0, 2.0**-100])
@pytest.mark.parametrize(
    ("layer", "scheme"),
    [
        ({"height": 6, "width": 6}, "height"),
        ({"height": 7, "width": 9, "batch": 2, "bias": True, "stride": 2}, "block"),
        ({"height": 1, "kernel": (1, 4), "padding": (0, 0, 2, 1)}, "height"),
        ({"height": 3, "width": 3, "padding": 0}, "width"),
        ({"height": 8, "width": 5, "channels": 80, "dtype": "float32"}, "width"),
        ({"height": 5, "width": 8, "weights_dtype": "bfloat8_b"}, "block"),
        ({"height": 5, "width": 8, "dtype": "bfloat8_b"}, "block"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("fidelity", ["LoFi", None])
def test_one_thread_gives_the_bits_of_many(layer, scheme, size, fidelity):
    conv = jd.ConvConfig(**{"channels": 64, "width": 12, "padding": 1} | layer)
    compute = jd.ComputeConfig(arithmetic="float32")
    if fidelity is not None:
        compute = jd.ComputeConfig(arithmetic="fpu", math_fidelity=fidelity)
    plan = jd.make_plan(conv, jd.ShardConfig(scheme=scheme), compute)
    static, maps = cores.static_of(plan), jd.make_maps(plan).strided
    rng = np.random.default_rng(0)
    x = rng.standard_normal(conv.input_shape, np.float32)
    x.flat[-1] *= size
    w = rng.standard_normal(conv.weight_shape, np.float32)
    bias = rng.standard_normal(conv.channels, np.float32) if conv.bias else None
    found = []
    for one_thread in (True, False):
        run = composed.compiled(composed.load_and_run, "cpu", False, one_thread)
        output, ordinary = run(maps, x, w, bias, static=static, form="float")
        flushed = size == 1.0 or conv.dtype == "bfloat8_b"
        assert ordinary is None if fidelity is None else bool(ordinary) == flushed
        found.append(np.asarray(output).view(np.uint32))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    ("shape", "axis"), [((2,), 0), ((6, 3), 0), ((3, 4, 5), 1), ((2, 3, 8), 2)]
)
def test_pairs_are_the_whole(shape, axis, compiled):
    bits = np.arange(np.prod(shape), dtype=np.uint32) * 0x9E37 % 2**16 << 16
    bits[:2] = 0x80000000, 0x7F800000  # -0, infinity
    values = bits.view(np.float32).reshape(shape)

    def part(first, size):
        return jax.lax.slice_in_dim(jnp.asarray(values), first, first + size, axis=axis)

    def whole():
        return xla.in_pairs(part, shape[axis], axis=axis)

    found = np.asarray((jax.jit(whole) if compiled else whole)())
    np.testing.assert_array_equal(found.view(np.uint32), values.view(np.uint32))


@ON_CPU
def test_xla_computes_a_pair_in_one_loop():
    def part(values, first, size):
        own = jax.lax.slice_in_dim(values, first, first + size)
        bits = jax.lax.bitcast_convert_type(jnp.sin(own), jnp.int32)
        return jax.lax.bitcast_convert_type(bits & ~0xFFFF, jnp.float32)

    def whole(values):
        return xla.in_pairs(functools.partial(part, values), 64, axis=0)

    text = jax.jit(whole).lower(np.ones((64, 32), np.float32)).compile().as_text()
    (loop,) = [c for c in text.split("\n\n") if " sine(" in c]
    assert loop.count(" sine(") == 2
    (root,) = [line for line in loop.splitlines() if "ROOT" in line]
    assert "u32[32,32]" in root  # once for each pair, not for each value


@pytest.mark.parametrize(
    ("layer", "scheme"),
    [
        ({}, "height"),
        ({"channels": 256, "bias": True, "activation": "relu6", "batch": 2}, "block"),
        ({"height": 1, "kernel": (1, 9), "padding": (0, 0, 4, 4)}, "width"),
        ({"stride": 2, "activation": "silu", "weights_dtype": "bfloat8_b"}, "height"),
        ({"channels": 192, "weights_dtype": "bfloat8_b"}, "block"),  # 24 a core
        ({"activation": "gelu"}, "block"),  # 8 a core
        ({"height": 7}, "height"),  # not paired: odd
    ],
)
@pytest.mark.parametrize("fidelity", ["HiFi3", "HiFi4"])
def test_pairs_give_the_bits_of_outputs_one_by_one(
    layer, scheme, fidelity, monkeypatch
):
    conv = jd.ConvConfig(
        **{"channels": 64, "height": 8, "width": 12, "padding": 1} | layer
    )
    plan = jd.make_plan(
        conv,
        jd.ShardConfig(scheme=scheme),
        jd.ComputeConfig(math_fidelity=fidelity),
        program="regular",
    )
    static, maps = cores.static_of(plan), jd.make_maps(plan).strided
    rng = np.random.default_rng(0)
    x = rng.standard_normal(conv.input_shape, np.float32)
    w = rng.standard_normal(conv.weight_shape, np.float32)
    bias = rng.standard_normal(conv.channels, np.float32) if conv.bias else None
    found, calls = [], []
    in_pairs = image.in_pairs
    monkeypatch.setattr(
        image, "in_pairs", lambda *a, **k: calls.append(1) or in_pairs(*a, **k)
    )
    for most in (0, 2**62):
        monkeypatch.setattr(cores, "MANY_STEPS", most)
        way = functools.partial(composed.load_and_run, static=static, form="float")
        found.append(np.asarray(jax.jit(way)(maps, x, w, bias)[0]).view(np.uint32))
    np.testing.assert_array_equal(*found)
    assert len(calls) == (conv.height % 2 == 0 or conv.height == 1)
