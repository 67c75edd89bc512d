import dataclasses

import pytest
from examples import uneven_plan
from layout_examples import spoil

import jaxdw as jd
from jaxdw.layouts.certificate import certify


def test_a_multicast_that_misses_a_core_leaves_it_without_weights():
    plan = uneven_plan("block")
    maps = jd.make_maps(plan)
    rect = maps.multicast.rect.copy()
    rect[1, 3] -= 1  # the last core of column 1
    changed = dataclasses.replace(maps.multicast, rect=rect)
    missed, without = certify(
        plan, dataclasses.replace(maps, multicast=changed)
    ).failures
    assert (missed.rule, missed.core, missed.expected) == ("multicast", 7, "True")
    assert missed.place == "copies that core 1's rectangle writes"
    assert (without.rule, without.core) == ("weights", 7)
    assert without.found == "memory that nobody wrote"


@pytest.mark.parametrize("entry", ["a weight", "memory that nobody wrote"])
def test_what_no_core_multiplies_has_to_be_zero(entry):
    plan = uneven_plan("height")

    def change(index, size):
        index[-1, -1] = 7 if entry == "a weight" else size + 1
        return index

    [failure] = certify(
        plan, spoil(jd.make_maps(plan), "weights.prepare", change)
    ).failures
    assert failure.rule == "prepare"
    assert (failure.expected, failure.found) == ("0", "1")


def test_two_cores_at_one_place_are_found():
    plan = uneven_plan("height")
    maps = jd.make_maps(plan)
    xy = maps.multicast.xy.copy()
    xy[2] = xy[1]
    changed = dataclasses.replace(maps.multicast, xy=xy)
    [failure] = certify(plan, dataclasses.replace(maps, multicast=changed)).failures
    assert (failure.rule, failure.place) == ("multicast", "places of the cores")


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("at", [(0, 0), (5, 17), (18, 9), (31, 127)])
def test_a_counter_example_names_its_place_in_the_matrix(at, bias):
    plan = uneven_plan("height")
    stage = "weights.prepare"
    if bias:
        at, stage = (0, at[1]), "bias.prepare"

    def change(index, size):
        index[at] = size + 1
        return index

    failures = certify(plan, spoil(jd.make_maps(plan), stage, change)).failures
    place = f"matrix row {at[0]}, column {at[1]} (L1 tile {at[1] // 32}, "
    assert failures[0].place.startswith(place)
    assert failures[0].place.endswith(f"column {at[1] % 16})")
    assert failures[1].core == 0


def test_the_counter_example_says_what_is_where():
    plan = uneven_plan("width", channels=64, kernel=3, grid=(2, 1))
    maps = jd.make_maps(plan)

    def swap(index, size):
        index[9, 33] = 5
        return index

    # tile 1 is core 1's; row 9 of face 0 is the second half of kernel position 4
    first, *_, last = certify(plan, spoil(maps, "weights.prepare", swap)).failures
    assert str(first) == (
        "prepare: core 1, matrix row 9, column 33 (L1 tile 0, face 0, row 9, column 1):"
        " expected the weight of channel 49, kernel position (1, 1), found the weight "
        "of channel 0, kernel position (1, 2)"
    )
    assert (last.rule, last.core, last.place) == (
        "weights",
        1,
        "L1 tile 0, face 0, row 9, column 1",
    )


@pytest.mark.parametrize(
    ("channels", "shards", "kernel"),
    [(64, 2, 3), (48, 2, 5), (128, 4, 3), (480, 8, 5), (70, 2, 3), (33, 1, 3)],
)
@pytest.mark.parametrize("layout", ["tile_chunks", "concatenated"])
def test_an_older_layout_holds_where_it_has_no_finding(
    layout, channels, shards, kernel
):
    plan = uneven_plan(
        "width", layout, (shards, 1), channels=channels, kernel=kernel, height=20
    )
    found = any(finding.code == "JDW001" for finding in plan.findings)
    rules = {failure.rule for failure in certify(plan).failures}
    assert rules <= {"prepare", "read", "weights"}
    assert ("weights" in rules) is found


def test_reads_past_a_tensor_are_found():
    plan = uneven_plan("width", "concatenated", (1, 1), channels=33, kernel=3)
    [failure] = certify(plan).failures  # 4 tiles are read, 2 of them for nothing
    assert failure.rule == "read"
    assert (failure.expected, failure.found) == (">= 4", "2")
