"""The search for what explains an output: every mistake is made and compared.

Moves, orders and factors are looked for in the file first, and then made.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from jaxdw.faults import moves
from jaxdw.faults.catalogue import CATALOGUE
from jaxdw.faults.fault import Fault
from jaxdw.faults.fit import ROUGHLY, Reading, fit, read_fit, snapped, take_sample
from jaxdw.faults.foretold import Excluded, make_probe
from jaxdw.faults.on_file import to_bf16
from jaxdw.faults.on_host import (
    Change,
    by_channel,
    exchange,
    of_bias,
    of_input,
    of_weights,
    on_host,
)
from jaxdw.faults.tried import NEAR, Mask, Tried, alike, try_output
from jaxdw.faults.used_chip import Launch, Output, lay_out, run_launch
from jaxdw.judge.draws import Operands
from jaxdw.plan.plan import Plan

Progress = Callable[[str], None]

BY_ID = {fault.id: fault for fault in CATALOGUE}
LEAST_EVIDENCE = 16  # outputs that a mistake has to explain
FAR = 0.1  # from 1, of a factor: LoFi alone shrinks by 4 %
_MADE = (-1, 2, 0.5)  # factors that have faults of their own
CLOSE = 0.25  # root mean square, as a share of the size: other arithmetic may explain
_BELOW = 0.1  # the least of an activation, that arithmetic may leave
_PAIRED = 6  # nearest faults that are made together with every other
_ALIKE_OUTPUTS = 2**16  # that two of a kind may have alike, at most
_PAIR_OUTPUTS = 2**18  # above, the nearest are paired among themselves only
_STAGES = (
    "compute", "host", "prepare", "tiles", "pack", "read", "multicast", "bias", "halo",
    "window", "output", "file",
)  # fmt: skip


VAGUE = (  # said only where nothing else is
    "reordered", "repeated", "zeros", "one-value", "not-a-number", "other-bias",
)  # fmt: skip


class Search:
    """What was tried to explain one output.

    Attributes:
      right: what the emulation gives; `found`: the output in question; `wrong`: where
        they differ.
      tried: every explanation; `intact` is the emulation as one of them.
      made: ids of the faults that were made, or told to be far off.
      excluded: faults that were told to be far off, and how far.
      sample, fit, right_fit: windows, and the weights with which the output, and the
        emulation's, are a convolution. `reading`: what the output's are, if the fit
        explains every channel.
    """

    def __init__(
        self,
        plan: Plan,
        operands: Operands,
        output: np.ndarray,
        progress: Progress = lambda what: None,
    ):
        self.plan, self.operands, self.progress = plan, operands, progress
        with np.errstate(invalid="ignore"):  # signalling NaN
            self.found: Output = output.astype(np.float32) + np.float32(0)  # -0 is 0
        self._launch = lay_out(plan, known=False)
        self._unsaved = run_launch(self._launch, operands)
        self.right = self._run(self._launch)
        self.wrong: Mask = ~alike(self.found, self.right)
        self.tried: list[Tried] = []
        self.made: set[str] = set()
        self._launches: dict[str, Launch] = {}  # by fault
        self.excluded: list[tuple[Excluded, tuple[Fault, ...]]] = []
        self.reading: Reading | None = None

    def _run(self, launch: Launch) -> Output:
        """Runs a launch; one that differs on the way into a file only, is not."""
        own = self._launch
        same = launch.plan is own.plan and launch.maps is own.maps
        if same and launch.host is own.host and launch.cores is own.cores:
            return launch.save(launch.plan, self._unsaved) + np.float32(0)
        return run_launch(launch, self.operands) + np.float32(0)

    def search(self, is_possible: Callable[["Search"], bool]) -> None:
        """Makes mistake after mistake until one gives the file, bit for bit.

        Args:
          is_possible: whether what was tried may have been, for all that is known.
        """
        self.intact = self._compare("", "", self.right)
        if alike(self.found, np.full_like(self.found, self.found.flat[0])).all():
            self._gaps()  # one value says nothing of what gave it
            return
        fixed = [f for f in CATALOGUE if not f.solved and f.applies(self.plan)]
        self.probe = make_probe(self._launch, self.operands, self.right, self.found)
        near = self.intact.distance <= CLOSE and self.probe.is_near(self._launch)
        rounding = [f for f in fixed if f.rounds]
        others = [f for f in fixed if not f.rounds]
        if near:
            self._make_all(sorted(rounding, key=self._is_unlikely))
        computing = [f for f in others if f.computes]
        if not self._explained() and self._is_below_activation():
            self._make_all(computing)
        if not self._explained():
            self.progress("moves")
            self._moves_of("", "", self.right)
            self._make_all([f for f in others if not f.computes])
        if not self._explained():
            self._of_fit()
            self._two_channels()
            self._scaled_output()
            self._make_all([f for f in computing if f.id not in self.made])
        if not self._explained():
            if not is_possible(self):
                self._make_nearest()  # before pairs, which may say the same
            if self.intact.residue > NEAR:
                self._pairs(fixed)
        if not any(t.fault not in VAGUE for t in self._complete()):
            self._gaps()

    def _is_unlikely(self, fault: Fault) -> bool:
        """Whether a fault makes sums otherwise, as the file does not show, or not.

        A file that is nearer to float32 than the emulation shows other sums.
        """
        launch = self._launch_with(fault)
        assert launch is not None
        same = launch.plan.compute == self.plan.compute
        return same if self.probe.exacter else not same

    def _is_below_activation(self) -> bool:
        """Whether the file holds less than the planned activation ever gives."""
        least = ROUGHLY[self.plan.conv.activation](np.linspace(-8, 0, 1000)).min()
        return bool((self.found < least - _BELOW).any())

    def _explained(self) -> bool:
        return bool(self._complete())

    def _complete(self) -> list[Tried]:
        """Returns what gives every output of the file."""
        exact = [t for t in self.tried if t.fault and t.match == "exact"]
        return [t for t in exact if not t.num_unknown]

    def _make(self, *faults: Fault, anyhow: bool = False) -> None:
        """Makes faults of the catalogue, the first first, and compares the output.

        Args:
          anyhow: whether even if some outputs tell that it is far off.
        """
        name = " + ".join(fault.id for fault in faults)
        self.progress(name)
        launch = self._launch_with(*faults)
        if launch is None:
            return
        if not anyhow and not any(fault.rounds for fault in faults):
            excluded = self.probe.exclude(launch)
        else:  # what rounds otherwise cannot be told without a run
            excluded = None
        if excluded is None:
            self._compare(name, "", self._run(launch))
        else:
            self.made.update(name.split(" + "))
            self.excluded.append((excluded, faults))

    def _launch_with(self, *faults: Fault) -> Launch | None:
        """Returns a launch with these mistakes; None if they cannot be made at once.

        Those that change no maps come last: the others' maps are composed once.
        """
        for fault in faults:
            if fault.id not in self._launches:
                self._launches[fault.id] = fault.inject(self._launch)
        keeps = {f: self._launches[f.id].maps is self._launch.maps for f in faults}
        first, *others = sorted(faults, key=lambda fault: keeps[fault])
        launch = self._launches[first.id]
        for fault in others:
            if launch.plan is not self.plan and not fault.applies(launch.plan):
                return None
            launch = fault.inject(launch)
        return launch

    def _make_nearest(self) -> None:
        """Makes what was told to be off, but less than anything."""
        off = [e for e in self.excluded if e[0].distance < 1 and e[0].known == 1]
        for _, faults in sorted(off, key=lambda e: e[0])[:_PAIRED]:
            self._make(*faults, anyhow=True)

    def _compare(
        self, fault: str, detail: str, output: Output, unknown: Mask | None = None
    ) -> Tried:
        """Compares an output with the file, and keeps the result.

        Args:
          unknown: outputs that are not determined; those that are NaN and should not
            be if None.
        """
        if unknown is None:
            unknown = np.isnan(output) & ~np.isnan(self.right)
        self.made.update(fault.split(" + "))
        tried = try_output(
            self.plan, self.found, output, unknown, fault=fault, detail=detail
        )
        self.tried.append(tried)
        return tried

    def _moves_of(self, fault: str, detail: str, output: Output) -> None:
        """Finds moves from what a fault gives to the file."""
        for move in moves.moves(self.plan, output, self.found):
            both = " + ".join(filter(None, (fault, move.fault)))
            where = ", ".join(filter(None, (detail, move.detail)))
            self._compare(both, where, move.output)

    def _gaps(self) -> None:
        """Names places that hold nothing, or one value, if all others are right."""
        values = self.found[self.wrong]
        if np.isnan(values).all():
            fault = "not-a-number"
        elif not values.any():
            fault = "zeros"
        elif (values == values[0]).all() and values.size >= LEAST_EVIDENCE:
            fault = "one-value"
        else:
            return
        value = "" if fault != "one-value" else f", {values[0]:g}"
        detail = f"{values.size:,} outputs{value}"
        held = np.where(self.wrong, self.found, self.right)
        self._compare(fault, detail, held, np.zeros_like(self.wrong))

    def _of_fit(self) -> None:
        """Makes what a fit of the weights suggests; keeps what the fit says."""
        sample = take_sample(self.plan.window, self.operands.x, self.found)
        self.sample = sample
        channels = self.plan.conv.channels
        of_right = self.right.reshape(-1, channels)[sample.sticks]
        self.right_fit = fit(dataclasses.replace(sample, found=of_right))
        self.fit = fit(sample)
        if not self.fit.explains_all(self.right_fit):
            return
        self.reading = reading = read_fit(self.fit, self.right_fit)
        if reading.order is not None:
            self._make_order(reading.order)
        factor = snapped(reading.factor or 1.0)
        if factor not in _MADE and abs(factor - 1) >= FAR:
            factor = np.float32(factor)
            change = of_weights(lambda plan, w: w * factor)
            self._make_solved("weights-scaled", f"factor {factor:g}", change)
        own = self.operands.bias
        if reading.own_weights and not reading.own_bias and own is not None:
            bias = np.where(self.fit.unknown, own, self.fit.bias)
            self._make_solved("other-bias", "fitted", of_bias(lambda plan, b: bias))

    def _make_order(self, order: Int[np.ndarray, " c"]) -> None:
        changed = np.flatnonzero(order != np.arange(len(order)))
        listed = [f"channel {c} has those of {order[c]}" for c in changed[:4]]
        detail = ", ".join(listed + ["..."] * (len(changed) > 4))
        change = of_weights(lambda plan, w: w[order])
        self._make_solved("weights-swapped", detail, change)

    def _make_solved(self, name: str, detail: str, change: Change) -> None:
        self.progress(name)
        self._compare(name, detail, self._run(on_host(change)(self._launch)))

    def _two_channels(self) -> None:
        """Exchanges input and weights of the two channels that differ, if just two."""
        wrong = self.wrong.any(axis=(0, 1, 2))
        if np.count_nonzero(wrong) != 2:
            return
        first, second = (int(c) for c in np.flatnonzero(wrong))
        swap = exchange(first, second)
        self._make_order(swap(np.arange(self.plan.conv.channels)))
        self._make_solved(
            "input-channels-swapped",
            f"channels {first} and {second}",
            of_input(lambda plan, x: by_channel(swap, x)),
        )

    def _scaled_output(self) -> None:
        """Scales the emulation's output by the factor that comes nearest."""
        right, found = (v.astype(np.float64) for v in (self.right, self.found))
        size = (right**2).sum()
        if not size or not np.isfinite(found).all():
            return
        factor = snapped(float((right * found).sum() / size))
        if not factor or abs(factor - 1) < FAR:
            return
        scaled = self.right * np.float32(factor)
        if self.plan.conv.output_dtype != "float32":
            scaled = to_bf16(scaled)
        self._compare("output-scaled", f"factor {factor:g}", scaled)

    def _make_all(self, faults: list[Fault]) -> None:
        """Makes faults; those that compute otherwise only until one is the cause."""
        for fault in faults:
            if not (fault.computes and self._explained()) or self._is_of_a_kind(fault):
                self._make(fault)

    def _is_of_a_kind(self, fault: Fault) -> bool:
        """Whether it may well give the same as one that explains the file."""
        return self.found.size <= _ALIKE_OUTPUTS and any(
            t.match == "exact"
            and t.fault in BY_ID
            and BY_ID[t.fault].kind == fault.kind
            for t in self.tried
            if fault.kind
        )

    def _pairs(self, fixed: list[Fault]) -> None:
        """Makes two mistakes at once: what one gives moved, and the nearest two."""
        if self.reading is None:  # else every output is in its place
            self._moves_of_faults(fixed)
        if self._explained():
            return
        half = self.wrong.size / 2
        singles = [
            (t.distance, t.num_unknown, t.fault)
            for t in self.tried
            if t.fault in BY_ID and not BY_ID[t.fault].solved and t.num_unknown <= half
        ]
        singles += [
            (off.distance, (1 - off.known) * self.wrong.size, faults[0].id)
            for off, faults in self.excluded
            if off.known >= 0.5
        ]
        nearest = list(dict.fromkeys(name for *_, name in sorted(singles)))[:_PAIRED]
        few = self.right.size <= _PAIR_OUTPUTS
        cheap = [f for f in fixed if not f.computes]
        others = cheap if few else [BY_ID[name] for name in nearest]
        pairs: dict[frozenset[str], tuple[Fault, Fault]] = {}
        residues = {t.fault: t.residue for t in self.tried}
        for rank, name in enumerate(nearest):
            first = BY_ID[name]
            rounding = [f for f in fixed if f.rounds and f.computes]
            close = residues.get(name, np.inf) <= CLOSE
            rounds = rounding if not rank and close else []
            for second in (*others, *rounds):
                if _go_together(first, second):
                    pair = sorted((first, second), key=lambda f: _STAGES.index(f.stage))
                    pairs.setdefault(frozenset(f.id for f in pair), (pair[0], pair[1]))
        for first, second in pairs.values():
            self._make(first, second)
            if self._explained():
                return

    def _moves_of_faults(self, fixed: list[Fault]) -> None:
        """Finds a mistake whose outputs the file holds, all of them, elsewhere."""
        if self.plan.conv.output_dtype == "bfloat16":
            if not alike(to_bf16(self.found), self.found).all():
                return
        total = moves.sum_of(self.found)
        for fault in fixed:
            if not fault.computes:
                launch = self._launch_with(fault)
                assert launch is not None
                output = self._run(launch)
                if moves.sum_of(output) == total:
                    self._moves_of(fault.id, "", output)


def _go_together(first: Fault, second: Fault) -> bool:
    """Whether two faults can be made at once: not two of one stage of the chip."""
    if first.id == second.id:
        return False
    return first.stage != second.stage or first.stage in ("host", "file")
