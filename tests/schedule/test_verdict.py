"""Pairs: the intact protocol is clean; with one thing changed, that is found."""

import dataclasses

import numpy as np
import pytest
from schedule_examples import BLOCK, TRIO, found, grid, program
from ttnn_examples import ttnn_plan

import jaxdw as jd
from jaxdw.maps.multicast import NO_CORE, Multicast
from jaxdw.schedule.protocol import (
    BLACKHOLE_PROTOCOL,
    READERS_PROTOCOL,
    Protocol,
    Step,
)
from jaxdw.schedule.rectangles import (
    swap_corners,
)
from jaxdw.schedule.verdict import judge_schedule

UNGUARDED = dataclasses.replace(READERS_PROTOCOL, lone_sender=READERS_PROTOCOL.sender)


def reason(multicast, kind, core, semaphore=None, protocol=READERS_PROTOCOL) -> str:
    problems = judge_schedule(multicast, protocol=protocol).problems
    found = [
        p for p in problems if (p.kind, p.core, p.semaphore) == (kind, core, semaphore)
    ]
    return found[0].reason


def changed(multicast: Multicast, **fields) -> Multicast:
    arrays = {name: np.array(v, np.int32) for name, v in fields.items()}
    return dataclasses.replace(multicast, **arrays)


def without(role: str, step: Step) -> Protocol:
    steps = getattr(READERS_PROTOCOL, role)
    assert steps.count(step) == 1
    return program(role, (s for s in steps if s is not step))


def moved(role: str, step: Step, behind: Step) -> Protocol:
    steps = [s for s in getattr(READERS_PROTOCOL, role) if s is not step]
    steps.insert(steps.index(behind) + 1, step)
    return program(role, steps)


def receivers(*problems: tuple[str, str | None]) -> set[tuple]:
    """Returns those problems at both receivers of the trio."""
    return {(kind, (x, 0), semaphore) for kind, semaphore in problems for x in (1, 2)}


def sender(*problems: tuple[str, str | None]) -> set[tuple]:
    return {(kind, (0, 0), semaphore) for kind, semaphore in problems}


@pytest.mark.parametrize(
    "multicast",
    [TRIO, BLOCK, grid("height", 8, 64), grid("height", 5, 5), grid("height", 1, 1),
     grid("width", 8, 13, 13), grid("block", 8, 64, 8), grid("block", 8, 8, 8)],
)  # fmt: skip
def test_intact_is_clean(multicast):
    assert found(multicast) == set()
    assert found(multicast, BLACKHOLE_PROTOCOL) == set()
    assert found(swap_corners(multicast), noc=1) == set()


@pytest.mark.parametrize(
    ("role", "step", "problems"),
    [
        ("sender", Step.SET_OWN_VALID,
         sender(("race", "receiver")) | receivers(("deadlock", "receiver"))),
        ("sender", Step.RESERVE, sender(("race", None))),
        ("sender", Step.READ_DRAM, sender(("unserved", None))),
        ("sender", Step.READ_BARRIER, sender(("race", None))),
        ("sender", Step.WAIT_SENDER_EQUALS,
         sender(("race", "sender"))
         | receivers(("race", "sender"), ("race", "receiver"),
                     ("deadlock", "receiver"))),
        ("sender", Step.RESET_SENDER, sender(("race", "sender"))),
        ("sender", Step.MULTICAST_DATA, receivers(("unserved", None))),
        ("sender", Step.MULTICAST_FLAG,
         sender(("deadlock", None)) | receivers(("deadlock", "receiver"))),
        ("sender", Step.PUSH, sender(("deadlock", None))),
        ("receiver", Step.RESERVE, receivers(("race", "sender"))),
        ("receiver", Step.SET_OWN_INVALID, receivers(("race", "receiver"))),
        ("receiver", Step.INCREMENT_SENDER,
         sender(("deadlock", "sender"))
         | receivers(("unserved", None), ("deadlock", "receiver"))),
        ("receiver", Step.WAIT_RECEIVER_VALID, receivers(("race", "receiver"))),
        ("receiver", Step.PUSH, receivers(("deadlock", None))),
    ],
)  # fmt: skip
def test_one_step_removed(role, step, problems):
    assert found(TRIO) == set()
    assert found(TRIO, without(role, step)) == problems


@pytest.mark.parametrize(
    ("role", "step", "behind", "problems"),
    [
        ("sender", Step.SET_OWN_VALID, Step.MULTICAST_FLAG,
         sender(("race", "receiver")) | receivers(("deadlock", "receiver"))),
        ("sender", Step.MULTICAST_DATA, Step.MULTICAST_FLAG,
         sender(("deadlock", None)) | receivers(("race", "receiver"))),
        ("sender", Step.READ_BARRIER, Step.MULTICAST_DATA, sender(("race", None))),
        ("sender", Step.PUSH, Step.READ_DRAM, sender(("race", None))),
        ("sender", Step.RESET_SENDER, Step.READ_BARRIER,
         sender(("race", "sender"), ("deadlock", "sender"))
         | receivers(("deadlock", "receiver"))),
        ("sender", Step.MULTICAST_DATA, Step.READ_BARRIER,
         receivers(("race", "sender"))),
        ("sender", Step.RESERVE, Step.READ_DRAM, sender(("race", None))),
        ("receiver", Step.RESERVE, Step.INCREMENT_SENDER,
         receivers(("race", "sender"))),
        ("receiver", Step.SET_OWN_INVALID, Step.INCREMENT_SENDER,
         receivers(("race", "receiver"), ("deadlock", "receiver"))),
        ("receiver", Step.INCREMENT_SENDER, Step.WAIT_RECEIVER_VALID,
         sender(("deadlock", "sender"))
         | receivers(("unserved", None), ("deadlock", "receiver"))),
        ("receiver", Step.PUSH, Step.INCREMENT_SENDER, receivers(("race", "receiver"))),
    ],
)  # fmt: skip
def test_one_step_moved(role, step, behind, problems):
    assert found(TRIO, moved(role, step, behind)) == problems


def test_harmless_changes_stay_clean():
    late_reset = moved("sender", Step.RESET_SENDER, Step.PUSH)
    early_push = moved("sender", Step.PUSH, Step.READ_BARRIER)
    early_wait = moved("sender", Step.WAIT_SENDER_EQUALS, Step.SET_OWN_VALID)
    steps = list(READERS_PROTOCOL.receiver)
    steps.insert(-1, Step.SET_OWN_INVALID)
    twice_invalid = program("receiver", steps)
    for protocol in (late_reset, early_push, early_wait, twice_invalid):
        assert found(TRIO, protocol) == set()


def test_a_flag_may_overtake_data_unless_flushed():
    in_any_order = dataclasses.replace(READERS_PROTOCOL, in_order=False)
    assert found(TRIO, in_any_order) == receivers(("race", "receiver"))
    assert found(TRIO, BLACKHOLE_PROTOCOL) == set()
    unflushed = dataclasses.replace(BLACKHOLE_PROTOCOL, sender=READERS_PROTOCOL.sender)
    assert found(TRIO, unflushed) == receivers(("race", "receiver"))


def test_a_second_wait_finds_the_count_reset():
    steps = [*READERS_PROTOCOL.sender]
    steps.insert(steps.index(Step.MULTICAST_DATA), Step.WAIT_SENDER_EQUALS)
    hung = receivers(("unserved", None), ("deadlock", "receiver"))
    problems = found(TRIO, program("sender", steps))
    assert problems == sender(("deadlock", "sender")) | hung


def test_a_second_invalid_undoes_the_flag():
    steps = [*READERS_PROTOCOL.receiver]
    steps.insert(steps.index(Step.WAIT_RECEIVER_VALID), Step.SET_OWN_INVALID)
    lost = receivers(("race", "receiver"), ("deadlock", "receiver"))
    assert found(TRIO, program("receiver", steps)) == lost


@pytest.mark.parametrize(("num_dests", "excess"), [(3, 0), (2, 1)])
def test_a_wait_for_one_more_hangs_everyone(num_dests, excess):
    trio = changed(TRIO, num_dests=[num_dests, 0, 0])
    protocol = dataclasses.replace(READERS_PROTOCOL, count_excess=excess)
    hung = receivers(("unserved", None), ("deadlock", "receiver"))
    assert found(trio, protocol) == sender(("deadlock", "sender")) | hung
    why = reason(trio, "deadlock", (0, 0), "sender", protocol)
    assert why == "waits for exactly 3 increments; 2 can arrive"


def test_a_wait_for_one_fewer_sends_early_or_misses_the_value():
    protocol = dataclasses.replace(READERS_PROTOCOL, count_excess=-1)
    early = {("race", "sender"), ("race", "receiver"), ("deadlock", "receiver")}
    at_sender = sender(("race", "sender"), ("deadlock", "sender"))
    assert found(TRIO, protocol) == at_sender | receivers(*early)
    trio = changed(TRIO, num_dests=[1, 0, 0])
    wrong_count = sender(("acknowledgement", None))
    assert found(trio) == at_sender | receivers(*early) | wrong_count


def test_an_increment_too_many_is_a_miscount():
    twice = list(READERS_PROTOCOL.receiver)
    twice.insert(2, Step.INCREMENT_SENDER)
    problems = found(TRIO, program("receiver", twice))
    assert sender(("race", "sender"), ("deadlock", "sender")) <= problems
    late = [*READERS_PROTOCOL.receiver, Step.INCREMENT_SENDER]
    assert found(TRIO, program("receiver", late)) == sender(("race", "sender"))


def test_a_partial_row_is_written_where_idle_and_acknowledged_there():
    assert found(grid("height", 8, 16)) == set()
    partial = grid("height", 8, 13)
    stray = {("stray write", (x, 1), None) for x in (5, 6, 7)}
    assert found(partial) == stray | sender(("acknowledgement", None))
    assert reason(partial, "acknowledgement", (0, 0)) == (
        "`num_dests` is 12; 15 tiles acknowledge"
    )
    assert "no core of the program" in reason(partial, "stray write", (5, 1))


@pytest.mark.parametrize(
    "lone", [grid("height", 8, 1), grid("width", 8, 1), grid("block", 1, 1)]
)
def test_a_sender_without_receivers_needs_its_guard(lone):
    assert found(lone) == set()
    assert found(lone, UNGUARDED) == sender(("acknowledgement", None))
    why = reason(lone, "acknowledgement", (0, 0), protocol=UNGUARDED)
    assert why == "multicast to nobody: `num_dests` must not be 0"


def test_an_unguarded_sender_told_of_nobody_still_writes_its_rectangle():
    trio = changed(TRIO, num_dests=[0, 0, 0])
    assert not {p for p in found(trio) if p[0] == "acknowledgement"}
    why = reason(trio, "acknowledgement", (0, 0), protocol=UNGUARDED)
    assert why == "`num_dests` is 0; 2 tiles acknowledge"


def test_every_width_core_is_alone():
    alone = {("acknowledgement", (x, y), None) for x in (0, 1) for y in (0, 1)}
    assert found(grid("width", 2, 4, 4), UNGUARDED) == alone


def test_corners_in_the_wrong_order_wrap_round_the_torus():
    assert found(swap_corners(BLOCK), noc=1) == set()
    wrapped = found(BLOCK, noc=1)
    assert wrapped == found(swap_corners(BLOCK), noc=0)
    beyond = {("stray write", (x, y), None) for x in range(3) for y in range(3, 9)}
    assert {p for p in wrapped if p[0] == "stray write"} == beyond
    assert {p[1] for p in wrapped if p[0] == "unserved"} == {(0, 1), (1, 1), (2, 1)}
    tiles = judge_schedule(BLOCK, noc=1, tiles=(3, 3)).problems
    assert not [p for p in tiles if p.kind == "stray write"]


def test_col_major_blocks_get_row_major_arguments():
    assert found(grid("block", 3, 9, channel_shards=3)) == set()
    problems = found(grid("block", 3, 6, channel_shards=2))
    assert ("unserved", (2, 0), None) in problems
    assert ("deadlock", (2, 0), "receiver") in problems
    assert ("stray write", (0, 2), None) in problems
    tall = grid("block", 2, 6, channel_shards=3)
    assert tall.names.tolist() == [NO_CORE, NO_CORE, NO_CORE, 0, 1, NO_CORE]
    why = reason(tall, "unserved", (1, 2))
    assert why == "the sender it names is no core of the program"
    assert ("race", (0, 1), "sender") in found(tall)


def test_weights_of_another_sender_are_a_race():
    rect = BLOCK.rect.copy()
    rect[0, 2] = 1  # column 0 sends to column 1 as well
    problems = found(changed(BLOCK, rect=rect))
    column = [(1, 0), (1, 1), (1, 2)]
    assert problems == (
        {("stray write", core, None) for core in column}
        | {("race", core, "sender") for core in column}
        | {("race", core, "receiver") for core in column}
        | {("acknowledgement", (0, 0), None)}
    )


def test_naming_another_sender_starves_one_and_floods_the_other():
    problems = found(changed(BLOCK, names=[-1, -1, -1, 1, 1, 2, 0, 1, 2]))
    assert {("deadlock", (0, 0), "sender"), ("deadlock", (1, 0), "sender")} <= problems
    assert ("race", (1, 0), "sender") in problems
    assert not {p for p in problems if p[1][0] == 2}
    assert reason(changed(TRIO, names=[-1, 2, 0]), "race", (2, 0), "sender") == (
        "1 increments stay in it for the next launch"
    )


@pytest.mark.parametrize("program", ["regular", "conv1d"])
def test_the_readers_of_another_program_are_not_judged_by_these_steps(program):
    """HEIGHT on a partial row: ttnn's sender writes idle cores and counts them."""
    plan = ttnn_plan(program, "height", width=200, batch=1, height=1, channels=32)
    assert plan.core_grid.x * plan.core_grid.y >= plan.num_cores == 7
    message = rf"for program 'depthwise', not '{program}'.*make_maps\(plan\)\.multicast"
    with pytest.raises(jd.UnsupportedError, match=message):
        judge_schedule(plan)
    assert judge_schedule(jd.make_maps(plan).multicast).clean
