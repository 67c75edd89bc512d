from examples import uneven_plan
from layout_examples import spoil

import jaxdw as jd
from jaxdw.layouts.certificate import certify


def test_an_unwritten_halo_shows_in_every_window():
    plan = uneven_plan("width", channels=64, kernel=3, grid=(2, 1))
    maps = jd.make_maps(plan)
    unwritten = certify(plan, spoil(maps, "halo", lambda i, size: i * 0 + size + 1))
    assert [f.rule for f in unwritten.failures] == ["halo", "outputs"]
    assert unwritten.failures[1].found == "memory that nobody wrote"
    assert unwritten.failures[1].expected == "zero"
    assert unwritten.failures[1].count == unwritten.counts["window_elements"]
