"""The space of a sweep: which layers, cut how, computed how, on which chip."""

import dataclasses
import difflib
import functools
import itertools
import random
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import simpleeval

from jaxdw.arch.arch import load_arch
from jaxdw.errors import ConfigError, refuse
from jaxdw.models import zoo
from jaxdw.plan.config import ComputeConfig, ConvConfig, ShardConfig
from jaxdw.sweep.axes import AXES, is_onnx
from jaxdw.sweep.rows import Inputs, Point, entered

if TYPE_CHECKING:
    from jaxdw.models.onnx.file import OnnxLayer

Grid = tuple[int, int]
_AXES = {axis.plural: axis for axis in AXES}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Space:
    """The product of its axes, less what the filter drops, sampled.

    Attributes:
      models: names of `jaxdw.models.zoo`, and paths of ONNX files (`.onnx`), whose
        layers run with their own weights.
      inputs: shapes for the inputs of ONNX files, (name, sizes); a name `FILE:NAME`
        is of that file alone.
      schemes to batches: the values of each axis, as `jaxdw.sweep.axes` lists them.
      grids: largest core grids allowed, (x, y); None for the chip's.
      activations: keep each layer's own (True), drop it (False).
      filter: an expression over `Point.facts`, `channels >= 256 and kernel == 5`.
      sample: how many points to draw, with `seed`; None for all.
      seed: of the sample and of the numbers that layers are run with.
    """

    models: tuple[str, ...] = _AXES["models"].default
    inputs: Inputs = ()
    schemes: tuple[str, ...] = _AXES["schemes"].default
    grids: tuple[Grid | None, ...] = _AXES["grids"].default
    arches: tuple[str, ...] = _AXES["arches"].default
    programs: tuple[str, ...] = _AXES["programs"].default
    weights_dtypes: tuple[str, ...] = _AXES["weights_dtypes"].default
    fidelities: tuple[str, ...] = _AXES["fidelities"].default
    arithmetics: tuple[str, ...] = _AXES["arithmetics"].default
    fp32_dest_accs: tuple[bool, ...] = _AXES["fp32_dest_accs"].default
    activations: tuple[bool, ...] = _AXES["activations"].default
    batches: tuple[int, ...] = _AXES["batches"].default
    filter: str | None = None
    sample: int | None = None
    seed: int = 0

    def problems(self) -> list[str]:
        """Returns one sentence for each rule that the space breaks."""
        found = []
        for axis in AXES:
            values = getattr(self, axis.plural)
            if not values:
                found.append(f"`{axis.plural}` (=()) must name at least one")
            for value in values:
                found += axis.problems(value)
        for name, _ in self.inputs:
            file, _, _ = name.rpartition(":")
            if is_onnx(file) and file not in self.models:
                found.append(
                    f"`inputs` (={name!r}) must be of a file among `models`; leave "
                    f"{file!r} out, or add it to them"
                )
        for name, number, least in (("sample", self.sample, 1), ("seed", self.seed, 0)):
            if number is not None and (type(number) is not int or number < least):
                found.append(f"`{name}` (={number!r}) must be an integer >= {least}")
        for arch in self.arches:
            try:
                chip = load_arch(arch)
            except ConfigError as error:
                found.append(str(error))
                continue
            for grid in self.grids:
                if not _AXES["grids"].problems(grid):
                    found += ShardConfig(grid=grid).problems(chip)
        return found

    def points(self) -> tuple[Point, ...]:
        """Returns every point, layers in the order of their models.

        Raises:
          ConfigError: with every rule broken, a filter that cannot be evaluated, or
            a space without points.
        """
        refuse(self.problems())
        points = list(self._product())
        if self.filter is not None:
            points = _filtered(self.filter, points)
        if not points:
            raise ConfigError(
                f"the space has no points (filter {self.filter!r}); loosen the filter"
            )
        if self.sample is not None and self.sample < len(points):
            chosen = random.Random(self.seed).sample(range(len(points)), self.sample)
            points = [points[index] for index in sorted(chosen)]
        return tuple(points)

    def _product(self) -> Iterator[Point]:
        for model in self.models:
            inputs = inputs_of(model, self.inputs)
            for name, times, conv in _layers(model, inputs):
                layer = Point(
                    model=model,
                    layer=name,
                    times=times,
                    conv=conv,
                    shard=ShardConfig(),
                    compute=ComputeConfig(),
                    arch="",
                    inputs=inputs,
                )
                swept = (getattr(self, axis.plural) for axis in AXES[1:])
                for values in itertools.product(*swept):
                    yield entered(layer, values)


def _filtered(expression: str, points: list[Point]) -> list[Point]:
    evaluator = simpleeval.EvalWithCompoundTypes()
    try:
        parsed = evaluator.parse(expression)
        kept = []
        for point in points:
            evaluator.names = point.facts()
            if evaluator.eval(expression, previously_parsed=parsed):
                kept.append(point)
    except (
        simpleeval.InvalidExpression,
        SyntaxError,
        TypeError,
        ValueError,
        ArithmeticError,
        LookupError,
    ) as error:
        raise ConfigError(
            f"`filter` (={expression!r}) must be an expression over "
            f"{', '.join(points[0].facts())}; {error}"
        ) from error
    return kept


@functools.lru_cache(maxsize=4)
def onnx_layers(path: str, inputs: Inputs) -> "tuple[OnnxLayer, ...]":
    """Returns a file's layers, as `read_onnx`, which says what it refuses."""
    if not Path(path).is_file():
        raise ConfigError(f"`models` (={path!r}) must be a file that exists")
    from jaxdw.models.onnx.file import read_onnx

    return read_onnx(path, dict(inputs))


def onnx_layer(path: str, inputs: Inputs, name: str) -> "OnnxLayer":
    """Returns the layer of that name.

    Raises:
      ConfigError: as `read_onnx`, and for a name that the file does not have.
    """
    layers = {layer.name: layer for layer in onnx_layers(path, inputs)}
    if name not in layers:
        near = difflib.get_close_matches(name, layers, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"`layer` (={name!r}) must be one of the {len(layers)} of {path!r}; try "
            f"{near!r}"
        )
    return layers[name]


def inputs_of(model: str, inputs: Inputs) -> Inputs:
    """Returns the inputs of a model: of no other file, none of a model by name."""
    if not is_onnx(model):
        return ()
    own = []
    for name, sizes in inputs:
        file, _, bare = name.rpartition(":")
        if not is_onnx(file):
            own.append((name, sizes))
        elif file == model:
            own.append((bare, sizes))
    return tuple(own)


def _layers(model: str, inputs: Inputs) -> Iterator[tuple[str, int, ConvConfig]]:
    """Yields name, times and convolution of a model's layers; a file's one by one."""
    if is_onnx(model):
        for layer in onnx_layers(model, inputs):
            yield layer.name, 1, layer.conv
        return
    names = {}
    for layer in zoo.layers(model):
        names.setdefault(layer.conv, layer.name)
    for conv, times in zoo.distinct(model).items():
        yield names[conv], times, conv


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def read_axes(given: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Returns the values of the axes among what is given, in words or in lists.

    Raises:
      ConfigError: every word that is no value of its axis.
    """
    values, problems = {}, []
    for axis in AXES:
        try:
            if axis.plural in given:
                values[axis.plural] = axis.read(given[axis.plural])
        except ConfigError as error:
            problems.append(str(error))
    refuse(problems)
    return values


def load_space(path: str | Path) -> Space:
    """Returns the space of a TOML file whose keys are the fields of `Space`.

    Its values may be the words of the command line, `bf16` for one.

    Raises:
      ConfigError: a file that cannot be read or is not TOML, unknown keys, values of
        another type.
    """
    try:
        tables = tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"`space` (={str(path)!r}) cannot be read: {error}"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"`space` (={str(path)!r}) is not TOML: {error}") from error
    fields = {field.name: field for field in dataclasses.fields(Space)}
    problems = []
    values = {}
    for key, value in tables.items():
        if key not in fields:
            problems.append(
                f"`{key}` of {str(path)!r} must be one of {', '.join(fields)}"
            )
            continue
        is_axis = isinstance(fields[key].default, tuple)
        if is_axis != isinstance(value, list):
            rule = "a list" if is_axis else "one value"
            problems.append(f"`{key}` (={value!r}) of {str(path)!r} must be {rule}")
            continue
        values[key] = _frozen(value) if key == "inputs" else value
    try:
        values |= read_axes(values)
    except ConfigError as error:
        problems.append(str(error))
    refuse(problems)
    return Space(**values)
