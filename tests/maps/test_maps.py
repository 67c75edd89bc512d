import numpy as np

from jaxdw.maps.indexmap import make_index_map
from jaxdw.maps.maps import window_map


def test_a_window_element_outside_the_haloed_shard_was_never_written():
    top_left = make_index_map(np.array([[0, 2, 3, 4]]), 3)
    rows = window_map(top_left, np.array([-1, 0, 1], np.int32))
    assert rows.index.tolist() == [[[4, 1, 4, 4], [0, 2, 4, 4], [1, 4, 4, 4]]]
