"""The axes of a sweep, as one table.

`SETTINGS` holds every fact of a configuration: the column of its row and the field of
its configs. Those that a sweep varies are `AXES`. The command line, TOML files, rules,
points, rows and the way back to a plan, filters, groups and pages all read it: a new
axis is one entry here and one field of `Space`.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, get_args

from jaxdw.arch import arch
from jaxdw.errors import ConfigError, refuse
from jaxdw.inputs.names import is_function_name
from jaxdw.models import zoo
from jaxdw.plan.choices import Arithmetic, Fidelity, Memory, Scheme, WeightsDtype
from jaxdw.plan.config import ConvConfig
from jaxdw.plan.program import TTNN, ProgramName
from jaxdw.words import WORDS, meant, nearest

PROGRAMS = get_args(ProgramName)
DTYPES = {
    "bf16": "bfloat16",
    "fp32": "float32",
    "bfp8": "bfloat8_b",
    "bfp4": "bfloat4_b",
}

Part = Literal["point", "conv", "shard", "compute"]


def is_onnx(model: str) -> bool:
    """Whether a model is a file, not a name of the zoo."""
    return model.endswith(".onnx")


def _is_program(name: Any) -> bool:
    """Whether plans can be made for a program, those registered later too."""
    from jaxdw.plan import planner

    return name in planner.PROGRAMS


def joined(sizes: Iterable[int]) -> str:
    """Writes integers joined by x."""
    return "x".join(map(str, sizes))


def parted(text: str) -> tuple[int, ...]:
    """Reads integers joined by x.

    Raises:
      ConfigError: another text.
    """
    try:
        return tuple(int(part) for part in text.lower().replace(",", "x").split("x"))
    except ValueError:
        raise ConfigError(f"{text!r} must be integers joined by x; try 3x3") from None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """One fact of a configuration.

    Attributes:
      column: its column in a row, and its name in a filter.
      kind: of the values; tuple for sizes, which a row holds joined by x.
      part: which config holds it; `point` is the point itself.
      name: of the field there, if it is not the column's.
      decides: whether the numbers that come out hang on it.
    """

    column: str
    kind: type
    meaning: str
    part: Part
    name: str = ""
    decides: bool = True

    def __post_init__(self):
        object.__setattr__(self, "name", self.name or self.column)

    def of(self, point: Any) -> Any:
        """Returns a point's value."""
        holder = point if self.part == "point" else getattr(point, self.part)
        return getattr(holder, self.name)

    def cell(self, point: Any) -> Any:
        """Returns a point's value as a row holds it."""
        value = self.of(point)
        return joined(value) if isinstance(value, tuple) else value

    def from_cell(self, cell: Any) -> Any:
        """Returns the value behind that of a row."""
        return parted(cell) if self.kind is tuple and cell is not None else cell


@dataclasses.dataclass(frozen=True, kw_only=True)
class Axis(Setting):
    """A setting that a sweep varies.

    Attributes:
      plural: field of `Space`, key of its TOML and, with dashes, option of the command.
      default: of `Space`.
      legal: the values that can be listed.
      accepts: whether another value is legal, too.
      rule: what such a value must be.
      words: what a command line or a TOML file may say for a value.
      parse: makes a value of any other word.
      every: what the word `all` stands for; () if it is no word of the axis.
      enters: makes the field's value of the layer's convolution and the axis' value.
      apart: whether a table shows layers that differ in it one by one.
      usual: cells that a table need not name; () for the default's.
    """

    plural: str
    default: tuple[Any, ...]
    legal: tuple[Any, ...] = ()
    accepts: Callable[[Any], bool] = lambda value: False
    rule: str = ""
    words: dict[str, Any] = dataclasses.field(default_factory=dict)
    parse: Callable[[str], Any] = str
    every: tuple[Any, ...] = ()
    enters: Callable[[ConvConfig, Any], Any] = lambda conv, value: value
    apart: bool = False
    usual: tuple[Any, ...] = ()

    @property
    def option(self) -> str:
        return "--" + self.plural.replace("_", "-")

    def word(self, value: Any) -> str:
        """Returns what a command line says for a value."""
        words = (word for word, meant in self.words.items() if meant == value)
        return next(words, str(value))

    @property
    def choices(self) -> str:
        """What a command line may say, in words."""
        every = ["all"] if self.every else []
        rule = [self.rule] if self.rule else []
        return ", ".join([*map(self.word, self.legal), *rule, *every])

    def read(self, given: Iterable[Any]) -> tuple[Any, ...]:
        """Returns the values of words, or of a TOML file's list, each once.

        Raises:
          ConfigError: what is no value of the axis, one to a line.
        """
        given = tuple(given)
        if given == ("all",) and self.every:
            return self.every
        values, problems = [], []
        for word in given:
            try:
                values.append(self._read_one(word))
            except ValueError:
                problems.append(self._problem(word))
        refuse(problems)
        return tuple(dict.fromkeys(values))

    def taken(self, given: Any) -> Any:
        """Returns the values that words stand for; what is no word, as it is."""
        if isinstance(given, str) or not isinstance(given, Sequence):
            return given
        if tuple(given) == ("all",) and self.every:
            return self.every
        values = []
        for word in given:
            try:
                values.append(self._read_one(word))
            except ValueError:
                values.append(word)
        return tuple(values)

    def _read_one(self, given: Any) -> Any:
        if isinstance(given, str) and given.lower() in self.words:
            return self.words[given.lower()]
        if self.name in WORDS:
            given = meant(self.name, given, self.legal)
        if isinstance(given, str):
            return self.parse(given)
        value = tuple(given) if isinstance(given, list) else given
        refuse(self.problems(value))
        return value

    def problems(self, value: Any) -> list[str]:
        """Returns a sentence if a value is not legal."""
        listed = any(v == value and type(v) is type(value) for v in self.legal)
        return [] if listed or self.accepts(value) else [self._problem(value)]

    def _problem(self, given: Any) -> str:
        near = nearest(given, [*map(self.word, self.legal)] or self.default)
        return (
            f"`{self.plural}` (={given!r}) must be one of: {self.choices}; try {near}"
        )


def _none_but_words(word: str) -> Any:
    raise ValueError(word)


def _is_grid(value: Any) -> bool:
    return type(value) is tuple and [type(size) for size in value] == [int, int]


SETTINGS: tuple[Setting, ...] = (
    Axis(
        column="model",
        kind=str,
        meaning="name in the zoo, path of an ONNX file, or module:function of JAX",
        part="point",
        decides=False,
        plural="models",
        default=zoo.MODELS,
        legal=zoo.MODELS,
        accepts=lambda value: (
            isinstance(value, str) and (is_onnx(value) or is_function_name(value))
        ),
        rule="an .onnx file, module:function",
        every=zoo.MODELS,
    ),
    Setting(
        column="layer",
        kind=str,
        meaning="the first layer of this kind",
        part="point",
        decides=False,
    ),
    Setting(
        column="times",
        kind=int,
        meaning="how often the model has it",
        part="point",
        decides=False,
    ),
    Axis(
        column="batch",
        kind=int,
        meaning="images",
        part="conv",
        plural="batches",
        default=(None,),
        legal=(None,),
        accepts=lambda value: type(value) is int and 1 <= value < 2**31,
        rule="an integer >= 1 below 2^31",
        words={"own": None},  # 1 of a model by name, that of the input's shape else
        parse=int,
        enters=lambda conv, images: conv.batch if images is None else images,
        usual=(1,),
        apart=True,
    ),
    Setting(column="channels", kind=int, meaning="real channels", part="conv"),
    Setting(column="height", kind=int, meaning="of the input", part="conv"),
    Setting(column="width", kind=int, meaning="of the input", part="conv"),
    Setting(column="kernel", kind=tuple, meaning="height x width", part="conv"),
    Setting(column="stride", kind=tuple, meaning="height x width", part="conv"),
    Setting(
        column="padding", kind=tuple, meaning="top x bottom x left x right", part="conv"
    ),
    Setting(column="dilation", kind=tuple, meaning="height x width", part="conv"),
    Setting(column="bias", kind=bool, meaning="whether there is one", part="conv"),
    Axis(
        column="activation",
        kind=str,
        meaning="after the bias, empty for none",
        part="conv",
        plural="activations",
        default=(True,),
        legal=(True, False),
        words={"on": True, "off": False},
        parse=_none_but_words,
        enters=lambda conv, kept: conv.activation if kept else None,
    ),
    Axis(
        column="weights_dtype",
        kind=str,
        meaning="of weights and bias",
        part="conv",
        plural="weights_dtypes",
        default=("bfloat16",),
        legal=get_args(WeightsDtype),
        words=DTYPES,
    ),
    Axis(
        column="fidelity",
        kind=str,
        meaning="phases of every product, LoFi to HiFi4",
        part="compute",
        name="math_fidelity",
        plural="fidelities",
        default=("LoFi",),
        legal=get_args(Fidelity),
        words={name.lower(): name for name in get_args(Fidelity)},
    ),
    Axis(
        column="arithmetic",
        kind=str,
        meaning="the matrix unit bit by bit, or float32",
        part="compute",
        plural="arithmetics",
        default=("fpu",),
        legal=get_args(Arithmetic),
    ),
    Axis(
        column="fp32_dest_acc",
        kind=bool,
        meaning="a 32-bit Dst",
        part="compute",
        plural="fp32_dest_accs",
        default=(False,),
        legal=(False, True),
        words={"false": False, "true": True},
        parse=_none_but_words,
    ),
    Axis(
        column="program",
        kind=str,
        meaning="device program asked for",
        part="point",
        plural="programs",
        default=("depthwise",),
        legal=(*PROGRAMS, TTNN),
        accepts=_is_program,
        apart=True,
    ),
    Axis(
        column="arch",
        kind=str,
        meaning="chip",
        part="point",
        plural="arches",
        default=("wormhole_b0",),
        legal=arch.NAMES,
        accepts=lambda value: isinstance(value, str),  # the space loads it
        rule="a .toml file",
        apart=True,
    ),
    Axis(
        column="grid_limit",
        kind=tuple,
        meaning="largest core grid allowed, x by y, empty for the chip's",
        part="shard",
        name="grid",
        decides=False,
        plural="grids",
        default=(None,),
        legal=(None,),
        accepts=_is_grid,  # the space holds it against each chip
        rule="XxY",
        words={"chip": None},
        parse=parted,
    ),
    Axis(
        column="memory",
        kind=str,
        meaning="l1, or dram: in slices until a launch fits",
        part="shard",
        plural="memories",
        default=("l1",),
        legal=get_args(Memory),
        apart=True,
    ),
    Axis(
        column="scheme",
        kind=str,
        meaning="asked for",
        part="shard",
        decides=False,
        plural="schemes",
        default=get_args(Scheme),
        legal=(*get_args(Scheme), "auto"),
        every=get_args(Scheme),
    ),
)

AXES = tuple(setting for setting in SETTINGS if isinstance(setting, Axis))
