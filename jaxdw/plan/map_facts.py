"""What of a plan its index maps depend on: by it, maps know the plan they are of."""

import dataclasses
import functools
from collections.abc import Iterator

from jaxdw.plan.config import ConvConfig, Scheme, WeightLayoutName
from jaxdw.plan.grid import CoreGrid, Shard
from jaxdw.plan.placement import Placement
from jaxdw.plan.program import WeightPages

# of a convolution: no element lies elsewhere for them
_ARITHMETIC = {"dtype": "bfloat16", "output_dtype": "bfloat16", "activation": None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MapFacts:
    """Two plans with equal facts have the same index maps.

    Attributes:
      conv: the layer, the dtypes of its input and output and its activation apart.
      weights: in DRAM; its `read_rows` are a tuple.
    """

    program: str
    conv: ConvConfig
    scheme: Scheme
    weight_layout: WeightLayoutName
    core_grid: CoreGrid
    output_grid: CoreGrid
    input_shard: Shard
    halo_shard: Shard
    output_shard: Shard
    num_banks: int
    weights: WeightPages

    def differences(self, other: "MapFacts") -> Iterator[str]:
        """Yields what differs in `other`: its name, the other's value, this one's."""
        for own, theirs in ((self, other), (self.conv, other.conv)):
            for field in dataclasses.fields(own):
                value, instead = getattr(own, field.name), getattr(theirs, field.name)
                if value != instead and field.name != "conv":
                    yield f"`{field.name}` {instead}, not {value}"


def map_facts_of(plan: Placement, program: str, pages: WeightPages) -> MapFacts:
    """Returns what the index maps of a plan depend on.

    Args:
      program, pages: whose decision its weights are, and where they lie.
    """
    facts = MapFacts(
        program=program,
        conv=dataclasses.replace(plan.conv, **_ARITHMETIC),
        scheme=plan.scheme,
        weight_layout=plan.shard.weight_layout,
        core_grid=plan.core_grid,
        output_grid=plan.output_grid,
        input_shard=plan.input_shard,
        halo_shard=plan.halo_shard,
        output_shard=plan.output_shard,
        num_banks=plan.arch.num_banks,
        weights=dataclasses.replace(pages, read_rows=tuple(pages.read_rows)),
    )
    return _one(facts)


@functools.lru_cache(maxsize=1024)
def _one(facts: MapFacts) -> MapFacts:
    """Returns one object for equal facts, which then compare at once."""
    return facts
