"""What happens before what in one launch of the readers' protocol.

The events of a launch are the steps of every core's program, the end of every DRAM
read, and every arrival of an increment, of data and of a flag. `a` happens before `b`
if `a` came first in every execution that has `b`. That follows from
- program order, and a read barrier for the reads before it;
- the NoC: what one core multicasts reaches each destination in the order of issue
  (one virtual channel, linked);
- a wait for `n` increments: whatever came with any `n` of those that can count (with
  each of them, if only `n` can);
- a wait for VALID after the core set INVALID: whatever came with any one of the flags
  that can end it.
A wait that cannot end, if only because what would end it comes after it, never happens,
nor does what follows it. The least fixpoint of these rules holds under every timing.

The receiver semaphore's first value counts as unknown (INVALID in a fresh program,
VALID where an earlier launch left it); the sender semaphore starts at 0.

Source: tt-isa-documentation WormholeB0/NoC/{MemoryMap,Ordering} @39304719 (linked
transactions).
"""

import dataclasses

import numpy as np

from jaxdw.maps.multicast import NO_CORE, Multicast
from jaxdw.schedule.protocol import MULTICASTS, Protocol, Step


@dataclasses.dataclass(frozen=True, slots=True)
class Wait:
    """A step that ends once `needed` of the arrivals came after `clear`.

    `clear` is the core's own last step before it that undoes them, if there is one.
    """

    arrivals: list[int]
    needed: int
    clear: int | None
    exact: bool  # more than `needed` do not end it


class Schedule:
    """One launch's events, which come before which, which never and which always.

    Sets of events are bit masks. Attributes:
      step: the event of each step of each core.
      writes: into each core's weights, as (event, core they come from).
      flags: into each core's receiver semaphore, as (event, core, surely VALID).
      increments: of each core's sender semaphore.
    """

    def __init__(self, args: Multicast, covered: np.ndarray, protocol: Protocol):
        self.xy = [(int(x), int(y)) for x, y in np.asarray(args.xy)]
        self.is_sender = np.asarray(args.is_sender).tolist()
        self.names = np.where(args.is_sender, NO_CORE, args.names).tolist()
        self.num_dests = np.asarray(args.num_dests).tolist()
        cores = range(len(self.xy))
        self.covered = covered.copy()  # [cores, tiles y, tiles x], loopback excluded
        for core, (x, y) in enumerate(self.xy):
            self.covered[core, y, x] = False
        self.programs = [
            protocol.receiver
            if not self.is_sender[core]
            else protocol.sender
            if self.num_dests[core] > 0
            else protocol.lone_sender
            for core in cores
        ]
        self.after: list[list[int]] = []
        self.step = [self._chain(program) for program in self.programs]
        self.writes: list[list[tuple[int, int]]] = [[] for _ in cores]
        self.flags: list[list[tuple[int, int, bool]]] = [[] for _ in cores]
        self.increments: list[list[int]] = [[] for _ in cores]
        for core in cores:
            self._send(core, protocol.in_order)
        self.waits = {
            self.step[core][at]: self._wait(core, at, protocol.count_excess)
            for core in cores
            for at, step in enumerate(self.programs[core])
            if step in (Step.WAIT_SENDER_EQUALS, Step.WAIT_RECEIVER_VALID)
        }
        self.sure = sum(1 << f for flags in self.flags for f, _, sure in flags if sure)
        self.known = [0] * len(self.after)
        self.dead = 0
        self._order()
        self.must = 0
        self._progress()

    def _event(self, *after: int) -> int:
        self.after.append(list(after))
        return len(self.after) - 1

    def _chain(self, program: tuple[Step, ...]) -> list[int]:
        events: list[int] = []
        for _ in program:
            events.append(self._event(*events[-1:]))
        return events

    def _send(self, core: int, in_order: bool) -> None:
        """Adds what a core's steps cause elsewhere or later."""
        program, reads = self.programs[core], []
        sent: list[tuple[int, dict[int, int]]] = []
        x, y = np.array(self.xy).T
        dests = np.flatnonzero(self.covered[core, y, x]).tolist()
        for at, (event, step) in enumerate(zip(self.step[core], program, strict=True)):
            if step is Step.READ_DRAM:
                reads.append(self._event(event))
                self.writes[core].append((reads[-1], core))
            elif step is Step.READ_BARRIER:
                self.after[event] += reads
            elif step is Step.INCREMENT_SENDER and self.names[core] != NO_CORE:
                self.increments[self.names[core]].append(self._event(event))
            elif step in MULTICASTS:
                ahead = [
                    arrivals
                    for earlier, arrivals in sent
                    if in_order or Step.FLUSH_WRITES in program[earlier:at]
                ]
                arrivals = {
                    d: self._event(event, *(a[d] for a in ahead)) for d in dests
                }
                sent.append((at, arrivals))
                for dest, arrival in arrivals.items():
                    if step is Step.MULTICAST_DATA:
                        self.writes[dest].append((arrival, core))
                    else:
                        sure = Step.SET_OWN_VALID in program[:at]
                        self.flags[dest].append((arrival, core, sure))

    def _wait(self, core: int, at: int, count_excess: int) -> Wait:
        program, events = self.programs[core], self.step[core]
        exact = program[at] is Step.WAIT_SENDER_EQUALS
        undo = Step.RESET_SENDER if exact else Step.SET_OWN_INVALID
        clear = [e for e, s in zip(events[:at], program[:at], strict=True) if s is undo]
        return Wait(
            arrivals=self.increments[core]
            if exact
            else [f[0] for f in self.flags[core]],
            needed=self.num_dests[core] + count_excess if exact else 1,
            clear=clear[-1] if clear else None,
            exact=exact,
        )

    def events(self, core: int, *steps: Step) -> list[int]:
        """Returns the events of those steps of a core, in program order."""
        both = zip(self.step[core], self.programs[core], strict=True)
        return [event for event, step in both if step in steps]

    def before(self, a: int, b: int) -> bool:
        """Whether `a` came first in every execution that has `b`."""
        return bool((self.dead >> b | self.known[b] >> a) & 1)

    def alive(self, event: int) -> bool:
        return not self.dead >> event & 1

    def counting(self, event: int) -> list[int]:
        """Returns the arrivals that can help to end a wait."""
        wait = self.waits[event]
        return [
            a
            for a in wait.arrivals
            if self.alive(a)
            and not self.known[a] >> event & 1
            and (wait.clear is None or not self.known[wait.clear] >> a & 1)
        ]

    def _order(self) -> None:
        """Closes happens-before and finds the events that never happen."""
        old = None
        while old != (old := (tuple(self.known), self.dead)):
            for event, preds in enumerate(self.after):
                known = self.known[event]
                for p in preds:
                    known |= self.known[p] | 1 << p
                never = False
                wait = self.waits.get(event)
                if wait and (wait.exact or wait.clear is not None):
                    counting = self.counting(event)
                    never = not 0 <= wait.needed <= len(counting)
                    causes = [self.known[a] | 1 << a for a in counting]
                    known |= _in_any(wait.needed, causes)
                self.known[event] = known
                if never or known & self.dead:
                    self.dead |= 1 << event

    def _progress(self) -> None:
        """Finds the events that happen in every execution."""
        old = None
        while old != (old := self.must):
            for event, preds in enumerate(self.after):
                wait = self.waits.get(event)
                ready = all(self.must >> p & 1 for p in preds) and self.alive(event)
                if ready and (wait is None or self._ends(event, wait)):
                    self.must |= 1 << event

    def _ends(self, event: int, wait: Wait) -> bool:
        """Whether a wait that is reached ends in every execution."""
        counting = self.counting(event)
        safe = [
            a
            for a in counting
            if self.must >> a & 1 and (wait.clear is None or self.before(wait.clear, a))
        ]
        if wait.exact:
            return len(safe) == len(counting) == wait.needed
        unsure = [a for a in counting if not self.sure >> a & 1]
        return any(all(self.before(u, a) for u in unsure) for a in safe)


def _in_any(needed: int, sets: list[int]) -> int:
    """Returns what every choice of `needed` sets has in one of them at least."""
    if not 0 < needed <= len(sets):
        return 0
    least = [-1] + [0] * (len(sets) - needed + 1)  # at k: what k sets or more hold
    for members in sets:
        for k in range(len(least) - 1, 0, -1):
            least[k] |= least[k - 1] & members
    return least[-1]
