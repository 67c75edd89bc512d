"""Strategies draw legal configurations, and enough of them to find an off-by-one."""

import hypothesis
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

import jaxdw as jd
from jaxdw.testing import layers, plans, windows

# the checks of types that run in these tests sample lists with `random`
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")
EXAMPLES = settings(max_examples=200)


@EXAMPLES
@given(layers(max_channels=40, max_size=9, max_batch=2))
def test_layers_are_legal_and_small(conv):
    assert conv.problems() == []
    assert conv.channels <= 40
    assert conv.batch <= 2


@settings(max_examples=30)
@given(plans(schemes=("width", "block"), arch="blackhole"))
def test_plans_are_of_what_was_asked(plan):
    assert plan.l1.fits
    assert plan.arch.name == "blackhole"
    assert plan.scheme in ("width", "block")
    assert plan.grid[0] <= 13
    assert plan.grid[1] <= 10


def test_plans_that_do_not_fit_are_never_drawn():
    conv = jd.ConvConfig(channels=192, height=64, width=64, padding=1)
    corner = jd.ShardConfig(scheme="block", grid=(1, 1))
    assert not jd.make_plan(conv, corner, must_fit=False).l1.fits
    drawn = sample(plans(st.just(conv), schemes=("block",)), 60)
    assert len(drawn) > 10
    assert all(plan.l1.fits for plan in drawn)


def test_all_schemes_programs_and_grids_are_drawn():
    drawn = sample(plans(), 60)
    assert {plan.scheme for plan in drawn} == {"height", "width", "block"}
    assert len({plan.grid for plan in drawn}) > 5
    assert {plan.conv.bias for plan in drawn} == {False, True}
    assert {plan.program for plan in sample(plans(program="regular"), 5)} == {"regular"}


def sample(strategy, count: int) -> list:
    """Returns what a strategy draws."""
    drawn = []

    @settings(max_examples=count)
    @given(strategy)
    def collect(value):
        drawn.append(value)

    collect()
    return drawn


def out_width(window, mistake: int = 0) -> int:
    """Computes the output's width as a user would, with a planted mistake."""
    conv = window.conv
    reach = conv.dilation[1] * (conv.kernel[1] - 1) + mistake
    return (conv.width + sum(conv.padding[2:]) - reach - 1) // conv.stride[1] + 1


@EXAMPLES
@given(windows())
def test_windows_agree_with_the_definition(window):
    assert out_width(window) == window.out_width


def halo_rows(plan: jd.Plan, mistake: int = 0) -> int:
    """Computes the rows of the largest haloed shard, with a planted mistake."""
    return max(
        shard.last_padded - shard.first_padded + 1 - mistake
        for shard in plan.shard_ranges
    )


@EXAMPLES
@given(plans())
def test_plans_agree_with_the_definition(plan):
    if plan.has_halo:
        assert halo_rows(plan) == plan.halo_shard.rows


@pytest.mark.parametrize(
    ("strategy", "wrong"),
    [
        (windows(), lambda window: out_width(window, 1) != window.out_width),
        (
            plans(),
            lambda plan: plan.has_halo and halo_rows(plan, 1) != plan.halo_shard.rows,
        ),
        (
            layers(),  # a bias dropped in the last of several tiles of channels
            lambda conv: conv.bias and conv.channels % 32 > 16 and conv.channels > 32,
        ),
    ],
    ids=["window", "halo", "layer"],
)
def test_a_planted_off_by_one_is_found_in_200_examples(strategy, wrong):
    found = hypothesis.find(strategy, wrong, settings=EXAMPLES)
    assert found is not None


def test_a_failing_plan_is_printed_as_a_call_of_ttnn_shrunk():
    @EXAMPLES
    @given(plans())
    def fails(plan):
        assert plan.conv.channels < 3

    with pytest.raises(AssertionError) as told:
        fails()
    notes = "\n".join(told.value.__notes__)
    assert "output = ttnn.conv2d(" in notes
    assert "in_channels=3," in notes
    assert "input_height=1," in notes
