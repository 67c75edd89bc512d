import jax.numpy as jnp
import numpy as np

from jaxdw.machine.memory import Memory
from jaxdw.maps.indexmap import make_index_map


def test_flags_travel_with_the_rows_they_belong_to():
    first = Memory.full(jnp.arange(3.0)).move(
        make_index_map(np.array([[0, 4], [1, 2]]), 3)
    )
    assert first.written.tolist() == [[True, False], [True, True]]
    second = first.move(make_index_map(np.arange(6), 4))
    assert second.written.tolist() == [True, False, True, True, True, False]
    np.testing.assert_array_equal(second.data, [0, np.nan, 1, 2, 0, np.nan])
