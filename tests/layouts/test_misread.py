import dataclasses

import numpy as np
import oracles
import pytest
from examples import width_plan

import jaxdw as jd
from jaxdw.layouts.misread import misread

REVISIONS = {
    "final": oracles.prepare_final,
    "tile_chunks": oracles.prepare_tile_chunks,
    "concatenated": oracles.prepare_concatenated,
}


@pytest.mark.parametrize("layout", ["final", "tile_chunks", "concatenated"])
@pytest.mark.parametrize(
    ("channels", "ours", "theirs"),
    [(182, 1, 2), (182, 2, 1), (182, 3, 3), (182, 6, 2), (182, 1, 6), (90, 1, 2)],
)
def test_misreadings_are_those_of_the_tiles_themselves(channels, ours, theirs, layout):
    a, b = width_plan(channels, ours, 5, layout=layout), width_plan(channels, theirs, 5)
    w = np.arange(1, channels * 25 + 1, dtype=np.float32)
    w = w.reshape(b.conv.weight_shape)
    tiles = oracles.tilize(REVISIONS[layout](w, ours))
    found = misread(a, b)
    for core in range(theirs):
        ids = [*oracles.weight_tile_ids("width", core, 1, theirs, channels, 25)]
        ids = ids[: b.effective_tiles]
        due = oracles.tilize(oracles.prepare_final(w, theirs))[ids].ravel()
        taken = np.concatenate(
            [tiles[i] if i < len(tiles) else np.full(1024, -1) for i in ids]
        )
        np.testing.assert_array_equal(found.due[core], due - 1)
        np.testing.assert_array_equal(found.taken[core], taken - 1)
        counts = found.cores[core]
        real = due > 0
        assert counts.in_place == np.count_nonzero(real & (due == taken))
        assert counts.others == np.count_nonzero(real & (taken > 0) & (due != taken))
        assert counts.zeros == np.count_nonzero(real & (taken == 0))
        assert counts.outside == np.count_nonzero(real & (taken < 0))
        assert counts.strays == np.count_nonzero(~real & (taken != 0))
    if (ours, layout) == (theirs, "final"):
        assert found.reads_right
        assert found.verdict == "reads every weight in its place"
        assert found.places == ()
    else:
        assert not found.reads_right


def test_the_height_layout_under_width_sharding():
    """The mistake of PCC 0.0896: WIDTH's cores read the HEIGHT layout."""
    width = width_plan(64, 2)
    conv = dataclasses.replace(width.conv)
    height = jd.make_plan(conv, jd.ShardConfig(scheme="height"))
    found = misread(height, width, most=2)
    assert [core.in_place for core in found.cores] == [32, 0]
    assert [core.mistakes for core in found.cores] == [256 + 288, 288]
    assert found.places == tuple(
        f"core 0, L1 tile 0, lane {32 + i}: channel {i}, kernel position (0, 1) is "
        f"due, channel {32 + i}, kernel position (0, 0) is taken"
        for i in range(2)
    )
    assert found.verdict.startswith("2 of 2 cores misread their weights: 32 of 576 are")


def test_cores_of_one_column_misread_alike():
    conv = jd.ConvConfig(channels=64, height=8, width=8, padding=1)
    block = jd.make_plan(conv, jd.ShardConfig(scheme="block"))
    width = jd.make_plan(conv, jd.ShardConfig(scheme="width"))
    height = jd.make_plan(conv, jd.ShardConfig(scheme="height"))
    assert misread(width, block).reads_right
    found = misread(height, block)
    assert [core.core for core in found.cores] == [0, 1, 2, 3]
    first, second, third, fourth = (
        dataclasses.replace(core, core=0) for core in found.cores
    )
    assert (first, second) == (third, fourth)
    assert "of 1152 are" in found.verdict


def test_plans_of_other_weights_are_not_compared():
    with pytest.raises(jd.ConfigError, match=r"(?s)\(64, 1, 3, 3\).*\(96, 1, 3, 3\)"):
        misread(width_plan(64, 2), width_plan(96, 3))
    with pytest.raises(jd.ConfigError, match=r"\(bfloat8_b\).*\(bfloat16\)"):
        misread(width_plan(64, 2, dtype="bfloat8_b"), width_plan(64, 2))
