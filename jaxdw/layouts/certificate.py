"""The layout certificate: every element's way through the maps, by enumeration.

A certificate without failures states that all of `RULES` hold for one configuration.
Its digests go into a lockfile (lock.py).
"""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import jax
import numpy as np

from jaxdw.arch.arch import Arch
from jaxdw.layouts.conv1d import Conv1dWeights
from jaxdw.layouts.counterexample import Failure
from jaxdw.layouts.definition import TILE, TILE_ELEMS, ZERO, Cut, Definition
from jaxdw.layouts.depthwise import DepthwiseWeights
from jaxdw.layouts.regular import RegularWeights
from jaxdw.layouts.rules import check_layout
from jaxdw.layouts.stick_rules import parts
from jaxdw.layouts.weight_rules import WeightStatement
from jaxdw.maps.indexmap import IndexMap, as_table
from jaxdw.maps.maps import Maps, make_maps
from jaxdw.plan.config import ConvConfig, Scheme, ShardConfig
from jaxdw.plan.plan import Plan
from jaxdw.plan.planner import make_plan
from jaxdw.plan.ttnn.plan import TtnnPlan

# What each device program states of its weights.
STATEMENTS: dict[str, Callable[[Definition], WeightStatement]] = {
    "depthwise": DepthwiseWeights,
    "regular": RegularWeights,
    "conv1d": Conv1dWeights,
}

# Of what only says how cores compute, and not where anything lies.
_NOT_DIGESTED = (
    "pairing",
    "dense.copies",
    "dense.tile_columns",
    "block_elems",
    "lanes",
    "facts",
)


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

    Raises:
      UnsupportedError: a layer of several launches, or whose weights' matrix is too
        large for a table.
    """
    plan.refuse_slices("certify")
    arrays: Maps = jax.tree.map(np.asarray, make_maps(plan) if maps is None else maps)
    as_table(arrays.weights.prepare, "certified")
    definition, statement = definition_of(plan), weights_of(plan)
    num_banks = plan.arch.num_banks
    failures = tuple(check_layout(definition, statement, arrays, num_banks))
    hashes = digests(arrays)
    return Certificate(
        key=layout_key(plan),
        facts=_facts(plan),
        counts=_counts(definition, statement, plan),
        failures=failures,
        digests=hashes,
        digest=hashlib.sha256(json.dumps(hashes).encode()).hexdigest(),
    )


def definition_of(plan: Plan) -> Definition:
    """Returns what the plan's convolution and decisions define."""
    return Definition(
        plan.conv,
        plan.num_nhw_shards,
        plan.num_output_shards,
        plan.input_shard.rows,
        _cut(plan) if isinstance(plan, TtnnPlan) else None,
    )


def _cut(plan: TtnnPlan) -> Cut:
    return Cut(
        scheme=plan.scheme,
        shards=plan.num_channel_shards,
        width=plan.input_shard.channels,
        parts=plan.shard.act_block_w_div,
        full_inner_dim=plan.shard.full_inner_dim,
        block_rows=plan.act_block[0] * TILE,
    )


def weights_of(plan: Plan) -> WeightStatement:
    """Returns what the plan's device program states of its weights."""
    return STATEMENTS[plan.program](definition_of(plan))


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
        **plan.own_facts(),
    }


def _counts(
    definition: Definition, statement: WeightStatement, plan: Plan
) -> dict[str, int]:
    conv, lanes = definition.conv, statement.weight_lanes()
    outputs = np.arange(definition.num_outputs)
    tiles = statement.weight_tile_ids().shape[1]
    readers = int(definition.readers.sum())
    padding = sum(
        int(np.count_nonzero(definition.windows(part) == ZERO))
        for part in parts(outputs, conv.taps)
    )
    boxes = plan.broadcasts
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
    return dict(_digests("", maps))


def _digests(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if value is None or name in _NOT_DIGESTED:
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
    """Returns convolution, sharding and chip; fields at their defaults are left out.

    The device program follows if it is not `depthwise`, and what of its arithmetic
    its layout depends on.
    """
    conv = _words(plan.conv, ("kernel", "stride", "padding"))
    key = f"{conv} | {_words(plan.shard, ('scheme',))} | {plan.arch.name}"
    if plan.program != "depthwise":
        wide = " fp32_dest_acc=True" * plan.compute.fp32_dest_acc
        key += f" | program={plan.program}{wide}"
    return key


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
