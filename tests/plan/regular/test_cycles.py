"""Cycle bounds of the dense matmul against figures made apart from this project."""

import csv
import dataclasses

import pytest
import ttnn_rows

import jaxdw as jd
from jaxdw.plan.regular.blocks import k_tiles
from jaxdw.plan.ttnn.planner import default_compute, plan_ttnn

TABLE = (ttnn_rows.GOLDEN / "regular_cycles.csv").read_text()
ROWS = list(csv.DictReader(TABLE.splitlines()))
LAYER = jd.ConvConfig(channels=64, height=16, width=16, padding=1)


def launch_of(conv=LAYER, arch="n150", compute=None, **shard):
    compute = compute or default_compute(conv)
    plan = plan_ttnn(conv, jd.ShardConfig(**shard), compute, jd.load_arch(arch))
    return plan.launch


def test_the_table_is_whole():
    assert len(ROWS) == 32


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['layer']}k{row['kernel']}")
def test_the_matrix_unit_s_work_is_that_of_the_table(row):
    channels, size = map(int, row["layer"].split()[1].split("@"))
    kernel = int(row["kernel"])
    conv = jd.ConvConfig(
        channels=channels,
        height=size,
        width=size,
        kernel=kernel,
        stride=int(row["stride"]),
        padding=kernel // 2,
    )
    launch = launch_of(conv, compute=jd.ComputeConfig(), scheme="auto")
    at, blocks = launch.at, launch.blocks
    tiles_k = k_tiles(at, blocks)
    columns = f"{at.num_nhw_shards}x{at.input_columns}->{at.output_columns}"
    assert f"{at.scheme.upper()} {columns}" == row["auto"]
    assert tiles_k == int(row["k_tiles"])
    assert at.out_h_tiles * at.out_w_tiles * tiles_k == int(row["tile_products"])
    work = int(row["matmul_cycles"]) + int(row["tilize_cycles"])
    assert launch.cycles.matrix_unit == work


def test_phases_and_bias_add_to_the_matrix_unit():
    def work(fidelity="LoFi", bias=False):
        conv = dataclasses.replace(LAYER, bias=bias)
        compute = jd.ComputeConfig(math_fidelity=fidelity)
        return launch_of(conv, compute=compute).cycles.matrix_unit

    assert work() == 2 * 18 * 16 + 18 * 61
    assert work("HiFi3") == 2 * 18 * 16 * 3 + 18 * 61
    assert work(bias=True) - work() == 2 * 8


def test_one_reader_fetches_all_weights_over_its_link():
    launch = launch_of()
    tiles = 18 * 2
    assert launch.cycles.dram == max(-(-tiles * 2048 // 32), 3 * 2048 // 24 + 1)
    assert launch.cycles.multicast == tiles * 2048 // 32
    assert launch.cycles.halo == 72 * 64 * 2 // (2 * 32)
    assert launch.cycles.l1_reads == 32 * 9 * 64 * 2 // 32
    biased = launch_of(dataclasses.replace(LAYER, bias=True))
    assert biased.cycles.dram == (tiles + 2) * 2048 // 32


def test_banks_bind_where_every_core_reads_its_own():
    conv = jd.ConvConfig(channels=2048, height=7, width=7, padding=1)
    cycles = launch_of(conv, scheme="width").cycles
    reads = 9 * 64 * 64  # tiles of the matrix
    assert cycles.dram == -(-(reads // 12) * 2048 * 1000 // 24_000)
    assert cycles.multicast == 0
    received = 2 * 9 * 64 * 63 // 64  # tiles of tilised activations
    assert cycles.l1_reads == received * 2048 // 32
    packed = launch_of(
        dataclasses.replace(conv, output_dtype="bfloat8_b"), scheme="width"
    )
    assert packed.cycles.l1_reads == received * 1088 // 32


def test_block_fetches_weights_for_every_height_block_and_height_once():
    conv = jd.ConvConfig(channels=64, height=56, width=56, padding=1)
    for scheme, times in (("block", 7), ("height", 1)):
        whole = launch_of(conv, scheme=scheme, grid=(2, 7))
        cut = launch_of(conv, scheme=scheme, grid=(2, 7), act_block_h_override=64)
        assert whole.at.out_h_tiles == {"block": 14, "height": 7}[scheme]
        if scheme == "height":
            cut = launch_of(conv, scheme=scheme, grid=(2, 7), act_block_h_override=32)
        assert cut.cycles.dram == times * whole.cycles.dram
        assert cut.cycles.matrix_unit == whole.cycles.matrix_unit


def test_two_readers_share_the_windows():
    conv = jd.ConvConfig(channels=64, height=24, width=24, padding=1)
    alone = launch_of(conv, grid=(3, 2))
    both = launch_of(conv, grid=(3, 2), force_split_reader=True)
    assert alone.blocks.act_h == 3
    assert not alone.blocks.split_reader
    assert both.cycles.l1_reads == alone.cycles.l1_reads * 2 // 3


def test_rows_that_are_padding_read_no_windows():
    conv = jd.ConvConfig(channels=64, height=5, width=7, padding=1)
    assert launch_of(conv, grid=(1, 1)).cycles.l1_reads == 35 * 9 * 64 * 2 // 32


def test_only_the_halo_comes_apart():
    cycles = launch_of().cycles
    rest = cycles.dram, cycles.multicast, cycles.l1_reads, cycles.matrix_unit
    assert cycles.total == cycles.halo + max(rest)
    assert cycles.binding == "matrix_unit"
    conv = dataclasses.replace(LAYER, padding=(0, 0, 0, 0))
    assert launch_of(conv, scheme="width").cycles.halo == 0
    assert launch_of(conv, scheme="block").cycles.halo > 0
