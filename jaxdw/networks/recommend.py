"""The cheapest mix of settings, layer by layer, that keeps the quality asked for.

The search is greedy and does not promise the optimum:

1. A layer's candidates are the settings on the front of its own cycles and its own SNR
   on real activations: one that costs more and is worse is dropped.
2. It starts from the cheapest setting that keeps the target on all layers alike, or, if
   none does, from each layer's most accurate candidate.
3. Each candidate cheaper than a layer's present one is a move. Moves are ordered by
   the noise that they would add at the network's output for each cycle saved: the
   layer's own noise there, times what the output showed when it alone was emulated.
4. The longest run of first moves that keeps the target is found by bisection, and then
   every further move is tried once, in that order.
5. The mix is checked anew, end to end, on all samples.

What lies before the first layer that a move changes is not computed again.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxdw.errors import ConfigError, UnsupportedError
from jaxdw.networks.figures import measured, output_figures
from jaxdw.networks.measure import Question, baseline, chip, network
from jaxdw.networks.network import Trace
from jaxdw.networks.rows import Row
from jaxdw.networks.settings import Setting, planned
from jaxdw.sweep.rows import Point

TARGETS = ("argmax", "pcc", "snr", "metric")


@dataclasses.dataclass(frozen=True)
class Target:
    """What a network has to keep: a figure of its outputs, and the least it may be.

    `pcc` and `snr` (dB) hold for the worst output of the worst sample; `argmax` and
    `metric` on the mean of samples, `argmax` of the worst output.
    """

    figure: str
    least: float

    @classmethod
    def read(cls, text: str) -> "Target":
        """Reads `argmax=1.0`.

        Raises:
          ConfigError: another text.
        """
        figure, _, least = text.partition("=")
        try:
            value = float(least)
            if figure not in TARGETS or not np.isfinite(value):
                raise ValueError(text)
        except ValueError:
            raise ConfigError(
                f"`--target` (={text!r}) must be one of {', '.join(TARGETS)} and the "
                "least it may be; try argmax=1.0 or snr=30"
            ) from None
        return cls(figure, value)

    def of(self, samples: Sequence[Sequence[Mapping[str, Any]]]) -> float:
        """Returns the figure of a network, from a row for each output and sample.

        Raises:
          ConfigError: no output has the figure.
        """
        name = {"snr": "snr_db"}.get(self.figure, self.figure)
        worst = []
        for rows in samples:
            found = [self._value(row, name) for row in rows]
            known = [value for value in found if value is not None]
            if not known:
                raise ConfigError(
                    f"`--target` (={self.figure}) must be a figure that an output has; "
                    f"use another of {', '.join(TARGETS)}"
                )
            worst.append(min(known))
        if self.figure in ("pcc", "snr"):
            return min(worst)
        return float(np.mean(worst))

    def _value(self, row: Mapping[str, Any], name: str) -> float | None:
        value = row[name]
        if name == "snr_db" and value is None and row["gain"] == 1:
            return float("inf")  # equal
        return value

    def kept(self, value: float) -> bool:
        return value >= self.least


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """A mix of settings.

    Attributes:
      setting: a point for each layer.
      value: the target's figure, checked end to end; kept: whether it holds.
      cycles: the lower bound of the mix; uniform: of the cheapest setting that keeps
        the target on all layers alike, None if none does.
      checks: runs of the network, or of its end.
    """

    setting: Setting
    target: Target
    value: float
    kept: bool
    cycles: int
    uniform: int | None
    checks: int


class _Search:
    def __init__(self, question: Question, target: Target):
        self.question, self.target = question, target
        self.net = network(question.path, question.inputs)
        self.samples = [sample.load() for sample in question.samples]
        self.wants = [
            baseline(question.path, question.inputs, sample).outputs
            for sample in question.samples
        ]
        self.checks = 0
        self.traces: list[Trace] = []  # of the present mix
        self.mix: list[Point] = []

    def value(self, traces: Sequence[Trace]) -> float:
        metric = self.question.metric
        found = []
        for want, trace in zip(self.wants, traces, strict=True):
            got = trace.outputs
            own = measured(metric, got, want) if metric else None
            rows = [output_figures(want[n], got[n]) | {"metric": own} for n in want]
            found.append(rows)
        return self.target.of(found)

    def run(self, mix: Sequence[Point]) -> list[Trace]:
        """Runs a mix from the first layer on that differs from the present one."""
        self.checks += 1
        changed = [n for n, p in enumerate(mix) if not self.mix or self.mix[n] != p]
        first = min((self.net.level(n) for n in changed), default=0)
        on_chip = chip(self.net, Setting(tuple(mix)))
        found = []
        for number, sample in enumerate(self.samples):
            since = self.traces[number] if self.mix and first else None
            trace = self.net.run(
                sample, on_chip, since=since, first=first if since else 0, keep=True
            )
            if since is not None:  # what was not computed again
                values = since.values[:first] + trace.values
                trace = dataclasses.replace(trace, values=values)
            found.append(trace)
        return found

    def take(self, mix: Sequence[Point], traces: list[Trace]) -> None:
        self.mix, self.traces = list(mix), traces

    def try_mix(self, mix: Sequence[Point]) -> bool:
        """Takes a mix if it keeps the target."""
        traces = self.run(mix)
        if not self.target.kept(self.value(traces)):
            return False
        self.take(mix, traces)
        return True


def cycles_of(mix: Sequence[Point]) -> int:
    """Returns the lower bound of all layers' cycles."""
    return Setting(tuple(mix)).cycles()


def recommend(
    question: Question,
    target: Target,
    rows: Sequence[Row],
    progress: Callable[[int], None] | None = None,
) -> Recommendation:
    """Searches as the module says.

    Args:
      rows: of the question, as `ask` returned them.
      progress: called with the checks done.

    Raises:
      ConfigError: no setting by which all layers run.
    """
    search = _Search(question, target)
    runnable = [s for s in question.settings if not s.problems()]
    if not runnable:
        raise ConfigError(
            f"no setting (of {len(question.settings)}) computes all layers; give other "
            "--programs or --weights-dtypes"
        )
    noise = _own_noise(question, rows)
    fronts = [
        _front([s.points[n] for s in runnable], n, noise)
        for n in range(len(search.net.layers))
    ]
    kept = sorted(
        (s for s in runnable if target.kept(search.value(search.run(s.points)))),
        key=Setting.cycles,
    )
    uniform = kept[0].cycles() if kept else None
    start = list(kept[0].points) if kept else [front[-1] for front in fronts]
    traces = search.run(start)
    search.take(start, traces)
    if target.kept(search.value(traces)):
        _lower(search, fronts, noise, progress)
    final = [
        search.net.run(sample, chip(search.net, Setting(tuple(search.mix))))
        for sample in search.samples
    ]
    value = search.value(final)
    return Recommendation(
        setting=Setting(tuple(search.mix)),
        target=target,
        value=value,
        kept=target.kept(value),
        cycles=cycles_of(search.mix),
        uniform=uniform,
        checks=search.checks + 1,
    )


def _own_noise(question: Question, rows: Sequence[Row]) -> dict[tuple, float]:
    """Returns each point's own noise over signal on real activations, the worst."""
    noise: dict[tuple, float] = {}
    by_values = {
        tuple(Setting((point,)).values.values()): point
        for setting in question.settings
        for point in setting.points
    }
    names = next(iter(question.settings)).values.keys()
    for row in rows:
        if row["kind"] != "layer" or row["error"] is not None:
            continue
        key = tuple(row[name] for name in names)
        assert key in by_values
        snr = row["snr_db"]
        share = 0.0 if snr is None else 10 ** (-snr / 10)
        if snr is None and row["exact"] != row["outputs"]:
            share = float("inf")
        at = (row["layer"], *key)
        noise[at] = max(noise.get(at, 0.0), share)
    return noise


def _noise_of(point: Point, noise: Mapping[tuple, float]) -> float:
    key = (point.layer, *Setting((point,)).values.values())
    return noise.get(key, float("inf"))


def _front(
    points: Sequence[Point], number: int, noise: Mapping[tuple, float]
) -> list[Point]:
    """Returns candidates, the cheapest first, each more accurate than the last."""
    costs = []
    for point in points:
        try:
            cycles = planned(point)[0].cycles.total
        except (ConfigError, UnsupportedError):
            continue
        costs.append((cycles, _noise_of(point, noise), len(costs), point))
    found: list[Point] = []
    least = float("inf")
    for _, share, _, point in sorted(costs, key=lambda cost: cost[:3]):
        if share < least or not found:
            found.append(point)
            least = share
    return found


def _lower(
    search: _Search,
    fronts: Sequence[Sequence[Point]],
    noise: Mapping[tuple, float],
    progress: Callable[[int], None] | None,
) -> None:
    """Makes layers cheaper as long as the target holds."""
    shown = [
        _shown_at_output(search, n, fronts[n][0], noise) for n in range(len(fronts))
    ]
    moves = []
    for number, front in enumerate(fronts):
        present = search.mix[number]
        for point in front:
            saved = cycles_of([present]) - cycles_of([point])
            if saved > 0:
                added = max(_noise_of(point, noise) - _noise_of(present, noise), 0.0)
                moves.append((shown[number] * added / saved, -saved, number, point))
    moves.sort(key=lambda move: move[:3])

    def mixed(count: int) -> list[Point]:
        mix = list(search.mix)
        for _, _, number, point in moves[:count]:
            if cycles_of([point]) < cycles_of([mix[number]]):
                mix[number] = point
        return mix

    low, high = 0, len(moves)
    start = mixed(0)
    while low < high:
        middle = (low + high + 1) // 2
        good = search.target.kept(search.value(search.run(mixed(middle))))
        low, high = (middle, high) if good else (low, middle - 1)
        if progress is not None:
            progress(search.checks)
    if mixed(low) != start:
        mix = mixed(low)
        search.take(mix, search.run(mix))
    for _, _, number, point in moves[low:]:
        if cycles_of([point]) >= cycles_of([search.mix[number]]):
            continue
        search.try_mix([*search.mix[:number], point, *search.mix[number + 1 :]])
        if progress is not None:
            progress(search.checks)


def _shown_at_output(
    search: _Search, number: int, point: Point, noise: Mapping[tuple, float]
) -> float:
    """Returns the network's noise over that of the one layer emulated, first sample."""
    net, question = search.net, search.question
    setting = Setting(
        tuple(point if n == number else p for n, p in enumerate(search.mix))
    )
    clean = baseline(question.path, question.inputs, question.samples[0])
    got = net.run(
        search.samples[0], {number: chip(net, setting)},
        since=clean, first=net.level(number),
    )  # fmt: skip
    search.checks += 1
    shares = []
    for name, want in clean.outputs.items():
        if want.dtype.kind == "f":
            power = float(np.sum(want.astype(np.float64) ** 2))
            error = got.outputs[name].astype(np.float64) - want
            shares.append(float(np.sum(error**2)) / (power or 1.0))
    own = _noise_of(point, noise)
    return max(shares, default=1.0) / own if 0 < own < float("inf") else 1.0
