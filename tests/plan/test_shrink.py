"""A failing plan shrinks to what it needs to fail, and no further."""

import jaxdw as jd
from jaxdw.plan.shrink import shrunk


def plan(**more) -> jd.Plan:
    conv = {
        "channels": 200, "height": 20, "width": 17, "batch": 3, "kernel": (3, 5),
        "padding": (1, 2, 2, 1), "stride": (2, 1), "dilation": (1, 2), "bias": True,
        "activation": "relu", "weights_dtype": "bfloat8_b",
    }  # fmt: skip
    return jd.make_plan(jd.ConvConfig(**(conv | more)), jd.ShardConfig(scheme="block"))


def test_only_what_matters_is_left():
    small = shrunk(plan(), lambda p: p.conv.channels > 64 and p.conv.stride[0] == 2)
    assert small.conv == jd.ConvConfig(
        channels=65, height=1, width=1, kernel=1, stride=(2, 1)
    )
    assert small.scheme == "block"


def test_a_kernel_needs_an_image_or_padding():
    small = shrunk(plan(), lambda p: p.conv.kernel[1] >= 4 and p.conv.bias)
    conv = small.conv
    assert (conv.kernel, conv.bias, conv.channels) == ((1, 4), True, 1)
    assert conv.width + sum(conv.padding[2:]) == 4
    assert conv.problems() == []


def test_what_fails_at_its_size_alone_stays():
    whole = plan()
    assert shrunk(whole, lambda p: p.conv == whole.conv) == whole


def test_it_ends():
    tried = []

    def fails(p: jd.Plan) -> bool:
        tried.append(p)
        return p.conv.channels > 199

    assert shrunk(plan(channels=5000), fails).conv.channels == 200
    assert len(tried) <= 300
