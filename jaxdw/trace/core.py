"""What one core does and holds: role, tiles, channels, outputs, sticks."""

import dataclasses
from typing import Any

import numpy as np

from jaxdw.errors import range_problem, refuse
from jaxdw.plan.grid import Rect
from jaxdw.plan.plan import Plan
from jaxdw.trace.provenance import NOTHING, Provenance, Role, provenance_of


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HaloRun:
    """Consecutive rows of a haloed shard that come from one place.

    Attributes:
      row: first of the haloed shard; length: in rows.
      source: the core whose input shard they come from, its rows from `source_row` on,
        which hold the NHW sticks from `stick` on; None for sticks of padding.
    """

    row: int
    length: int
    source: int | None
    source_row: int | None
    stick: int | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CoreTrace:
    """One core of the chip; ranges are (first, last).

    Attributes:
      core: its number in the output's grid, which holds weights; None if it is not
        there.
      input_core: its number in the input's grid, whose cores hold sticks: the same
        where one grid is for both. None if it is not there.
      source: the core that reads its weights from DRAM; of an idle core, the sender
        whose multicast overwrites it. None if there is none.
      rectangle: that it multicasts to, logical, bounds inclusive; None if to none.
      overwritten: idle cores inside its rectangle.
      tiles: in its weight_cb, in read order; `multiplied` says how many of them, from
        the first on, compute multiplies.
      channels: real ones, of its outputs; outputs: NHW; input_sticks: NHW, before halo;
        input_channels: real ones, of these sticks. None for none.
      halo_rows: rows of its haloed shard; `runs` says what is written to them.
      window_starts: runs of haloed rows, a column's stride apart.
    """

    core: int | None
    input_core: int | None
    xy: tuple[int, int]
    noc_xy: tuple[int, int]
    role: Role
    source: int | None
    rectangle: Rect | None
    num_dests: int
    receivers: tuple[int, ...]
    overwritten: tuple[tuple[int, int], ...]
    tiles: tuple[int, ...]
    multiplied: int
    weight_cb_address: int
    bias_tiles: tuple[int, ...]
    channels: tuple[int, int] | None
    outputs: tuple[int, int] | None
    input_sticks: tuple[int, int] | None
    input_channels: tuple[int, int] | None
    halo_rows: int
    runs: tuple[HaloRun, ...]
    window_starts: tuple[tuple[int, int], ...]

    @property
    def padding_rows(self) -> int:
        """Haloed rows that are padding."""
        return sum(run.length for run in self.runs if run.source is None)

    @property
    def rows_from(self) -> dict[int, int]:
        """Haloed rows by the core whose input shard they come from."""
        rows: dict[int, int] = {}
        for run in self.runs:
            if run.source is not None:
                rows[run.source] = rows.get(run.source, 0) + run.length
        return rows


def explain_core(plan: Plan, x: int, y: int) -> CoreTrace:
    """Returns what the core at logical (x, y) does and holds.

    Raises:
      ConfigError: a core outside the chip's grid.
      UnsupportedError: as `Provenance`.
    """
    limit_x, limit_y = plan.arch.grid
    refuse(range_problem("x", x, limit_x) + range_problem("y", y, limit_y))
    provenance = provenance_of(plan)
    return CoreTrace(
        xy=(x, y),
        noc_xy=plan.arch.worker_noc_xy((x, y)),
        weight_cb_address=provenance.weight_cb_address,
        **_as_output(provenance, (x, y)),
        **_as_input(provenance, (x, y)),
    )


def _as_output(provenance: Provenance, xy: tuple[int, int]) -> dict[str, Any]:
    """Returns what a core computes, and with which weights."""
    plan, core = provenance.plan, provenance.cores_at.get(xy)
    if core is None:
        return _without_weights(provenance, xy)
    shard, channel_shard = divmod(core, plan.num_output_shards)
    rectangle = _rectangle(provenance, core)
    tiles = provenance.held_tiles[core]
    source = int(provenance.weight_sources[core])
    return {
        "core": core,
        "role": provenance.role(core),
        "source": None if source == NOTHING else source,
        "rectangle": rectangle,
        "num_dests": int(provenance.maps.multicast.num_dests[core]),
        "receivers": provenance.receivers(core),
        "overwritten": _idle_inside(provenance, rectangle),
        "tiles": tuple(tiles[tiles != NOTHING].tolist()),
        "multiplied": plan.multiplied_tiles,
        "bias_tiles": tuple(provenance.bias_tiles[core].tolist()),
        "channels": _channels(plan, channel_shard, provenance.maps.channels_per_core),
        "outputs": _ends(provenance.outputs[shard]),
    }


def _as_input(provenance: Provenance, xy: tuple[int, int]) -> dict[str, Any]:
    """Returns which sticks a core holds, before and after halo."""
    plan, core = provenance.plan, provenance.input_cores_at.get(xy)
    if core is None:
        return {
            "input_core": None,
            "input_sticks": None,
            "input_channels": None,
            "halo_rows": 0,
            "runs": (),
            "window_starts": (),
        }
    shard, channel_shard = divmod(core, plan.num_channel_shards)
    return {
        "input_core": core,
        "input_sticks": _ends(provenance.input_sticks[shard]),
        "input_channels": _channels(plan, channel_shard, plan.input_shard.channels),
        "halo_rows": plan.halo_shard.rows,
        "runs": _halo_runs(provenance, core),
        "window_starts": _window_starts(provenance, shard),
    }


def _channels(plan: Plan, shard: int, width: int) -> tuple[int, int] | None:
    """Returns the first and last real channel of a shard so many channels wide."""
    first, last = shard * width, min((shard + 1) * width, plan.conv.channels) - 1
    return (first, last) if first <= last else None


def _rectangle(provenance: Provenance, core: int) -> Rect | None:
    if not provenance.maps.multicast.num_dests[core]:
        return None
    x0, y0, x1, y1 = provenance.maps.multicast.rect[core].tolist()
    return Rect(x0=x0, y0=y0, x1=x1, y1=y1)


def _idle_inside(
    provenance: Provenance, rectangle: Rect | None
) -> tuple[tuple[int, int], ...]:
    if rectangle is None:
        return ()
    return tuple(
        (x, y)
        for y in range(rectangle.y0, rectangle.y1 + 1)
        for x in range(rectangle.x0, rectangle.x1 + 1)
        if (x, y) not in provenance.cores_at
    )


def _without_weights(provenance: Provenance, xy: tuple[int, int]) -> dict[str, Any]:
    senders = (
        core
        for core in range(provenance.plan.num_output_cores)
        if xy in _idle_inside(provenance, _rectangle(provenance, core))
    )
    return {
        "core": None,
        "role": "input" if xy in provenance.input_cores_at else "idle",
        "source": next(senders, None),
        "rectangle": None,
        "num_dests": 0,
        "receivers": (),
        "overwritten": (),
        "tiles": (),
        "multiplied": 0,
        "bias_tiles": (),
        "channels": None,
        "outputs": None,
    }


def _ends(values: np.ndarray) -> tuple[int, int] | None:
    real = values[values != NOTHING]
    return (int(real.min()), int(real.max())) if len(real) else None


def _halo_runs(provenance: Provenance, core: int) -> tuple[HaloRun, ...]:
    plan, halo = provenance.plan, provenance.maps.halo
    shard, channel_shard = divmod(core, plan.num_channel_shards)
    place = provenance.halo_places[shard]
    rows = np.flatnonzero(place != halo.poison)
    if not len(rows):
        return ()
    place = place[rows]
    source = np.where(place == halo.padding, NOTHING, place // plan.input_shard.rows)
    # the shard is a range of padded positions: rows of one source follow each other
    follows = (np.diff(rows) == 1) & (np.diff(source) == 0)
    begins = np.flatnonzero(np.concatenate([[True], ~follows]))
    runs = []
    for begin, end in zip(begins, [*begins[1:], len(rows)], strict=True):
        from_shard, source_row = divmod(int(place[begin]), plan.input_shard.rows)
        padding = source[begin] == NOTHING
        runs.append(
            HaloRun(
                row=int(rows[begin]),
                length=int(end - begin),
                source=None
                if padding
                else from_shard * plan.num_channel_shards + channel_shard,
                source_row=None if padding else source_row,
                stick=None
                if padding
                else int(provenance.input_sticks[from_shard, source_row]),
            )
        )
    return tuple(runs)


def _window_starts(provenance: Provenance, shard: int) -> tuple[tuple[int, int], ...]:
    starts = provenance.window_starts[shard]
    starts = starts[starts != NOTHING]
    if not len(starts):
        return ()
    breaks = np.flatnonzero(np.diff(starts) != provenance.plan.conv.stride[1]) + 1
    return tuple((int(run[0]), int(run[-1])) for run in np.split(starts, breaks))
