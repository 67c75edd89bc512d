import jax.numpy as jnp
import ml_dtypes
import numpy as np
import oracles
import pytest
import strategies
from examples import distinct_weights, unchecked, width_plan
from hypothesis import given, settings

import jaxdw as jd
from jaxdw.layouts.identify import identify, load_dump
from jaxdw.numerics.formats import hold


@given(strategies.convs(max_channels=200, max_size=9), strategies.any_shards())
@settings(max_examples=15)
def test_what_jaxdw_prepares_matches_in_every_form(conv, shard):
    plan = jd.make_plan(conv, shard)
    w = distinct_weights(plan)
    matrix = oracles.prepare_final(w, plan.num_channel_shards)
    tiles = oracles.tilize(matrix)
    assert identify(plan, matrix, w).matches
    assert identify(plan, matrix[None, None], w).matches
    assert identify(plan, tiles, w, "tiles").matches
    for core in {0, plan.num_cores - 1}:
        l1 = tiles[list(plan.weight_tile_ids(core))]
        assert identify(plan, l1, w, "l1", core).matches
        few = l1[: plan.effective_tiles]
        assert identify(plan, few, w, "l1", core).matches


@pytest.mark.parametrize("dtype", ["bfloat16", "bfloat8_b", "bfloat4_b", "float32"])
def test_raw_bytes_match(dtype, tmp_path):
    plan = width_plan(90, 3, 5, dtype)
    w = np.random.default_rng(0).standard_normal(plan.conv.weight_shape)
    w = w.astype(np.float32)
    w[0] = 4
    tiles = oracles.tilize(oracles.prepare_final(w, 3))
    packed = np.asarray(jd.pack(tiles, dtype))
    assert identify(plan, packed, w, "tiles").matches
    packed.tofile(tmp_path / "tiles.bin")
    np.save(tmp_path / "tiles.npy", packed)
    np.save(tmp_path / "matrix.npy", oracles.prepare_final(w, 3))
    for file in ("tiles.bin", "tiles.npy"):
        assert identify(plan, load_dump(tmp_path / file, dtype), w, "tiles").matches
    assert identify(plan, load_dump(tmp_path / "matrix.npy", dtype), w).matches
    byte, sign = {
        "bfloat16": (1, 0x80),
        "bfloat8_b": (64, 0x80),
        "bfloat4_b": (64, 0x08),
        "float32": (3, 0x80),
    }[dtype]
    wrong = packed.copy()
    wrong[0, byte] ^= sign  # of the first element of tile 0
    found = identify(plan, wrong, w, "tiles")
    assert (found.matches, found.differing) == (False, 1)
    assert found.first.found == -found.first.expected


def test_stored_bf16_is_read_as_such(tmp_path):
    values = np.array([[1, -2.5], [0.125, 3]], ml_dtypes.bfloat16)
    for stored in (values, values.view(np.uint16), values.astype(np.float64)):
        np.save(tmp_path / "a.npy", stored)
        got = load_dump(tmp_path / "a.npy", "bfloat16")
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, values.astype(np.float32))


def test_the_first_difference_is_located():
    plan = width_plan(90, 3, 5)
    w = distinct_weights(plan)
    matrix = oracles.prepare_final(w, 3)
    wrong = matrix.copy()
    wrong[19, 44] = w[40, 0, 1, 2]
    # tile 1 is core 1's; face 2, row 3 is row 35 of 16 elements, 2 to a position
    found = identify(plan, wrong, w)
    first = found.first
    assert (first.row, first.column, first.tile, first.face) == (19, 44, 1, 2)
    assert first.lane == 2 * 256 + 3 * 16 + 12
    assert first.weight == (32 + 16 + 12, 3, 2)
    assert first.expected == w[60, 0, 3, 2]
    assert (first.found, first.found_weight) == (w[40, 0, 1, 2], (40, 1, 2))
    assert found.differing == 1
    assert found.verdict.startswith("no known layout: 1 of 6144 elements differ, the")
    assert "channel 60, kernel position (3, 2)" in found.verdict
    tiles = identify(plan, oracles.tilize(wrong), w, "tiles")
    assert tiles.first == first
    l1 = oracles.tilize(wrong)[list(plan.weight_tile_ids(1))]
    assert identify(plan, l1, w, "l1", 1).first == first

    wrong = matrix.copy()
    wrong[31, 31] = 7
    found = identify(plan, wrong, w)
    assert found.first.weight is None
    assert found.verdict.startswith("every weight is in its place, but 1 of 6144")


def test_tiles_of_several_rows_are_located():
    plan = width_plan(320, 1, (7, 6))
    w = distinct_weights(plan)
    wrong = oracles.prepare_final(w, 1)
    row, column = np.argwhere(wrong == w[319, 0, 6, 5])[0]
    wrong[row, column] = -1
    first = identify(plan, wrong, w).first
    assert (first.row, first.column) == (row, column)
    assert first.weight == (319, 6, 5)
    ids = list(plan.weight_tile_ids(0))
    assert identify(plan, oracles.tilize(wrong)[ids], w, "l1", 0).first == first
    assert identify(plan, oracles.tilize(wrong), w, "tiles").first == first


def test_data_of_a_strange_shape():
    plan = width_plan(96, 3)
    w = distinct_weights(plan)
    found = identify(plan, np.zeros((320, 32)), w)
    assert (found.matches, found.hypotheses, found.differing) == (False, (), None)
    assert "(320, 32)" in found.verdict
    assert "32x96" in found.verdict


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"weights": np.zeros((96, 3, 3))}, r"`weights` \(=\(96, 3, 3\)\).*\(96, 1"),
        ({"data": np.zeros((32, 90))}, r"`data` \(=\(32, 90\)\).*\(32, 96\)"),
        ({"data": np.zeros((0, 32))}, r"`data` \(=\(0, 32\)\)"),
        ({"kind": "dram"}, r"`kind` \(='dram'\).*matrix, tiles, l1"),
        ({"kind": "tiles"}, r"\(=float64 \(32, 96\)\) must be \[tiles, 1024\]"),
        (
            {"kind": "tiles", "data": np.zeros((3, 1088), np.uint8)},
            r"\(=uint8 \(3, 1088\)\).*2048",
        ),
        ({"kind": "l1", "data": np.zeros((1, 1024))}, r"`core` \(=None\).*0 to 2"),
        (
            {"kind": "l1", "data": np.zeros((2, 1024)), "core": 3},
            r"(?s)`data` \(=2 tiles\).*at most the 1 .*`core` \(=3\)",
        ),
        ({"core": 1}, r"`core` \(=1\) must be left out"),
    ],
)
def test_what_cannot_be_compared_is_refused(kwargs, match):
    plan = width_plan(96, 3)
    given = {"data": np.zeros((32, 96)), "weights": np.zeros((96, 1, 3, 3))}
    with pytest.raises(jd.ConfigError, match=match):
        unchecked(identify)(plan, **(given | kwargs))


@pytest.mark.parametrize(
    ("name", "content", "dtype", "match"),
    [
        ("a.npy", None, "bfloat16", r"a\.npy.*No such file"),
        ("a.npy", b"text", "bfloat16", r"a\.npy.*must be a \.npy array"),
        ("a.csv", b"1,2", "bfloat16", r"a\.csv.*\.npy, \.npz.*\.bin"),
        ("a.bin", b"\0" * 2000, "bfloat16", r"2000 bytes.*2048 bytes"),
        ("a.bin", b"", "bfloat8_b", r"a\.bin.*the file is empty"),
        ("a.bin", b"", "int8", r"`dtype` \(='int8'\)"),
    ],
)
def test_files_that_hold_no_weights_are_refused(tmp_path, name, content, dtype, match):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(jd.ConfigError, match=match):
        load_dump(tmp_path / name, dtype)


def test_an_array_of_words_is_refused(tmp_path):
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    with pytest.raises(jd.ConfigError, match=r"words\.npy.*<U1"):
        load_dump(tmp_path / "words.npy", "bfloat16")


def test_values_are_compared_in_the_weights_dtype():
    plan = width_plan(64, 2)
    rng = np.random.default_rng(0)
    w = rng.standard_normal(plan.conv.weight_shape).astype(np.float32)
    assert identify(plan, oracles.prepare_final(w, 2), w).matches
    rounded = np.asarray(jnp.asarray(w).astype(jnp.bfloat16), np.float32)
    assert identify(plan, oracles.prepare_final(rounded, 2), w).matches
    zeros = np.zeros_like(w)
    assert identify(plan, -oracles.prepare_final(zeros, 2), zeros).matches
    nan = np.full_like(w, np.nan)
    assert identify(plan, oracles.prepare_final(nan, 2), nan).matches
    off = oracles.prepare_final(rounded, 2)
    off[0, 0] = np.nextafter(off[0, 0], 9, dtype=np.float32)
    assert identify(plan, off, w).matches
    off[0, 0] += abs(off[0, 0]) * 2.0**-7
    assert identify(plan, off, w).differing == 1


def _prepared(plan, w):
    matrix = np.asarray(jd.prepare_weights(plan, w), np.float32)
    return matrix.reshape(plan.weight_matrix_shape)


VALUES = {
    "truncated to bfloat16, not rounded": lambda m, cut: cut,
    "rounded to bfloat8_b": lambda m, cut: np.asarray(
        hold(jnp.asarray(m.reshape(-1, 16)), "bfloat8_b")
    ).reshape(m.shape),
    "with the other sign": lambda m, cut: -m,
    "twice as large": lambda m, cut: 2 * m,
    "half as large": lambda m, cut: m / 2,
}


@pytest.mark.parametrize("text", VALUES)
@pytest.mark.parametrize("scheme", ["height", "width"])
def test_the_right_layout_with_other_values_is_an_answer(text, scheme):
    conv = jd.ConvConfig(channels=72, height=8, width=8, kernel=3, padding=1)
    plan = jd.make_plan(conv, jd.ShardConfig(scheme=scheme, grid=(2, 1)))
    w = np.random.default_rng(0).standard_normal(conv.weight_shape).astype("f4")
    cut = (w.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    data = VALUES[text](_prepared(plan, w), _prepared(plan, cut))
    found = jd.identify(plan, data, w)
    assert f"the plan's layout, values {text}" in found.hypotheses
    assert not found.matches
    assert found.first is not None
    assert "position" not in str(found.first).partition("found")[2]
    order = np.arange(72)[::-1]
    moved = jd.identify(
        plan, VALUES[text](_prepared(plan, w[order]), _prepared(plan, cut[order])), w
    )
    assert f"channel order reversed, values {text}" in moved.hypotheses


def test_values_that_are_off_are_told_by_how_much():
    conv = jd.ConvConfig(channels=64, height=8, width=8, kernel=3, padding=1)
    plan = jd.make_plan(conv)
    w = np.random.default_rng(0).standard_normal(conv.weight_shape).astype("f4")
    found = jd.identify(plan, _prepared(plan, w * np.float32(0.97)), w)
    assert found.verdict.startswith(
        "the plan's layout, other values: every weight is off by at most 0.03"
    )
    assert "of itself, toward zero; 5" in found.verdict
    noise = np.random.default_rng(1).standard_normal(plan.weight_matrix_shape)
    found = jd.identify(plan, noise, w)
    assert found.verdict.startswith("no known layout: ")
    assert found.first.found_weight is None


def test_tiles_that_were_never_tilized():
    conv = jd.ConvConfig(channels=72, height=8, width=8, kernel=3, padding=1)
    plan = jd.make_plan(conv)
    w = np.random.default_rng(0).standard_normal(conv.weight_shape).astype("f4")
    matrix = _prepared(plan, w)
    found = jd.identify(plan, matrix.reshape(-1, 1024), w, "tiles")
    assert "the matrix row by row, taken for tiles: never tilized" in found.hypotheses
    tiles = np.asarray(jd.tilize(matrix), np.float32).reshape(matrix.shape)
    found = jd.identify(plan, tiles, w)
    name = "the tiles of the matrix in memory order, taken for its rows"
    assert name in found.hypotheses
