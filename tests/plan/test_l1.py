import csv
import dataclasses
import math
from pathlib import Path

import hypothesis.strategies as st
import pytest
import strategies
from hypothesis import given

import jaxdw as jd

TABLE = (Path(__file__).parents[1] / "golden" / "plan_table.csv").read_text()
ROWS = list(csv.DictReader(TABLE.splitlines()))
DTYPES = {"bf16": "bfloat16", "bfp8": "bfloat8_b", "bfp4": "bfloat4_b"}
EXAMPLE = jd.ConvConfig(channels=64, height=8, width=8, padding=1)
TOO_BIG = jd.ConvConfig(channels=960, height=112, width=112, padding=1)


def plan_of(row: dict[str, str]) -> jd.Plan:
    names = ("batch", "channels", "height", "width", "kernel", "stride", "padding")
    conv = jd.ConvConfig(
        **{name: int(row[name]) for name in names},
        weights_dtype=DTYPES[row["weights"]],
        bias=True,
    )
    arch = {"8x8": "n150", "8x7": "n300"}[row["limit"]]
    return jd.make_plan(conv, jd.ShardConfig(scheme=row["scheme"]), arch=arch)


def test_the_table_is_whole():
    assert len(ROWS) == 60
    assert {row["limit"] for row in ROWS} == {"8x8", "8x7"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row.values()))
def test_plans_are_those_of_the_table(row):
    plan = plan_of(row)
    block = row["scheme"] == "block"
    assert {
        "out": "{}x{}".format(*plan.output_shape[1:3]),
        "cores": "{}x{}".format(*plan.grid) if block else str(plan.num_cores),
        "padded_channels": str(plan.num_channel_shards * plan.input_shard.channels),
        "in_shard": "{}x{}".format(*plan.input_shard),
        "halo_shard": "{}x{}".format(*plan.halo_shard),
        "out_shard": "{}x{}".format(*plan.output_shard),
        "channel_tiles": str(plan.channel_tiles),
        "effective_tiles": str(plan.effective_tiles),
        "weight_tiles": str(plan.weight_tiles_per_core),
        "static_bytes": str(plan.l1.static_bytes),
        "halo_bytes": str(plan.l1.buffers[-3].num_bytes),
        "out_bytes": str(plan.l1.buffers[-2].num_bytes),
    }.items() <= row.items()


def test_buffers_of_the_plans_block_example_one_by_one():
    conv = dataclasses.replace(EXAMPLE, bias=True)
    l1 = jd.make_plan(conv, jd.ShardConfig(scheme="block")).l1
    assert [(b.name, b.cb, b.page_bytes, b.pages, b.address) for b in l1.buffers] == [
        ("in", 0, 2048, 2, 105_824),
        ("mul", 1, 2048, 2, 109_920),
        ("weight", 2, 2048, 1, 114_016),
        ("scalar", 4, 2048, 2, 116_064),
        ("clear", 5, 2048, 1, 120_160),
        ("bias", 6, 2048, 1, 122_208),
        ("pre_tilize", 8, 64, 32, 124_256),
        ("halo output", 9, 64, 60, 1_466_368 - 3_840),
        ("output", 3, 2048, 1, 1_466_368 - 3_840 - 2_048),
        ("reader indices", 7, 20, 1, 1_466_368),
    ]
    assert (l1.base + l1.static_bytes, l1.free_bytes) == (126_304, 1_334_176)


@pytest.mark.parametrize(
    ("bias", "output_layout", "ids"),
    [
        (True, "tile", (7, 8, 9)),
        (False, "tile", (6, 7, 8)),
        (True, "row_major", (7, None, 8)),
        (False, "row_major", (6, None, 7)),
    ],
)
def test_circular_buffers_are_numbered_without_gaps(bias, output_layout, ids):
    conv = dataclasses.replace(EXAMPLE, bias=bias)
    shard = jd.ShardConfig(scheme="block", output_layout=output_layout)
    cb = {b.name: b.cb for b in jd.make_plan(conv, shard).l1.buffers}
    assert (cb["reader indices"], cb.get("pre_tilize"), cb["halo output"]) == ids


def test_formats_decide_the_bytes():
    def sizes(**changes):
        shard = jd.ShardConfig(
            scheme="block", output_layout=changes.pop("output_layout", "tile")
        )
        conv = dataclasses.replace(EXAMPLE, **changes)
        compute = jd.ComputeConfig(fp32_dest_acc=True)
        l1 = jd.make_plan(conv, shard, compute).l1
        return {b.name: b.num_bytes for b in l1.buffers}

    bf16 = sizes()
    fp32 = sizes(dtype="float32")
    for name in ("in", "mul", "pre_tilize", "halo output"):
        assert fp32[name] == 2 * bf16[name]
    for name in ("scalar", "clear", "output"):
        assert fp32[name] == bf16[name]
    assert sizes(dtype="bfloat8_b") == bf16
    assert sizes(output_dtype="float32")["output"] == 4096
    assert sizes(output_dtype="bfloat8_b")["output"] == 1088
    assert sizes(weights_dtype="bfloat4_b", bias=True)["bias"] == 576
    sticks = sizes(output_layout="row_major")
    assert "pre_tilize" not in sticks
    assert sticks["output"] == 32 * 64
    mixed = sizes(output_layout="row_major", dtype="float32")
    assert mixed["output"] == 32 * 64
    both = sizes(output_layout="row_major", output_dtype="float32")
    assert both["output"] == 32 * 128


def test_width_without_padding_reads_its_input_in_place():
    conv = dataclasses.replace(EXAMPLE, padding=0)
    for scheme, name in (("width", "input"), ("height", "halo output")):
        l1 = jd.make_plan(conv, jd.ShardConfig(scheme=scheme)).l1
        assert l1.buffers[-3].name == name


def test_a_layer_too_big_is_refused_with_its_breakdown_and_a_way_out():
    shard = jd.ShardConfig(scheme="width", grid=(1, 1))
    with pytest.raises(jd.L1OutOfMemory) as refusal:
        jd.make_plan(TOO_BIG, shard)
    message = str(refusal.value)
    for buffer in refusal.value.l1.buffers:
        assert f"{buffer.name}: {buffer.pages} x {buffer.page_bytes}" in message
    suggestion = refusal.value.suggestion
    assert f"use ShardConfig(scheme={suggestion.scheme!r}, grid=(8, 8))" in message
    assert jd.make_plan(TOO_BIG, suggestion).l1.fits
    assert not jd.make_plan(TOO_BIG, shard, must_fit=False).l1.fits


@pytest.mark.parametrize(
    "shard", [{"cores": 1}, {"grid": (2, 2)}, {"act_block_h_override": 12_544}]
)
def test_the_suggestion_drops_what_kept_the_layer_from_fitting(shard):
    with pytest.raises(jd.L1OutOfMemory) as refusal:
        jd.make_plan(TOO_BIG, jd.ShardConfig(**shard))
    assert refusal.value.suggestion.act_block_h_override == 0
    assert jd.make_plan(TOO_BIG, refusal.value.suggestion).l1.fits


def test_the_suggestion_keeps_the_scheme_where_it_can():
    conv = jd.ConvConfig(channels=256, height=64, width=64, padding=1)
    with pytest.raises(jd.L1OutOfMemory) as refusal:
        jd.make_plan(conv, jd.ShardConfig(scheme="height", grid=(1, 1)))
    assert refusal.value.suggestion.scheme == "height"


def test_a_layer_that_fits_nowhere_says_so():
    conv = jd.ConvConfig(channels=960, height=600, width=600, padding=1)
    for scheme in ("width", "auto"):
        with pytest.raises(jd.L1OutOfMemory, match=r"no sharding.*fewer images") as no:
            jd.make_plan(conv, jd.ShardConfig(scheme=scheme))
        assert no.value.suggestion is None


@pytest.mark.parametrize(
    ("spare", "says"),
    [
        (0, None),
        (-1, "end at 124256, must not clash .* begin at 124255: 1 bytes too many"),
        (-18_432, "clash"),  # as many bytes as the circular buffers take
        (-18_433, r"L1 buffers \(=5888 bytes\) must fit the 5887 bytes"),
    ],
)
def test_the_limit_is_met_to_the_byte(spare, says):
    arch = jd.load_arch("n150")
    used = jd.make_plan(EXAMPLE, jd.ShardConfig(scheme="block")).l1.used_bytes
    arch = dataclasses.replace(
        arch,
        l1_size_bytes=arch.l1_unreserved_base_bytes
        + arch.l1_small_bytes
        + used
        + spare,
    )
    plan = jd.make_plan(
        EXAMPLE, jd.ShardConfig(scheme="block"), arch=arch, must_fit=False
    )
    assert plan.l1.fits == (says is None)
    if says is not None:
        with pytest.raises(jd.L1OutOfMemory, match=says):
            jd.make_plan(EXAMPLE, jd.ShardConfig(scheme="block"), arch=arch)


def test_the_longest_index_list_counts():
    conv = jd.ConvConfig(channels=32, height=9, width=9, padding=1)
    plan = jd.make_plan(conv, jd.ShardConfig(cores=3))
    lengths = [plan.index_list_length(core) for core in range(3)]
    assert max(lengths) > lengths[0]
    assert plan.l1.buffers[-1].page_bytes == 2 * max(lengths)


def test_index_lists_must_fit_the_small_region():
    arch = dataclasses.replace(jd.load_arch("n150"), l1_small_bytes=16)
    with pytest.raises(jd.L1OutOfMemory, match=r"config tensors \(=32 bytes\)"):
        jd.make_plan(EXAMPLE, arch=arch)
    arch = dataclasses.replace(arch, l1_small_bytes=32)
    assert jd.make_plan(EXAMPLE, arch=arch).l1.fits


@given(strategies.convs(), strategies.shards())
def test_index_lists_are_as_long_as_the_window_starts_say(conv, shard):
    plan = jd.make_plan(conv, shard, must_fit=False)
    for core in range(plan.num_cores):
        starts = plan.top_left(core).tolist()
        breaks = [b - a != conv.stride[1] for a, b in zip(starts, starts[1:])]  # noqa: B905, RUF007
        runs = bool(starts) + sum(breaks)
        assert plan.index_list_length(core) == 2 + 2 * runs


@given(strategies.convs(max_channels=300), strategies.shards(), st.integers(1, 200))
def test_l1_use_grows_with_the_channels_of_a_core(conv, shard, more):
    shard = dataclasses.replace(shard, cores=shard.grid)
    used = [
        jd.make_plan(
            dataclasses.replace(conv, channels=channels), shard, must_fit=False
        ).l1.used_bytes
        for channels in (conv.channels, conv.channels + more)
    ]
    assert used[0] <= used[1]
    assert used[0] > 0
    assert math.prod(shard.grid) == jd.make_plan(conv, shard, must_fit=False).num_cores
