import dataclasses

import numpy as np
import oracles
import pytest
import strategies
from hypothesis import given, settings

import jaxdw as jd
from jaxdw.plan.window import PAD, UNWRITTEN

EXAMPLE = jd.ConvConfig(channels=64, height=8, width=8, padding=1)
MOBILENET = jd.ConvConfig(channels=144, height=56, width=56, padding=1)


def plan_of(conv=EXAMPLE, arch="wormhole_b0", **shard) -> jd.Plan:
    return jd.make_plan(conv, jd.ShardConfig(**shard), arch=arch)


def test_auto_is_the_first_of_the_ranking():
    ranked = jd.rank_plans(MOBILENET)
    assert plan_of(MOBILENET, scheme="auto") == ranked[0]
    assert {plan.scheme for plan in ranked} == {"height", "width", "block"}
    assert all(plan.l1.fits for plan in ranked)


def test_the_ranking_is_ordered_by_cycles_findings_cores_l1():
    ranked = jd.rank_plans(MOBILENET)
    keys = [
        (
            p.cycles.total,
            sum(finding.fails("wrong values") for finding in p.findings),
            p.num_cores,
            p.l1.used_bytes,
        )
        for p in ranked
    ]
    assert keys == sorted(keys)
    assert keys[0][0] < keys[-1][0]
    assert len({(p.scheme, p.core_grid) for p in ranked}) == len(ranked) > 50


def test_of_equal_cycles_the_grid_without_a_partial_row_comes_first():
    ranked = jd.rank_plans(MOBILENET, jd.ShardConfig(scheme="height"))
    assert ranked[0].num_cores == ranked[1].num_cores == 49
    assert ranked[0].grid == (7, 7)
    assert "JDW007" in {finding.code for finding in ranked[1].findings}


def test_a_ranked_plan_is_the_plan_of_its_own_sharding():
    for plan in jd.rank_plans(MOBILENET)[::17]:
        assert jd.make_plan(plan.conv, plan.shard, plan.compute, plan.arch) == plan


def test_a_ranking_stays_in_its_scheme_and_grid():
    shard = jd.ShardConfig(scheme="block", grid=(4, 2))
    ranked = jd.rank_plans(MOBILENET, shard)
    assert {plan.scheme for plan in ranked} == {"block"}
    assert max(plan.grid for plan in ranked) <= (4, 2)


def test_a_ranked_grid_is_named_by_the_widest_limit_that_leads_to_it():
    ranked = jd.rank_plans(EXAMPLE, jd.ShardConfig(scheme="width"))
    assert {plan.grid: plan.shard.grid for plan in ranked} == {
        (2, 1): (8, 8),
        (1, 2): (1, 8),
        (1, 1): (1, 1),
    }


def test_auto_takes_what_lacks_least_if_nothing_fits():
    conv = jd.ConvConfig(channels=960, height=600, width=600, padding=1)
    best, *others = (
        jd.make_plan(conv, jd.ShardConfig(scheme=scheme), must_fit=False).l1.free_bytes
        for scheme in ("auto", "height", "width", "block")
    )
    assert max(others) <= best < 0


@pytest.mark.parametrize("scheme", ["height", "width"])
def test_a_ranking_of_given_cores_is_that_one_plan(scheme):
    shard = jd.ShardConfig(scheme=scheme, cores=4)
    assert jd.rank_plans(MOBILENET, shard) == (plan_of(MOBILENET, **vars(shard)),)


def test_a_ranking_leaves_out_what_does_not_fit():
    conv = jd.ConvConfig(channels=960, height=112, width=112, padding=1)
    ranked = jd.rank_plans(conv)
    assert 0 < len(ranked) < len(jd.rank_plans(MOBILENET))
    assert "width" not in {plan.scheme for plan in ranked}


@pytest.mark.parametrize(
    ("scheme", "cores", "grid", "num_cores"),
    [
        ("height", 13, (8, 2), 13),
        ("height", (4, 3), (4, 3), 12),
        ("width", 2, (2, 1), 2),
        ("width", (1, 2), (1, 2), 2),
        ("block", (2, 3), (2, 3), 6),
    ],
)
def test_given_cores_are_taken(scheme, cores, grid, num_cores):
    conv = dataclasses.replace(EXAMPLE, height=20, width=20)
    plan = plan_of(conv, scheme=scheme, cores=cores)
    assert (plan.grid, plan.num_cores) == (grid, num_cores)


def test_col_major_block_deals_nhw_shards_along_x():
    conv = jd.ConvConfig(channels=96, height=16, width=16, padding=1)
    plan = plan_of(conv, scheme="block", orientation="col_major")
    assert plan.grid == (8, 3)
    assert (plan.num_nhw_shards, plan.num_channel_shards) == (8, 3)
    assert [plan.core_grid.xy(core) for core in range(4)] == [
        (0, 0), (0, 1), (0, 2), (1, 0),
    ]  # fmt: skip
    assert [plan.start_tile(core) for core in range(4)] == [0, 1, 2, 0]
    broadcast = plan.core_grid.broadcasts()[1]
    assert plan.core_grid.xy(broadcast.sender) == (0, 1)
    rect = broadcast.rect
    assert (rect.x0, rect.y0, rect.x1, rect.y1) == (0, 1, 7, 1)
    assert broadcast.num_dests == 7
    tall = plan_of(conv, "n300", scheme="block", orientation="col_major")
    assert tall.grid == (8, 3)
    assert plan_of(conv, "n300", scheme="block").grid == (3, 4)


def test_an_input_that_is_sharded_keeps_its_cores_and_rows():
    plan = plan_of(scheme="height", cores=3, input_shard=(24, 64))
    assert plan.num_cores == 3
    assert tuple(plan.input_shard) == (24, 64)
    assert tuple(plan.output_shard) == (32, 64)
    resharded = plan_of(
        scheme="height", cores=3, input_shard=(24, 64), reshard_if_not_optimal=True
    )
    assert resharded.num_cores == 2
    odd = dataclasses.replace(EXAMPLE, channels=40)
    assert plan_of(odd, cores=3, input_shard=(24, 40)).num_cores == 2


@pytest.mark.parametrize(
    ("shard", "sentence"),
    [
        ({"input_shard": (64, 64)}, r"`input_shard`.*come with the `cores`.*add cores"),
        ({"input_shard": (8, 64), "cores": 3}, r"\(=8 rows, 64.*use \(22, 64\)"),
        ({"input_shard": (64, 96), "cores": 1}, r"96 channels\).*use \(64, 64\)"),
        ({"input_shard": (0, 64), "cores": 1}, r"`input_shard` \(=\(0, 64\)\)"),
        ({"cores": 65}, r"`cores` \(=65\) must be 1 to 64 of wormhole_b0; try 64"),
        ({"cores": 0}, "try 1"),
        ({"cores": (9, 1)}, r"`cores` \(=\(9, 1\).*8x8 cores.*try \(8, 1\)"),
        ({"cores": (3, 1), "grid": (2, 2)}, r"2x2 cores.*try \(2, 1\)"),
        ({"cores": 4, "scheme": "block"}, r"`cores` \(=4\).*BLOCK; try \(4, 1\)"),
        ({"cores": 9, "scheme": "block"}, r"BLOCK; try \(8, 1\)"),
        ({"cores": 4, "scheme": "auto"}, "`cores`.*left out"),
        ({"cores": True}, "`cores`"),
        ({"cores": 2, "reshard_if_not_optimal": True}, "`reshard_if_not_optimal` must"),
        ({"orientation": "diagonal"}, "one of row_major, col_major"),
        ({"output_layout": "sticks"}, "one of tile, row_major"),
        ({"program_cache": 1}, r"`program_cache` \(=1\) must be True or False"),
        ({"enable_act_double_buffer": None}, "`enable_act_double_buffer`"),
        ({"enable_weights_double_buffer": 0}, "`enable_weights_double_buffer`"),
    ],
)
def test_broken_rules_of_a_sharding_are_named(shard, sentence):
    with pytest.raises(jd.ConfigError, match=sentence):
        jd.make_plan(EXAMPLE, jd.ShardConfig(**shard))


def test_block_formats_have_no_row_major_output():
    conv = dataclasses.replace(EXAMPLE, output_dtype="bfloat8_b")
    with pytest.raises(jd.ConfigError, match=r"`output_layout`.*use 'tile'"):
        plan_of(conv, output_layout="row_major")


@pytest.mark.parametrize(
    ("changes", "program"),
    [
        ({"kernel": (1, 1)}, "regular"),
        ({"kernel": (1, 3), "height": 1}, "conv1d"),
        ({"kernel": (1, 3), "height": 1, "bias": True}, "regular"),
        ({"kernel": (3, 1), "width": 1}, "regular"),
        ({"kernel": (3, 1), "width": 1, "bias": True}, "regular"),
        ({"kernel": (1, 3)}, "depthwise"),
        ({"kernel": (3, 1)}, "depthwise"),
        ({"kernel": (3, 3), "padding": 1, "height": 1}, "depthwise"),
    ],
)
def test_the_program_that_upstream_takes_is_told(changes, program):
    conv = dataclasses.replace(EXAMPLE, **changes)
    assert plan_of(conv).upstream_program == program


@given(strategies.convs(), strategies.any_shards())
def test_shards_cover_every_output_and_channel_once(conv, shard):
    plan = jd.make_plan(conv, shard, must_fit=False)
    owned = np.zeros((plan.window.num_outputs, conv.channels), int)
    for core in range(plan.num_cores):
        nhw, column = divmod(core, plan.num_channel_shards)
        outputs = plan.shard_ranges[nhw]
        first = column * plan.output_shard.channels
        assert outputs.num_outputs <= plan.output_shard.rows
        owned[
            outputs.first_output : outputs.first_output + outputs.num_outputs,
            first : first + plan.output_shard.channels,
        ] += 1
    assert (owned == 1).all()
    xy = [plan.core_grid.xy(core) for core in range(plan.num_cores)]
    assert len(set(xy)) == plan.num_cores
    assert all(0 <= x < plan.grid[0] and 0 <= y < plan.grid[1] for x, y in xy)


@given(strategies.convs(max_channels=40), strategies.any_shards())
def test_every_window_of_a_core_lies_inside_its_haloed_shard(conv, shard):
    plan = jd.make_plan(conv, shard, must_fit=False)
    held = plan.halo_sources()
    offsets = np.array(plan.window.tap_offsets())
    images = np.arange(plan.window.num_inputs).reshape(conv.input_shape[:3])
    top, bottom, left, right = conv.padding
    padded = np.pad(images, ((0, 0), (top, bottom), (left, right)), constant_values=PAD)
    rows = [d * conv.dilation[0] for d in range(conv.kernel[0])]
    columns = [d * conv.dilation[1] for d in range(conv.kernel[1])]
    for shard_id, outputs in enumerate(plan.shard_ranges):
        starts = plan.top_left(shard_id * plan.num_channel_shards)
        taken = held[shard_id][starts[:, None] + offsets]
        assert (taken != UNWRITTEN).all()
        for i, window in enumerate(taken):
            n, y, x = np.unravel_index(outputs.first_output + i, plan.output_shape[:3])
            y, x = y * conv.stride[0], x * conv.stride[1]
            want = padded[n][np.ix_([y + r for r in rows], [x + c for c in columns])]
            assert (window == want.ravel()).all()


@settings(max_examples=12)
@given(strategies.convs(max_channels=130, max_size=9), strategies.any_shards())
def test_any_plan_that_passes_runs(conv, shard):
    compute = jd.ComputeConfig(arithmetic="float32")
    try:
        plan = jd.make_plan(conv, shard, compute)
    except jd.L1OutOfMemory as refusal:
        plan = jd.make_plan(conv, refusal.suggestion, compute)
    rng = np.random.default_rng(0)
    x = rng.integers(-4, 5, conv.input_shape).astype(np.float32)
    w = rng.integers(-2, 3, conv.weight_shape).astype(np.float32)
    result = jd.run(plan, jd.make_maps(plan), x, w)
    want = oracles.conv(
        x, w, None, conv.stride, conv.padding, conv.dilation, np.float32
    )
    np.testing.assert_array_equal(result.output, oracles.bf16_round(want))


def test_the_way_out_of_a_layer_too_big_runs():
    conv = jd.ConvConfig(channels=960, height=112, width=112, padding=1)
    compute = jd.ComputeConfig(arithmetic="float32")
    with pytest.raises(jd.L1OutOfMemory) as refusal:
        jd.make_plan(conv, jd.ShardConfig(scheme="width", grid=(1, 1)), compute)
    plan = jd.make_plan(conv, refusal.value.suggestion, compute)
    x = np.ones(conv.input_shape, np.float32)
    w = np.ones(conv.weight_shape, np.float32)
    output = np.asarray(jd.run(plan, jd.make_maps(plan), x, w).output)
    assert (output[:, 1:-1, 1:-1] == 9).all()
    assert (output[:, 0, 0] == 4).all()


def test_a_single_output_leaves_the_other_cores_without_a_range():
    conv = jd.ConvConfig(channels=32, height=3, width=3)
    plan = plan_of(conv, cores=3)
    assert [r.num_outputs for r in plan.shard_ranges] == [1, 0, 0]
    spans = [(r.first_padded, r.last_padded) for r in plan.shard_ranges]
    assert spans == [(0, 8), (1, 0), (1, 0)]
    assert plan.halo_shard.rows == 9


LARGE = jd.ConvConfig(channels=64, height=512, width=512, padding=1)
DEEP = jd.ConvConfig(channels=1152, height=7, width=7, kernel=5, padding=2)


@pytest.mark.parametrize(
    ("program", "conv", "shard", "way_out", "launches"),
    [
        ("regular", DEEP, {"scheme": "height"}, {"scheme": "auto"}, 1),
        ("ttnn", LARGE, {"scheme": "height"}, {"memory": "dram"}, 4),
        (
            "ttnn",
            dataclasses.replace(DEEP, height=56, width=56),
            {"scheme": "height"},
            {"scheme": "auto", "memory": "dram"},
            2,
        ),
        ("regular", LARGE, {"scheme": "auto"}, {"memory": "dram"}, 4),
    ],
)
def test_the_way_out_of_ttnns_programs_is_their_own(
    program, conv, shard, way_out, launches
):
    with pytest.raises(jd.L1OutOfMemory) as refusal:
        jd.make_plan(conv, jd.ShardConfig(**shard), program=program)
    want = dataclasses.replace(jd.ShardConfig(**shard), **way_out)
    assert refusal.value.suggestion == want
    lines = str(refusal.value).splitlines()
    assert "planned by the program regular of ttnn 0.81.1" in lines
    said = lines[-1].endswith(f", which takes {launches} launches")
    assert said == (launches > 1)
    plan = jd.make_plan(conv, want, program=program)
    assert (plan.program, plan.slices, plan.l1.fits) == ("regular", launches, True)


def test_a_refusal_that_is_not_of_memory_names_no_smaller_layer():
    conv = jd.ConvConfig(channels=32, height=1, width=20, kernel=1)
    with pytest.raises(jd.L1OutOfMemory) as refusal:
        jd.make_plan(conv, program="ttnn")
    assert refusal.value.suggestion is None
    text = str(refusal.value)
    assert "own words: The width of the first tensor must be equal" in text
    assert text.endswith("no sharding tried is accepted; use another program or layer")


def test_conv1d_is_ranked_on_height_alone_which_its_kernels_are_for():
    conv = jd.ConvConfig(channels=64, height=1, width=35, kernel=(1, 4))
    shard = jd.ShardConfig(scheme="auto", grid=(4, 1))
    ranked = jd.rank_plans(conv, shard, program="ttnn")
    assert [(plan.program, plan.scheme) for plan in ranked] == [("conv1d", "height")]
    jd.make_maps(ranked[0])
    # BLOCK would have fewer cycles, and mean nothing
    asked = dataclasses.replace(shard, scheme="block")
    blocks = jd.rank_plans(conv, asked, program="ttnn")
    assert blocks[0].cycles.total < ranked[0].cycles.total
    for plan in blocks:
        assert "JDW043" in {finding.code for finding in plan.findings}
    dense = jd.rank_plans(dataclasses.replace(conv, bias=True), shard, program="ttnn")
    assert {plan.scheme for plan in dense} == {"height", "width", "block"}


@pytest.mark.parametrize(
    ("program", "scheme", "cores", "held", "way_out"),
    [
        ("regular", "height", 2, (32, 96), (32, 64)),
        ("regular", "height", 2, (24, 64), (32, 64)),
        ("regular", "block", (3, 2), (64, 64), (64, 32)),
        ("regular", "width", 1, (64, 32), (64, 64)),
        ("conv1d", "height", 2, (32, 128), (32, 64)),
    ],
)
def test_a_sharded_input_must_hold_the_layer(program, scheme, cores, held, way_out):
    image = {"height": 8, "width": 8, "padding": 1}
    if program == "conv1d":
        image = {"height": 1, "width": 64, "kernel": (1, 4), "padding": (0, 0, 3, 0)}
    conv = jd.ConvConfig(channels=40, **image)
    shard = jd.ShardConfig(scheme=scheme, cores=cores, input_shard=held)
    with pytest.raises(
        jd.ConfigError, match=r"`input_shard` \(=.*must hold 64"
    ) as told:
        jd.make_plan(conv, shard, program=program)
    assert str(told.value).endswith(f"use {way_out}")
    right = dataclasses.replace(shard, input_shard=way_out)
    plan = jd.make_plan(conv, right, program=program)
    assert tuple(plan.input_shard) == way_out
    x = np.random.default_rng(0).standard_normal(conv.input_shape, np.float32)
    w = np.random.default_rng(1).standard_normal(conv.weight_shape, np.float32)
    pcc = jd.pcc(
        jd.run(plan, jd.make_maps(plan), x, w).output, jd.reference(conv, x, w)
    )
    assert pcc > 0.999
