from pathlib import Path

import numpy as np
import oracles
import pytest
import strategies
from examples import halo_geometry
from hypothesis import given

import jaxdw as jd
from jaxdw.plan.window import PAD, UNWRITTEN, Window, halo_transfers

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "halo_ttnn.npz")
CASES = sorted({name.split("__")[0] for name in GOLDEN.files})


def plan_of(case: str) -> jd.Plan:
    fields = {part[0]: int(part[1:]) for part in case.split("_")[:-1]}
    conv = jd.ConvConfig(
        batch=fields["B"],
        channels=fields["C"],
        height=fields["H"],
        width=fields["W"],
        kernel=fields["k"],
        stride=fields["s"],
        padding=fields["p"],
    )
    return jd.make_plan(conv, jd.ShardConfig(scheme=case.split("_")[-1].lower()))


def sticks(runs: np.ndarray, moving: tuple[int, ...]) -> set[tuple[int, ...]]:
    """Cuts runs into single sticks; `moving` columns step along the run."""
    cut = set()
    for *place, length in np.asarray(runs).tolist():
        for step in range(length):
            cut.add(tuple(v + step * (i in moving) for i, v in enumerate(place)))
    return cut


def test_the_golden_file_holds_all_its_cases():
    assert len(CASES) == 8
    assert any("WIDTH" in case for case in CASES)


@pytest.mark.parametrize("case", CASES)
def test_every_pad_and_copy_is_that_of_ttnn(case):
    pads, copies = plan_of(case).halo_transfers()
    assert sticks(pads, (1,)) == sticks(GOLDEN[f"{case}__pads"], (1,))
    assert sticks(copies, (1, 3)) == sticks(GOLDEN[f"{case}__copies"], (1, 3))


@pytest.mark.parametrize("case", [c for c in CASES if f"{c}__top_left" in GOLDEN.files])
def test_every_window_start_is_that_of_ttnn(case):
    plan = plan_of(case)
    starts = {core: [] for core in range(plan.num_cores)}
    for core, first, last in GOLDEN[f"{case}__top_left"].tolist():
        starts[core] += range(first, last + 1, plan.conv.stride[1])
    for core, want in starts.items():
        assert plan.top_left(core).tolist() == want


@given(strategies.convs(), strategies.shards())
def test_halo_and_window_starts_equal_the_oracle(conv, shard):
    plan = jd.make_plan(conv, shard, must_fit=False)
    geometry = halo_geometry(plan)
    halo_rows, want = oracles.haloed_shards(*geometry, plan.input_shard.rows)
    assert plan.halo_shard.rows == halo_rows
    got = [[("unwritten",)] * halo_rows for _ in want]
    pads, copies = plan.halo_transfers()
    for core, row, length in pads.tolist():
        for step in range(length):
            assert got[core][row + step] == ("unwritten",)
            got[core][row + step] = ("pad",)
    for source_core, source_row, core, row, length in copies.tolist():
        for step in range(length):
            assert got[core][row + step] == ("unwritten",)
            got[core][row + step] = ("stick", source_core, source_row + step)
    assert got == [list(map(tuple, shard)) for shard in want]
    for shard_id, starts in enumerate(oracles.top_left(*geometry)):
        core = shard_id * plan.num_channel_shards
        assert plan.top_left(core).tolist() == starts


@given(strategies.convs(), strategies.shards())
def test_every_window_lies_inside_its_written_haloed_shard(conv, shard):
    plan = jd.make_plan(conv, shard, must_fit=False)
    sources = plan.halo_sources()
    covered = []
    for nhw_shard, part in enumerate(plan.shard_ranges):
        starts = plan.top_left(nhw_shard * plan.num_channel_shards)
        covered += range(part.first_output, part.first_output + len(starts))
        for offset in plan.window.tap_offsets():
            assert (sources[nhw_shard, starts + offset] != UNWRITTEN).all()
    assert covered == list(range(plan.window.num_outputs))


def test_runs_are_cut_where_source_core_or_kind_changes():
    sources = np.array([[PAD, PAD, 0, 1, 2, 3, PAD, UNWRITTEN]])
    pads, copies = halo_transfers(sources, 2)
    assert pads.tolist() == [[0, 0, 2], [0, 6, 1]]
    assert copies.tolist() == [[0, 0, 0, 2, 2], [1, 0, 0, 4, 2]]


def test_a_shard_past_the_end_keeps_the_range_of_the_last_window():
    conv = jd.ConvConfig(channels=64, height=8, width=8, padding=1)
    last = Window(conv).shard_ranges(4)[3]
    assert (last.num_outputs, last.first_padded, last.last_padded) == (0, 77, 99)
