"""A slow second opinion on weight multicast: every interleaving, tile by tile.

Follows kernels.md section 2 (protocol) and device.md (NoC); shares no code with what it
tests. Programs are tuples of step names.
"""

import itertools

import numpy as np

WORMHOLE_X = [1, 2, 3, 4, 6, 7, 8, 9]  # NoC 0 columns of Tensix tiles, of 10
WORMHOLE_Y = [1, 2, 3, 5, 7, 8, 9, 10, 11]  # of 12; row 4 harvested


def walked(start: int, end: int, workers: list[int], size: int, noc: int) -> list[int]:
    """Returns the workers from start to end, in the direction in which the NoC flows.

    NoC 0 flows right and down, NoC 1 left and up; both are rings.
    """
    at, last, passed = workers[start], workers[end], []
    while True:
        if at in workers:
            passed.append(workers.index(at))
        if at == last:
            return sorted(passed)
        at = (at + (-1 if noc else 1)) % size


def tiles_hit(multicast, sender: int, noc: int) -> set[tuple[int, int]]:
    """Returns the logical (x, y) that a sender's multicast writes, itself left out."""
    x0, y0, x1, y1 = multicast.rect[sender].tolist()
    if not multicast.num_dests[sender] and not multicast.rect[sender].any():
        return set()  # corners never given: NoC (0, 0), a DRAM tile
    columns = walked(x0, x1, WORMHOLE_X, 10, noc)
    rows = walked(y0, y1, WORMHOLE_Y, 12, noc)
    return {*itertools.product(columns, rows)} - {tuple(multicast.xy[sender].tolist())}


class Exploration:
    """All executions of one launch: what ever came first, who was ever stuck.

    Events are (kind, core, ...): steps under their names, and `write`, `flag`, `count`
    that arrive at a core, and `load`, a sender's NoC interface reading its memory.
    """

    def __init__(self, multicast, programs, count_excess, in_order, noc):
        self.events: list[tuple] = []
        self.needs: list[list[int]] = []
        self.programs = []
        self.hit = [tiles_hit(multicast, c, noc) for c in range(len(multicast.xy))]
        for core, is_sender in enumerate(multicast.is_sender):
            lone = multicast.num_dests[core] <= 0
            role = "receiver" if not is_sender else "lone_sender" if lone else "sender"
            self.programs.append(list(programs[role]))
            self._run(core, multicast, count_excess, in_order)
        self.not_yet = [0] * len(self.events)  # what had ever not come when each came
        self.ever = 0
        self.stuck: set[int] = set()
        for initial in (0, 1):  # of every receiver semaphore
            self._explore((initial,) * len(self.programs))

    def _add(self, event: tuple, needs: list[int]) -> int:
        self.events.append(event)
        self.needs.append(needs)
        return len(self.events) - 1

    def _run(self, core, multicast, count_excess, in_order):
        names, xy = self.programs[core], [tuple(c) for c in multicast.xy.tolist()]
        last, reads, sent = None, [], []
        for at, name in enumerate(names):
            awaited = int(multicast.num_dests[core]) + count_excess
            last = self._add((name, core, awaited), [] if last is None else [last])
            if name == "READ_DRAM":
                reads.append(self._add(("write", core, core), [last]))
            elif name == "READ_BARRIER":
                self.needs[last] += reads
            elif name == "INCREMENT_SENDER" and multicast.names[core] >= 0:
                self._add(("count", int(multicast.names[core])), [last])
            elif name in ("MULTICAST_DATA", "MULTICAST_FLAG"):
                load = self._add(("load", core), [last])
                kind = "write" if name == "MULTICAST_DATA" else "flag"
                arrivals = {}
                for tile in sorted(self.hit[core] & set(xy)):
                    needs = [load]
                    for earlier, others in sent:
                        if in_order or "FLUSH_WRITES" in names[earlier:at]:
                            needs.append(others[tile])
                    event = (kind, xy.index(tile), core, load)
                    arrivals[tile] = self._add(event, needs)
                sent.append((at, arrivals))

    def _explore(self, initial: tuple[int, ...]) -> None:
        needed = [sum(1 << n for n in needs) for needs in self.needs]
        start: tuple = (0, (0,) * len(initial), initial, ())
        todo, seen = [start], {start}
        while todo:
            done, counts, flags, loads = todo.pop()
            stopped = True
            for event, (kind, core, *rest) in enumerate(self.events):
                if done >> event & 1 or needed[event] & ~done:
                    continue
                if kind == "WAIT_SENDER_EQUALS" and counts[core] != rest[0]:
                    continue
                if kind == "WAIT_RECEIVER_VALID" and not flags[core]:
                    continue
                stopped = False
                self.not_yet[event] |= ~done
                self.ever |= 1 << event
                new_counts, new_flags, new_loads = list(counts), list(flags), loads
                if kind == "count":
                    new_counts[core] += 1
                elif kind == "RESET_SENDER":
                    new_counts[core] = 0
                elif kind == "flag":
                    new_flags[core] = dict(loads)[rest[1]]
                elif kind in ("SET_OWN_VALID", "SET_OWN_INVALID"):
                    new_flags[core] = int(kind == "SET_OWN_VALID")
                elif kind == "load":
                    new_loads = tuple(sorted((*loads, (event, flags[core]))))
                state = (
                    done | 1 << event,
                    tuple(new_counts),
                    tuple(new_flags),
                    new_loads,
                )
                if state not in seen:
                    seen.add(state)
                    todo.append(state)
            if stopped:
                left = [e for e in range(len(self.events)) if not done >> e & 1]
                self.stuck |= {self.events[e][1] for e in left if self.is_step(e)}

    def is_step(self, event: int) -> bool:
        return self.events[event][0].isupper()

    def before(self, a: int, b: int) -> bool:
        """Whether `a` came first in every execution that has `b`."""
        return not self.not_yet[b] >> a & 1

    def of(self, core: int, *kinds: str) -> list[int]:
        """Returns the events of these kinds at a core that come in some execution."""
        return [
            e
            for e, event in enumerate(self.events)
            if event[0] in kinds and event[1] == core and self.ever >> e & 1
        ]


def problems(
    multicast, programs: dict[str, list[str]], count_excess, in_order, noc
) -> set[tuple]:
    """Returns (kind, core, semaphore) of all that can go wrong."""
    run, out = Exploration(multicast, programs, count_excess, in_order, noc), set()
    xy = [tuple(core) for core in multicast.xy.tolist()]
    asked = np.where(multicast.is_sender, -1, multicast.names).tolist()
    for core, names in enumerate(run.programs):
        is_sender = bool(multicast.is_sender[core])
        writes, reserves = run.of(core, "write"), run.of(core, "RESERVE")
        if (core if is_sender else asked[core]) not in [
            run.events[w][2] for w in writes
        ]:
            out.add(("unserved", xy[core], None))
        for write in writes:
            own = run.events[write][2] == core
            if not any(run.before(r, write) for r in reserves):
                out.add(("race", xy[core], None if own else "sender"))
            for reader in run.of(core, "PUSH", "MULTICAST_DATA"):
                if not run.before(write, reader):
                    out.add(("race", xy[core], None if own else "receiver"))
        for flag in run.of(core, "flag"):
            for unset in run.of(core, "SET_OWN_INVALID"):
                if not run.before(unset, flag) and not run.before(flag, unset):
                    out.add(("race", xy[core], "receiver"))
        for send in run.of(core, "MULTICAST_FLAG"):
            if not any(run.before(s, send) for s in run.of(core, "SET_OWN_VALID")):
                out.add(("race", xy[core], "receiver"))
        counts, resets = run.of(core, "count"), run.of(core, "RESET_SENDER")
        if counts and "RESET_SENDER" not in names:
            out.add(("race", xy[core], "sender"))
        if resets and len(resets) == names.count("RESET_SENDER"):
            if not all(run.before(c, resets[-1]) for c in counts):
                out.add(("race", xy[core], "sender"))
        if core in run.stuck:
            out.add(("deadlock", xy[core], "sender" if is_sender else "receiver"))
        sends = run.of(core, "MULTICAST_DATA", "MULTICAST_FLAG")
        sent = [name for name in names if name.startswith("MULTICAST")]
        all_sent = len(sends) == len(sent)
        if "PUSH" not in names or (sent[-1:] == ["MULTICAST_DATA"] and all_sent):
            out.add(("deadlock", xy[core], None))
        if sends:
            hit = run.hit[core]
            for tile in hit:
                if tile not in xy or asked[xy.index(tile)] != core:
                    out.add(("stray write", tile, None))
            if len(hit) != multicast.num_dests[core] or not hit:
                out.add(("acknowledgement", xy[core], None))
    return out
