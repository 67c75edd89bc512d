"""Every way of running refuses maps of another plan, and indices no map has."""

import dataclasses

import jax
import numpy as np
import pytest

import jaxdw as jd
from jaxdw.launch import staged
from jaxdw.launch.bucketed import output_key, run_bucketed
from jaxdw.maps.indexmap import IndexMap

CONV = jd.ConvConfig(channels=64, height=8, width=8, padding=1)
RNG = np.random.default_rng(0)
X, W = RNG.standard_normal(CONV.input_shape), RNG.standard_normal(CONV.weight_shape)


def plan_of(scheme: str = "height", **shard) -> jd.Plan:
    compute = jd.ComputeConfig(arithmetic="float32")
    return jd.make_plan(CONV, jd.ShardConfig(scheme=scheme, **shard), compute)


def on_mesh(plan, maps):
    return jd.run(plan, maps, X, W, mesh=jax.make_mesh((1,), ("cores",))).output


WAYS = {
    "run": lambda plan, maps: jd.run(plan, maps, X, W).output,
    "keep": lambda plan, maps: jd.run(plan, maps, X, W, keep=("dram",)).output,
    "mesh": on_mesh,
    "load": lambda plan, maps: jd.load(plan, maps, W)(X),
    "bucketed": lambda plan, maps: run_bucketed(plan, maps, X, W),
    "key": output_key,
    "jit": lambda plan, maps: jax.jit(lambda x: jd.run(plan, maps, x, W).output)(X),
    "jit keep": lambda plan, maps: jax.jit(
        lambda x: jd.run(plan, maps, x, W, keep=("dram",)).output
    )(X),
    "load in jit": lambda plan, maps: jax.jit(lambda x: jd.load(plan, maps, W)(x))(X),
    "grad": lambda plan, maps: jax.grad(
        lambda w: jd.run(plan, maps, X, w).output.sum()
    )(W.astype(np.float32)),
}
TRACED = {
    "traced": lambda plan, maps: jax.jit(
        lambda maps: jd.run(plan, maps, X, W).output
    )(maps),
}  # fmt: skip


@pytest.mark.parametrize("way", [*WAYS, *TRACED])
def test_maps_of_another_plan_are_refused(way):
    plan, maps = plan_of("height"), jd.make_maps(plan_of("width"))
    with pytest.raises(
        jd.ConfigError, match=r"`maps` \(=of another plan: .*width, not"
    ):
        (WAYS | TRACED)[way](plan, maps)


def spoiled(maps: jd.Maps, stage: str, value: int) -> jd.Maps:
    """Returns maps with one index of one stage changed."""
    holder = maps.weights if stage in ("prepare", "tilize", "deal", "read") else maps
    found = getattr(holder, stage)
    index = np.array(found.index)
    index.reshape(-1)[0] = value
    holder = dataclasses.replace(holder, **{stage: IndexMap(index, found.size)})
    if isinstance(holder, jd.Maps):
        return holder
    return dataclasses.replace(maps, weights=holder)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("value", [-1, 10**6])
def test_an_index_that_no_map_has_is_refused_alike(way, value):
    plan = plan_of()
    maps = spoiled(jd.make_maps(plan), "halo", value)
    match = rf"`maps\.halo` \(={value}\) must hold indices from 0 to 65; use 64 for pad"
    with pytest.raises(jd.ConfigError, match=match):
        WAYS[way](plan, maps)


STAGES = ["prepare", "tilize", "deal", "read", "pairing", "shard", "halo", "top_left",
          "collect"]  # fmt: skip


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("value", [-1, 10**6])
def test_every_stage_is_looked_at(stage, value):
    plan = plan_of()
    maps = spoiled(jd.make_maps(plan), stage, value)
    for way in ("run", "keep"):
        with pytest.raises(jd.ConfigError, match=rf"{stage}` \(={value}\) must hold"):
            WAYS[way](plan, maps)


@pytest.mark.parametrize("stage", STAGES)
def test_an_index_of_traced_maps_that_they_do_not_have_is_poison(stage):
    plan = plan_of()
    maps = jd.make_maps(plan)
    holder = maps if hasattr(maps, stage) else maps.weights
    poison = getattr(holder, stage).poison
    run = jax.jit(lambda maps: jd.run(plan, maps, X, W).output)
    want = np.asarray(run(spoiled(maps, stage, poison)))
    assert np.isnan(want).any()
    for value in (-1, poison + 1, 10**6):
        found = np.asarray(run(spoiled(maps, stage, value)))
        np.testing.assert_array_equal(found, want)


def test_a_spoiled_map_of_the_same_plan_runs_in_every_way():
    plan = plan_of()
    maps = spoiled(jd.make_maps(plan), "halo", 3)
    intact = np.asarray(jd.run(plan, jd.make_maps(plan), X, W).output)
    outputs = [np.asarray(WAYS[way](plan, maps)) for way in WAYS
               if way not in ("key", "grad")]  # fmt: skip
    for output in outputs:
        np.testing.assert_array_equal(output, outputs[0])
    assert (outputs[0] != intact).any()


def test_plans_that_share_a_computation_still_do():
    """Their maps have the same shapes: the staged run is compiled once."""
    first, second = (
        plan_of("block", cores=(2, 2), orientation=orientation)
        for orientation in ("row_major", "col_major")
    )
    assert first.map_facts != second.map_facts
    WAYS["keep"](first, jd.make_maps(first))
    before = staged.run_staged._cache_size()
    WAYS["keep"](second, jd.make_maps(second))
    assert staged.run_staged._cache_size() == before
