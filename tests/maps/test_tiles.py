from pathlib import Path

import chex
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from absl.testing import parameterized
from hypothesis import given
from hypothesis import strategies as st

import jaxdw as jd

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "tilize.npz")
CASES = [name for name in GOLDEN.files if not name.endswith("_padded_shape")]


def shape_of(case: str) -> tuple[int, ...]:
    return tuple(int(size) for size in case.split("_")[1].split("x"))


def test_the_golden_file_holds_all_its_cases():
    assert len(CASES) == 10


class TilizeTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters(*CASES)
    def test_tilize_equals_ttnn(self, case):
        shape = shape_of(case)
        matrix = jnp.arange(1, np.prod(shape) + 1, dtype=jnp.int32).reshape(shape)
        tiles = self.variant(jd.tilize)(matrix)
        assert np.asarray(tiles).ravel().tolist() == GOLDEN[case].ravel().tolist()

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters(*CASES)
    def test_untilize_gives_the_tensor_back(self, case):
        shape = shape_of(case)
        tiles = jnp.asarray(GOLDEN[case]).reshape(-1, 1024)
        untilize = self.variant(lambda t: jd.untilize(t, shape))
        want = np.arange(1, np.prod(shape) + 1, dtype=np.int32).reshape(shape)
        chex.assert_trees_all_equal(np.asarray(untilize(tiles)), want)


@given(st.sampled_from([1, 16, 31, 32, 33, 64, 96]), st.sampled_from([1, 17, 32, 80]))
def test_tilize_equals_the_oracle(rows, columns):
    matrix = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
    want = oracles.tilize(matrix)
    chex.assert_trees_all_equal(np.asarray(jd.tilize(matrix)), want)
    chex.assert_trees_all_equal(np.asarray(jd.untilize(want, matrix.shape)), matrix)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"`matrix` \(=\(3,\)\)"):
        jd.tilize(jnp.zeros(3))
    with pytest.raises(ValueError, match=r"`shape` \(=\(3,\)\)"):
        jd.untilize(jnp.zeros((1, 1024)), (3,))
    with pytest.raises(ValueError, match=r"must be \(2, 1024\).*\(33, 32\)"):
        jd.untilize(jnp.zeros((1, 1024)), (33, 32))
    with pytest.raises(ValueError, match=r"must be \(1, 1024\).*\(32, 32\)"):
        jd.untilize(jnp.zeros((1, 512)), (32, 32))
