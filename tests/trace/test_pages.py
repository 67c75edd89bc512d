import ml_dtypes
import numpy as np
import pytest

import jaxdw as jd
from jaxdw.trace.pages import element_of


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "bfloat8_b", "bfloat4_b"])
def test_the_bytes_of_an_element_are_those_the_packer_writes(dtype):
    elements = [0, 1, 15, 16, 255, 256, 700, 1023]
    tiles = np.zeros((len(elements), 1024), np.float32)
    for tile, element in enumerate(elements):
        tiles[tile, element] = ml_dtypes.bfloat16(3.14) if dtype[0] == "b" else 3.14
    packed = np.asarray(jd.pack(tiles, dtype))
    for raw, element in zip(packed, elements, strict=True):
        place = element_of(element, dtype)
        own = set(range(place.byte, place.byte + place.num_bytes))
        shared = set() if place.exponent_byte is None else {place.exponent_byte}
        assert set(np.flatnonzero(raw).tolist()) == own | shared
        if place.nibble is not None:
            assert (raw[place.byte] > 15) == (place.nibble == "high")
        else:
            assert dtype != "bfloat4_b"
