import numpy as np
import pytest
from diagnosed_layers import layer

import jaxdw as jd
from jaxdw.faults import moves
from jaxdw.faults.file_layouts import LAYOUTS, has_layout
from jaxdw.faults.moves import sum_of
from jaxdw.faults.units import UNITS, units_of


def numbered(plan: jd.Plan) -> np.ndarray:
    return np.arange(np.prod(plan.output_shape), dtype="f4").reshape(plan.output_shape)


def found(plan, want, got):
    return [(m.fault, m.detail) for m in moves.moves(plan, want, got)]


def slow_units(plan: jd.Plan, name: str) -> list[list[tuple[int, int]]]:
    """Lists the (stick, channel) of every unit, one by one."""
    n, h, w, c = plan.output_shape
    columns = plan.output_shard.channels
    units: dict = {}
    shards = [s for s, p in enumerate(plan.shard_ranges) for _ in range(p.num_outputs)]
    for stick in range(n * h * w):
        for channel in range(c):
            key = {
                "image": stick // (h * w),
                "NHW shard": shards[stick],
                "channel shard": channel // columns,
                "core": (shards[stick], channel // columns),
                "row": stick // w % h,
                "column": stick % w,
                "channel": channel,
                "stick": stick,
                "tile": (stick // 32, channel // 32),
                "face": (stick // 16, channel // 16),
            }[name]
            units.setdefault(key, []).append((stick, channel))
    return [units[key] for key in sorted(units)]


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("which", ["block", "two images"])
def test_units_are_what_a_loop_finds(which, name):
    plan = layer(which)
    index = units_of(plan, name).index
    channels = plan.conv.channels
    got = [sorted(divmod(int(i), channels) for i in row if i >= 0) for row in index]
    want = [sorted(unit) for unit in slow_units(plan, name)]
    assert [unit for unit in got if unit] == want


def test_a_sum_is_of_values_not_places():
    values = np.arange(12, dtype="f4").reshape(1, 3, 2, 2) - 5
    assert sum_of(values) == sum_of(values[:, ::-1])
    assert sum_of(values) == sum_of(np.where(values == 0, -values, values))
    assert sum_of(values) != sum_of(values + (values == 3))
    assert sum_of(values * np.nan) != sum_of(values)


def test_orders_are_named_by_what_they_are():
    plan, want = layer("two images"), numbered(layer("two images"))
    assert found(plan, want, want) == []
    assert found(plan, want, want[::-1])[0] == ("images-swapped", "images 0 and 1")
    turned = found(plan, want, want[:, ::-1])
    assert ("image-rows-reversed", "all 7 image rows in reverse") in turned
    assert found(plan, want, np.roll(want, -2, axis=2))[0] == (
        "image-columns-rolled", "image columns rolled by -2",
    )  # fmt: skip
    paired = want[..., np.arange(64) ^ 1]
    assert found(plan, want, paired)[0][0] == "channels-paired"
    inside = want.reshape(*want.shape[:3], 4, 16)
    inside = np.roll(inside, 3, axis=4).reshape(want.shape)
    assert found(plan, want, inside)[0] == (
        "reordered", "channels rolled by 3 within every 16",
    )  # fmt: skip
    some = want.copy()
    some[..., [1, 2, 5]] = want[..., [2, 5, 1]]
    (fault, detail), *_ = found(plan, want, some)
    assert fault == "reordered"
    assert detail.startswith("3 channels in another order: 2 in place of 1, 5 in place")


def test_alike_units_do_not_hide_an_order():
    plan = layer("block")
    want = np.where(np.arange(64) % 5 == 0, numbered(plan), 0).astype("f4")
    assert found(plan, want, np.roll(want, 2, axis=3))[0] == (
        "channels-rolled", "channels rolled by 2",
    )  # fmt: skip
    assert found(plan, want, want[..., ::-1])[0][0] == "channels-reversed"
    paired = want[..., np.arange(64) ^ 1]
    assert found(plan, want, paired)[0][0] == "channels-paired"


def test_a_unit_that_is_not_full_moves_what_it_has():
    plan, want = layer("block"), numbered(layer("block"))
    cores = units_of(plan, "core")
    assert (cores.index[-1] < 0).any()
    order = np.arange(len(cores.index))
    order[[0, -1]] = len(order) - 1, 0
    moved = moves.reorder(want, cores, order)
    own, last = cores.index[0], cores.index[-1]
    full = last >= 0
    assert np.array_equal(moved.ravel()[own[full]], want.ravel()[last[full]])
    assert np.array_equal(moved.ravel()[own[~full]], want.ravel()[own[~full]])


def test_cores_and_tiles_that_are_exchanged():
    plan, want = layer("block"), numbered(layer("block"))
    cores = units_of(plan, "core")
    order = np.arange(len(cores.index))
    order[[0, 3]] = 3, 0
    moved = moves.reorder(want, cores, order)
    assert ("cores-swapped", "cores 0 and 3") in found(plan, want, moved)
    assert np.array_equal(np.sort(moved, axis=None), want.ravel())
    tiles = units_of(plan, "tile")
    order = np.arange(len(tiles.index))
    order[[1, 2]] = 2, 1
    moved = moves.reorder(want, tiles, order)
    assert ("tiles-swapped", "tiles 1 and 2") in found(plan, want, moved)


@pytest.mark.parametrize("step", [1, -1, 3])
def test_what_is_late_leaves_an_end_unknown(step):
    plan, want = layer("height"), numbered(layer("height"))
    late = np.roll(want, step, axis=1)
    end = slice(0, step) if step > 0 else slice(step, None)
    late[:, end] = -7
    (move,) = [m for m in moves.moves(plan, want, late) if m.fault == "image-rows-late"]
    assert np.isnan(move.output[:, end]).all()
    known = ~np.isnan(move.output)
    assert np.array_equal(move.output[known], late[known])
    assert known.mean() == 1 - abs(step) / 10
    way, end = ("late", "first") if step > 0 else ("early", "last")
    rest = f"{abs(step)} {way}; nothing says what the {end} {abs(step)} hold"
    assert move.detail == f"image rows {rest}"


def test_units_that_repeat_others():
    plan, want = layer("height"), numbered(layer("height"))
    stale = want.copy()
    stale[:, 4] = want[:, 3]
    assert found(plan, want, stale)[0] == (
        "repeated", "image row 4 holds what 3 should",
    )  # fmt: skip
    noise = want.copy()
    noise[:, 4] = -1
    assert found(plan, want, noise) == []


def test_layouts_are_permutations_or_new_bytes():
    plan = jd.make_plan(
        jd.ConvConfig(channels=64, height=8, width=8, kernel=3, padding=1),
        jd.ShardConfig(scheme="width", grid=(2, 1)),
    )
    want = numbered(plan) + 1
    for name, layout in LAYOUTS.items():
        assert has_layout(name, plan)
        got = layout(plan, want)
        assert not np.array_equal(got, want)
        if name != "bytes-swapped":
            assert np.array_equal(np.sort(got, axis=None), np.sort(want, axis=None))
        assert name in [fault for fault, _ in found(plan, want, got)]
    lanes = want.reshape(64, 64)
    tiled = LAYOUTS["left-tilized"](plan, want).ravel()
    assert np.array_equal(tiled[:1024], np.asarray(jd.tilize(lanes))[0])
    rows = LAYOUTS["tilized-twice"](plan, tiled.reshape(want.shape))
    assert np.array_equal(rows, want)
    nchw = LAYOUTS["file-is-nchw"](plan, want)
    assert np.array_equal(nchw.ravel()[:64], want[0, :, :, 0].ravel())
    assert np.array_equal(LAYOUTS["read-as-nchw"](plan, nchw), want)
    after = LAYOUTS["shard-after-shard"](plan, want).ravel()
    assert np.array_equal(after[:32], want[0, 0, 0, :32])
    assert after[32] == want[0, 0, 1, 0]
    one = LAYOUTS["bytes-swapped"](plan, np.full_like(want, 1.0))
    assert one[0, 0, 0, 0] == np.uint32(0x803F0000).view(np.float32)


def test_layouts_that_do_not_divide_are_left_out():
    plan = layer("height")  # 90 sticks of 64 channels
    assert not has_layout("left-tilized", plan)
    assert not has_layout("faces-transposed", plan)
    assert not has_layout("rows-as-columns", plan)
    assert not has_layout("shard-after-shard", plan)
    assert has_layout("file-is-nchw", plan)
