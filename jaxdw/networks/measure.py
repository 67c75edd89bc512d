"""What is measured of a network: tasks that any process can do, each into rows."""

import dataclasses
import functools
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import ml_dtypes
import numpy as np

from jaxdw.errors import ConfigError, UnsupportedError
from jaxdw.judge.reference import reference
from jaxdw.networks.cut import Tensors
from jaxdw.networks.figures import (
    layer_figures,
    measured,
    metric_facts,
    output_figures,
)
from jaxdw.networks.network import Compute, Network, Trace
from jaxdw.networks.rows import Row, digest, key_of
from jaxdw.networks.settings import Setting, channels_zeroed, emulated, planned
from jaxdw.sweep.evaluate import operands_of
from jaxdw.sweep.rows import Inputs, Point

Kind = Literal["control", "layer", "output", "blame"]


class Sample(NamedTuple):
    """Where the inputs of one run lie: (input, file, name in an .npz or None)."""

    name: str
    files: tuple[tuple[str, str, str | None], ...]

    def load(self) -> Tensors:
        """Returns the arrays by input.

        Raises:
          ConfigError: a file that is no array, or holds NaN or infinity.
        """
        found = {name: _array(path, inside) for name, path, inside in self.files}
        for (_, path, _), values in zip(self.files, found.values(), strict=True):
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise ConfigError(
                    f"`--input` (={path!r}) must be finite: of NaN and infinities no "
                    "figure would mean anything; give another sample"
                )
        return found


def _array(path: str, inside: str | None) -> np.ndarray:
    try:
        with open(path, "rb") as file:
            found = np.load(file, allow_pickle=False)
            return found if isinstance(found, np.ndarray) else found[inside]
    except Exception as error:  # of NumPy, zip and zlib, or no memory
        raise ConfigError(
            f"`--input` (={path!r}) must be a .npy file of numbers, or an .npz that "
            f"names the network's inputs: {error}; write one with numpy.save"
        ) from None


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked of a network; a process that holds it needs nothing else.

    Attributes:
      seed: of the random normals that real activations are compared with.
      metric: `module:function`, "" for none.
    """

    path: str
    inputs: Inputs
    samples: tuple[Sample, ...]
    settings: tuple[Setting, ...]
    seed: int = 0
    metric: str = ""


class Task(NamedTuple):
    """One piece of work: of a sample, and by kind of a layer or of a setting."""

    kind: Kind
    sample: int
    number: int = 0

    def key(self, question: Question) -> str:
        """Returns a name of the answer: of the files' contents and what is asked."""
        sample = question.samples[self.sample]
        facts: list[Any] = [self.kind, digest(question.path), question.inputs]
        facts += [(name, digest(path), key) for name, path, key in sample.files]
        if self.kind == "layer":
            points = [setting.points[self.number] for setting in question.settings]
            facts += [question.seed, [point.key for point in points]]
        elif self.kind in ("output", "blame"):
            setting = question.settings[self.number]
            facts += [[point.key for point in setting.points]]
        asked = question.metric if self.kind != "layer" else ""
        return key_of(*facts, *metric_facts(asked))


def tasks_of(question: Question, num_layers: int, blame: bool) -> list[Task]:
    """Returns all tasks of a question, those first that refuse it."""
    samples = range(len(question.samples))
    settings = range(len(question.settings))
    found = [Task("control", s) for s in samples]
    found += [Task("output", s, n) for n in settings for s in samples]
    found += [Task("layer", s, n) for s in samples for n in range(num_layers)]
    if blame:
        found += [Task("blame", 0, n) for n in settings]
    return found


@functools.lru_cache(maxsize=2)
def network(path: str, inputs: Inputs) -> Network:
    """Returns the network of a file, read once in a process."""
    return Network(path, inputs)


@functools.lru_cache(maxsize=1)
def baseline(path: str, inputs: Inputs, sample: Sample) -> Trace:
    """Returns the run in float32, its values kept."""
    of = network(path, inputs)
    return of.run(sample.load(), of.in_float32, keep=True)


def answer(question: Question, task: Task) -> list[Row]:
    """Does a task; what is refused of one setting becomes its row."""
    work = {
        "control": _control,
        "layer": _layer,
        "output": _output,
        "blame": _blame,
    }
    rows = work[task.kind](question, task)
    common = {"model": question.path, "sample": question.samples[task.sample].name}
    return [_plain(common | row) for row in rows]


def _plain(row: Row) -> Row:
    """Returns a row that JSON can hold: no NaN, no NumPy."""
    found = {}
    for name, value in row.items():
        value = value.item() if isinstance(value, np.generic) else value
        lost = isinstance(value, float) and not math.isfinite(value)
        found[name] = None if lost else value
    return found


def chip(net: Network, setting: Setting) -> Compute:
    """Returns what computes layers on the chip."""

    def compute(number: int, image: np.ndarray) -> np.ndarray:
        layer = net.layers[number]
        return emulated(setting.points[number], image, layer.weights, layer.bias)

    return compute


def bf16(values: np.ndarray) -> np.ndarray:
    """Returns float32 values rounded to bf16."""
    return values.astype(ml_dtypes.bfloat16).astype(np.float32)


def _rounded_alone(net: Network) -> Compute:
    """Returns what rounds a layer's input, weights and output to bf16, exact else."""

    def compute(number: int, image: np.ndarray) -> np.ndarray:
        layer = net.layers[number]
        bias = None if layer.bias is None else bf16(layer.bias)
        want = reference(layer.conv, bf16(image), bf16(layer.weights), bias)
        return bf16(want.astype(np.float32))

    return compute


def output_rows(
    want: Tensors, got: Tensors, metric: str, common: Row | None = None
) -> list[Row]:
    """Returns a row for each output of a network."""
    value = measured(metric, got, want) if metric else None
    return [
        {"output": name, **output_figures(values, got[name]), "metric": value}
        | (common or {})
        for name, values in want.items()
    ]


def _control(question: Question, task: Task) -> list[Row]:
    net = network(question.path, question.inputs)
    sample = question.samples[task.sample]
    net.control(sample.load())
    want = net.uncut(sample.load())
    got = baseline(question.path, question.inputs, sample).outputs
    rounded = net.run(sample.load(), _rounded_alone(net)).outputs
    rows = output_rows(want, got, question.metric, {"way": "float32"})
    rows += output_rows(want, rounded, question.metric, {"way": "bf16"})
    return [{"kind": "control", **row} for row in rows]


def _output(question: Question, task: Task) -> list[Row]:
    setting = question.settings[task.number]
    common = {"kind": "output", "way": "chip", **setting.values}
    problems = setting.problems()
    if problems:
        return [common | {"error": "; ".join(problems[:3])}]
    net = network(question.path, question.inputs)
    sample = question.samples[task.sample]
    want = baseline(question.path, question.inputs, sample).outputs
    try:
        got = net.run(sample.load(), chip(net, setting)).outputs
    except (ConfigError, UnsupportedError) as error:
        return [common | {"error": str(error).splitlines()[0]}]
    common["cycles"] = setting.cycles()
    return output_rows(want, got, question.metric, common)


def _layer(question: Question, task: Task) -> list[Row]:
    """Returns how a layer does by itself: on real activations and on random ones."""
    net = network(question.path, question.inputs)
    sample, number = question.samples[task.sample], task.number
    layer = net.layers[number]
    image = bf16(baseline(question.path, question.inputs, sample).images[number])
    wants: dict[tuple, np.ndarray] = {}  # what settings share
    rows = []
    for setting in question.settings:
        point = setting.points[number]
        row = {"kind": "layer", "way": "chip", "layer": layer.name}
        row |= {axis: value for axis, value in Setting((point,)).values.items()}
        row["left_out"] = layer.left_out
        try:
            row |= _layer_row(point, layer, image, question.seed, wants)
        except (ConfigError, UnsupportedError) as error:
            row["error"] = str(error).splitlines()[0]
        rows.append(row)
    return rows


def _layer_row(
    point: Point, layer: Any, image: np.ndarray, seed: int, wants: dict
) -> Row:
    plan, _ = planned(point)
    random = operands_of(point, seed)
    figures = []
    for name, x in (("real", image), ("random", random.x)):
        key = name, plan.conv.weights_dtype == "bfloat16"
        if key not in wants:
            wants[key] = reference(plan.conv, x, random.w, random.bias)
        got = emulated(point, x, random.w, random.bias)
        figures.append(layer_figures(got, wants[key], plan.conv, plan.compute))
    real, drawn = figures
    names = ("pcc", "gain", "snr_db", "passed")
    return {
        **real,
        **{f"random_{name}": drawn[name] for name in names},
        "channels_zeroed": channels_zeroed(point, layer.weights),
        "cycles": plan.cycles.total,
    }


def _blame(question: Question, task: Task) -> list[Row]:
    """Returns rows of each layer emulated alone, and of all but it."""
    setting = question.settings[task.number]
    common = {"way": "chip", **setting.values}
    if setting.problems():
        return []
    net = network(question.path, question.inputs)
    sample = question.samples[task.sample]
    clean = baseline(question.path, question.inputs, sample)
    dirty = net.run(sample.load(), chip(net, setting), keep=True)
    rows = []
    for number, layer in enumerate(net.layers):
        first, on_chip = net.level(number), chip(net, setting)
        only = net.run({}, {number: on_chip}, since=clean, first=first)
        others = {n: on_chip for n in range(len(net.layers)) if n != number}
        without = net.run({}, others, since=dirty, first=first)
        for kind, got in (("only", only), ("without", without)):
            of = common | {"kind": kind, "layer": layer.name}
            rows += output_rows(clean.outputs, got.outputs, question.metric, of)
    return rows


def samples_of(
    inputs: Iterable[tuple[str, str]],
    folder: str | None,
    names: list[str],
    option: str = "--samples",
) -> tuple[Sample, ...]:
    """Returns the samples of `--input NAME=FILE` and of a folder.

    A folder holds an .npz file a sample with the network's inputs by name, or .npy
    files of a network with one input.

    Args:
      names: of the network's inputs.
      option: that names the folder.

    Raises:
      ConfigError: no sample, an input that is missing or unknown.
    """
    given = tuple((name, path, None) for name, path in inputs)
    found = [Sample("input", given)] if given else []
    files = []
    if folder is not None:
        if not Path(folder).is_dir():
            raise ConfigError(
                f"`{option}` (={folder!r}) must be a folder of .npy or .npz files; "
                "make it"
            )
        kinds = (".npy", ".npz")
        files = sorted(p for p in Path(folder).iterdir() if p.suffix in kinds)
    for file in files:
        if file.suffix == ".npz":
            parts = tuple((name, str(file), name) for name in names)
        else:
            parts = tuple((name, str(file), None) for name in names[:1])
        found.append(Sample(file.name, parts))
    for sample in found:
        has = [name for name, _, _ in sample.files]
        if sorted(has) != sorted(names):
            raise ConfigError(
                f"`--input` (={', '.join(has) or 'none'}, sample {sample.name!r}) must "
                f"give each input of the network once: {', '.join(names)}; several "
                "stand in one .npz file"
            )
    if not found and folder is not None:
        raise ConfigError(
            f"`{option}` (={folder!r}) must hold a .npy or .npz file; save one in it"
        )
    if not found:
        raise ConfigError(
            "`--input` must be given, or `--samples`; random numbers would say nothing "
            f"of real activations: --input {names[0]}=x.npy"
        )
    return tuple(found)
