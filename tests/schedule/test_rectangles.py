import dataclasses

import hypothesis.strategies as st
import numpy as np
import oracles_schedule
import pytest
import strategies
from hypothesis import given

import jaxdw as jd
from jaxdw.maps.multicast import Multicast, make_multicast
from jaxdw.schedule.many import judge_grids
from jaxdw.schedule.rectangles import (
    N150_TILES,
    factory_multicasts,
    live_tiles,
    spans,
    stack_multicasts,
)
from jaxdw.schedule.verdict import judge_schedule


@pytest.mark.parametrize(
    ("chip", "tiles"),
    [("n150", (8, 9)), ("n300", (8, 8)), ("p150", (14, 10)),
     ("blackhole_11x10", (12, 10))],
)  # fmt: skip
def test_live_tiles(chip, tiles):
    assert live_tiles(jd.load_arch(chip)) == tiles
    assert chip != "n150" or tiles == N150_TILES


@given(strategies.convs(), strategies.any_shards())
def test_arguments_are_those_of_the_plan(conv, shard):
    plan = jd.make_plan(conv, shard, must_fit=False)
    shards = plan.num_channel_shards
    args = factory_multicasts(plan.scheme, plan.grid[0], plan.num_cores, shards).one(0)
    readers = plan.arguments(weight_address=0, bias_address=0).runtime["reader"]
    noc_xy = [[18 + x, 18 + y] for x, y in args.xy.tolist()]
    for core, values in enumerate([a.value for a in reader] for reader in readers):
        assert values[1] == args.is_sender[core]
        if not values[1]:
            name = args.names[core]
            assert (noc_xy[name] == values[2:4]) if name >= 0 else (
                values[2:4] not in noc_xy
            )  # fmt: skip
        elif values[6]:
            assert values[2:6] == [18 + corner for corner in args.rect[core].tolist()]
        assert values[6] == args.num_dests[core]
    if plan.core_grid.orientation == "row_major":
        ours = make_multicast(plan)
        for field in dataclasses.fields(Multicast):
            want, got = getattr(ours, field.name), getattr(args, field.name)
            np.testing.assert_array_equal(got, want)
        problems = judge_schedule(plan).problems
        defects = {finding.code for finding in plan.findings}
        assert {p.kind for p in problems} == (
            {"stray write", "acknowledgement"} if "JDW007" in defects else set()
        )
    assert judge_schedule(plan) == judge_schedule(args, tiles=live_tiles(plan.arch))


@given(st.tuples(*[st.integers(0, size - 1) for size in (*N150_TILES, *N150_TILES)]))
def test_spans_walk_the_torus(rect):
    trio = factory_multicasts("height", 3, 3, 1).one(0)
    batch = dataclasses.replace(
        stack_multicasts([trio]),
        rect=np.array([[rect] * 3]),
        num_dests=np.ones((1, 3), int),
    )
    for noc in (0, 1):
        x, y = spans(batch, noc, N150_TILES)
        tiles = {
            (int(i), int(j))
            for i in np.flatnonzero(x[0, 0])
            for j in np.flatnonzero(y[0, 0])
        }
        want = oracles_schedule.tiles_hit(batch.one(0), 0, noc)
        assert tiles - {(0, 0)} == want


def test_what_no_chip_has_is_refused():
    trio = factory_multicasts("height", 3, 3, 1)
    with pytest.raises(jd.ConfigError, match=r"`noc` \(=2\) must be 0 or 1"):
        judge_grids(trio, noc=2)
    with pytest.raises(jd.ConfigError, match=r"`xy` \(=\(2, 0\)\).*2x9 tiles"):
        judge_schedule(trio.one(0), tiles=(2, 9))
    corners = dataclasses.replace(trio, rect=np.full((1, 3, 4), 9))
    with pytest.raises(jd.ConfigError, match=r"`rect` \(=\(9, 9\)\).*8x9 tiles"):
        judge_grids(corners)
    names = dataclasses.replace(trio, names=np.array([[-1, 3, 0]])).one(0)
    larger = factory_multicasts("height", 8, 8, 1).one(0)
    with pytest.raises(jd.ConfigError, match=r"`names` \(=3\).*use -1 for none"):
        judge_grids(stack_multicasts([larger, names]))
