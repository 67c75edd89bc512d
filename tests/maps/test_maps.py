import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

import jaxdw as jd
from jaxdw.maps.held import WayToL1, held_in_l1
from jaxdw.maps.indexmap import IndexMap, Sources, make_index_map
from jaxdw.maps.maps import (
    ComposedMaps,
    check_indices,
    compose_maps,
    window_map,
)


def test_a_window_element_outside_the_haloed_shard_was_never_written():
    top_left = make_index_map(np.array([[0, 2, 3, 4]]), 3)
    rows = window_map(top_left, np.array([-1, 0, 1], np.int32))
    assert rows.index.tolist() == [[[4, 1, 4, 4], [0, 2, 4, 4], [1, 4, 4, 4]]]


def planned(scheme: str = "block", **conv) -> tuple[jd.Plan, jd.Maps]:
    example = {"channels": 150, "height": 8, "width": 8, "kernel": 5, "padding": 2}
    shard = jd.ShardConfig(scheme=scheme)
    plan = jd.make_plan(jd.ConvConfig(**(example | conv)), shard, must_fit=False)
    return plan, jd.make_maps(plan)


def with_index(maps: jd.Maps, stage: str, place: int, value: int) -> jd.Maps:
    part, _, field = stage.rpartition(".")
    holder = getattr(maps, part) if part else maps
    index_map = getattr(holder, field)
    index = index_map.index.copy()
    index.flat[place] = value
    holder = dataclasses.replace(holder, **{field: IndexMap(index, index_map.size)})
    return dataclasses.replace(maps, **{part: holder}) if part else holder


def test_lanes_hold_each_weight_of_their_channel():
    plan, maps = planned(bias=True)
    composed, channels = compose_maps(maps), plan.input_shard.channels
    assert composed.blocks is None
    weight = np.arange(150 * 25).reshape(150, 25)
    want = np.full((plan.num_channel_shards * channels, 25), weight.size)
    want[:150] = weight
    want = want.reshape(plan.num_channel_shards, channels, 25).swapaxes(1, 2)
    np.testing.assert_array_equal(composed.weights.index, want)
    bias = np.full(plan.num_channel_shards * channels, 150)
    bias[:150] = np.arange(150)
    np.testing.assert_array_equal(composed.bias.index.ravel(), bias)
    assert composed.channels_written is None


@pytest.mark.parametrize("stage", ["weights.prepare", "weights.tilize", "pairing"])
def test_poison_before_and_after_pages_is_told_apart(stage):
    """A page that nobody wrote poisons its channels; a value in one is just NaN."""
    plan, maps = planned()
    size = getattr(maps.weights, stage.split(".")[-1], maps.pairing).size
    composed = compose_maps(with_index(maps, stage, 0, size + 1))
    if stage == "pairing":
        unwritten = np.flatnonzero(~composed.channels_written)
        first = np.arange(plan.num_channel_shards) * plan.input_shard.channels
        assert unwritten.tolist() == first.tolist()
    else:
        assert composed.channels_written is None


class Formula(NamedTuple):
    """A map without a table: `source(places)` of so many destinations."""

    destinations: int
    size: int
    source: Callable[[np.ndarray], np.ndarray]

    def at(self, places):
        assert places.size <= MOST_PLACES
        past = places - self.destinations
        inside = np.where(past < 0, places, 0)
        return np.where(past < 0, self.source(inside), self.size + past)


class Way(NamedTuple):
    prepare: Sources
    tilize: Sources
    deal: Sources
    read: Sources


MOST_PLACES = 200_000


def same(size: int) -> Formula:
    return Formula(size, size, lambda places: places)


def served(pages: list[int], taps: int, channels: int) -> np.ndarray:
    """Returns the channels whose weights were all written, of a core's pages.

    Page 0 is there, page 2 was never written; each of the tiles holds 1,024 weights.
    """
    read = make_index_map(np.array([pages]), 1)
    way = Way(same(1024), same(64), same(1), read)
    elements = np.arange(taps * channels).reshape(1, taps, channels)
    pairing = make_index_map(elements, len(pages) * 1024)
    return held_in_l1(way, None, pairing, 1).written[0].all(axis=0)


def test_a_channel_is_served_if_all_tiles_with_its_weights_are():
    # 40 taps of 32 channels: 32 fill tile 0, so every channel needs both tiles
    assert not served([0, 2], 40, 32).any()
    assert served([0, 2], 32, 32).all()
    # 9 taps of 128 channels: tile 1 holds tap 8 alone
    assert not served([0, 2], 9, 128).any()
    assert served([0, 0], 9, 128).all()
    # 2 taps of 544 channels: tile 1 holds channels 480 up of tap 1
    assert served([0, 2], 2, 544).tolist() == [True] * 480 + [False] * 64
    assert served([0, 1], 2, 544).all()  # a tile of padding holds zeros


def test_a_bias_that_was_never_written_poisons_the_channels_of_its_tile():
    _, maps = planned("height", channels=64, height=4, width=4, bias=True)
    assert maps.bias is not None
    composed = compose_maps(with_index(maps, "bias.read", 1, maps.bias.read.poison))
    assert composed.channels_written.tolist() == [True] * 32 + [False] * 32
    assert composed.bias.index.ravel()[31:33].tolist() == [31, 65]


def test_nhw_shards_that_hold_the_same_are_told_once_others_each():
    plan, maps = planned()
    nhw, shards = plan.num_nhw_shards, plan.num_channel_shards
    assert (nhw, shards) == (2, 5)
    lanes = 25, plan.input_shard.channels
    assert compose_maps(maps).weights.index.shape == (shards, *lanes)
    alone = dataclasses.replace(
        maps.multicast, num_dests=np.zeros(10, np.int32)
    )  # nothing is sent: NHW shard 1 gets no weights
    composed = compose_maps(dataclasses.replace(maps, multicast=alone))
    assert composed.weights.index.shape == (nhw, shards, *lanes)
    assert composed.channels_written.all(axis=1).tolist() == [True, False]
    assert (composed.weights.index[1] == composed.weights.poison).all()


def test_channel_shards_may_meet_their_tiles_each_in_its_own_way():
    plan, maps = planned("width", channels=64, kernel=1, padding=0)
    assert plan.num_channel_shards == 2
    own = np.stack([np.arange(32), np.arange(32)[::-1]]).reshape(2, 1, 32)
    pairing = make_index_map(own % 16 + own // 16 * 256, maps.pairing.size)
    composed = compose_maps(dataclasses.replace(maps, pairing=pairing))
    lanes = maps_of_matrix(plan)[:, own[0, 0] % 16 + own[0, 0] // 16 * 256]
    assert composed.weights.index[0, 0].tolist() == lanes[0].tolist()
    assert composed.weights.index[1, 0].tolist() == lanes[1, ::-1].tolist()


def maps_of_matrix(plan: jd.Plan) -> np.ndarray:
    """Returns the OIHW weight in each element of each core's first tile."""
    matrix = np.asarray(jd.make_maps(plan).weights.prepare.index)
    rows, columns = matrix.shape
    faces = matrix.reshape(rows // 32, 2, 16, columns // 32, 2, 16)
    return faces.transpose(0, 3, 1, 4, 2, 5).reshape(-1, 1024)[: columns // 32]


def test_a_matrix_of_all_channels_by_all_is_followed_by_formulas():
    """9 taps of 10,240 channels, 943,718,400 elements: the diagonals alone matter."""
    taps, channels = 9, 10_240
    width = channels // 32  # in tiles
    num_tiles = taps * width**2

    def prepare(places):
        row, column = np.divmod(places, channels)
        tap, channel = np.divmod(row, channels)
        return np.where(channel == column, channel * taps + tap, channels * taps)

    def tilize(face_rows):
        tile, inside = np.divmod(face_rows, 64)
        face, row = np.divmod(inside, 16)
        row += tile // width * 32 + face // 2 * 16
        return row * (channels // 16) + tile % width * 2 + face % 2

    way = Way(
        Formula(num_tiles * 1024, taps * channels, prepare),
        Formula(num_tiles * 64, num_tiles * 64, tilize),
        same(num_tiles),
        same(num_tiles),
    )
    row, column = np.arange(taps * channels), np.tile(np.arange(channels), taps)
    inside = row % 32 // 16 * 512 + column % 32 // 16 * 256 + row % 16 * 16
    element = (row // 32 * width + column // 32) * 1024 + inside + column % 16
    pairing = make_index_map(element.reshape(1, taps, channels), num_tiles * 1024)
    found = held_in_l1(way, None, pairing, 1)
    assert isinstance(way, WayToL1)
    assert found.written.all()
    want = np.arange(taps * channels).reshape(channels, taps).T
    np.testing.assert_array_equal(found.sources.index[0], want)


def test_a_pairing_for_another_number_of_tiles_is_refused():
    way = Way(same(2048), same(128), same(2), make_index_map(np.array([[0, 1]]), 2))
    pairing = make_index_map(np.zeros((1, 1, 32), int), 3072)
    with pytest.raises(ValueError, match=r"`elements.size` \(=3072\).*2 tiles"):
        held_in_l1(way, None, pairing, 1)


def test_all_maps_that_name_what_they_do_not_have_are_named_together():
    _, maps = planned(bias=True)
    check_indices(maps)
    past = maps.weights.deal.size + 2
    maps = with_index(with_index(maps, "top_left", 3, -7), "weights.deal", 0, past)
    with pytest.raises(jd.ConfigError) as refused:
        check_indices(maps)
    first, second = str(refused.value).splitlines()[-2:]
    assert f"`maps.weights.deal` (={past}) must hold indices from 0 to {past - 1}" in (
        first
    )
    assert "`maps.top_left` (=-7) must hold" in second


def paired(index: np.ndarray, channels: int, block_elems: int = 16) -> ComposedMaps:
    """Returns the composed maps of 1 tap of so many channels, paired otherwise."""
    _, maps = planned("height", channels=32, kernel=1, padding=0, height=4, width=4)
    pairing = make_index_map(index.reshape(1, -1, channels), maps.pairing.size)
    maps = dataclasses.replace(maps, pairing=pairing, block_elems=block_elems)
    return compose_maps(maps)


RUN, NOTHING = np.arange(16), 1024 + np.zeros(16, int)


@pytest.mark.parametrize(
    ("index", "channels", "blocks"),
    [
        (np.concatenate([RUN, RUN + 16]), 32, None),
        (np.concatenate([RUN + 16, NOTHING]), 16, None),
        (np.concatenate([RUN, RUN + 16])[::-1], 32, 2),  # backwards
        (np.concatenate([RUN + 8, RUN + 16]), 32, 2),  # not where a block begins
        (RUN, 8, 1),  # half a block to a tap
        (np.arange(32) * 16, 32, 32),  # one lane of each
        (np.concatenate([RUN, 0 * RUN + 7]), 32, 1),
    ],
)
def test_runs_of_channels_that_are_blocks_need_no_blocks_beside(
    index, channels, blocks
):
    composed = paired(index, channels)
    if blocks is None:
        assert composed.blocks is None
    else:
        assert composed.blocks.index.shape == (1, blocks, 16)
        table = np.append(composed.blocks.index.ravel(), [32, 33])
        found = table[composed.weights.index.ravel()]
        alone = paired(index, channels, block_elems=1)
        assert alone.blocks is None
        np.testing.assert_array_equal(found, alone.weights.index.ravel())


def test_channel_shards_each_have_their_blocks():
    """The second meets 2 blocks where the first meets 1: one of padding fills up."""
    _, maps = planned("width", channels=64, kernel=1, padding=0, height=4, width=4)
    index = np.stack([[3] * 32, [3] * 16 + [19] * 16]).reshape(2, 1, 32)
    pairing = make_index_map(index, 1024)
    composed = compose_maps(dataclasses.replace(maps, pairing=pairing, block_elems=16))
    assert composed.blocks.index.shape == (2, 2, 16)
    assert composed.blocks.index[:, :, 3].tolist() == [[3, 64], [35, 51]]
    assert composed.weights.index.reshape(4, 16)[:, 0].tolist() == [3, 3, 35, 51]
