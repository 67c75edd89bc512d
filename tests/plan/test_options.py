"""No option is ignored in silence: it has an effect, is refused, or is said."""

import dataclasses

import pytest

import jaxdw as jd
from jaxdw.plan.planner import make_plan

IMAGE = {"channels": 96, "height": 24, "width": 20, "kernel": 3, "padding": 1}
ROW = {"channels": 96, "height": 1, "width": 400, "kernel": (1, 4)}
SCHEMES = ("height", "width", "block")
# of every option a value that is not its default
ASKED = {
    "orientation": ["col_major"],
    "act_block_h_override": [32, 64, 96, 3200],
    "reshard_if_not_optimal": [True],
    "enable_act_double_buffer": [True],
    "enable_weights_double_buffer": [True],
    "program_cache": [True],
    "weight_layout": ["concatenated"],
    "memory": ["dram"],
    "config_tensors_in_dram": [True],
    "full_inner_dim": [True],
    "act_block_w_div": [2],
    "force_split_reader": [True],
    "enable_activation_reuse": [True],
    "math_fidelity": ["HiFi2"],
    "fp32_dest_acc": [True],
    "packer_l1_acc": [True],
}
# not asked of a launch: limits, what a tensor is like, what jaxdw computes
OTHERS = {
    "scheme", "grid", "cores", "input_shard", "input_layout", "output_layout",
    "arithmetic",
}  # fmt: skip


def planned(program, layer, scheme, grid, **asked):
    conv = jd.ConvConfig(**layer)
    names = {field.name for field in dataclasses.fields(jd.ShardConfig)}
    shard = {name: asked[name] for name in names & asked.keys()}
    compute = {name: asked[name] for name in asked.keys() - names}
    return make_plan(
        conv,
        jd.ShardConfig(scheme=scheme, grid=grid, **shard),
        jd.ComputeConfig(**compute),
        program=program,
        must_fit=False,
    )


def planned_or_refusal(*asked, **options):
    try:
        return planned(*asked, **options)
    except (jd.ConfigError, jd.UnsupportedError) as refusal:
        return str(refusal)


def decisions(plan):
    """Returns what is decided of a launch, without the question."""
    grids = plan.core_grid, plan.output_grid
    shards = plan.input_shard, plan.halo_shard, plan.output_shard
    weights = plan.weight_matrix_shape, plan.l1, plan.cycles, plan.own_facts()
    findings = [f for f in plan.findings if f.code != "JDW017"]
    return (*grids, *shards, *weights, findings)


def said(plan):
    return " ".join(f.text for f in plan.findings if f.code == "JDW017")


def test_every_option_is_looked_at():
    fields = dataclasses.fields(jd.ShardConfig) + dataclasses.fields(jd.ComputeConfig)
    assert {field.name for field in fields} == set(ASKED) | OTHERS


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize(
    ("program", "layer", "grids"),
    [
        ("depthwise", IMAGE, [(8, 8), (1, 1)]),
        ("regular", IMAGE, [(8, 8), (2, 1), (1, 1)]),
        ("regular", IMAGE | {"bias": True, "kernel": (2, 3)}, [(2, 1), (1, 1)]),
        ("regular", ROW, [(2, 1)]),  # which the library gives to conv1d
        ("conv1d", ROW, [(8, 8), (2, 1), (1, 1)]),
        ("conv1d", ROW | {"channels": 40}, [(2, 1)]),
    ],
)
def test_an_option_changes_the_plan_or_is_refused_or_said(program, layer, grids, name):
    for scheme, grid, value in (
        (s, g, v) for s in SCHEMES for g in grids for v in ASKED[name]
    ):
        if program == "conv1d" and scheme != "height" and name != "full_inner_dim":
            continue  # JDW043 and JDW044 say that nothing of it means anything
        plan = planned_or_refusal(program, layer, scheme, grid, **{name: value})
        if isinstance(plan, str):
            assert f"`{name}`" in plan
            continue
        plain = planned(program, layer, scheme, grid)
        assert f"`{name}`" not in said(plain)
        same = decisions(plan) == decisions(plain)
        named = f"`{name}` (={value!r}) has no effect: " in said(plan)
        if name == "act_block_h_override":  # it may be as asked anyway
            rows = plan.output_shard.rows
            if program != "depthwise":
                rows = 32 * plan.act_block[0]
            assert named == (rows % value != 0)
        elif name == "force_split_reader":  # so may it
            assert named != plan.own_facts()["split_reader"]
        elif name in ("packer_l1_acc", "fp32_dest_acc"):  # other sums, by the same plan
            assert same or not named
        else:
            assert named == same, (scheme, grid, value)


@pytest.mark.parametrize(
    ("program", "layer", "asked", "near"),
    [
        (
            "regular",
            IMAGE,
            {"packer_l1_acc": True, "scheme": "height"},
            {"kernel": (2, 3)},
        ),
        (
            "regular",
            IMAGE | {"kernel": (2, 3), "bias": True},
            {"packer_l1_acc": True, "scheme": "height"},
            {"kernel": (1, 3)},
        ),
        (
            "regular",
            IMAGE,
            {"full_inner_dim": True, "scheme": "block"},
            {"kernel": (1, 3)},
        ),
        (
            "regular",
            IMAGE,
            {"full_inner_dim": True, "scheme": "block"},
            {"scheme": "height"},
        ),
        (
            "regular",
            IMAGE,
            {"force_split_reader": True, "scheme": "height", "grid": (2, 1)},
            {"grid": (8, 8)},
        ),
    ],
)
def test_an_option_is_said_at_its_edge_and_not_before(program, layer, asked, near):
    def text(changes):
        both = {"grid": (8, 8)} | asked | changes
        scheme, grid = both.pop("scheme"), both.pop("grid")
        kernel = {"kernel": both.pop("kernel")} if "kernel" in both else {}
        return said(planned(program, layer | kernel, scheme, grid, **both))

    (name,) = asked.keys() - {"scheme", "grid"}
    assert text({}) == ""
    assert text(near).startswith(f"`{name}` (=True) has no effect: ")


def test_float32_of_conv1d_has_no_phases():
    floats = dict.fromkeys(("dtype", "weights_dtype", "output_dtype"), "float32")
    asked = {"math_fidelity": "HiFi4", "fp32_dest_acc": True}
    plan = planned("conv1d", ROW | floats, "height", (8, 8), **asked)
    assert said(plan).startswith("`math_fidelity` (='HiFi4') has no effect: float32")
    half = planned("conv1d", ROW | {"dtype": "float32"}, "height", (8, 8), **asked)
    assert said(half) == ""


def test_a_resharded_input_is_said():
    def plan(width):
        shard = jd.ShardConfig(cores=3, input_shard=(160, width))
        conv = jd.ConvConfig(**IMAGE | {"channels": 48})
        return make_plan(conv, shard, program="regular")

    assert said(plan(64)) == ""
    assert plan(64).num_cores == 3
    assert said(plan(48)) == (
        "`input_shard` (=(160, 48)) has no effect: the input is resharded to (32, 48)"
    )


def test_all_options_without_effect_stand_in_one_sentence():
    plan = planned(
        "regular", IMAGE, "width", None, full_inner_dim=True, program_cache=True
    )
    assert said(plan) == (
        "`program_cache` (=True) has no effect: no defect known depends on it; "
        "`full_inner_dim` (=True) has no effect: only BLOCK cuts its sums by kernel "
        "rows, of which there must be several"
    )
    assert [finding.code for finding in plan.findings] == ["JDW017", "JDW023"]


def test_it_is_said_of_a_program_that_does_not_run_too():
    plan = planned("regular", ROW, "height", None, full_inner_dim=True)
    assert [finding.code for finding in plan.findings] == ["JDW017", "JDW021"]
    lone = IMAGE | {"kernel": 1, "padding": 0}
    plan = planned("depthwise", lone, "height", None, enable_act_double_buffer=True)
    assert [finding.code for finding in plan.findings] == ["JDW017", "JDW021"]
