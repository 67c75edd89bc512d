import numpy as np
import pytest
from diagnosed_layers import layer

import jaxdw as jd
from jaxdw.judge.comparison import (
    by_core,
    compare_outputs,
    core_of,
    product_magnitudes,
    which,
)
from jaxdw.judge.draws import draw

SHAPE = (1, 10, 9, 64)


def values():
    return np.random.default_rng(0).standard_normal(SHAPE).astype("f4") + 3


def test_equal_outputs_are_identical():
    want = values()
    want[0, 0, 0, :2] = np.nan, 0
    got = want.copy()
    got[0, 0, 0, 1] = -0.0
    found = compare_outputs(layer("block"), want, got)
    assert found.kind == "identical"
    assert str(found) == "identical: all 5,760 outputs equal"
    assert (found.equal, found.first, found.sets, found.notes) == (5760, None, (), ())


def test_places_are_those_of_the_user_and_of_the_chip():
    plan, want = layer("block"), values()  # 2 x 3 cores, 32 rows and channels each
    got = want.copy()
    got[0, 7, 6, 50] += 100
    got[0, 9, 8, 63] -= 100
    found = compare_outputs(plan, want, got)
    first = found.first
    assert (first.image, first.row, first.column, first.channel) == (0, 7, 6, 50)
    shards, rows = core_of(plan)
    stick = 7 * 9 + 6
    assert first.core == shards[stick] * 2 + 1
    assert first.tile == rows[stick] // 32
    assert first.face == rows[stick] % 32 // 16 * 2 + 1
    assert (first.expected, first.found) == (want[0, 7, 6, 50], got[0, 7, 6, 50])
    assert found.box == ((0, 0), (7, 9), (6, 8), (50, 63))
    assert found.kind == "some places"
    assert dict(found.sets)["rows"] == "7, 9 (2 of 10)"
    assert "first: image 0, row 7, column 6, channel 50 (core" in str(found)


def test_sticks_belong_to_cores_in_order():
    for name in ("block", "two images", "25 taps"):
        plan = layer(name)
        shards, rows = core_of(plan)
        want = [
            (s, r)
            for s, part in enumerate(plan.shard_ranges)
            for r in range(part.num_outputs)
        ]
        assert list(zip(shards.tolist(), rows.tolist(), strict=True)) == want


def test_whole_cores_channels_and_borders_are_noted():
    plan, want = layer("block"), values()
    shards, _ = core_of(plan)
    wrong = np.zeros(SHAPE, bool).reshape(-1, 64)
    wrong[shards == 1, 32:] = True
    found = compare_outputs(plan, want, np.where(wrong.reshape(SHAPE), 99, want))
    assert dict(found.sets)["cores"] == "3 (1 of 6), every output of them"
    counts = by_core(plan, wrong.reshape(SHAPE))
    assert counts[3, 0] == counts[3, 1] == wrong.sum()
    assert counts[:, 0].sum() == want.size
    got = want.copy()
    got[..., ::16] = 0
    found = compare_outputs(plan, want, got)
    assert dict(found.sets)["channels"] == "every 16th from 0 to 48, 4 of 64"
    assert dict(found.sets)["channels modulo 16"] == "0 (1 of 16)"
    assert "every output of these channels differs" in found.notes
    got = want.copy()
    got[0, 0], got[0, :, -1] = 0, 0
    notes = compare_outputs(plan, want, got).notes
    assert "only outputs whose windows reach into the padding" in notes
    assert "every channel of these sticks differs" in notes
    got[0, 4, 4] = 0
    notes = compare_outputs(plan, want, got).notes
    assert "only outputs whose windows reach into the padding" not in notes


def test_touching_the_padding_is_what_a_loop_finds():
    conv = jd.ConvConfig(
        channels=8, height=9, width=7, kernel=(3, 2), stride=(2, 1),
        padding=(1, 0, 0, 2), dilation=(2, 1), batch=2,
    )  # fmt: skip
    plan = jd.make_plan(conv)
    want = []
    for _ in range(2):
        for y in range(plan.window.out_height):
            for x in range(plan.window.out_width):
                rows = [2 * y - 1 + 2 * i for i in range(3)]
                columns = [x + j for j in range(2)]
                want.append(min(rows) < 0 or max(rows) > 8 or max(columns) > 6)
    assert plan.window.touches_padding().tolist() == want


def test_the_class_goes_by_size_and_share():
    plan, want = layer("height"), values()
    ulp = np.abs(want).astype("f4") * 2.0**-8
    kinds = {
        "rounding only": want + ulp,
        "everywhere": want * 1.5,
        "unrelated": np.random.default_rng(3).standard_normal(SHAPE) * 3,
        "some places": np.where(np.arange(64) < 32, want, want * 2),
    }
    for kind, got in kinds.items():
        assert compare_outputs(plan, want, got).kind == kind
    lower = want * 0.93
    assert compare_outputs(plan, want, lower).kind == "everywhere"
    found = compare_outputs(plan, want, lower, np.abs(want))
    assert found.kind == "rounding only"
    assert found.direction == "toward zero"
    assert found.headline.endswith(f"at most {found.max_ulp} ULP, toward zero")
    assert compare_outputs(plan, want, want * 0.85, np.abs(want)).kind == "everywhere"
    one = np.where(np.arange(64) == 3, np.nan, want)
    found = compare_outputs(plan, want, one, np.abs(want) * 100)
    assert (found.kind, found.nan) == ("some places", 90)
    assert "NaN where a number should be: 90" in str(found)


def test_the_histogram_is_signed_away_from_zero():
    plan, want = layer("height"), np.full(SHAPE, -2.0, "f4")
    got = want.copy()
    step = 2.0**-6  # of bf16 at 2
    got.ravel()[:6] = [
        -2 - step, -2 - 2 * step, -2 + step / 2, -2 - 20 * step, 0, np.nan,
    ]  # fmt: skip
    found = compare_outputs(plan, want, got)
    counts = {what: n for what, n in found.histogram if n}
    assert counts == {
        "0": 5754, "-(1)": 1, "+(1)": 1, "+(2)": 1, "+(17 to 256)": 1,
        "-(over 256)": 1, "NaN": 1,
    }  # fmt: skip
    assert found.direction == "both ways"
    assert compare_outputs(plan, want, want - step).direction == "away from zero"


def test_faces_begin_at_row_and_column_16():
    plan, want = layer("block"), values()
    _, rows = core_of(plan)
    for row, channel, face in ((15, 15, 0), (15, 16, 1), (16, 0, 2), (16, 16, 3)):
        got = want.copy()
        stick = int(np.flatnonzero(rows == row)[0])
        got.reshape(-1, 64)[stick, channel] = 99
        found = compare_outputs(plan, want, got)
        assert dict(found.sets)["faces of their tiles"] == f"{face} (1 of 4)"
        assert found.first.face == face


def test_sets_in_words():
    def of(numbers, total):
        return which(np.isin(np.arange(total), numbers))

    assert of(range(8), 8) == "all 8"
    assert of([], 8) == "none of 8"
    assert of([0, 1, 2, 3, 7], 9) == "0-3, 7 (5 of 9)"
    assert of([3, 19, 35], 64) == "every 16th from 3 to 35, 3 of 64"
    assert of([1, 3, 5, 7], 9) == "every 2nd from 1 to 7, 4 of 9"
    many = [0, 2, 3, 5, 7, 8, 10, 13, 15, 16, 20, 22]
    assert of(many, 30) == "0, 2-3, 5, 7-8, 10, 13, 3 ranges more (12 of 30)"


def test_magnitudes_are_sums_of_absolute_products():
    conv = layer("width").conv
    x, w, bias = draw(conv, "random", 0)
    got = product_magnitudes(conv, x, w, bias)
    n, y, z, c = 0, 4, 5, 33
    window = x[n, y - 1 : y + 2, z - 1 : z + 2, c]
    want = np.abs(window * w[c, 0]).sum() + abs(bias[c])
    assert got[n, y, z, c] == pytest.approx(want, rel=1e-6)


def test_other_shapes_are_refused():
    with pytest.raises(jd.ConfigError, match=r"`found` \(=\(1, 64, 10, 9\)\) must"):
        compare_outputs(layer("height"), values(), values().transpose(0, 3, 1, 2))
