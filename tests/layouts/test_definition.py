import numpy as np
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdw.layouts.definition import ZERO, Definition


@given(strategies.convs(max_channels=90, max_size=7), st.data())
@settings(max_examples=15)
def test_the_definition_is_that_of_the_loops(conv, data):
    shards = data.draw(st.integers(1, 4))
    definition = Definition(conv, 1, shards, 32)
    sticks = np.arange(conv.batch * conv.height * conv.width)
    image = sticks.reshape(conv.batch, conv.height, conv.width)
    (top, bottom, left, right), (kh, kw) = conv.padding, conv.kernel
    image = np.pad(image, [(0, 0), (top, bottom), (left, right)], constant_values=ZERO)
    want = [
        image[
            n,
            oy * conv.stride[0] + y * conv.dilation[0],
            ox * conv.stride[1] + x * conv.dilation[1],
        ]
        for n in range(conv.batch)
        for oy in range(definition.out_size[0])
        for ox in range(definition.out_size[1])
        for y in range(kh)
        for x in range(kw)
    ]
    outputs = np.arange(definition.num_outputs)
    assert definition.windows(outputs).ravel().tolist() == want
