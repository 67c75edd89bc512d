import jax.numpy as jnp
import numpy as np
import pytest

from jaxdw.machine.memory import Memory, poisoned
from jaxdw.maps.indexmap import make_index_map


def test_flags_travel_with_the_rows_they_belong_to():
    first = Memory.full(jnp.arange(3.0)).move(
        make_index_map(np.array([[0, 4], [1, 2]]), 3)
    )
    assert first.written.tolist() == [[True, False], [True, True]]
    second = first.move(make_index_map(np.arange(6), 4))
    assert second.written.tolist() == [True, False, True, True, True, False]
    np.testing.assert_array_equal(second.data, [0, np.nan, 1, 2, 0, np.nan])


@pytest.mark.parametrize("xp", [np, jnp])
@pytest.mark.parametrize("shared", [True, False])
def test_what_was_never_written_is_nan_and_nothing_else(shared, xp):
    result = xp.ones((2, 3, 4), np.float32)
    assert isinstance(poisoned(result, None, None), type(result))
    channels = np.ones((4,) if shared else (2, 4), bool)
    channels[..., 1] = False
    windows = np.ones((2, 3), bool)
    windows[1, 2] = False
    want = np.ones((2, 3, 4))
    want[:, :, 1] = want[1, 2] = np.nan
    np.testing.assert_array_equal(poisoned(result, channels, windows), want)
    np.testing.assert_array_equal(poisoned(result, None, None), result)
    if not shared:
        channels[0] = True
        want = np.ones((2, 3, 4))
        want[1, :, 1] = np.nan
        np.testing.assert_array_equal(poisoned(result, channels, None), want)
