import chex
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdw.maps.indexmap import (
    compose,
    gather,
    gather_written,
    make_index_map,
    offset_shards,
    widen,
)


def loop_gather(source: list, index: list, poison) -> list:
    size = len(source)
    return [
        source[i] if i < size else (0 if i == size else poison) for i in index
    ]  # size: padding; size + 1: poison


def maps_of(seed: int) -> tuple:
    """Draws a source and two maps, one over the other, sentinels included."""
    rng = np.random.default_rng(seed)
    source = rng.integers(1, 100, 7)
    inner = make_index_map(rng.integers(0, 9, (2, 5)), 7)
    outer = make_index_map(rng.integers(0, 12, (4, 3)), 10)
    return source, inner, outer


class GatherTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_padding_reads_zero_and_poison_reads_poison(self):
        index_map = make_index_map(np.array([[0, 4], [3, 2]]), 3)
        data = self.variant(gather)(jnp.array([5.0, 6.0, 7.0]), index_map)
        np.testing.assert_array_equal(data, [[5.0, np.nan], [0.0, 7.0]])

    @chex.variants(with_jit=True, without_jit=True)
    def test_rows_move_whole_and_integers_take_their_maximum(self):
        index_map = make_index_map(np.array([2, 1, 0, 3]), 2)
        source = jnp.array([[1, 2], [3, 4]], jnp.uint8)
        data = self.variant(gather)(source, index_map)
        chex.assert_trees_all_equal(
            np.asarray(data),
            np.array([[0, 0], [3, 4], [1, 2], [255, 255]], np.uint8),
        )

    @chex.variants(with_jit=True, without_jit=True)
    def test_flags_move_as_data_does(self):
        index_map = make_index_map(np.array([0, 1, 2, 3]), 2)
        flags = self.variant(gather_written)(jnp.array([True, False]), index_map)
        assert flags.tolist() == [True, False, True, False]


@given(st.integers(0, 10**6))
def test_gather_equals_the_loop(seed):
    source, inner, _ = maps_of(seed)
    got = gather(jnp.asarray(source, jnp.int32), inner)
    poison = np.iinfo(np.int32).max
    want = loop_gather(source.tolist(), inner.index.ravel().tolist(), poison)
    assert np.asarray(got).ravel().tolist() == want


@given(st.integers(0, 10**6))
def test_one_composed_gather_equals_two(seed):
    source, inner, outer = maps_of(seed)
    first = loop_gather(source.tolist(), inner.index.ravel().tolist(), -1)
    want = loop_gather(first, outer.index.ravel().tolist(), -1)
    composed = compose(outer, inner)
    assert composed.index.shape == outer.index.shape
    assert loop_gather(source.tolist(), composed.index.ravel().tolist(), -1) == want


@given(st.integers(0, 10**6), st.integers(1, 5))
def test_a_widened_map_moves_rows_element_by_element(seed, width):
    _, inner, _ = maps_of(seed)
    rows = [list(range(r * width + 1, (r + 1) * width + 1)) for r in range(7)]
    want = []
    for i in inner.index.ravel():
        want += rows[i] if i < 7 else [0 if i == 7 else -1] * width
    wide = widen(inner, width)
    flat = [v for row in rows for v in row]
    assert wide.index.shape == (2, 5, width)
    assert loop_gather(flat, wide.index.ravel().tolist(), -1) == want


def test_offset_shards_counts_rows_of_all_shards():
    local = make_index_map(np.array([[[0, 2]], [[1, 3]], [[4, 0]]]), 3)
    index = offset_shards(local)
    assert index.size == 9
    assert index.index.tolist() == [[[0, 2]], [[4, 9]], [[10, 6]]]


@pytest.mark.parametrize("bad", [-1, 5])
def test_an_index_outside_its_sources_is_refused(bad):
    with pytest.raises(ValueError, match=rf"{bad}.*must lie in 0 to 4 \(=3"):
        make_index_map(np.array([0, bad]), 3)


def test_maps_that_do_not_meet_are_refused():
    _, inner, _ = maps_of(0)
    with pytest.raises(ValueError, match=r"`outer.size` \(=9\).*\(=10\)"):
        compose(make_index_map(np.array([0]), 9), inner)
    with pytest.raises(ValueError, match=r"\(=3 rows\) must have the 7 rows"):
        gather(jnp.zeros(3), inner)
    with pytest.raises(ValueError, match="2147483647"):
        make_index_map(np.array([0]), 2**31 - 1)
