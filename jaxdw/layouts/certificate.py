"""The layout certificate: every element's way through the maps, by enumeration.

A certificate without failures states that all of `RULES` hold for one configuration.
Its digests make a lockfile that shows when, and which, maps of a layout change.
"""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import numpy as np

from jaxdw.arch.arch import Arch
from jaxdw.errors import ConfigError
from jaxdw.files import whole_file
from jaxdw.layouts.counterexample import Failure
from jaxdw.layouts.definition import TILE_ELEMS, ZERO, Definition
from jaxdw.layouts.rules import check_layout, parts
from jaxdw.maps.indexmap import IndexMap
from jaxdw.maps.maps import Maps, make_maps
from jaxdw.plan.config import ConvConfig, Scheme, ShardConfig
from jaxdw.plan.plan import Plan
from jaxdw.plan.planner import make_plan

LOCK_SCHEMA = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Certificate:
    """What enumeration says of one configuration's layout; `asdict` gives its JSON.

    Attributes:
      key: the configuration, readable and unique.
      facts: of the plan.
      counts: of what was enumerated. `weight_tiles_unused` are tiles that the protocol
        reads after those that compute multiplies; `stray_cores` are idle ones that a
        multicast writes.
      failures: in data-path order, single maps before the chains they are part of.
      digests: SHA-256 of each map.
      digest: SHA-256 of these.
    """

    key: str
    facts: Mapping[str, Any]
    counts: Mapping[str, int]
    failures: tuple[Failure, ...]
    digests: Mapping[str, str]
    digest: str

    @property
    def holds(self) -> bool:
        return not self.failures


def certify(plan: Plan, maps: Maps | None = None) -> Certificate:
    """Certifies the layout of one plan.

    Args:
      maps: those of the plan, possibly changed; None to make them.
    """
    arrays: Maps = jax.tree.map(np.asarray, make_maps(plan) if maps is None else maps)
    definition = Definition(
        plan.conv,
        plan.num_nhw_shards,
        plan.num_channel_shards,
        plan.input_shard.rows,
    )
    failures = tuple(check_layout(definition, arrays, plan.arch.num_banks))
    hashes = digests(arrays)
    return Certificate(
        key=layout_key(plan),
        facts=_facts(plan),
        counts=_counts(definition, plan),
        failures=failures,
        digests=hashes,
        digest=hashlib.sha256(json.dumps(hashes).encode()).hexdigest(),
    )


def _facts(plan: Plan) -> dict[str, Any]:
    return {
        "scheme": plan.scheme,
        "arch": plan.arch.name,
        "grid": plan.grid,
        "cores": plan.num_cores,
        "nhw_shards": plan.num_nhw_shards,
        "channel_shards": plan.num_channel_shards,
        "input_shard": tuple(plan.input_shard),
        "halo_shard": tuple(plan.halo_shard),
        "output_shard": tuple(plan.output_shard),
        "weight_matrix": plan.weight_matrix_shape,
        "weight_tiles": plan.weight_tile_grid,
        "effective_tiles": plan.effective_tiles,
    }


def _counts(definition: Definition, plan: Plan) -> dict[str, int]:
    conv, lanes = definition.conv, definition.weight_lanes()
    outputs = np.arange(definition.num_outputs)
    tiles = definition.weight_tile_rows * definition.channel_tiles
    readers = int(definition.readers.sum())
    padding = sum(
        int(np.count_nonzero(definition.windows(part) == ZERO))
        for part in parts(outputs, conv.taps)
    )
    boxes = plan.core_grid.broadcasts()
    return {
        "weights": conv.channels * conv.taps,
        "weight_lanes": lanes.size * definition.nhw_shards,
        "weight_tiles_read": tiles * readers,
        "weight_tiles_unused": (tiles - lanes.shape[1] // TILE_ELEMS) * readers,
        "stray_cores": sum(box.rect.area - 1 - box.num_dests for box in boxes),
        "bias_values": conv.channels * conv.bias,
        "outputs": len(outputs),
        "window_elements": len(outputs) * conv.taps,
        "padding_elements": padding,
    }


def digests(maps: Maps) -> dict[str, str]:
    """Returns the SHA-256 of each map, by its name in `Maps`.

    Hashed are shape, number of sources and the entries as little-endian int32, so they
    agree on all machines. Left out is what says how a core computes and not where
    anything lies.
    """
    return {
        name: digest
        for name, digest in _digests("", maps)
        if name not in ("pairing", "block_elems")
    }


def _digests(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    if dataclasses.is_dataclass(value) and not isinstance(value, IndexMap):
        for field in dataclasses.fields(value):
            part = f"{name}.{field.name}" if name else field.name
            yield from _digests(part, getattr(value, field.name))
        return
    index, size = value, None
    if isinstance(value, IndexMap):
        index, size = value.index, value.size
    entries = np.asarray(index, "<i4", order="C")
    digest = hashlib.sha256(f"{entries.shape} of {size}:".encode())
    digest.update(entries.tobytes())
    yield name, digest.hexdigest()


def layout_key(plan: Plan) -> str:
    """Returns convolution, sharding and chip; fields at their defaults are left out."""
    conv = _words(plan.conv, ("kernel", "stride", "padding"))
    return f"{conv} | {_words(plan.shard, ('scheme',))} | {plan.arch.name}"


def _words(config: ConvConfig | ShardConfig, always: Sequence[str]) -> str:
    words = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in always or value != field.default:
            text = "x".join(map(str, value)) if isinstance(value, tuple) else value
            words.append(f"{field.name}={text}")
    return " ".join(words)


def layout_plans(
    convs: Iterable[ConvConfig],
    schemes: Iterable[Scheme] = get_args(Scheme),
    archs: Iterable[str | Path | Arch] = ("wormhole_b0", "blackhole"),
) -> dict[str, Plan]:
    """Plans every distinct layout of some layers, with bias and without activation.

    A layer that the real system would slice to fit L1 is planned whole.

    Returns:
      Plans by `layout_key`.

    Raises:
      ConfigError: a layer that no device could run.
    """
    layouts = dict.fromkeys(
        dataclasses.replace(conv, bias=True, activation=None) for conv in convs
    )
    plans = (
        make_plan(conv, ShardConfig(scheme=scheme), arch=arch, must_fit=False)
        for conv, scheme, arch in itertools.product(layouts, schemes, archs)
    )
    return {layout_key(plan): plan for plan in plans}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LayoutChange:
    """One difference between a lockfile and the layouts of today.

    Attributes:
      map: whose digest differs; None if the configuration is on one side only.
    """

    kind: Literal["added", "removed", "changed"]
    key: str
    map: str | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.key}" + (f": {self.map}" if self.map else "")


Digests = Mapping[str, Mapping[str, str]]  # of each map, by `layout_key`


def write_lock(path: str | Path, entries: Digests) -> None:
    """Writes a lockfile, whole or not at all.

    Raises:
      ConfigError: the folder does not exist or cannot be written.
    """
    lock = {"schema": LOCK_SCHEMA, "layouts": {k: dict(v) for k, v in entries.items()}}
    with whole_file(path) as draft:
        draft.write_text(json.dumps(lock, indent=1, sort_keys=True) + "\n")


def check_lock(path: str | Path, entries: Digests) -> list[LayoutChange]:
    """Returns how these layouts differ from those of a lockfile.

    Raises:
      ConfigError: no lockfile of this schema.
    """
    locked = _read_lock(Path(path))
    changes = []
    for key in sorted({*locked, *entries}):
        if key not in locked:
            changes.append(LayoutChange(kind="added", key=key))
        elif key not in entries:
            changes.append(LayoutChange(kind="removed", key=key))
        else:
            old, new = locked[key], entries[key]
            changes += [
                LayoutChange(kind="changed", key=key, map=name)
                for name in sorted({*old, *new})
                if old.get(name) != new.get(name)
            ]
    return changes


def _read_lock(path: Path) -> Digests:
    try:
        lock = json.loads(path.read_text())
        schema, layouts = lock["schema"], lock["layouts"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"`path` (={str(path)!r}) must be a lockfile ({error}); write one first"
        ) from error
    if schema != LOCK_SCHEMA:
        raise ConfigError(
            f"the schema of {str(path)!r} (={schema!r}) must be {LOCK_SCHEMA}; write "
            "the lockfile anew"
        )
    return layouts
