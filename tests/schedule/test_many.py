import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_examples import found, multicasts

from jaxdw.schedule.many import judge_grids
from jaxdw.schedule.rectangles import factory_multicasts, stack_multicasts
from jaxdw.schedule.verdict import judge_schedule

KINDS = ("race", "deadlock", "unserved", "acknowledgement", "stray write")


def of_grid(verdicts, batch, index: int) -> set[tuple]:
    """Returns one grid's problems as (kind, core), from the masks."""
    xy = [tuple(c) for c in batch.one(index).xy.tolist()]
    out = {
        ("stray write", (int(x), int(y)))
        for y, x in np.argwhere(verdicts.stray_write[index])
    }
    for kind in KINDS[:-1]:
        mask = getattr(verdicts, kind)[index]
        assert not mask[len(xy) :].any()
        out |= {(kind, xy[core]) for core in np.flatnonzero(mask)}
    assert verdicts.clean[index] == (not out)
    return out


@settings(max_examples=60)
@given(st.lists(multicasts(most=9), min_size=1, max_size=6), st.integers(0, 1))
def test_many_grids_at_once_give_the_same_problems(grids, noc):
    batch = stack_multicasts(grids)
    verdicts = judge_grids(batch, noc=noc)
    for index, multicast in enumerate(grids):
        want = {problem[:2] for problem in found(multicast, noc=noc)}
        assert of_grid(verdicts, batch, index) == want


def test_which_grids_of_a_chip_are_clean():
    sizes = [(x, y) for x in range(1, 9) for y in range(1, 9)]
    x, y = np.array(sizes).T
    row_major = factory_multicasts("block", x, x * y, x)
    assert judge_grids(row_major).clean.all()
    col_major = factory_multicasts("block", x, x * y, y)
    clean = (x == y) | (x == 1)  # the others get a rectangle of another shape
    np.testing.assert_array_equal(judge_grids(col_major).clean, clean)
    for grid in range(0, 64, 3):
        assert judge_schedule(col_major.one(grid)).clean == clean[grid]
    cores = np.arange(1, 65)
    assert judge_grids(factory_multicasts("width", 8, cores, cores)).clean.all()
    height = factory_multicasts("height", np.minimum(cores, 8), cores, 1)
    full = (cores <= 8) | (cores % 8 == 0)
    np.testing.assert_array_equal(judge_grids(height).clean, full)
    unswapped = judge_grids(height, noc=1).clean
    assert unswapped.tolist() == [True] + [False] * 63
    noc = cores % 2
    mixed = judge_grids(height, noc=noc).clean
    np.testing.assert_array_equal(mixed, np.where(noc, unswapped, full))
