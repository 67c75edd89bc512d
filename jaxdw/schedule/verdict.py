"""Can the readers' weight multicast race, hang, or write where it must not?

`judge_schedule` proves, for one grid and any protocol, that each obligation follows
from what happens before what (happens_before.py), under every timing; what it cannot
prove is a problem. Which weights a core gets is the layout certificate's question.
"""

import dataclasses
from collections.abc import Iterator
from typing import Literal

import numpy as np

from jaxdw.errors import UnsupportedError
from jaxdw.maps.multicast import NO_CORE, Multicast
from jaxdw.plan.plan import Plan
from jaxdw.schedule.happens_before import Schedule, Wait
from jaxdw.schedule.protocol import (
    MULTICASTS,
    READERS_PROTOCOL,
    Protocol,
    Step,
    protocol_of,
)
from jaxdw.schedule.rectangles import (
    N150_TILES,
    factory_multicasts,
    live_tiles,
    spans,
    stack_multicasts,
)

ProblemKind = Literal["race", "deadlock", "unserved", "stray write", "acknowledgement"]
Semaphore = Literal["sender", "receiver"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that some timing of one launch brings about.

    Attributes:
      kind: `race` two accesses of one core's weights or semaphore in no fixed order;
        `deadlock` a core that can wait for ever; `unserved` a core that never gets
        weights from whom it should; `stray write` a core written that did not ask;
        `acknowledgement` a multicast whose `num_dests` is not what answers.
      core: logical (x, y); of a stray write, the core written.
      semaphore: the one that fails to hold the order, if one does.
    """

    kind: ProblemKind
    core: tuple[int, int]
    semaphore: Semaphore | None
    reason: str

    def __str__(self) -> str:
        at = f" ({self.semaphore} semaphore)" if self.semaphore else ""
        return f"{self.kind} at {self.core}{at}: {self.reason}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleVerdict:
    """Whether no timing of one launch goes wrong; if one does, all that can."""

    clean: bool
    problems: tuple[Problem, ...]


def judge_schedule(
    plan: Plan | Multicast,
    *,
    noc: int = 0,
    protocol: Protocol | None = None,
    tiles: tuple[int, int] | None = None,
) -> ScheduleVerdict:
    """Decides what any timing of the weight multicast can do.

    Args:
      plan: judged with the arguments that the factory gives its readers, corners in
        NoC 0's order; or such arguments, `rect` being start x, start y, end x, end y
        as encoded (`swap_corners` gives NoC 1's order).
      noc: which one carries the multicasts.
      protocol: None: that of the plan's chip, or `READERS_PROTOCOL`.
      tiles: Tensix tiles (x, y) that take multicasts; None: those of the plan's chip,
        or of an n150.

    Raises:
      ConfigError: another NoC, a core or corner outside `tiles`.
      UnsupportedError: a plan of another program than `depthwise`. ttnn's senders
        have two counts (receivers to wait for, cores to write), and repeat the exchange
        for every block of weights. Source: tt-metal
        reader_writer_tiled_out_1d_mcast_sender_conv_weights_tiled_col_to_rm_blocks.cpp
        @c0cef43f.
    """
    if isinstance(plan, Plan):
        if plan.program != "depthwise":
            raise UnsupportedError(
                f"schedules are judged for program 'depthwise', not {plan.program!r}, "
                "whose readers keep another protocol; pass `make_maps(plan).multicast` "
                "to judge one exchange as the readers of 'depthwise' would make it"
            )
        tiles = tiles or live_tiles(plan.arch)
        protocol = protocol or protocol_of(plan.arch)
        shards = plan.num_channel_shards
        grids = factory_multicasts(plan.scheme, plan.grid[0], plan.num_cores, shards)
        plan = grids.one(0)
    x_spans, y_spans = spans(stack_multicasts([plan]), noc, tiles or N150_TILES)
    covered = y_spans[0, :, :, None] & x_spans[0, :, None, :]
    schedule = Schedule(plan, covered, protocol or READERS_PROTOCOL)
    found: dict[tuple, dict[str, None]] = {}
    for kind, core, semaphore, reason in _problems(schedule):
        key = kind, schedule.xy[core] if isinstance(core, int) else core, semaphore
        found.setdefault(key, {})[reason] = None
    problems = tuple(
        Problem(kind=kind, core=core, semaphore=semaphore, reason="; ".join(reasons))
        for (kind, core, semaphore), reasons in found.items()
    )
    return ScheduleVerdict(clean=not problems, problems=problems)


def _problems(s: Schedule) -> Iterator[tuple]:
    """Yields kind, core (number, or logical xy), semaphore and reason."""
    for core in range(len(s.xy)):
        yield from _weight_problems(s, core)
        yield from _semaphore_problems(s, core)
        yield from _progress_problems(s, core)
        yield from _destination_problems(s, core)


def _weight_problems(s: Schedule, core: int) -> Iterator[tuple]:
    expected = core if s.is_sender[core] else s.names[core]
    writes = [write for write in s.writes[core] if s.alive(write[0])]
    if not any(source == expected for _, source in writes):
        yield "unserved", core, None, _why_unserved(s, core, expected)
    reserve = s.events(core, Step.RESERVE)[:1]
    readers = s.events(core, Step.PUSH, Step.MULTICAST_DATA)
    for write, source in writes:
        own = source == core
        which = "its own DRAM read" if own else f"the weights of {s.xy[source]}"
        if not any(s.before(r, write) for r in reserve):
            reason = f"{which} may be written before it reserves pages"
            yield "race", core, None if own else "sender", reason
        if any(s.alive(r) and not s.before(write, r) for r in readers):
            reason = f"{which} may be written after it uses them{_why_early(s, core)}"
            yield "race", core, None if own else "receiver", reason


def _why_early(s: Schedule, core: int) -> str:
    if s.is_sender[core]:
        return ""
    waits = s.events(core, Step.WAIT_RECEIVER_VALID)
    if not waits or waits[0] > max(s.events(core, Step.PUSH)):
        return ": no wait for VALID comes first"
    if s.waits[waits[0]].clear is None:
        return ": its wait can end on the VALID of an earlier launch"
    return ": the flag that ends its wait need not follow them"


def _why_unserved(s: Schedule, core: int, expected: int) -> str:
    if s.is_sender[core]:
        return "it never reads its weights from DRAM"
    if expected == NO_CORE:
        return "the sender it names is no core of the program"
    x, y = s.xy[core]
    if not any(s.alive(e) for e in s.events(expected, Step.MULTICAST_DATA)):
        return f"{s.xy[expected]}, which it names, never multicasts weights"
    assert not s.covered[expected, y, x]
    return f"the rectangle of {s.xy[expected]}, which it names, leaves it out"


def _semaphore_problems(s: Schedule, core: int) -> Iterator[tuple]:
    for flag, source, _ in s.flags[core]:
        for unset in s.events(core, Step.SET_OWN_INVALID):
            if not s.before(unset, flag) and not s.before(flag, unset):
                reason = (
                    f"the flag of {s.xy[source]} may arrive before the core sets "
                    "INVALID, and be lost"
                )
                yield "race", core, "receiver", reason
    for at, step in enumerate(s.programs[core]):
        unset = Step.SET_OWN_VALID not in s.programs[core][:at]
        if step is Step.MULTICAST_FLAG and unset and s.alive(s.step[core][at]):
            reason = "the flag copies a semaphore that need not be VALID yet"
            yield "race", core, "receiver", reason
    arrived = [e for e in s.increments[core] if s.alive(e)]
    resets = s.events(core, Step.RESET_SENDER)
    if arrived and not resets:
        reason = f"{len(arrived)} increments stay in it for the next launch"
        yield "race", core, "sender", reason
    elif resets:
        late = sum(not s.before(e, resets[-1]) for e in arrived)
        if late:
            reason = f"{late} of {len(arrived)} increments may arrive after its reset"
            yield "race", core, "sender", reason


def _progress_problems(s: Schedule, core: int) -> Iterator[tuple]:
    program, events = s.programs[core], s.step[core]
    stuck = [event for event in events if not s.must >> event & 1]
    if stuck:
        wait = s.waits[stuck[0]]
        semaphore = "sender" if wait.exact else "receiver"
        yield "deadlock", core, semaphore, _why_stuck(s, core, stuck[0], wait)
    if Step.PUSH not in program:
        yield "deadlock", core, None, "it never pushes, and compute waits for weights"
    sent = s.events(core, *MULTICASTS)
    data = s.events(core, Step.MULTICAST_DATA)
    if data and sent[-1] == data[-1] and s.alive(data[-1]):
        reason = "no flag ends its linked multicast, which blocks its NoC interface"
        yield "deadlock", core, None, reason


def _why_stuck(s: Schedule, core: int, event: int, wait: Wait) -> str:
    counting = s.counting(event)
    if wait.exact and len(counting) != wait.needed:
        return f"waits for exactly {wait.needed} increments; {len(counting)} can arrive"
    if not counting:
        return f"no VALID flag reaches it: {_why_no_flag(s, core)}"
    what = "an increment" if wait.exact else "the flag"
    if wait.clear is not None and not all(s.before(wait.clear, a) for a in counting):
        undone = "the core resets it" if wait.exact else "the core sets INVALID"
        return f"{what} may arrive before {undone}, and be lost"
    return f"{what} may never be sent, or not as VALID"


def _why_no_flag(s: Schedule, core: int) -> str:
    sender, (x, y) = s.names[core], s.xy[core]
    if sender == NO_CORE:
        return "the sender it names is no core of the program"
    if not any(s.alive(e) for e in s.events(sender, Step.MULTICAST_FLAG)):
        return f"{s.xy[sender]}, which it names, never sends one"
    if not s.covered[sender, y, x]:
        return f"the rectangle of {s.xy[sender]}, which it names, leaves it out"
    return "it comes before the core sets INVALID"


def _destination_problems(s: Schedule, core: int) -> Iterator[tuple]:
    """Yields what a multicast's rectangle and `num_dests` get wrong.

    Acknowledgements come from every tile written, never from the sender; `num_dests`
    must be their count and not 0, and the rectangle hold another core than the sender.
    Source: tt-metal API reference v0.67.0, noc_async_write_multicast; in this kernel
    nothing waits for them.
    """
    if not any(s.alive(e) for e in s.events(core, *MULTICASTS)):
        return
    of_xy = {xy: other for other, xy in enumerate(s.xy)}
    tiles = [(int(x), int(y)) for y, x in np.argwhere(s.covered[core])]
    for xy in tiles:
        dest = of_xy.get(xy)
        if dest is None:
            reason = f"no core of the program, inside the rectangle of {s.xy[core]}"
            yield "stray write", xy, None, reason
        elif s.names[dest] != core:
            reason = f"inside the rectangle of {s.xy[core]}, which it does not name"
            yield "stray write", xy, None, reason
    num_dests = s.num_dests[core]
    if num_dests != len(tiles):
        reason = f"`num_dests` is {num_dests}; {len(tiles)} tiles acknowledge"
        yield "acknowledgement", core, None, reason
    elif num_dests == 0:
        reason = "multicast to nobody: `num_dests` must not be 0"
        yield "acknowledgement", core, None, reason
