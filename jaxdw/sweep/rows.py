"""Points of a sweep and the columns of their rows, there and back."""

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import reprlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from jaxdw.errors import ConfigError, refuse
from jaxdw.escapes import visible
from jaxdw.plan.config import ComputeConfig, ConvConfig, ShardConfig
from jaxdw.plan.units import TILE_BYTES
from jaxdw.sweep.axes import AXES, SETTINGS, Axis, Setting, joined

if TYPE_CHECKING:
    from jaxdw.plan.plan import Plan

SCHEMA = 5
# What rows of an older schema do not say, None where nobody knows. Tensors of schema 2
# were drawn otherwise.
_SINCE_5: dict[str, str | None] = {"not_read": None, "memory": "l1", "more": None}
_SINCE_4 = {"left_out": None, "gain": None, "snr_db": None} | _SINCE_5
OLDER: dict[int, dict[str, str | None]] = {
    2: {"program": "depthwise", "planned_program": "depthwise", "repeat": None}
    | _SINCE_4,
    3: _SINCE_4,
    4: _SINCE_5,
}

# what a filter can name: every setting, and three more
FACTS = (*(setting.column for setting in SETTINGS), "kernel_h", "kernel_w", "taps")
Row = dict[str, Any]  # a value for each of NAMES
Inputs = tuple[tuple[str, tuple[int, ...]], ...]
Config = TypeVar("Config", ConvConfig, ShardConfig, ComputeConfig)


# Fields that a key names only where they are set: keys of schema 2 have none of them.
_LATER_FIELDS = {
    "input_layout",
    "memory",
    "config_tensors_in_dram",
    "full_inner_dim",
    "act_block_w_div",
    "force_split_reader",
    "enable_activation_reuse",
    "packer_l1_acc",
}


@functools.lru_cache(maxsize=1024)
def _in_key(config: ConvConfig | ShardConfig | ComputeConfig) -> str:
    """Returns a config as a key names it, JSON."""
    fields = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name not in _LATER_FIELDS
        or getattr(config, field.name) != field.default
    }
    return json.dumps(fields, sort_keys=True)


class Column(NamedTuple):
    name: str
    kind: type  # int, float, bool or str
    meaning: str


COLUMNS: tuple[Column, ...] = (  # their order in every format
    Column("schema", int, "version of these columns"),
    Column("key", str, "of the configuration, the same on every machine"),
    *(
        Column(s.column, str if s.kind is tuple else s.kind, s.meaning)
        for s in SETTINGS
    ),
    Column("more", str, "fields of the configs that no column holds, as JSON"),
    Column("planned_program", str, "the one planned, of ttnn too"),
    Column("planned_scheme", str, "the one planned, of auto too"),
    Column("grid", str, "cores, x by y"),
    Column("cores", int, "that compute"),
    Column("nhw_shards", int, "along batch, height and width"),
    Column("channel_shards", int, "along channels"),
    Column("halo_shard", str, "sticks x channels of one core"),
    Column("out_shard", str, "sticks x channels of one core"),
    Column("padding_waste", float, "share of output elements computed that is padding"),
    Column("l1_static_bytes", int, "circular buffers of one core"),
    Column("l1_buffer_bytes", int, "L1 buffers of one core"),
    Column("l1_free_bytes", int, "below 0 if it does not fit"),
    Column("fits", bool, "L1 of one core"),
    Column("weight_tiles", int, "read or received by one core"),
    Column("tiles_per_bank", int, "of the fullest DRAM bank"),
    Column("multicast_bytes", int, "by one sender"),
    Column("cycles", int, "lower bound of all launches"),
    Column("cycles_binding", str, "the resource with the largest bound"),
    Column("cycles_halo", int, "lower bound of the halo"),
    Column("cycles_dram", int, "lower bound of DRAM"),
    Column("cycles_multicast", int, "lower bound of the multicast"),
    Column("cycles_l1_reads", int, "lower bound of reads of L1"),
    Column("cycles_matrix_unit", int, "lower bound of the matrix unit"),
    Column("findings", str, "codes, separated by spaces"),
    Column("left_out", str, "of an ONNX file: what is no part of the layer"),
    Column("not_read", str, "of an ONNX file: nodes that are in no row, a line each"),
    Column("seed", int, "of the tensors it ran with"),
    Column("status", str, "pass, fail, refused, error, planned"),
    Column("error", str, "of a row refused or in error"),
    Column("repeat", str, "the command that repeats the row"),
    Column("outputs", int, "elements of the output"),
    Column("exact", int, "outputs equal to the rounded float64 reference"),
    Column("max_ulp", int, "over outputs above 1 % of the largest"),
    Column("mean_ulp", float, "over the same"),
    Column("pcc", float, "by tt-metal's definition"),
    Column("pcc_needed", float, "by tt-metal's own test"),
    Column("gain", float, "of the output in least squares, which PCC cannot see"),
    Column("snr_db", float, "signal to noise, empty if equal"),
    Column("seconds_compile", float, "tracing, compiling or loading computations"),
    Column("compilations", int, "by XLA, those from the cache left out"),
    Column("seconds_run", float, "maps, launch and comparison, less compiling"),
    Column("jaxdw", str, "version"),
    Column("jax", str, "version"),
)
NAMES = tuple(column.name for column in COLUMNS)
_NEVER_EMPTY = ("key",)
# what a repeated run may change without a change of the emulated system
VOLATILE = ("schema", "seconds_compile", "compilations", "seconds_run", "jaxdw", "jax")


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
    program: str = "depthwise"
    inputs: Inputs = ()

    @property
    def configs(self) -> dict[str, ConvConfig | ShardConfig | ComputeConfig]:
        return {"conv": self.conv, "shard": self.shard, "compute": self.compute}

    @property
    def key(self) -> str:
        """A name of the configuration that is the same on every machine."""
        facts = [
            *map(json.dumps, (self.model, self.layer)),
            *map(_in_key, (self.conv, self.shard, self.compute)),
            *map(json.dumps, (self.arch, self.inputs)),
        ]
        if self.program != "depthwise":  # which rows of schema 2 do not say
            facts.append(json.dumps(self.program))
        text = f"[{', '.join(facts)}]"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def plan(self) -> "Plan":
        """Plans the point, whether it fits L1 or not.

        Raises:
          ConfigError: as `make_plan`.
        """
        from jaxdw.plan.planner import make_plan

        return make_plan(
            self.conv,
            self.shard,
            self.compute,
            self.arch,
            program=self.program,
            must_fit=False,
        )

    def facts(self) -> dict[str, Any]:
        """Returns the values of `FACTS`; `kernel` and the like are one if square."""
        facts = {setting.column: setting.of(self) for setting in SETTINGS}
        for name in ("kernel", "stride", "dilation"):
            if facts[name][0] == facts[name][1]:
                facts[name] = facts[name][0]
        kernel_h, kernel_w = self.conv.kernel
        more = {"kernel_h": kernel_h, "kernel_w": kernel_w, "taps": self.conv.taps}
        return facts | more


def _by_part(values: Iterable[tuple[Setting, Any]]) -> dict[str, dict[str, Any]]:
    """Deals values of fields to the configs that hold them."""
    parts = {"point": {}, "conv": {}, "shard": {}, "compute": {}}
    for setting, value in values:
        parts[setting.part][setting.name] = value
    return parts


def entered(layer: Point, axes: Iterable[Axis], values: Iterable[Any]) -> Point:
    """Returns a layer's point at the values of axes."""
    pairs = zip(axes, values, strict=True)
    parts = _by_part((axis, axis.enters(layer.conv, value)) for axis, value in pairs)
    return dataclasses.replace(
        layer,
        conv=_with(layer.conv, **parts["conv"]),
        shard=_with(layer.shard, **parts["shard"]),
        compute=_with(layer.compute, **parts["compute"]),
        **parts["point"],
    )


@functools.lru_cache(maxsize=1024, typed=True)
def _with(config: Config, **changes: Any) -> Config:
    """Returns a config with other values; many points of a layer share it."""
    return dataclasses.replace(config, **changes)


_HELD = frozenset((setting.part, setting.name) for setting in SETTINGS)


def _more(point: Point) -> str | None:
    """Returns the fields of configs that no setting holds, where they are set."""
    found = {part: _not_held(part, own) for part, own in point.configs.items()}
    found = {part: dict(fields) for part, fields in found.items() if fields}
    return json.dumps(found) if found else None


@functools.lru_cache(maxsize=1024)
def _not_held(
    part: str, config: ConvConfig | ShardConfig | ComputeConfig
) -> tuple[tuple[str, Any], ...]:
    return tuple(
        (field.name, value)
        for field in dataclasses.fields(config)
        if (part, field.name) not in _HELD
        and (value := getattr(config, field.name)) != field.default
    )


def point_of_row(row: Row) -> Point:
    """Returns the point that a row was made of; a row holds no `inputs`.

    Raises:
      ConfigError: a row whose `more` says nothing of configs.
    """
    parts = _by_part((s, s.from_cell(row[s.column])) for s in SETTINGS)
    try:
        for part, fields in json.loads(row["more"] or "{}").items():
            parts[part] |= fields
        return Point(
            conv=ConvConfig(**parts["conv"]),
            shard=ShardConfig(**parts["shard"]),
            compute=ComputeConfig(**parts["compute"]),
            **parts["point"],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"`more` (={reprlib.repr(row['more'])}) must be fields of conv, shard and "
            "compute, as JSON; remove the line"
        ) from error


def plan_of_row(row: Row) -> "Plan":
    """Returns the plan that a row was made with."""
    return point_of_row(row).plan()


def config_row(point: Point) -> Row:
    """Returns what a row says of its configuration."""
    settings = {setting.column: setting.cell(point) for setting in SETTINGS}
    own = {"schema": SCHEMA, "key": point.key, "more": _more(point)}
    return own | settings | _versions()


@functools.cache
def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("jaxdw", "jax")}


def plan_row(plan: "Plan") -> Row:
    """Returns what a row says of its plan."""
    conv, cycles, l1 = plan.conv, plan.cycles, plan.l1
    shard = plan.output_shard
    computed = plan.num_output_cores * shard.rows * shard.channels
    sends = bool(plan.broadcasts)
    return {
        "planned_program": plan.program,
        "planned_scheme": plan.scheme,
        "grid": joined(plan.grid),
        "cores": plan.num_cores,
        "nhw_shards": plan.num_nhw_shards,
        "channel_shards": plan.num_channel_shards,
        "halo_shard": joined(plan.halo_shard),
        "out_shard": joined(shard),
        "padding_waste": round(
            1 - plan.window.num_outputs * conv.channels / computed, 6
        ),
        "l1_static_bytes": l1.static_bytes,
        "l1_buffer_bytes": l1.buffer_bytes,
        "l1_free_bytes": l1.free_bytes,
        "fits": l1.fits,
        "weight_tiles": plan.weight_tiles_per_core,
        "tiles_per_bank": max(plan.tiles_per_bank),
        "multicast_bytes": plan.weight_tiles_per_core
        * TILE_BYTES[conv.weights_dtype]
        * sends,
        "cycles": cycles.total,
        "cycles_binding": cycles.binding,
        "cycles_halo": cycles.halo,
        "cycles_dram": cycles.dram,
        "cycles_multicast": cycles.multicast,
        "cycles_l1_reads": cycles.l1_reads,
        "cycles_matrix_unit": cycles.matrix_unit,
        "findings": " ".join(finding.code for finding in plan.findings),
    }


def whole_row(found: dict[str, Any], place: str) -> Row:
    """Returns a row as read from a file, older ones completed.

    Raises:
      ConfigError: a row of a schema that is not read, a cell of another type.
    """
    schema = found.get("schema")
    if type(schema) is not int or schema not in (SCHEMA, *OLDER):
        raise ConfigError(
            f"{place} must be a row of schema {SCHEMA} (={reprlib.repr(schema)}); "
            "use a new folder"
        )
    missing = OLDER.get(schema, {})
    row = {name: found.get(name, missing.get(name)) for name in NAMES}
    refuse([f"{place}: {problem}" for problem in _row_problems(row)])
    return row


def _row_problems(row: Row) -> Iterator[str]:
    """Yields one sentence for each cell that is not of its column's type."""
    for name, kind, meaning in COLUMNS:
        value = row[name]
        if value is None and name not in _NEVER_EMPTY:
            continue
        if kind is float and type(value) is int:
            continue
        if type(value) is not kind or not _is_kept(value):
            yield (
                f"`{name}` (={reprlib.repr(value)}) must be of type {kind.__name__}, "
                f"{meaning}; remove the line"
            )


def _is_kept(value: Any) -> bool:
    """Whether every file of a sweep can hold a value."""
    if isinstance(value, str):
        return not any("\ud800" <= c <= "\udfff" for c in value)
    return type(value) is not int or -(2**63) <= value < 2**63


def told_by_both(one: Row, other: Row) -> Iterator[str]:
    """Yields the columns that the schemas of both rows have, volatile ones left out."""
    unknown = {
        name
        for row in (one, other)
        for name, value in OLDER.get(row["schema"], {}).items()
        if value is None
    }
    yield from (name for name in NAMES if name not in unknown.union(VOLATILE))


def name_of_row(row: Row) -> str:
    """Returns model, layer and the axes of a row, as a person reads them."""
    said = [str(row["model"]), str(row["layer"])]
    for axis in AXES[1:]:
        cell = row[axis.column]
        if axis.kind is int:
            said += [] if cell is None else [f"{axis.column} {cell}"]
        elif cell is True:
            said.append(axis.column)
        elif cell not in (None, "", False):
            said.append(cell)
    return visible(" ".join(said))


def why_of_row(row: Row) -> str:
    """Returns why a row did not pass."""
    return (
        visible(row["error"] or "") or f"pcc {row['pcc']}, needed {row['pcc_needed']}"
    )
