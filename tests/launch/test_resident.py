"""A loaded launch gives the bits of `run`, wherever it is called."""

import dataclasses

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import jaxdw as jd
from jaxdw.judge.draws import draw
from jaxdw.launch import composed

CASES = {
    "depthwise": ("block", "bfloat16", "LoFi"),
    "regular": ("height", "bfloat8_b", "HiFi2"),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """Returns a plan, its maps, an input, weights and a bias."""
    scheme, weights_dtype, fidelity = CASES[request.param]
    conv = jd.ConvConfig(
        channels=48,
        height=6,
        width=5,
        padding=1,
        bias=True,
        weights_dtype=weights_dtype,
    )
    plan = jd.make_plan(
        conv,
        jd.ShardConfig(scheme=scheme, grid=(2, 2)),
        jd.ComputeConfig(math_fidelity=fidelity),
        program=request.param,
    )
    return plan, jd.make_maps(plan), *draw(conv, "random", 0)


def test_a_loaded_launch_gives_the_bits_of_run(case):
    plan, maps, x, w, bias = case
    launch = jd.load(plan, maps, w, bias)
    for image in (x, 2 * x, x + 1):
        want = jd.run(plan, maps, image, w, bias).output
        np.testing.assert_array_equal(launch(image), want)
        np.testing.assert_array_equal(launch(jnp.asarray(image)), want)


def test_operands_that_need_the_integer_form_are_computed_in_it(case):
    """Inside `jit` the operands choose the form; outside, a first run in the other."""
    plan, maps, x, w, bias = case
    launch = jd.load(plan, maps, w, bias)
    inside_jit = jax.jit(lambda x: jd.run(plan, maps, x, w, bias).output)
    for extreme in (2.0**100, 2.0**-100, np.inf):
        odd = x.copy()
        odd[0, 2:, 3, 7] = extreme, -extreme, extreme, 1
        want = inside_jit(odd)
        np.testing.assert_array_equal(launch(odd), want)
        np.testing.assert_array_equal(jd.run(plan, maps, odd, w, bias).output, want)
        kept = jd.run(plan, maps, odd, w, bias, keep=("output_shards",)).output
        np.testing.assert_array_equal(kept, want)


def test_a_loaded_launch_works_inside_jit_vmap_and_grad(case):
    plan, maps, x, w, bias = case
    launch = jd.load(plan, maps, w, bias)
    want = np.asarray(launch(x))
    np.testing.assert_array_equal(jax.jit(launch)(x), want)
    np.testing.assert_array_equal(jax.vmap(launch)(np.stack([x, x]))[1], want)
    slope = jax.grad(lambda x: launch(x).sum())(x)
    way = jax.grad(lambda x: jd.run(plan, maps, x, w, bias).output.sum())(x)
    np.testing.assert_array_equal(slope, way)


def test_a_loaded_launch_works_on_a_mesh(case):
    plan, maps, x, w, bias = case
    mesh = jax.make_mesh((1,), ("nhw",))
    launch = jd.load(plan, maps, w, bias, mesh=mesh)
    np.testing.assert_array_equal(launch(x), jd.run(plan, maps, x, w, bias).output)


def test_a_mesh_computes_in_the_integer_form_what_needs_it(case):
    plan, maps, x, w, bias = case
    odd = x.copy()
    odd[0, 2:, 3, 7] = 2.0**100, -np.inf, 2.0**100, 1
    want = jax.jit(lambda x: jd.run(plan, maps, x, w, bias).output)(odd)
    mesh = jax.make_mesh((1,), ("nhw",))
    found = jd.run(plan, maps, odd, w, bias, mesh=mesh).output
    np.testing.assert_array_equal(found, want)


def test_a_layer_of_several_launches_is_not_loaded_as_one():
    conv = jd.ConvConfig(channels=2560, height=1, width=4096, kernel=(1, 4))
    conv = dataclasses.replace(conv, padding=(0, 0, 3, 0))
    shard = jd.ShardConfig(scheme="auto", memory="dram")
    plan = jd.make_plan(conv, shard, program="ttnn", must_fit=False)
    assert plan.slices > 1
    maps = jd.make_maps(plan.slice_plans[0])
    with pytest.raises(jd.UnsupportedError, match=r"must be of one launch for `load`"):
        jd.load(plan, maps, np.ones(conv.weight_shape, np.float32))


def test_weights_may_be_traced():
    conv = jd.ConvConfig(channels=32, height=4, width=4)
    plan = jd.make_plan(conv)
    maps = jd.make_maps(plan)
    x, w = np.ones(conv.input_shape), np.ones(conv.weight_shape)
    found = jax.jit(lambda w: jd.load(plan, maps, w)(x))(w)
    np.testing.assert_array_equal(found, jd.run(plan, maps, x, w).output)


@pytest.mark.parametrize("keep", [(), ("output_shards",)])
def test_arrays_at_hand_are_run_as_such_inside_an_outer_jit(case, keep):
    """Nothing of the launch is traced, so that its form can be told by a first run."""
    plan, maps, *tensors = case
    x, w, bias = map(jnp.asarray, tensors)
    want = jd.run(plan, maps, x, w, bias).output
    found = jax.jit(lambda y: jd.run(plan, maps, x, w, bias, keep=keep).output + y)(1.0)
    np.testing.assert_array_equal(found, want + 1.0)
    launch = jd.load(plan, maps, w, bias)
    np.testing.assert_array_equal(jax.jit(lambda y: launch(x) + y)(1.0), want + 1.0)


def test_weights_are_loaded_once(case, monkeypatch):
    plan, maps, x, w, bias = case
    launch = jd.load(plan, maps, w, bias)
    want = launch(x)

    def refuse(*_, **__):
        raise AssertionError("weights were packed again")

    monkeypatch.setattr(composed, "weights_in_lanes", refuse)
    np.testing.assert_array_equal(launch(x), want)


def test_an_unknown_backend_is_refused(case):
    plan, maps, _, w, bias = case
    jaxtyping.config.update("jaxtyping_disable", True)  # as for a user
    try:
        with pytest.raises(jd.ConfigError, match=r"`backend` \(='cuda'\).*xla, pallas"):
            jd.load(plan, maps, w, bias, backend="cuda")
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def test_what_run_refuses_is_refused(case):
    plan, maps, x, w, bias = case
    with pytest.raises(jd.ConfigError, match=r"`w` \(=\(1, 1, 3, 3\)\)"):
        jd.load(plan, maps, w[:1], bias)
    with pytest.raises(jd.ConfigError, match=r"`bias` \(=None\)"):
        jd.load(plan, maps, w)
    launch = jd.load(plan, maps, w, bias)
    with pytest.raises(jd.ConfigError, match=r"`x` \(=\(1, 6, 5, 1\)\)"):
        launch(x[..., :1])
    with pytest.raises(jd.ConfigError, match=r"`x` \(=complex64\)"):
        launch(x * 1j)
