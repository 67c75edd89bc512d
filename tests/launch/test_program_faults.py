"""Spoiled maps of ttnn's programs reach the output, or are refused."""

import dataclasses

import jax
import numpy as np
import pytest
from programs import draw, expected, same_bits

import jaxdw as jd
from jaxdw.launch.bucketed import run_bucketed
from jaxdw.maps import regular
from jaxdw.maps.indexmap import FormulaMap, IndexMap

WAYS = ("composed", "staged", "bucketed", "mesh")


def case(program: str, formula: bool = False, **conv):
    """Plans 64 channels on HEIGHT: 2 tiles of lanes and 2 of columns a position."""
    sizes = {"height": 6, "width": 7, "padding": 1, "kernel": (2, 2)}
    if program == "conv1d":
        sizes = {"height": 1, "width": 40, "kernel": (1, 4)}
    layer = jd.ConvConfig(**({"channels": 64} | sizes | conv))
    plan = jd.make_plan(layer, jd.ShardConfig(grid=(2, 1)), program=program)
    with pytest.MonkeyPatch.context() as patch:
        if formula:
            patch.setattr(regular, "MOST_ELEMS", 0)
        maps = jd.make_maps(plan)
    assert isinstance(maps.weights.prepare, FormulaMap if formula else IndexMap)
    return plan, maps, draw(layer)


def output(way: str, plan: jd.Plan, maps: jd.Maps, operands) -> np.ndarray:
    if way == "bucketed":
        return run_bucketed(plan, maps, *operands)
    more = {"keep": ("dram",)} if way == "staged" else {}
    if way == "mesh":
        more = {"mesh": jax.sharding.Mesh(np.array(jax.devices()[:1]), ("a",))}
    return np.asarray(jd.run(plan, maps, *operands, **more).output)


def spoiled(maps: jd.Maps, stage: str, change) -> jd.Maps:
    """Changes a copy of one map's index, `change(index, map)`."""
    part, _, field = stage.rpartition(".")
    holder = getattr(maps, part) if part else maps
    old = getattr(holder, field)
    index = np.array(old.index)
    change(index, old)
    holder = dataclasses.replace(holder, **{field: IndexMap(index, old.size)})
    return dataclasses.replace(maps, **{part: holder}) if part else holder


def swap(index: np.ndarray, one, other) -> None:
    index[one], index[other] = index[other].copy(), index[one].copy()


def with_taps_swapped(w: np.ndarray, channels: slice, one: int, other: int):
    w = w.copy()
    flat = w.reshape(len(w), -1)
    swap(flat, (channels, one), (channels, other))
    return w


@pytest.mark.parametrize("way", ["composed", "staged", "bucketed"])
@pytest.mark.parametrize("formula", [False, True])
def test_tiles_read_in_another_order_reach_the_output(formula, way):
    plan, maps, (x, w, bias) = case("regular", formula)
    if formula and way == "staged":
        return

    def read_another(index, _):
        swap(index, (slice(None), 0), (slice(None), 4))  # positions 0, 1; lanes 0..31

    maps = spoiled(maps, "weights.read", read_another)
    want = expected(plan, x, with_taps_swapped(w, slice(32), 0, 1), bias)
    same_bits(output(way, plan, maps, (x, w, bias)), want)


@pytest.mark.parametrize("way", ["composed", "staged"])
def test_another_pairing_reaches_the_output(way):
    plan, maps, (x, w, bias) = case("regular")

    def meet_another(index, _):
        swap(index, (0, 1, slice(10, 40)), (0, 3, slice(10, 40)))

    maps = spoiled(maps, "pairing", meet_another)
    want = expected(plan, x, with_taps_swapped(w, slice(10, 40), 1, 3), bias)
    same_bits(output(way, plan, maps, (x, w, bias)), want)


def test_another_preparation_inside_a_channel_reaches_the_output():
    plan, maps, (x, w, bias) = case("regular")

    def prepare(index, _):
        swap(index, (0 * 64 + 5, 5), (3 * 64 + 5, 5))

    maps = spoiled(maps, "weights.prepare", prepare)
    want = expected(plan, x, with_taps_swapped(w, slice(5, 6), 0, 3), bias)
    for way in ("composed", "staged", "bucketed"):
        same_bits(output(way, plan, maps, (x, w, bias)), want)


def move_beside(index, _):
    swap(index, (5, 5), (5, 6))  # channel 5's weight into the column of channel 6


def copy_beside(index, _):
    index[70, 3] = 0


def move_away(index, _):
    swap(index, (5, 5), (5, 40))  # into another tile, where no lane looks


def read_wrong_columns(index, _):
    swap(index, (slice(None), 0), (slice(None), 1))


def read_twice(index, _):
    index[:, 1] = index[:, 0]


def tilize_beside(index, _):
    swap(index, (0, 0), (1, 0))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("stage", "change"),
    [
        ("weights.prepare", move_beside),
        ("weights.prepare", copy_beside),
        ("weights.prepare", move_away),
        ("weights.tilize", tilize_beside),
        ("weights.read", read_wrong_columns),
        ("weights.read", read_twice),
    ],
)
def test_weights_that_meet_other_channels_are_refused(stage, change, way):
    plan, maps, operands = case("regular")
    maps = spoiled(maps, stage, change)
    with pytest.raises(jd.UnsupportedError, match=r"\d weights of channel shard 0"):
        output(way, plan, maps, operands)


@pytest.mark.parametrize("program", ["regular", "conv1d"])
def test_a_matrix_known_by_formula_gives_the_same_bits(program):
    plan, maps, operands = case(program, formula=True)
    want = output("composed", plan, case(program)[1], operands)
    for way in ("composed", "bucketed", "mesh"):
        same_bits(output(way, plan, maps, operands), want)


@pytest.mark.parametrize("change", [read_wrong_columns, read_twice])
def test_a_formula_s_matrix_is_refused_if_tiles_come_twice_or_not(change):
    plan, maps, operands = case("regular", formula=True)
    maps = spoiled(maps, "weights.read", change)
    with pytest.raises(jd.UnsupportedError, match=r"weights of channel shard 0"):
        output("composed", plan, maps, operands)


def test_a_core_of_its_own_kind_is_found_too():
    plan, maps, operands = case("regular", height=9, width=9)
    assert plan.num_nhw_shards == 2
    multicast = maps.multicast
    assert plan.broadcasts  # one core reads for all
    index = np.array(maps.weights.read.index)
    index[1] = index[0]
    index[1, 1] = index[0, 0]
    read = IndexMap(index, maps.weights.read.size)
    alone = dataclasses.replace(
        multicast,
        is_sender=np.ones_like(multicast.is_sender),
        num_dests=np.zeros_like(multicast.num_dests),
        rect=np.zeros_like(multicast.rect),
    )
    weights = dataclasses.replace(maps.weights, read=read)
    maps = dataclasses.replace(maps, weights=weights, multicast=alone)
    with pytest.raises(jd.UnsupportedError, match=r"weights of channel shard 0"):
        output("composed", plan, maps, operands)


@pytest.mark.parametrize("step", [1, -1])
@pytest.mark.parametrize("way", WAYS)
def test_a_row_of_a_block_with_another_weight_is_refused(way, step):
    plan, maps, operands = case("conv1d")

    def prepare(index, _):
        index[37, 9] = index[37, 9] + step  # position 1, row 5 of the block

    maps = spoiled(maps, "weights.prepare", prepare)
    sentence = r"row 5 of kernel position 1, channel 9 of channel shard 0"
    with pytest.raises(jd.UnsupportedError, match=sentence):
        output(way, plan, maps, operands)


def test_a_column_of_a_block_reaches_the_output():
    plan, maps, (x, w, bias) = case("conv1d")

    def prepare(index, _):
        swap(index, (slice(32), 9), (slice(64, 96), 9))

    maps = spoiled(maps, "weights.prepare", prepare)
    want = expected(plan, x, with_taps_swapped(w, slice(9, 10), 0, 2), bias)
    for way in ("composed", "staged", "bucketed"):
        same_bits(output(way, plan, maps, (x, w, bias)), want)


@pytest.mark.parametrize("program", ["regular", "conv1d"])
def test_spoiled_halos_show_alike(program):
    plan, maps, operands = case(program)
    right = output("composed", plan, maps, operands)

    def read_another(index, halo):
        swap(index, (0, 0), (0, 9))
        index[0, 12] = halo.poison

    maps = spoiled(maps, "halo", read_another)
    want = output("composed", plan, maps, operands)
    assert np.isnan(want).any()
    assert 0.1 < (want == right).mean() < 1
    for way in ("staged", "bucketed", "mesh"):
        np.testing.assert_array_equal(output(way, plan, maps, operands), want)


@pytest.mark.parametrize("program", ["regular", "conv1d"])
@pytest.mark.parametrize("tile", [2, 1])
def test_a_tile_that_nobody_wrote_poisons_its_columns(program, tile):
    """Tile 2 of the dense matrix holds zeros only: lanes 32..63 of columns 0..31."""
    plan, maps, operands = case(program)
    right = output("composed", plan, maps, operands)
    assert not np.isnan(right).any()

    def forget(index, read):
        index[:, tile] = read.poison

    maps = spoiled(maps, "weights.read", forget)
    columns = np.arange(64) // 32 == tile % 2
    for way in WAYS:
        got = output(way, plan, maps, operands)
        assert np.isnan(got[..., columns]).all()
        same_bits(got[..., ~columns], right[..., ~columns])
