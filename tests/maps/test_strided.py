"""Windows are taken as slices where cores read exactly those, and nowhere else."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxdw as jd
from jaxdw.judge.draws import draw
from jaxdw.maps.indexmap import IndexMap
from jaxdw.maps.strided import Strided, strided_sticks

LAYER = jd.ConvConfig(
    channels=48, height=9, width=7, kernel=(3, 2), stride=(2, 1), padding=1, batch=2
)


def loop_sticks(conv: jd.ConvConfig) -> np.ndarray:
    """Returns the stick of each window element, one by one."""
    top, bottom, left, right = conv.padding
    found = []
    for v, u in itertools.product(*map(range, conv.kernel)):
        of_tap = []
        for n in range(conv.batch):
            y = 0
            while (
                y + conv.dilation[0] * (conv.kernel[0] - 1) < conv.height + top + bottom
            ):
                x = 0
                while (
                    x + conv.dilation[1] * (conv.kernel[1] - 1)
                    < conv.width + left + right
                ):
                    row = y + v * conv.dilation[0] - top
                    column = x + u * conv.dilation[1] - left
                    inside = 0 <= row < conv.height and 0 <= column < conv.width
                    stick = (n * conv.height + row) * conv.width + column
                    padding = conv.batch * conv.height * conv.width
                    of_tap.append(stick if inside else padding)
                    x += conv.stride[1]
                y += conv.stride[0]
        found.append(of_tap)
    return np.array(found)


@settings(max_examples=30)
@given(st.data())
def test_slices_name_the_stick_of_every_window_element(data):
    def pair(least: int, most: int) -> tuple[int, int]:
        return tuple(data.draw(st.integers(least, most)) for _ in range(2))

    conv = jd.ConvConfig(
        channels=8,
        batch=data.draw(st.integers(1, 3)),
        height=data.draw(st.integers(5, 8)),
        width=data.draw(st.integers(5, 8)),
        kernel=pair(1, 3),
        stride=pair(1, 3),
        dilation=pair(1, 2),
        padding=(*pair(0, 2), *pair(0, 2)),
    )
    windows = Strided.of_layer(conv)
    np.testing.assert_array_equal(strided_sticks(windows), loop_sticks(conv))


@pytest.mark.parametrize("program", ["depthwise", "regular"])
@pytest.mark.parametrize("scheme", ["height", "width", "block"])
def test_a_launch_as_planned_reads_slices(scheme, program):
    shard = jd.ShardConfig(scheme=scheme, grid=(3, 2))
    plan = jd.make_plan(LAYER, shard, program=program, must_fit=False)
    maps = jd.make_maps(plan)
    assert maps.strided is not None
    assert maps.strided.windows == Strided.of_layer(LAYER)


@pytest.mark.parametrize("way", ["fpu", "float32"])
@pytest.mark.parametrize("taps", [(3, 2), (2, 10)])
def test_slices_and_tables_give_the_same_bits(taps, way):
    """Nothing is alike along rows and columns; 20 taps are a loop over blocks."""
    conv = jd.ConvConfig(
        channels=40,
        height=11,
        width=23,
        batch=2,
        kernel=taps,
        stride=(3, 2),
        dilation=(1, 2) if taps[1] < 10 else (2, 1),
        padding=(2, 0, 1, 3),
    )
    plan = jd.make_plan(
        conv, jd.ShardConfig(grid=(2, 2)), jd.ComputeConfig(arithmetic=way)
    )
    maps = jd.make_maps(plan)
    assert maps.strided is not None
    x, w, _ = draw(conv, "random", 0)
    kept = jd.run(plan, maps, x, w, keep=("output_shards",)).output
    np.testing.assert_array_equal(jd.run(plan, maps, x, w).output, kept)


def spoiled(maps: jd.Maps, part: str, place: int, value: int) -> jd.Maps:
    index_map = getattr(maps, part)
    index = index_map.index.copy()
    index.flat[place] = value
    return dataclasses.replace(maps, **{part: IndexMap(index, index_map.size)})


@pytest.mark.parametrize("way", ["fpu", "float32"])
@pytest.mark.parametrize("part", ["shard", "halo", "top_left", "collect"])
def test_every_spoiled_move_of_sticks_goes_the_general_way(part, way):
    """Each place in turn: either the output is another, or nobody reads the place."""
    conv = jd.ConvConfig(channels=32, height=4, width=5, padding=1)
    plan = jd.make_plan(
        conv, jd.ShardConfig(grid=(2, 1)), jd.ComputeConfig(arithmetic=way)
    )
    maps = jd.make_maps(plan)
    x, w, _ = draw(conv, "random", 0)
    want = np.asarray(jd.run(plan, maps, x, w).output)
    index_map = getattr(maps, part)
    refused = 0
    for place in range(index_map.index.size):
        other = (index_map.index.flat[place] + 3) % index_map.size
        found = spoiled(maps, part, place, other)
        if found.strided is None:
            refused += 1
        if place % 7 == 0:
            kept = jd.run(plan, found, x, w, keep=("output_shards",)).output
            output = jd.run(plan, found, x, w).output
            np.testing.assert_array_equal(output, kept)
            assert (found.strided is None) or np.array_equal(output, want)
    assert refused > 0.4 * index_map.index.size


def test_a_tap_that_is_off_goes_the_general_way():
    plan = jd.make_plan(LAYER)
    maps = jd.make_maps(plan)
    for tap in range(LAYER.taps):
        taps = maps.taps.copy()
        taps[tap] += 1
        assert dataclasses.replace(maps, taps=taps).strided is None


def test_weights_that_differ_by_shard_go_the_general_way():
    plan = jd.make_plan(LAYER, jd.ShardConfig(scheme="block", grid=(2, 2)))
    maps = jd.make_maps(plan)
    assert plan.num_nhw_shards == 2
    assert maps.strided is not None
    nothing_sent = dataclasses.replace(
        maps.multicast, num_dests=np.zeros_like(maps.multicast.num_dests)
    )
    assert dataclasses.replace(maps, multicast=nothing_sent).strided is None


def test_windows_of_a_larger_input_are_no_slices_of_this_one():
    """Without padding no stick is named past those of the layer."""
    conv = dataclasses.replace(LAYER, padding=0)
    maps = jd.make_maps(jd.make_plan(conv))
    assert maps.strided is not None
    larger = IndexMap(maps.shard.index, maps.shard.size + 7)
    assert dataclasses.replace(maps, shard=larger).strided is None


def test_maps_of_another_layer_are_not_read_as_slices_of_this_one():
    """A wider stride names fewer sticks; an image of the same size other ones."""
    maps = jd.make_maps(jd.make_plan(LAYER))
    for change in ({"stride": 1}, {"dilation": 2}, {"height": 7, "width": 9}):
        conv = dataclasses.replace(LAYER, **change)
        facts = dataclasses.replace(maps.facts, conv=conv)
        assert dataclasses.replace(maps, facts=facts).strided is None
