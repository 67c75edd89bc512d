import numpy as np
import oracles
import pytest
from examples import distinct_weights, width_plan
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxdw as jd
from jaxdw.layouts.identify import identify


def swapped(matrix: np.ndarray, shards: int, i: int, j: int) -> np.ndarray:
    parts = np.split(matrix, shards, axis=1)
    parts[i], parts[j] = parts[j], parts[i]
    return np.concatenate(parts, axis=1)


def plain(plan: jd.Plan, w: np.ndarray) -> np.ndarray:
    """Row k is kernel position k, column c channel c."""
    matrix = np.zeros(plan.weight_matrix_shape, np.float32)
    matrix[: plan.conv.taps, : len(w)] = w.reshape(len(w), -1).T
    return matrix


def tile_by_tile(matrix: np.ndarray, change) -> np.ndarray:
    out = np.empty_like(matrix)
    for row in range(0, matrix.shape[0], 32):
        for column in range(0, matrix.shape[1], 32):
            square = (slice(row, row + 32), slice(column, column + 32))
            out[square] = change(matrix[square])
    return out


def transposed(w: np.ndarray) -> np.ndarray:
    """Kernel positions counted down the columns first."""
    return w.transpose(0, 1, 3, 2).reshape(w.shape)


MATRICES = {
    "the HEIGHT layout": lambda p, w: oracles.prepare_final(w, 1),
    "the WIDTH or BLOCK layout of 2 channel shards": lambda p, w: oracles.prepare_final(
        w, 2
    ),
    "revision 'tile_chunks' of the WIDTH or BLOCK layout of 3 channel shards": (
        lambda p, w: oracles.prepare_tile_chunks(w, 3)
    ),
    "revision 'concatenated' of the WIDTH or BLOCK layout of 2 channel shards": (
        lambda p, w: oracles.prepare_concatenated(w, 2)
    ),
    "channels of cores 0 and 2 swapped": lambda p, w: swapped(
        oracles.prepare_final(w, p.num_channel_shards), p.num_channel_shards, 0, 2
    ),
    "face order row-major: matrix row k is kernel position k": plain,
    "face order row-major: every tile holds its weights row by row": lambda p, w: (
        tile_by_tile(
            oracles.prepare_final(w, p.num_channel_shards),
            lambda tile: oracles.tilize(tile).reshape(32, 32),
        )
    ),
    "tiles untilized twice": lambda p, w: tile_by_tile(
        oracles.prepare_final(w, p.num_channel_shards),
        lambda tile: oracles.untilize(tile.reshape(1, 1024), (32, 32)),
    ),
    "shards concatenated instead of interleaved in columns": lambda p, w: (
        np.concatenate(
            np.split(
                oracles.prepare_final(w, p.num_channel_shards),
                p.num_channel_shards,
                axis=1,
            )
        )
    ),
    "kernel positions transposed": lambda p, w: oracles.prepare_final(
        transposed(w), p.num_channel_shards
    ),
    "kernel rotated by 180 degrees": lambda p, w: oracles.prepare_final(
        w[:, :, ::-1, ::-1], p.num_channel_shards
    ),
    "channel order reversed": lambda p, w: oracles.prepare_final(
        w[::-1], p.num_channel_shards
    ),
    "channels rolled by 5": lambda p, w: oracles.prepare_final(
        np.roll(w, -5, axis=0), p.num_channel_shards
    ),
}


SAME_HERE = {
    "the HEIGHT layout": ["revision 'tile_chunks' of the HEIGHT layout"],
    "tiles never tilized": ["tiles untilized twice"],
}


@pytest.mark.parametrize("dtype", ["bfloat16", "bfloat8_b", "float32"])
@pytest.mark.parametrize("name", sorted(MATRICES))
@pytest.mark.parametrize("kind", ["matrix", "tiles"])
def test_a_mistake_is_named(kind, name, dtype):
    plan = width_plan(210, 4, (3, 5), dtype)
    w = distinct_weights(plan)
    data = MATRICES[name](plan, w)
    if kind == "tiles":
        data = oracles.tilize(data)
    found = identify(plan, data, w, kind)
    assert not found.matches
    if kind == "tiles" and name == "tiles untilized twice":
        name = "tiles never tilized"
    also = SAME_HERE.get(name, ())
    assert set(found.hypotheses) == {name, *also}
    assert found.verdict == f"not the plan's: {' or '.join(found.hypotheses)}"


def possible(channels: int, shards: int) -> list[str]:
    """Returns the mistakes that this many channels and shards allow."""
    least_shards = {"channels of cores 0 and 2 swapped": 3}
    return [
        name
        for name in MATRICES
        if least_shards.get(name, 1) <= shards
        and not any(
            f"{n} channel shards" in name and channels <= 32 * (n - 1) for n in (2, 3)
        )
    ]


@settings(max_examples=60)
@given(
    st.integers(1, 300),
    st.integers(1, 4),
    st.sampled_from([1, 3, (2, 5), (1, 7), 5, (7, 6)]),
    st.sampled_from(["bfloat16", "float32"]),
    st.sampled_from([None, *sorted(MATRICES)]),
    st.sampled_from(["matrix", "tiles"]),
)
def test_what_was_injected_is_among_what_is_found(
    channels, shards, kernel, dtype, name, kind
):
    conv = jd.ConvConfig(
        channels=channels, height=9, width=9, kernel=kernel, weights_dtype=dtype
    )
    plan = jd.make_plan(conv, jd.ShardConfig(scheme="width", grid=(shards, 1)))
    shards = plan.num_channel_shards
    if name not in possible(channels, shards):
        name = None
    w = distinct_weights(plan)
    own = oracles.prepare_final(w, shards)
    data = own if name is None else MATRICES[name](plan, w)
    held = oracles.tilize if kind == "tiles" else np.asarray
    found = identify(plan, held(data), w, kind)
    assert found.matches is np.array_equal(held(data), held(own))
    if not found.matches:
        rolled = f"channels rolled by {5 % channels}"
        assert {"channels rolled by 5": rolled}.get(name, name) in found.hypotheses
        for other in {*found.hypotheses} & {*MATRICES}:
            np.testing.assert_array_equal(held(MATRICES[other](plan, w)), held(data))
    elif kind == "matrix":
        assert found.indistinguishable == ()


def test_weights_that_cannot_show_a_mistake_are_named():
    plan = width_plan(128, 2)
    pattern = np.broadcast_to(
        np.arange(1, 10, dtype=np.float32).reshape(3, 3), plan.conv.weight_shape
    )
    found = identify(plan, oracles.prepare_final(pattern, 2), pattern)
    assert found.matches
    names = found.indistinguishable
    assert "channel order reversed" in names
    assert "channels of cores 0 and 1 swapped" in names
    assert any(name.startswith("channels rolled by") for name in names)
    assert "kernel positions transposed" not in names
    assert found.verdict.startswith("matches the plan; these weights could not show:")


def test_two_mistakes_at_once_are_named_if_no_single_one_does():
    plan = width_plan(96, 3)
    w = distinct_weights(plan)
    found = identify(plan, oracles.prepare_final(transposed(w), 1), w)
    assert found.hypotheses == (
        "the HEIGHT layout, kernel positions transposed",
        "revision 'tile_chunks' of the HEIGHT layout, kernel positions transposed",
    )


@pytest.mark.parametrize("at", [(0, 0), (100, 77), (500, 319), (839, 319)])
def test_one_wrong_element_spoils_any_explanation(at):
    plan = width_plan(320, 2, (7, 6))
    w = distinct_weights(plan)
    data = oracles.prepare_final(w, 1)
    assert identify(plan, data, w).hypotheses[0] == "the HEIGHT layout"
    data[at] = 0.1
    assert identify(plan, data, w).hypotheses == ()


def test_noise_is_no_known_layout():
    plan = width_plan(64, 2)
    w = distinct_weights(plan)
    noise = np.random.default_rng(1).standard_normal((2, 1024))
    for kind, data, core in (
        ("matrix", noise.reshape(32, 64), None),
        ("tiles", noise, None),
        ("l1", noise[:1], 1),
    ):
        found = identify(plan, data, w, kind, core)
        assert found.hypotheses == ()
        assert found.verdict.startswith("no known layout")


def test_negative_zeros_are_zeros():
    plan = width_plan(90, 3)
    w = distinct_weights(plan)
    data = swapped(oracles.prepare_final(w, 3), 3, 1, 2)
    data = np.where(data == 0, np.float32(-0.0), data)
    found = identify(plan, data, w)
    assert found.hypotheses == ("channels of cores 1 and 2 swapped",)


def test_a_value_that_several_weights_have_is_no_weight():
    plan = width_plan(32, 1)
    w = np.ones(plan.conv.weight_shape)
    w[3] = 2
    data = oracles.prepare_final(w.astype(np.float32), 1)
    data[0, 0] = 2
    first = identify(plan, data, w).first
    assert (first.found, first.found_weight) == (2, None)
    data[0, 0] = 3
    assert identify(plan, data, w).first.found_weight is None


@pytest.mark.parametrize("core", [1, 5])
def test_what_is_wrong_in_l1_is_named(core):
    conv = jd.ConvConfig(channels=700, height=16, width=8, kernel=5)
    plan = jd.make_plan(conv, jd.ShardConfig(scheme="block", grid=(4, 2)))
    assert plan.num_cores == 8
    w = distinct_weights(plan)
    tiles = oracles.tilize(oracles.prepare_final(w, 4))
    ids = np.array(plan.weight_tile_ids(core))
    start, nt = ids[0], plan.channel_tiles

    def name(data) -> tuple[str, ...]:
        return identify(plan, data, w, "l1", core).hypotheses

    assert name(tiles[list(plan.weight_tile_ids(3))]) == ("the weights of core 3",)
    offset = ids - start + start * 12
    inside = offset < len(tiles)
    assert inside[: plan.effective_tiles].all()
    data = np.where(inside[:, None], tiles[np.where(inside, offset, 0)], 77)
    assert name(data) == ("an address offset in place of a tile id",)
    columns = ids.reshape(-1, nt).T.ravel()
    assert name(tiles[columns]) == ("tiles read column by column",)
    height = oracles.tilize(oracles.prepare_final(w, 1))
    assert name(height[ids])[0] == "the HEIGHT layout"
    assert all("HEIGHT" in other for other in name(height[ids]))
    wrong = tile_dump_by_rows(tiles[ids])
    assert set(name(wrong)) == {"tiles untilized twice", "tiles never tilized"}


def tile_dump_by_rows(tiles: np.ndarray) -> np.ndarray:
    return np.stack([oracles.untilize(t[None], (32, 32)).ravel() for t in tiles])


def test_half_of_a_dump_explains_nothing():
    plan = width_plan(90, 2, 5)
    w = distinct_weights(plan)
    older = oracles.tilize(oracles.prepare_concatenated(w, 1))
    assert len(older) == 3  # of the tiles 2 and 3 that core 1 multiplies
    noise = np.random.default_rng(1).standard_normal(1024)
    dump = np.stack([older[2], noise])
    assert identify(plan, dump, w, "l1", 1).hypotheses == ()


def test_moves_of_shards_that_are_no_swap_are_named():
    plan = width_plan(128, 4)
    w = distinct_weights(plan)
    parts = np.split(oracles.prepare_final(w, 4), 4, axis=1)
    for owners in ([0, 2, 3, 1], [1, 2, 2, 3], [0, 0, 0, 0], [3, 2, 1, 0]):
        text = ", ".join(
            f"core {core} has those of core {owner}"
            for core, owner in enumerate(owners)
            if core != owner
        )
        moved = np.concatenate([parts[owner] for owner in owners], axis=1)
        names = identify(plan, moved, w).hypotheses
        assert names == (f"channels of other cores: {text}",)


def test_a_core_without_channels_holds_zeros():
    conv = jd.ConvConfig(channels=33, height=8, width=8)
    plan = jd.make_plan(conv, jd.ShardConfig(scheme="width", cores=3))
    w = distinct_weights(plan)
    tiles = oracles.tilize(oracles.prepare_final(w, 3))
    assert identify(plan, tiles, w, "tiles").matches
    dump = tiles[list(plan.weight_tile_ids(2))]
    assert not dump.any()
    assert identify(plan, dump, w, "l1", 2).matches
    dump[0, 0] = w[0, 0, 0, 0]
    found = identify(plan, dump, w, "l1", 2)
    assert (found.differing, found.first.weight) == (1, None)
    assert found.first.found_weight == (0, 0, 0)


def test_a_plan_that_reads_past_its_tensor_expects_nothing():
    plan = width_plan(65, 2, layout="concatenated")  # 2 tiles; core 1 reads 2 and 3
    dump = np.ones((plan.effective_tiles, 1024))
    found = identify(plan, dump, distinct_weights(plan), "l1", 1)
    assert (found.matches, found.hypotheses) == (False, ())
    assert found.verdict.endswith("the plan reads past the end of its own tensor")
