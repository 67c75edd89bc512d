"""Grids and shards of ttnn 0.81.1's launches."""

import dataclasses
import itertools

import hypothesis.strategies as st
import pytest
import strategies
from hypothesis import given, settings

import jaxdw as jd
from jaxdw.plan.ttnn.blocks import BlockConfig, subblock
from jaxdw.plan.ttnn.indices import index_bytes
from jaxdw.plan.ttnn.placed import place
from jaxdw.plan.ttnn.planner import plan_ttnn
from jaxdw.plan.window import Window

ARCH = jd.load_arch("n150")
LAYER = jd.ConvConfig(channels=64, height=16, width=16, padding=1)


def placed(conv=LAYER, scheme="block", arch=ARCH, as_slice=False, is_part=False, **kw):
    return place(
        conv,
        jd.ShardConfig(scheme=scheme, **kw),
        jd.ComputeConfig(),
        arch,
        scheme,
        as_slice=as_slice,
        is_part=is_part,
    )


def test_block_deals_inputs_and_outputs_over_columns_of_their_own():
    at = placed()
    assert (at.input_columns, at.output_columns, at.num_nhw_shards) == (8, 2, 8)
    assert tuple(at.input_shard) == (32, 8)
    assert tuple(at.output_shard) == (32, 32)
    assert at.cores == (8, 8)
    tiled = placed(input_layout="tile")
    assert (tiled.input_columns, tiled.output_columns) == (2, 2)
    turned = placed(grid=(3, 8), orientation="col_major")
    assert (turned.core_grid.x, turned.core_grid.y) == (3, 8)
    assert (turned.output_grid.x, turned.output_grid.y) == (3, 2)
    wide = dataclasses.replace(LAYER, channels=256)
    turned = placed(wide, grid=(3, 8), orientation="col_major")
    assert (turned.output_grid.x, turned.output_grid.y) == (3, 8)


def test_width_pads_rows_of_tiles_only():
    conv = dataclasses.replace(LAYER, height=7, width=7)
    assert placed(conv, "width").input_shard.rows == 49
    assert placed(conv, "width", input_layout="tile").input_shard.rows == 64
    assert placed(conv, "width").output_shard.rows == 49
    assert placed(conv, "width").out_h_tiles == 2
    assert placed(conv, "height").output_shard.rows == 32


def test_a_sharded_input_keeps_its_cores_and_their_alignment():
    for channels, align in ((64, 32), (48, 16), (40, 8)):
        conv = dataclasses.replace(LAYER, channels=channels)
        at = placed(conv, "height", cores=8, input_shard=(40, channels))
        if channels % 32:  # such a shard is resharded
            assert at.channel_align == 8
        else:
            assert tuple(at.input_shard) == (40, 64)
            assert at.channel_align == align
    assert placed(scheme="height", cores=(4, 1)).num_nhw_shards == 4


def test_rows_come_in_multiples_of_the_override_but_not_in_slices():
    conv = jd.ConvConfig(channels=144, height=56, width=56, padding=1)
    asked = {"scheme": "block", "act_block_h_override": 64}
    assert placed(conv, **asked).out_h_tiles == 14
    assert placed(conv, **asked, as_slice=True).out_h_tiles == 13
    part = placed(conv, "block", input_layout="tile", is_part=True)
    assert (part.channel_align, part.input_shard.channels) == (8, 24)


@given(strategies.convs(max_channels=200), st.sampled_from(strategies.SCHEMES))
def test_shards_hold_every_stick_and_channel(conv, scheme):
    at = placed(conv, scheme)
    window = Window(conv)
    for shard, sticks, columns in (
        (at.input_shard, window.num_inputs, at.input_columns),
        (at.output_shard, window.num_outputs, at.output_columns),
    ):
        assert shard.rows * at.num_nhw_shards >= sticks
        assert shard.channels * columns >= conv.channels
    assert (at.output_shard.rows - 32) * at.num_nhw_shards < window.num_outputs
    assert at.output_shard.channels % 32 == 0
    assert at.input_shard.channels % at.channel_align == 0
    ranges = window.shard_ranges(at.num_nhw_shards)
    longest = max(r.last_padded - r.first_padded + 1 for r in ranges)
    assert at.halo_shard.rows == longest
    limit = ARCH.grid
    assert at.cores[0] <= limit[0]
    assert at.cores[1] <= limit[1]


@settings(max_examples=200)
@given(
    strategies.convs(max_channels=8, max_size=40),
    st.integers(1, 6),
    st.integers(1, 4),
    st.booleans(),
)
def test_index_lists_are_as_long_as_a_walk_over_the_windows(
    conv, shards, height, split
):
    window = Window(conv)
    split = split and height > 1
    blocks = BlockConfig(
        act_h=height, act_w=1, subblock_h=1, subblock_w=1, split_reader=split
    )
    pieces = [height * 32]
    if split:
        pieces = [(height - height // 2) * 32, height // 2 * 32]
    longest = 0
    for shard in window.shard_ranges(shards):
        outputs = range(shard.first_output, shard.first_output + shard.num_outputs)
        starts = [window.start(output) for output in outputs]
        entries, turn = 0, 0
        while starts:
            size = pieces[turn % len(pieces)]
            chunk, starts, turn = starts[:size], starts[size:], turn + 1
            breaks = [
                later - sooner != conv.stride[1]
                for sooner, later in itertools.pairwise(chunk)
            ]
            entries += 2 + 2 * (1 + sum(breaks))
        longest = max(longest, entries)
    assert index_bytes(window, shards, blocks) == -(-2 * longest // 4) * 4


@pytest.mark.parametrize(
    ("block", "fp32", "expected"),
    [
        ((2, 4), False, (2, 4)),
        ((2, 4), True, (1, 4)),
        ((4, 2), True, (2, 2)),
        ((8, 1), False, (8, 1)),
        ((13, 5), False, (1, 5)),
        ((7, 15), False, (1, 5)),
        ((9, 3), True, (1, 3)),
        ((11, 1), False, (1, 1)),
    ],
)
def test_dst_holds_the_largest_subblock(block, fp32, expected):
    assert subblock(*block, fp32) == expected


@pytest.mark.parametrize(("rows", "height"), [(32, 1), (64, 2), (128, 3)])
def test_a_block_is_as_high_as_asked_or_the_next_divisor(rows, height):
    shard = jd.ShardConfig(scheme="height", act_block_h_override=rows, grid=(1, 1))
    conv = jd.ConvConfig(channels=8, height=12, width=16, padding=1)
    plan = plan_ttnn(conv, shard, jd.ComputeConfig(), ARCH)
    assert plan.launch.at.out_h_tiles == 6
    assert plan.launch.blocks.act_h == height


@pytest.mark.parametrize(("rows", "height"), [(32, 1), (64, 2), (96, 3), (128, 3)])
def test_width_is_refused_where_blocks_do_not_divide_its_rows(rows, height):
    shard = jd.ShardConfig(scheme="width", act_block_h_override=rows)
    conv = jd.ConvConfig(channels=64, height=14, width=14, padding=1)
    plan = plan_ttnn(conv, shard, jd.ComputeConfig(), ARCH)
    # 6 whole tiles of 196 rows are divided, 7 are computed
    assert plan.launch.blocks.act_h == height
    refusal = "act_matrix_height_ntiles 7 should be divisible by act_block_h_ntiles "
    assert plan.message == (None if height == 1 else f"{refusal}{height}")


@pytest.mark.parametrize(
    ("rate", "split"), [((1024, 1, 1), True), ((1024, 10**9, 10**9), False)]
)
def test_a_chip_s_own_figures_decide_whether_two_readers_pay(rate, split):
    conv = jd.ConvConfig(channels=32, height=112, width=112, padding=1)
    arch = dataclasses.replace(ARCH, local_read_rate=rate)
    for forced in (False, True):
        shard = jd.ShardConfig(force_split_reader=forced)
        launch = plan_ttnn(conv, shard, jd.ComputeConfig(), arch).launch
        assert launch.blocks.act_h == 7
        assert launch.blocks.split_reader == (split or forced)
    flat = dataclasses.replace(conv, height=16, width=16)
    shard = jd.ShardConfig(force_split_reader=True)
    assert not plan_ttnn(
        flat, shard, jd.ComputeConfig(), arch
    ).launch.blocks.split_reader
