import numpy as np
import pytest

import jaxdw as jd
from jaxdw.arrays.axes import as_bias, as_input, as_output, as_weights


def plan_of(scheme="height", **layer):
    layer = {"channels": 40, "height": 9, "width": 7, "padding": 1} | layer
    return jd.make_plan(jd.ConvConfig(**layer), jd.ShardConfig(scheme=scheme))


def counted(*shape: int):
    """Returns values that are all different, and none of them 0."""
    return np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)


def padded(values, *shape: int):
    """Fills up to `shape` with values that nobody may look at."""
    past = [(0, to - has) for to, has in zip(shape, values.shape, strict=True)]
    return np.pad(values, past, constant_values=np.nan)


X = counted(2, 9, 7, 40)
STICKS = X.reshape(126, 40)
ACTIVATIONS = {
    "[N, H, W, C]": (X, 0),
    "[N, H, W, C] ": (padded(X, 2, 9, 7, 64), 3024),
    "[N, H, W, C]  ": (padded(X, 2, 9, 32, 64), 31824),
    "[N, H*W, C]": (X.reshape(2, 63, 40), 0),
    "[N, H*W, C] ": (X.reshape(2, 1, 63, 40)[:, 0], 0),
    "[N, H*W, C]  ": (padded(X.reshape(1, 2, 63, 40), 1, 2, 64, 64), 3152),
    "[N*H*W, C]": (STICKS, 0),
    "[N*H*W, C] ": (STICKS[None, None], 0),
    "[N*H*W, C]  ": (padded(STICKS, 128, 64)[None, None], 3152),
    "[N*H*W, C]   ": (padded(STICKS, 126, 64), 3024),
    "[N, C, H, W]": (X.transpose(0, 3, 1, 2), 0),
}


@pytest.mark.parametrize("form", ACTIVATIONS)
@pytest.mark.parametrize("take", [as_input, as_output])
def test_an_activation_is_told_by_its_shape(form, take):
    given, cut = ACTIVATIONS[form]
    taken = take(plan_of(batch=2), given)
    np.testing.assert_array_equal(taken.values, X)
    assert taken.values.dtype == np.float32
    name = "x" if take is as_input else "output"
    note = f"{name}: {list(given.shape)} taken as {form.strip()} of [2, 9, 7, 40]"
    note += f", {cut} elements of padding cut" * bool(cut)
    assert taken.note == ("" if given.shape == X.shape else note)


@pytest.mark.parametrize(
    ("scheme", "size", "channels", "want"),
    [("block", 17, 288, (320, 320)), ("height", 60, 32, (3648, 32))],
)
def test_shards_of_a_plan_may_be_padded_further_than_tiles(
    scheme, size, channels, want
):
    plan = plan_of(scheme, channels=channels, height=size, width=size)
    assert want > (-(-size * size // 32) * 32, channels), "nothing but shards says so"
    x = counted(1, size, size, channels)
    given = padded(x.reshape(-1, channels), *want)
    for take in (as_input, as_output):
        np.testing.assert_array_equal(take(plan, given[None, None]).values, x)
        for rows, lanes in ((32, 0), (0, 32)):
            more = padded(given, len(given) + rows, want[1] + lanes)
            with pytest.raises(jd.ConfigError, match="must have one of the shapes"):
                take(plan, more)


@pytest.mark.parametrize("shape", [(3, 2), (2, 9, 7, 41), (2, 7, 9, 40), (2, 9, 8, 40),
                                   (2, 9, 7, 96), (2, 40, 9, 32), (40, 126), (0,),
                                   (2, 32, 7, 40), (2, 9, 7, 40, 1)])  # fmt: skip
def test_other_shapes_are_refused_with_all_that_would_do(shape):
    with pytest.raises(jd.ConfigError) as refused:
        as_output(plan_of(batch=2), np.zeros(shape))
    text = str(refused.value)
    assert text.startswith(f"`output` (={shape}) must have one of the shapes of the")
    for form in ("[N, H, W, C] [2, 9, 7, 40]", "[N*H*W, C] [126, 40]",
                 "[N, C, H, W] [2, 40, 9, 7]"):  # fmt: skip
        assert form in text
    assert "padded to tiles" in text


def test_a_shape_that_can_be_both_has_to_be_named():
    plan = plan_of(channels=8, height=8, width=8)
    x = counted(1, 8, 8, 8)
    for given in (x, x[0], x.ravel()):
        match = r"nchw or nhwc of the planned \(1, 8, 8, 8\); say which.*--layout nchw"
        with pytest.raises(jd.ConfigError, match=match):
            as_input(plan, given)
        np.testing.assert_array_equal(as_input(plan, given, "nhwc").values, x)
        turned = as_input(plan, given, "nchw").values
        np.testing.assert_array_equal(turned, x.transpose(0, 2, 3, 1))
    assert as_input(plan, x.reshape(64, 8)).note.startswith(
        "x: [64, 8] taken as [N*H*W"
    )
    assert as_input(plan, x, "nhwc").note == ""
    assert as_input(plan, x, "nchw").note.startswith("x: [1, 8, 8, 8] taken as [N, C, ")


def test_flat_values_are_both_but_where_both_are_the_same():
    with pytest.raises(jd.ConfigError, match=r"\(=\(2520,\)\) can be nchw or nhwc"):
        as_input(plan_of(), counted(2520))
    plan = plan_of(channels=1)
    found = as_input(plan, counted(63))
    np.testing.assert_array_equal(found.values.ravel(), counted(63))
    assert found.note == "x: [63] taken as flat of [1, 9, 7, 1]"
    np.testing.assert_array_equal(
        as_input(plan, counted(1, 1, 9, 7)).values, found.values
    )


def test_a_layout_that_does_not_fit_or_is_unknown_is_refused():
    plan = plan_of()
    with pytest.raises(
        jd.ConfigError, match=r"a nchw shape of the planned.*40, 9, 7\]"
    ):
        as_input(plan, np.zeros((1, 9, 7, 40)), "nchw")
    with pytest.raises(
        jd.ConfigError, match=r"`layout` of `x` \(='chwn'\).*nhwc, nchw"
    ):
        as_input(plan, np.zeros((1, 9, 7, 40)), "chwn")
    with pytest.raises(jd.ConfigError, match=r"'nhwc'.*oihw, hwio"):
        as_weights(plan.conv, np.zeros((40, 1, 3, 3)), "nhwc")


W = counted(40, 1, 3, 2)
HWIO = W.transpose(2, 3, 1, 0)
WEIGHTS = {
    "[C, 1, kh, kw]": W,
    "[C, kh, kw]": W[:, 0],
    "[C, kh, kw] ": W[:, 0][None],
    "[C, kh*kw]": W.reshape(40, 6),
    "[kh, kw, 1, C]": HWIO,
    "[kh, kw, C, 1]": HWIO.swapaxes(2, 3),
    "[kh, kw, C]": HWIO[:, :, 0],
    "[kh*kw, C]": HWIO.reshape(6, 40),
    "[kh*kw, C] ": HWIO.reshape(1, 1, 6, 40),
}


@pytest.mark.parametrize("form", WEIGHTS)
def test_weights_are_told_by_their_shape(form):
    given = WEIGHTS[form]
    taken = as_weights(plan_of(kernel=(3, 2)).conv, given)
    np.testing.assert_array_equal(taken.values, W)
    note = f"w: {list(given.shape)} taken as {form.strip()} of [40, 1, 3, 2]"
    assert taken.note == ("" if given is W else note)


def test_weights_that_can_be_both_have_to_be_named():
    conv = plan_of(channels=3, height=8, width=8).conv
    w = counted(3, 1, 3, 3)
    assert as_weights(conv, w).note == ""
    np.testing.assert_array_equal(as_weights(conv, w).values, w)
    np.testing.assert_array_equal(as_weights(conv, w.transpose(2, 3, 1, 0)).values, w)
    for given in (w[:, 0], w.ravel()):
        with pytest.raises(jd.ConfigError, match="can be hwio or oihw"):
            as_weights(conv, given)
        np.testing.assert_array_equal(as_weights(conv, given, "oihw").values, w)
        turned = as_weights(conv, given, "hwio").values
        np.testing.assert_array_equal(turned[:, 0], w[:, 0].transpose(2, 0, 1))
    conv = plan_of(channels=9).conv
    with pytest.raises(jd.ConfigError, match=r"\(=\(9, 9\)\) can be hwio or oihw"):
        as_weights(conv, counted(9, 9))


def test_prepared_weights_are_not_taken_for_weights():
    plan = plan_of()
    rows, columns = plan.weight_matrix_shape
    with pytest.raises(
        jd.ConfigError, match=r"`w` \(=\(32, 64\)\).*hwio|\[kh\*kw, C\]"
    ):
        as_weights(plan.conv, np.zeros((rows, columns)))


BIAS = counted(40)
BIASES = {
    "[C]": (BIAS, 0),
    "[C] ": (BIAS.reshape(1, 1, 1, 40), 0),
    "[C]  ": (BIAS.reshape(1, 40, 1, 1), 0),
    "[C]   ": (padded(BIAS, 64), 24),
    "[C]    ": (padded(BIAS, 64).reshape(1, 1, 1, 64), 24),
    "[32, C], its first row": (padded(BIAS[None], 32, 64)[None, None], 2008),
}


@pytest.mark.parametrize("form", BIASES)
def test_a_bias_is_a_row_or_a_tile_row_that_begins_with_it(form):
    given, cut = BIASES[form]
    taken = as_bias(plan_of(bias=True), given)
    np.testing.assert_array_equal(taken.values, BIAS)
    note = f"bias: {list(given.shape)} taken as {form.strip()} of [40]"
    note += f", {cut} elements of padding cut" * bool(cut)
    assert taken.note == ("" if given is BIAS else note)


@pytest.mark.parametrize("shape", [(41,), (2, 40), (32, 41), (40, 32), (40, 64), ()])
def test_another_shape_of_a_bias_is_refused(shape):
    with pytest.raises(jd.ConfigError, match=r"`b` \(=\(.*of the planned \(40,\)"):
        as_bias(plan_of(bias=True), np.zeros(shape), name="b")


def test_a_bias_of_one_channel_may_be_a_scalar_or_a_row():
    plan = plan_of(channels=1, bias=True)
    for shape in [(), (1,), (1, 1, 1, 1), (1, 1, 32, 32)]:
        values = np.zeros(shape)
        values[(0,) * len(shape)] = 5
        np.testing.assert_array_equal(as_bias(plan, values).values, [5])
