"""What is proved of every timing, against all interleavings one by one."""

import hypothesis.strategies as st
import oracles_schedule
from hypothesis import given, settings
from schedule_examples import found, multicasts

from jaxdw.maps.multicast import Multicast
from jaxdw.schedule.protocol import READERS_PROTOCOL, Protocol

ROLES = ("sender", "lone_sender", "receiver")


@st.composite
def protocols(draw: st.DrawFn, changes: int) -> dict:
    """Draws the fields of a protocol with steps dropped, doubled, or exchanged."""
    programs = {role: list(getattr(READERS_PROTOCOL, role)) for role in ROLES}
    for _ in range(changes):
        steps = programs[draw(st.sampled_from(["sender", "receiver"]))]
        at, to = (draw(st.integers(0, len(steps) - 1)) for _ in range(2))
        change = draw(st.sampled_from(["drop", "double", "exchange"]))
        if change == "drop":
            steps.pop(at)
        elif change == "double":
            steps.insert(to, steps[at])
        else:
            steps[at], steps[to] = steps[to], steps[at]
    return {
        **{role: tuple(steps) for role, steps in programs.items()},
        "in_order": draw(st.sampled_from([True, True, True, False])),
        "count_excess": draw(st.sampled_from([0, 1, -1])) if changes > 1 else 0,
    }


def explored(multicast: Multicast, protocol: Protocol, noc: int) -> set[tuple]:
    programs = {role: [s.name for s in getattr(protocol, role)] for role in ROLES}
    return oracles_schedule.problems(
        multicast, programs, protocol.count_excess, protocol.in_order, noc
    )


@settings(max_examples=300)
@given(multicasts(most=3), protocols(changes=1), st.integers(0, 1))
def test_every_interleaving_gives_the_same_problems(multicast, fields, noc):
    protocol = Protocol(**fields)
    assert found(multicast, protocol, noc) == explored(multicast, protocol, noc)


@settings(max_examples=150)
@given(multicasts(most=3), protocols(changes=2), st.integers(0, 1))
def test_no_interleaving_does_what_was_not_found(multicast, fields, noc):
    protocol = Protocol(**fields)
    problems = found(multicast, protocol, noc)
    missed = explored(multicast, protocol, noc) - problems
    assert {kind for kind, _, _ in missed} <= {"unserved"}
    assert problems or not missed
