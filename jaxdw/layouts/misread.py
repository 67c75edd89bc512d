"""Weights prepared for one plan and read under another: what each core takes."""

import dataclasses

import numpy as np
from jaxtyping import Int

from jaxdw.errors import refuse
from jaxdw.layouts.certificate import weights_of
from jaxdw.layouts.definition import UNWRITTEN, ZERO
from jaxdw.layouts.hypotheses import by_tiles
from jaxdw.layouts.identify import weight_text
from jaxdw.layouts.preparations import matrix_of
from jaxdw.plan.plan import Plan
from jaxdw.plan.units import TILE_ELEMS


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CoreReading:
    """What one core takes for its weights; all but `in_place` are mistakes.

    Attributes:
      in_place, others, zeros, outside: of the lanes of its weights (conv1d has many of
        each), those that hold them, and those that hold other weights, zeros, or memory
        past the tensor.
      strays: weights, or memory past the tensor, in lanes that have to be zero.
    """

    core: int
    in_place: int
    others: int
    zeros: int
    outside: int
    strays: int

    @property
    def mistakes(self) -> int:
        return self.others + self.zeros + self.outside + self.strays


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Misreading:
    """What a plan makes of weights that were prepared for another.

    Attributes:
      verdict: a sentence.
      cores: of the reading plan, each.
      places: the first mistakes, one sentence each.
      due, taken: for each lane that compute multiplies the weight (`channel * taps +
        tap`) that belongs there and the one that is there; -1 is zero, -2 memory past
        the tensor. Core `c` has row `c % channel_shards`.
    """

    verdict: str
    cores: tuple[CoreReading, ...]
    places: tuple[str, ...]
    due: Int[np.ndarray, "channel_shards lanes"]
    taken: Int[np.ndarray, "channel_shards lanes"]

    @property
    def reads_right(self) -> bool:
        return not any(core.mistakes for core in self.cores)


def misread(prepared_under: Plan, read_under: Plan, *, most: int = 8) -> Misreading:
    """Says what a plan's cores make of weights prepared for another plan.

    Args:
      most: places to name.

    Raises:
      ConfigError: plans of other weights or other weights' dtypes.
      UnsupportedError: a prepared matrix too large for a table.
    """
    refuse(_unlike(prepared_under, read_under))
    conv = read_under.conv
    shards = read_under.num_output_shards
    matrix_of(read_under)  # refuses what is too large
    due = weights_of(read_under).weight_lanes()
    tiles = by_tiles(matrix_of(prepared_under))
    tiles = np.where(tiles < conv.channels * conv.taps, tiles, ZERO)
    ids = np.array([read_under.weight_tile_ids(shard) for shard in range(shards)])
    ids = ids[:, : read_under.multiplied_tiles]
    inside = ids < len(tiles)
    taken = np.where(inside[..., None], tiles[np.where(inside, ids, 0)], UNWRITTEN)
    taken = taken.reshape(due.shape)
    real, right = due != ZERO, due == taken
    counts = {
        "in_place": real & right,
        "others": real & ~right & (taken >= 0),
        "zeros": real & (taken == ZERO),
        "outside": real & (taken == UNWRITTEN),
        "strays": ~real & ~right,
    }
    cores = tuple(
        CoreReading(
            core=core,
            **{name: int(lanes[core % shards].sum()) for name, lanes in counts.items()},
        )
        for core in range(read_under.num_output_cores)
    )
    places = [
        f"core {shard}, L1 tile {lane // TILE_ELEMS}, lane {lane % TILE_ELEMS}: "
        f"{_taken_text(read_under, int(due[shard, lane]))} is due, "
        f"{_taken_text(read_under, int(taken[shard, lane]))} is taken"
        for shard, lane in np.argwhere(~right)[:most]
    ]
    wrong = [core for core in cores if core.mistakes]
    verdict = "reads every weight in its place"
    if wrong:
        kept = sum(core.in_place for core in cores)
        weights = int(real.sum()) * read_under.num_nhw_shards
        verdict = (
            f"{len(wrong)} of {len(cores)} cores misread their weights: {kept} of "
            f"{weights} are in their places; first, {places[0]}"
        )
    return Misreading(
        verdict=verdict, cores=cores, places=tuple(places), due=due, taken=taken
    )


def _unlike(prepared_under: Plan, read_under: Plan) -> list[str]:
    found = []
    ours, theirs = prepared_under.conv, read_under.conv
    if ours.weight_shape != theirs.weight_shape:
        found.append(
            f"`prepared_under` (weights {ours.weight_shape}) must be of the same "
            f"weights as `read_under` ({theirs.weight_shape}); plan both for one layer"
        )
    if ours.weights_dtype != theirs.weights_dtype:
        found.append(
            f"`prepared_under` ({ours.weights_dtype}) must have the weights' dtype of "
            f"`read_under` ({theirs.weights_dtype}): tiles of another size are no "
            "tiles; plan both for one dtype"
        )
    return found


def _taken_text(plan: Plan, source: int) -> str:
    if source < 0:
        return "zero" if source == ZERO else "memory past the tensor"
    channel, tap = divmod(source, plan.conv.taps)
    return weight_text((channel, *divmod(tap, plan.conv.kernel[1])))
