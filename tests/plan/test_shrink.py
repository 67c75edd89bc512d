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


def test_program_and_chip_stay():
    conv = jd.ConvConfig(channels=64, height=9, width=9, kernel=3, padding=1)
    whole = jd.make_plan(conv, arch="blackhole", program="regular")
    small = shrunk(whole, lambda p: p.conv.channels > 40)
    assert (small.program, small.arch.name) == ("regular", "blackhole")
    assert small.conv.channels == 41


def test_it_gives_up_where_every_step_is_small():
    sizes = [3000]

    def fails(p: jd.Plan) -> bool:
        one_less = p.conv.channels == sizes[-1] - 1
        sizes.extend([p.conv.channels] * one_less)
        return one_less

    conv = jd.ConvConfig(channels=3000, height=1, width=1, kernel=1)
    whole = jd.make_plan(conv, must_fit=False)
    assert shrunk(whole, fails).conv.channels == sizes[-1] > 2900


def test_it_ends():
    tried = []

    def fails(p: jd.Plan) -> bool:
        tried.append(p)
        return p.conv.channels > 199

    assert shrunk(plan(channels=5000), fails).conv.channels == 200
    assert len(tried) <= 300
