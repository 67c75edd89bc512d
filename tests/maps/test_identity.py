"""Maps know the plan they are of: by what decides them, and by nothing else."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

import jaxdw as jd
from jaxdw.maps.identity import check_plan

LAYER = {"channels": 72, "height": 10, "width": 9, "padding": 1, "bias": True}
SHARD = {"scheme": "block"}
# each makes another plan, and those of a pair may or may not have the same maps
CHANGES = [
    {}, {"channels": 73}, {"channels": 40}, {"height": 9}, {"width": 10}, {"batch": 2},
    {"height": 9, "width": 10}, {"kernel": (3, 2)}, {"kernel": (2, 3)}, {"kernel": 1},
    {"stride": 2}, {"stride": (1, 2)}, {"padding": 0}, {"padding": (0, 2, 1, 1)},
    {"dilation": 2}, {"bias": False}, {"dtype": "float32"}, {"dtype": "bfloat8_b"},
    {"weights_dtype": "bfloat8_b"}, {"weights_dtype": "bfloat4_b"},
    {"weights_dtype": "float32"}, {"output_dtype": "float32"}, {"activation": "relu"},
    {"scheme": "height"}, {"scheme": "width"}, {"grid": (2, 3)}, {"cores": (2, 1)},
    {"cores": (3, 2)}, {"cores": (3, 2), "orientation": "col_major"},
    {"orientation": "col_major"}, {"act_block_h_override": 64},
    {"output_layout": "row_major"}, {"program_cache": True},
    {"weight_layout": "tile_chunks"}, {"weight_layout": "concatenated"},
    {"enable_act_double_buffer": True}, {"enable_weights_double_buffer": True},
    {"input_layout": "tile"}, {"config_tensors_in_dram": True},
    {"full_inner_dim": True}, {"act_block_w_div": 2, "scheme": "width"},
    {"force_split_reader": True}, {"enable_activation_reuse": True, "scheme": "height"},
    {"act_block_h_override": 32, "cores": (2, 1)},
    {"memory": "dram"}, {"arithmetic": "float32"}, {"math_fidelity": "HiFi4"},
    {"fp32_dest_acc": True}, {"packer_l1_acc": True}, {"arch": "blackhole"},
    {"arch": "n150"},
]  # fmt: skip
PROGRAMS = {
    "depthwise": LAYER,
    "regular": LAYER | {"channels": 288},
    "conv1d": {
        "channels": 72,
        "height": 1,
        "width": 90,
        "kernel": (1, 3),
    },
}


def fields(cls, given: dict):
    return cls(**{f.name: given[f.name] for f in dataclasses.fields(cls)
                  if f.name in given})  # fmt: skip


def plan_of(program: str = "depthwise", **change) -> jd.Plan | None:
    """Returns the plan, or None of what the program refuses."""
    scheme = "height" if program == "conv1d" else "block"
    given = PROGRAMS[program] | {"scheme": scheme} | change
    try:
        plan = jd.make_plan(
            fields(jd.ConvConfig, given),
            fields(jd.ShardConfig, given),
            fields(jd.ComputeConfig, given),
            given.get("arch", "wormhole_b0"),
            program=program,
            must_fit=False,
        )
        _ = plan.map_facts
        return plan
    except (jd.ConfigError, jd.UnsupportedError):
        return None


def content(maps: jd.Maps) -> tuple:
    """Returns all that maps hold but what they say of their plan."""
    leaves, structure = jax.tree.flatten(dataclasses.replace(maps, facts=None))
    shapes = [(np.shape(leaf), np.asarray(leaf).tobytes()) for leaf in leaves]
    return str(structure), tuple(shapes)


@pytest.mark.parametrize("program", PROGRAMS)
def test_maps_are_equal_where_facts_are(program):
    plans = [plan for change in CHANGES if (plan := plan_of(program, **change))]
    if program == "depthwise":
        plans += [plan for change in ({}, {"kernel": (1, 3)})
                  if (plan := plan_of("regular", **change))]  # fmt: skip
    assert len(plans) >= 20
    maps = [jd.make_maps(plan) for plan in plans]
    contents = [content(made) for made in maps]
    differ = alike = 0
    for a, b in itertools.combinations(range(len(plans)), 2):
        if contents[a] != contents[b]:
            differ += 1
            for plan, made in ((plans[a], maps[b]), (plans[b], maps[a])):
                with pytest.raises(jd.ConfigError, match="another plan"):
                    check_plan(plan, made)
        elif plans[a].map_facts == plans[b].map_facts:
            alike += 1
            check_plan(plans[a], maps[b])
    assert differ > 100
    assert alike > 20


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "float32"}, {"output_dtype": "float32", "arithmetic": "float32"},
        {"activation": "relu"}, {"math_fidelity": "HiFi4"}, {"fp32_dest_acc": True},
        {"arithmetic": "float32"}, {"program_cache": True},
        {"enable_act_double_buffer": True},
    ],
)  # fmt: skip
def test_plans_that_only_compute_otherwise_share_their_maps(change):
    plan, other = plan_of(), plan_of(**change)
    assert plan != other
    assert other is not None
    check_plan(other, jd.make_maps(plan))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"channels": 96}, "`channels` 96, not 72"),
        ({"scheme": "width"}, "`scheme` width, not block"),
        ({"weights_dtype": "bfloat8_b"}, "`weights_dtype` bfloat8_b, not bfloat16"),
        ({"bias": False}, "`bias` False, not True"),
        ({"arch": "blackhole"}, "`num_banks` 8, not 12"),
        ({"weight_layout": "tile_chunks"}, "`weight_layout` tile_chunks, not final"),
    ],
)
def test_the_refusal_names_the_difference(change, said):
    plan, other = plan_of(), plan_of(**change)
    assert plan is not None
    assert other is not None
    with pytest.raises(jd.ConfigError) as refused:
        check_plan(plan, jd.make_maps(other))
    text = str(refused.value)
    assert text.startswith("`maps` (=of another plan: ")
    assert said in text
    assert text.endswith("; use make_maps(plan)")


def test_spoiled_maps_are_still_those_of_their_plan():
    plan = plan_of()
    assert plan is not None
    maps = jd.make_maps(plan)
    other = jd.make_maps(plan_of(scheme="width"))
    check_plan(plan, dataclasses.replace(maps, halo=other.halo, weights=other.weights))
    check_plan(plan, jax.tree.map(np.array, maps))
    check_plan(dataclasses.replace(plan), maps)
