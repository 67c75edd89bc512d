import dataclasses

from trace_examples import plan_of

from jaxdw.trace.core import explain_core


def test_roles_of_each_scheme():
    roles = {}
    for scheme in ("height", "width", "block"):
        plan = plan_of(scheme, channels=96, height=16)
        roles[scheme] = [
            explain_core(plan, *plan.core_grid.xy(core))
            for core in range(plan.num_cores)
        ]
    assert [t.role for t in roles["height"]] == ["sender"] + ["receiver"] * 3
    assert [t.role for t in roles["width"]] == ["reader"] * 3
    assert [t.role for t in roles["block"]] == ["sender"] * 3 + ["receiver"] * 9
    assert [t.source for t in roles["block"]] == [0, 1, 2] * 4
    sender = roles["block"][1]
    assert sender.receivers == (4, 7, 10)
    assert sender.rectangle is not None
    assert (sender.num_dests, dataclasses.astuple(sender.rectangle)) == (
        3,
        (1, 0, 1, 3),
    )
    assert roles["block"][4].rectangle is None
    assert [t.tiles for t in roles["width"]] == [(0,), (1,), (2,)]


def test_idle_cores_in_the_bounding_box_are_overwritten():
    plan = plan_of("height", channels=32, height=20, width=20)  # 13 cores
    sender, idle, outside = (explain_core(plan, *xy) for xy in ((0, 0), (6, 1), (0, 2)))
    assert sender.overwritten == ((5, 1), (6, 1), (7, 1))
    assert (idle.role, idle.core, idle.source) == ("idle", None, 0)
    assert (outside.role, outside.source, outside.tiles) == ("idle", None, ())


def test_bias_tiles_are_those_read():
    plan = plan_of("block", bias=True)
    assert explain_core(plan, 1, 1).bias_tiles == plan.bias_tile_ids(3) == (1,)
    assert explain_core(plan_of("block"), 1, 1).bias_tiles == ()
