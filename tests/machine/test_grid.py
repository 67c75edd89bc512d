"""The grid computes the integer form in parts, which change only its memory."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdw as jd
from jaxdw.launch import composed
from jaxdw.machine import grid
from jaxdw.machine.cores import arithmetic_of, static_of


@pytest.fixture(scope="module")
def operands():
    """Returns the grid's arguments for 2 NHW shards of 32 output sticks, 2 of channels.

    Among the operands are infinity and denormals, which need the integer form.
    """
    conv = jd.ConvConfig(channels=64, height=7, width=8, padding=1)
    plan = jd.make_plan(conv, jd.ShardConfig(scheme="block", grid=(2, 2)))
    maps = jd.make_maps(plan).composed
    rng = np.random.default_rng(0)
    x = rng.standard_normal(conv.input_shape, np.float32)
    x.flat[::7] *= 2.0**-130
    x.flat[5] = np.inf
    w = rng.standard_normal(conv.weight_shape, np.float32)
    static = static_of(plan)
    sticks = composed.load_sticks(maps, x, static)
    lanes = composed.load_weights(maps, w, None, static)
    return sticks, maps.sticks.index, lanes.weights, lanes.bias


@pytest.fixture
def run_grid():
    """Returns the grid in one form."""
    static = static_of(jd.make_plan(jd.ConvConfig(channels=32, height=4, width=4)))

    def run(*arguments, form: str):
        return grid.map_grid(*arguments, arithmetic_of(static, form), form)

    return run


@pytest.fixture
def parts(monkeypatch) -> list[int]:
    """Returns the output sticks computed together, of each core that runs."""
    run_core, found = grid.run_core, []

    def spy(*arguments, sticks_at_once, **options):
        found.append(sticks_at_once)
        return run_core(*arguments, sticks_at_once=sticks_at_once, **options)

    monkeypatch.setattr(grid, "run_core", spy)
    return found


@pytest.mark.parametrize(
    ("most", "at_once"), [(10**6, 32), (31 * 128, 16), (3 * 128, 2), (1, 1)]
)
def test_parts_of_the_integer_form_give_the_same_bits(
    operands, run_grid, most, at_once, parts, monkeypatch
):
    whole = run_grid(*operands, form="integer")
    assert whole.shape == (2, 32, 64)
    monkeypatch.setattr(grid, "INTEGER_OUTPUTS", most)
    found = run_grid(*operands, form="integer")
    assert parts == [32, at_once]
    np.testing.assert_array_equal(found, whole)
    assert not np.isfinite(whole).all()


def test_parts_divide_any_number_of_sticks(operands, run_grid, parts, monkeypatch):
    l1, index, *others = operands
    cut = (l1, np.asarray(index)[:, :, :27], *others)
    whole = run_grid(*cut, form="integer")
    monkeypatch.setattr(grid, "INTEGER_OUTPUTS", 10 * 128)
    np.testing.assert_array_equal(run_grid(*cut, form="integer"), whole)
    assert parts == [27, 9]


def test_the_float_form_is_not_cut(operands, run_grid, parts, monkeypatch):
    ordinary = (jnp.ones_like(operands[0]), *operands[1:])
    whole = run_grid(*ordinary, form="integer")
    monkeypatch.setattr(grid, "INTEGER_OUTPUTS", 1)
    np.testing.assert_array_equal(run_grid(*ordinary, form="float"), whole)
    assert parts == [32, 32]
