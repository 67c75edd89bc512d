"""The grid computes the exact form in parts, which change nothing but its memory."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdw as jd
from jaxdw.launch import composed
from jaxdw.machine import grid


@pytest.fixture(scope="module")
def operands():
    """Returns the grid's arguments for 2 NHW shards of 32 output sticks, 2 of channels.

    Among the operands are infinity and denormals, which need the exact form.
    """
    conv = jd.ConvConfig(channels=64, height=7, width=8, padding=1)
    plan = jd.make_plan(conv, jd.ShardConfig(scheme="block", grid=(2, 2)))
    maps = jd.make_maps(plan).composed
    rng = np.random.default_rng(0)
    x = rng.standard_normal(conv.input_shape, np.float32)
    x.flat[::7] *= 2.0**-130
    x.flat[5] = np.inf
    w = rng.standard_normal(conv.weight_shape, np.float32)
    program = grid.program_of(plan)
    sticks, weights, bias = composed.load(maps, x, w, None, program)
    return (sticks, maps.sticks.index, weights, bias, None, None, program)


@pytest.fixture
def parts(monkeypatch) -> list[int]:
    """Returns the output sticks computed together, of each call of a core's program."""
    core_program, found = grid.core_program, []

    def spy(*arguments, sticks_at_once, **options):
        found.append(sticks_at_once)
        return core_program(*arguments, sticks_at_once=sticks_at_once, **options)

    monkeypatch.setattr(grid, "core_program", spy)
    return found


@pytest.mark.parametrize(
    ("most", "at_once"), [(10**6, 32), (31 * 128, 16), (3 * 128, 2), (1, 1)]
)
def test_parts_of_the_exact_form_give_the_same_bits(
    operands, most, at_once, parts, monkeypatch
):
    whole = grid.map_grid(*operands, exact=True)
    assert whole.shape == (2, 32, 64)
    monkeypatch.setattr(grid, "EXACT_OUTPUTS", most)
    found = grid.map_grid(*operands, exact=True)
    assert parts == [32, at_once]
    np.testing.assert_array_equal(found, whole)
    assert not np.isfinite(whole).all()


def test_parts_divide_any_number_of_sticks(operands, parts, monkeypatch):
    l1, index, *others = operands
    cut = (l1, np.asarray(index)[:, :, :27], *others)
    whole = grid.map_grid(*cut, exact=True)
    monkeypatch.setattr(grid, "EXACT_OUTPUTS", 10 * 128)
    np.testing.assert_array_equal(grid.map_grid(*cut, exact=True), whole)
    assert parts == [27, 9]


def test_the_float32_forms_are_not_cut(operands, parts, monkeypatch):
    ordinary = (jnp.ones_like(operands[0]), *operands[1:])
    whole = grid.map_grid(*ordinary, exact=True)
    monkeypatch.setattr(grid, "EXACT_OUTPUTS", 1)
    np.testing.assert_array_equal(grid.map_grid(*ordinary, exact=False), whole)
    assert parts == [32, 32]


@pytest.mark.parametrize("shared", [True, False])
def test_what_was_never_written_is_nan_and_nothing_else(shared):
    result = jnp.ones((2, 3, 4))
    channels = np.ones((4,) if shared else (2, 4), bool)
    channels[..., 1] = False
    windows = np.ones((2, 3), bool)
    windows[1, 2] = False
    want = np.ones((2, 3, 4))
    want[:, :, 1] = want[1, 2] = np.nan
    np.testing.assert_array_equal(grid.poisoned(result, channels, windows), want)
    np.testing.assert_array_equal(grid.poisoned(result, None, None), result)
    if not shared:
        channels[0] = True
        want = np.ones((2, 3, 4))
        want[1, :, 1] = np.nan
        np.testing.assert_array_equal(grid.poisoned(result, channels, None), want)
