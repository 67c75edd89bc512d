"""The space of a sweep: which layers, cut how, computed how, on which chip."""

import dataclasses
import math
import random
import sys
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, no_type_check

from jaxdw.arch.arch import load_arch
from jaxdw.errors import ConfigError, refuse
from jaxdw.models.zoo import Layer
from jaxdw.plan.config import ComputeConfig, ConvConfig, ShardConfig
from jaxdw.plan.program import TTNN
from jaxdw.sweep.axes import AXES, is_onnx
from jaxdw.sweep.filters import point_filter
from jaxdw.sweep.layers import distinct_layers, inputs_of
from jaxdw.sweep.rows import Inputs, Point, entered

if TYPE_CHECKING:
    from jaxdw.inputs.layer import Pasted

Grid = tuple[int, int]
MAX_POINTS = 1_000_000  # that a space may have, or a filter look at
_AXES = {axis.plural: axis for axis in AXES}


@no_type_check
@dataclasses.dataclass(frozen=True, kw_only=True)
class Space:
    """The product of its axes, less what the filter drops, sampled.

    Attributes:
      models: names of `jaxdw.models.zoo`, paths of ONNX files (`.onnx`), whose layers
        run with their own weights, and JAX functions, `module:function`.
      inputs: shapes for the inputs of ONNX files or of functions, (name, sizes); a
        name `FILE:NAME` is of that file alone.
      schemes to batches: the values of each axis, as `jaxdw.sweep.axes` lists them;
        the words of the command line, `bf16` for one, and `("all",)` stand for values.
      grids: largest core grids allowed, (x, y); None for the chip's.
      activations: keep each layer's own (True), drop it (False).
      filter: an expression over `Point.facts`, `channels >= 256 and kernel == 5`.
      sample: how many points to draw, with `seed`; None for all. Of a space with more
        than `MAX_POINTS`, a filter looks at so many, drawn likewise.
      seed: of the sample and of the numbers that layers are run with.
    """

    models: tuple[str, ...] = _AXES["models"].default
    inputs: Inputs = ()
    schemes: tuple[str, ...] = _AXES["schemes"].default
    memories: tuple[str, ...] = _AXES["memories"].default
    grids: tuple[Grid | None, ...] = _AXES["grids"].default
    arches: tuple[str, ...] = _AXES["arches"].default
    programs: tuple[str, ...] = _AXES["programs"].default
    weights_dtypes: tuple[str, ...] = _AXES["weights_dtypes"].default
    fidelities: tuple[str, ...] = _AXES["fidelities"].default
    arithmetics: tuple[str, ...] = _AXES["arithmetics"].default
    fp32_dest_accs: tuple[bool, ...] = _AXES["fp32_dest_accs"].default
    activations: tuple[bool, ...] = _AXES["activations"].default
    batches: tuple[int | None, ...] = _AXES["batches"].default
    filter: str | None = None
    sample: int | None = None
    seed: int = 0

    if TYPE_CHECKING:  # what the constructor takes, of which the fields hold tuples

        def __init__(
            self,
            *,
            models: Sequence[str] = ...,
            inputs: Inputs = (),
            schemes: Sequence[str] = ...,
            memories: Sequence[str] = ...,
            grids: Sequence[Grid | str | None] = ...,
            arches: Sequence[str] = ...,
            programs: Sequence[str] = ...,
            weights_dtypes: Sequence[str | type] = ...,
            fidelities: Sequence[str] = ...,
            arithmetics: Sequence[str] = ...,
            fp32_dest_accs: Sequence[bool | str] = ...,
            activations: Sequence[bool | str] = ...,
            batches: Sequence[int | str | None] = ...,
            filter: str | None = None,
            sample: int | None = None,
            seed: int = 0,
        ) -> None: ...

    def __post_init__(self):
        for axis in AXES:
            object.__setattr__(
                self, axis.plural, axis.taken(getattr(self, axis.plural))
            )

    def problems(self) -> list[str]:
        """Returns one sentence for each rule that the space breaks."""
        found = []
        for axis in AXES:
            values = getattr(self, axis.plural)
            if not isinstance(values, tuple) or not values:
                found.append(
                    f"`{axis.plural}` (={values!r}) must name at least one, as in "
                    f"({axis.word(axis.default[0])!r},)"
                )
                continue
            for value in values:
                found += axis.problems(value)
        if not all(isinstance(getattr(self, axis.plural), tuple) for axis in AXES):
            return found
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
        if type(self.seed) is int and self.seed >= 2**63:
            found.append(f"`seed` (={self.seed}) must be below 2^63; try 0")
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
          ConfigError: with every rule broken, a filter that cannot be evaluated, a
            space without points or with more than `MAX_POINTS`.
        """
        refuse(self.problems())
        return self._points(tuple(self._layers()))

    def points_of(
        self, layers: Iterable[Layer], model: str = "layers"
    ) -> tuple[Point, ...]:
        """Returns the points of one's own layers in place of those of `models`.

        Args:
          layers: those of `jaxdw.depthwise_layers`, for one.
          model: what rows call the model.

        Raises:
          ConfigError: as `points`.
        """
        refuse(self.problems())
        found = (
            (layer.name, getattr(layer, "times", 1), layer.conv) for layer in layers
        )
        return self._points(tuple(self._of_model(model, found)))

    def points_of_pasted(
        self, layers: "Iterable[Pasted]", model: str, varied: Collection[str]
    ) -> tuple[Point, ...]:
        """Returns the points of layers that are sharded and computed in ways of theirs.

        Args:
          layers: those of `jaxdw.inputs.paste.read_paste`; the program is `ttnn`.
          model: what rows call the model.
          varied: the axes that do not stay as each layer has them, by their fields;
            its chip is always the space's.

        Raises:
          ConfigError: as `points`.
        """
        refuse(self.problems())
        found = (
            Point(
                model=model, layer=str(number), times=1, conv=layer.conv,
                shard=layer.shard, compute=layer.compute, arch="", program=TTNN,
            )
            for number, layer in enumerate(layers, 1)
        )  # fmt: skip
        return self._points(tuple(found), {"arches", *varied})

    def _points(
        self, layers: tuple[Point, ...], varied: Collection[str] = tuple(_AXES)
    ) -> tuple[Point, ...]:
        axes = [axis for axis in AXES[1:] if axis.plural in varied]
        swept = tuple(getattr(self, axis.plural) for axis in axes)
        of_layer = math.prod(map(len, swept))
        size = len(layers) * of_layer

        def point(index: int) -> Point:
            layer, place = divmod(index, of_layer)
            return entered(layers[layer], axes, _at(swept, place))

        if size > sys.maxsize or min(size, self.sample or size) > MAX_POINTS:
            raise ConfigError(
                f"the space (={size} points) must have at most {MAX_POINTS}; draw as "
                "many with `sample`, or sweep it in parts"
            )
        if self.filter is None:
            return tuple(map(point, self._chosen(range(size))))
        keeps = point_filter(self.filter)
        looked_at = range(size)
        if size > MAX_POINTS:
            drawn = random.Random(self.seed).sample(looked_at, MAX_POINTS)
            looked_at = sorted(drawn)
        kept = [index for index in looked_at if keeps(point(index))]
        if not kept:
            raise ConfigError(
                f"the space has no points (filter {self.filter!r}); loosen the filter"
            )
        return tuple(map(point, self._chosen(kept)))

    def _chosen(self, indices: Sequence[int]) -> Sequence[int]:
        """Returns all indices, or a sample of them in their order."""
        if self.sample is None or self.sample >= len(indices):
            return indices
        drawn = random.Random(self.seed).sample(range(len(indices)), self.sample)
        return [indices[index] for index in sorted(drawn)]

    def _layers(self) -> Iterator[Point]:
        """Yields the point of each layer before its axes are entered."""
        for model in self.models:
            yield from self._of_model(
                model, distinct_layers(model, inputs_of(model, self.inputs))
            )

    def _of_model(
        self, model: str, layers: Iterable[tuple[str, int, ConvConfig]]
    ) -> Iterator[Point]:
        for name, times, conv in layers:
            yield Point(
                model=model,
                layer=name,
                times=times,
                conv=conv,
                shard=ShardConfig(),
                compute=ComputeConfig(),
                arch="",
                inputs=inputs_of(model, self.inputs) if is_onnx(model) else (),
            )


def _at(axes: Sequence[Sequence[Any]], place: int) -> list[Any]:
    """Returns the values of one place of a product; the last axis goes fastest."""
    values = []
    for axis in reversed(axes):
        place, index = divmod(place, len(axis))
        values.append(axis[index])
    return values[::-1]


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


_KINDS = {"filter": str, "sample": int, "seed": int}


def _broken_rule(key: str, value: Any) -> str | None:
    """Returns what a value of a TOML file must be, None of one that is so."""
    kind = _KINDS.get(key)
    if kind is not None and type(value) is not kind:
        return "a string" if kind is str else "an integer"
    if key == "inputs" and not all(map(_is_input, value)):
        return 'lists of a name and its sizes; try [["x", [1, 3, 224, 224]]]'
    return None


def _is_input(value: Any) -> bool:
    match value:
        case [str(), [*sizes]]:
            return all(type(size) is int for size in sizes)
    return False


def load_space(path: str | Path) -> Space:
    """Returns the space of a TOML file whose keys are the fields of `Space`.

    Its values may be the words of the command line, `bf16` for one.

    Raises:
      ConfigError: a file that cannot be read or is not TOML, unknown keys, values of
        another type.
    """
    try:
        tables = tomllib.loads(Path(path).read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"`space` (={str(path)!r}) is not TOML: {error}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"`space` (={str(path)!r}) cannot be read: {error}"
        ) from error
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
        rule = _broken_rule(key, value)
        if rule is not None:
            problems.append(f"`{key}` (={value!r}) of {str(path)!r} must be {rule}")
            continue
        values[key] = _frozen(value) if key == "inputs" else value
    try:
        values |= read_axes(values)
    except ConfigError as error:
        problems.append(str(error))
    refuse(problems)
    return Space(**values)
