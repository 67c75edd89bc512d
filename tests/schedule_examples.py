"""Multicasts and protocols, right and wrong, and the problems found in them."""

import dataclasses

import hypothesis.strategies as st
import numpy as np

from jaxdw.maps.multicast import NO_CORE, Multicast
from jaxdw.schedule.protocol import READERS_PROTOCOL, Protocol
from jaxdw.schedule.rectangles import factory_multicasts
from jaxdw.schedule.verdict import judge_schedule


def grid(scheme: str, x: int, cores: int, channel_shards: int = 1) -> Multicast:
    return factory_multicasts(scheme, x, cores, channel_shards).one(0)


TRIO = grid("height", 3, 3)  # a sender at (0, 0), receivers at (1, 0) and (2, 0)
BLOCK = grid("block", 3, 9, 3)


def found(multicast: Multicast, protocol=READERS_PROTOCOL, noc=0) -> set[tuple]:
    """Returns each problem as (kind, core, semaphore)."""
    verdict = judge_schedule(multicast, noc=noc, protocol=protocol)
    assert verdict.clean == (not verdict.problems)
    problems = {(p.kind, p.core, p.semaphore) for p in verdict.problems}
    assert len(problems) == len(verdict.problems)
    return problems


def program(role: str, steps) -> Protocol:
    return dataclasses.replace(READERS_PROTOCOL, **{role: tuple(steps)})


@st.composite
def multicasts(draw: st.DrawFn, most: int) -> Multicast:
    """Draws arguments right and wrong: counts off by one, any corners, any names."""
    cores = draw(st.integers(2, most))
    x = draw(st.integers(1, min(cores, 8)))
    senders = draw(st.integers(1, max(1, cores - 1)))
    xy = [(core % x, core // x) for core in range(cores)]
    box = [0, 0, x - 1, (cores - 1) // x]
    corner = st.tuples(st.integers(0, 2), st.integers(0, 2))
    corners = st.one_of(
        st.just(box), st.tuples(corner, corner).map(lambda c: sum(c, ()))
    )
    named = st.one_of(st.integers(0, senders - 1), st.integers(NO_CORE, cores - 1))
    names = [draw(named) for _ in range(cores)]
    rect = [list(draw(corners)) for _ in range(cores)]
    off = [draw(st.sampled_from([0, 0, 0, 1, -1])) for _ in range(cores)]
    counts = [names[senders:].count(core) + off[core] for core in range(cores)]
    return Multicast(
        xy=np.array(xy, np.int32),
        is_sender=np.arange(cores) < senders,
        names=np.array(names, np.int32),
        rect=np.array(rect, np.int32),
        num_dests=np.maximum(np.array(counts, np.int32), 0),
    )
