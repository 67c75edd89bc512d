"""The space of a sweep: which layers, cut how, computed how, on which chip."""

import dataclasses
import functools
import hashlib
import itertools
import json
import random
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import simpleeval

from jaxdw.arch.arch import load_arch
from jaxdw.errors import ConfigError, refuse
from jaxdw.models import zoo
from jaxdw.plan.config import (
    Arithmetic,
    ComputeConfig,
    ConvConfig,
    Fidelity,
    Scheme,
    ShardConfig,
    WeightsDtype,
)

if TYPE_CHECKING:
    from jaxdw.models.onnx import OnnxLayer

Grid = tuple[int, int]
Inputs = tuple[tuple[str, tuple[int, ...]], ...]

# Fields that a key names only where they are set: keys of stored results have none.
_NOT_IN_KEYS = {
    "input_layout",
    "memory",
    "config_tensors_in_dram",
    "full_inner_dim",
    "act_block_w_div",
    "force_split_reader",
    "enable_activation_reuse",
    "packer_l1_acc",
}


def _stored(config: ShardConfig | ComputeConfig) -> dict[str, Any]:
    """Returns a config as a key names it."""
    return {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name not in _NOT_IN_KEYS
        or getattr(config, field.name) != field.default
    }


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One configuration of one layer; `times` is how often its model has it.

    `inputs` are the shapes given for an ONNX file, names and sizes.
    """

    model: str
    layer: str
    times: int
    conv: ConvConfig
    shard: ShardConfig
    compute: ComputeConfig
    arch: str
    inputs: Inputs = ()

    @property
    def key(self) -> str:
        """A name of the configuration that is the same on every machine."""
        text = json.dumps(
            [
                self.model,
                self.layer,
                dataclasses.asdict(self.conv),
                _stored(self.shard),
                _stored(self.compute),
                self.arch,
                self.inputs,
            ],
            sort_keys=True,
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def facts(self) -> dict[str, Any]:
        """Returns what a filter can name; `kernel` and `stride` are one if square."""
        conv = self.conv

        def one(pair: tuple[int, int]) -> int | tuple[int, int]:
            return pair[0] if pair[0] == pair[1] else pair

        return {
            "model": self.model,
            "layer": self.layer,
            "times": self.times,
            "batch": conv.batch,
            "channels": conv.channels,
            "height": conv.height,
            "width": conv.width,
            "kernel": one(conv.kernel),
            "kernel_h": conv.kernel[0],
            "kernel_w": conv.kernel[1],
            "taps": conv.taps,
            "stride": one(conv.stride),
            "bias": conv.bias,
            "activation": conv.activation,
            "weights_dtype": conv.weights_dtype,
            "scheme": self.shard.scheme,
            "fidelity": self.compute.math_fidelity,
            "arithmetic": self.compute.arithmetic,
            "fp32_dest_acc": self.compute.fp32_dest_acc,
            "arch": self.arch,
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Space:
    """The product of its axes, less what the filter drops, sampled.

    Attributes:
      models: names of `jaxdw.models.zoo`, and paths of ONNX files (`.onnx`), whose
        layers run with their own weights.
      inputs: shapes for the inputs of ONNX files, (name, sizes).
      schemes: height, width, block, auto.
      grids: largest core grids allowed, (x, y); None for the chip's.
      activations: keep each layer's own (True), drop it (False).
      filter: an expression over `Point.facts`, `channels >= 256 and kernel == 5`.
      sample: how many points to draw, with `seed`; None for all.
      seed: of the sample and of the numbers that layers are run with.
    """

    models: tuple[str, ...] = zoo.MODELS
    inputs: Inputs = ()
    schemes: tuple[str, ...] = get_args(Scheme)
    grids: tuple[Grid | None, ...] = (None,)
    arches: tuple[str, ...] = ("wormhole_b0",)
    weights_dtypes: tuple[str, ...] = ("bfloat16",)
    fidelities: tuple[str, ...] = ("LoFi",)
    arithmetics: tuple[str, ...] = ("fpu",)
    fp32_dest_accs: tuple[bool, ...] = (False,)
    activations: tuple[bool, ...] = (True,)
    batches: tuple[int, ...] = (1,)
    filter: str | None = None
    sample: int | None = None
    seed: int = 0

    def problems(self) -> list[str]:
        """Returns one sentence for each rule that the space breaks."""
        found = []
        for name, choices in (
            ("models", zoo.MODELS),
            ("schemes", (*get_args(Scheme), "auto")),
            ("weights_dtypes", get_args(WeightsDtype)),
            ("fidelities", get_args(Fidelity)),
            ("arithmetics", get_args(Arithmetic)),
            ("fp32_dest_accs", (False, True)),
            ("activations", (False, True)),
        ):
            for value in getattr(self, name):
                is_file = name == "models" and is_onnx(value)
                if value not in choices and not is_file:
                    legal = ", ".join(map(str, choices))
                    found.append(f"`{name}` (={value!r}) must be among {legal}")
        for field in dataclasses.fields(self):
            if getattr(self, field.name) == () and field.name != "inputs":
                found.append(f"`{field.name}` (=()) must name at least one")
        for batch in self.batches:
            if type(batch) is not int or batch < 1:
                found.append(f"`batches` (={batch!r}) must be integers >= 1; try 1")
        if self.sample is not None and self.sample < 1:
            found.append(f"`sample` (={self.sample}) must be at least 1; try 100")
        if self.seed < 0:
            found.append(f"`seed` (={self.seed}) must be at least 0; try 0")
        for arch in self.arches:
            try:
                chip = load_arch(arch)
            except ConfigError as error:
                found.append(str(error))
                continue
            for grid in self.grids:
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
            for name, times, conv in _layers(model, self.inputs):
                axes = itertools.product(
                    self.batches,
                    self.activations,
                    self.weights_dtypes,
                    self.fidelities,
                    self.arithmetics,
                    self.fp32_dest_accs,
                    self.arches,
                    self.grids,
                    self.schemes,
                )
                for values in axes:
                    yield _point(model, self.inputs, name, times, conv, *values)


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


def is_onnx(model: str) -> bool:
    """Whether a model is a file, not a name of the zoo."""
    return model.endswith(".onnx")


@functools.lru_cache(maxsize=4)
def onnx_layers(path: str, inputs: Inputs) -> "tuple[OnnxLayer, ...]":
    """Returns a file's layers, as `read_onnx`, which says what it refuses."""
    from jaxdw.models.onnx import read_onnx

    return read_onnx(path, dict(inputs))


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


def _point(
    model: str,
    inputs: Inputs,
    layer: str,
    times: int,
    conv: ConvConfig,
    batch: int,
    activation: bool,
    weights_dtype: Any,
    fidelity: Any,
    arithmetic: Any,
    fp32_dest_acc: bool,
    arch: str,
    grid: Grid | None,
    scheme: Any,
) -> Point:
    return Point(
        model=model,
        layer=layer,
        times=times,
        conv=dataclasses.replace(
            conv,
            batch=batch,
            activation=conv.activation if activation else None,
            weights_dtype=weights_dtype,
        ),
        shard=ShardConfig(scheme=scheme, grid=grid),
        compute=ComputeConfig(
            arithmetic=arithmetic,
            math_fidelity=fidelity,
            fp32_dest_acc=fp32_dest_acc,
        ),
        arch=arch,
        inputs=inputs if is_onnx(model) else (),
    )


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value


def load_space(path: str | Path) -> Space:
    """Returns the space of a TOML file whose keys are the fields of `Space`.

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
        if is_axis:
            value = tuple(_frozen(v) for v in value)
        values[key] = value
    refuse(problems)
    return Space(**values)
