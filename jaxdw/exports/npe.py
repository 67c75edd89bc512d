"""A plan's transfers over the NoC, as tt-npe reads them.

A workload for each phase (halo, dram, multicast), since phases of one workload overlap
there, and a trace of all one after the other. Coordinates are those of NoC 0 before
translation. Left out is what no link carries: cores that read windows in their own L1.

Source: tt-npe cpp/src/ingestWorkload.cpp (2025), fields and what is dropped: packets
above 8192 bytes, events without type or processor, what begins in the last 20 cycles.
Assumed: a core issues back to back at the rate of its link, halo runs go alternately
over the two NoCs, weights over NoC 0.
"""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from jaxdw.errors import UnsupportedError
from jaxdw.files import whole_file
from jaxdw.plan.grid import Rect
from jaxdw.plan.plan import Plan
from jaxdw.plan.units import TILE_BYTES, stick_elem_bytes

MAX_PACKET_BYTES = 8192
AFTER_LAST = 1000  # cycles from the last transfer to the end of a trace
Xy = tuple[int, int]
_PROCESSORS = {"NOC_0": "BRISC", "NOC_1": "NCRISC"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Packets of one size from one place to another, or to a rectangle.

    Attributes:
      issuer: the worker that issues it; its logical core is its place in the plan.
      source, target: NoC 0 coordinates; target is a corner pair for a multicast.
    """

    kind: Literal["READ", "WRITE_", "WRITE_MULTICAST"]
    noc: Literal["NOC_0", "NOC_1"]
    issuer: Xy
    source: Xy
    target: Xy | tuple[Xy, Xy]
    packet_bytes: int
    packets: int

    @property
    def num_bytes(self) -> int:
        return self.packet_bytes * self.packets


def phases(plan: Plan) -> dict[str, list[Transfer]]:
    """Returns the transfers of one launch, phase by phase in the order they run.

    Raises:
      UnsupportedError: a program whose transfers are not known here.
    """
    if plan.program != "depthwise":
        raise UnsupportedError(
            f"transfers of the program {plan.program!r} are not modelled; use "
            "program='depthwise'"
        )
    found = {
        "halo": list(_halo(plan)) if plan.has_halo else [],
        "dram": list(_dram(plan)),
        "multicast": list(_multicast(plan)),
    }
    return {name: transfers for name, transfers in found.items() if transfers}


def _packed(num_bytes: int) -> Iterator[tuple[int, int]]:
    """Yields packet sizes and counts of so many bytes."""
    whole, rest = divmod(num_bytes, MAX_PACKET_BYTES)
    if whole:
        yield MAX_PACKET_BYTES, whole
    if rest:
        yield rest, 1


def _halo(plan: Plan) -> Iterator[Transfer]:
    """Yields copies of sticks, pushed by who has them, and zeros written at home."""
    pads, copies = plan.halo_transfers()
    stick = plan.halo_shard.channels * stick_elem_bytes(plan.conv.dtype)
    runs = [(core, core, int(length)) for core, _, length in pads.tolist()]
    runs += [(src, dst, length) for src, _, dst, _, length in copies.tolist()]
    issued: dict[int, int] = {}
    for source, target, length in runs:
        issued[source] = issued.get(source, -1) + 1
        noc: Literal["NOC_0", "NOC_1"] = "NOC_1" if issued[source] % 2 else "NOC_0"
        for shard in range(plan.num_channel_shards):
            ends = [
                plan.arch.physical_noc_xy(
                    plan.core_grid.xy(nhw * plan.num_channel_shards + shard)
                )
                for nhw in (source, target)
            ]
            for size, count in _packed(length * stick):
                yield Transfer(
                    kind="WRITE_",
                    noc=noc,
                    issuer=ends[0],
                    source=ends[0],
                    target=ends[1],
                    packet_bytes=size,
                    packets=count,
                )


def _dram(plan: Plan) -> Iterator[Transfer]:
    """Yields the tiles of weights and bias that each reader fetches, bank by bank."""
    tile, banks = TILE_BYTES[plan.conv.weights_dtype], plan.arch.num_banks
    readers = set(plan.weight_readers)
    for core in range(plan.num_output_cores):
        ids = [*plan.bias_tile_ids(core)]
        if core in readers:
            ids = [*plan.weight_tile_ids(core), *ids]
        place = plan.arch.physical_noc_xy(plan.output_grid.xy(core))
        for bank in range(banks):
            count = sum(tile_id % banks == bank for tile_id in ids)
            if count:
                yield Transfer(
                    kind="READ",
                    noc="NOC_0",
                    issuer=place,
                    source=plan.arch.bank_noc_xy[bank],
                    target=place,
                    packet_bytes=tile,
                    packets=count,
                )


def _multicast(plan: Plan) -> Iterator[Transfer]:
    """Yields each sender's weights on their way to its rectangle."""
    sent = plan.weight_tiles_per_core * TILE_BYTES[plan.conv.weights_dtype]
    for broadcast in plan.broadcasts:
        place = plan.arch.physical_noc_xy(plan.output_grid.xy(broadcast.sender))
        for size, count in _packed(sent):
            yield Transfer(
                kind="WRITE_MULTICAST",
                noc="NOC_0",
                issuer=place,
                source=place,
                target=_corners(plan, broadcast.rect),
                packet_bytes=size,
                packets=count,
            )


def _corners(plan: Plan, rect: Rect) -> tuple[Xy, Xy]:
    first = plan.arch.physical_noc_xy((rect.x0, rect.y0))
    return first, plan.arch.physical_noc_xy((rect.x1, rect.y1))


def workload(transfers: list[Transfer]) -> dict[str, Any]:
    """Returns one phase as a workload, whose transfers all begin at 0."""
    return {"phases": [{"transfers": [_entry(transfer) for transfer in transfers]}]}


def _entry(transfer: Transfer) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "packet_size": transfer.packet_bytes,
        "num_packets": transfer.packets,
        "src_x": transfer.source[0],
        "src_y": transfer.source[1],
        "injection_rate": 0.0,  # tt-npe takes its own
        "phase_cycle_offset": 0,
        "noc_type": transfer.noc,
        "noc_event_type": transfer.kind,
    }
    return entry | _target(transfer.target, "dst_x", "dst_y")


def _target(target: Any, x: str, y: str) -> dict[str, int]:
    if isinstance(target[0], int):
        return {x: target[0], y: target[1]}
    (x0, y0), (x1, y1) = target
    return {
        "mcast_start_x": x0,
        "mcast_start_y": y0,
        "mcast_end_x": x1,
        "mcast_end_y": y1,
    }


def trace(plan: Plan) -> list[dict[str, Any]]:
    """Returns all phases as events of a trace, each phase after the one before.

    In it sx, sy is the core that issues: tt-npe turns reads round.
    """
    link, start = plan.arch.noc_link_bytes_per_cycle, 0
    events: list[dict[str, Any]] = []
    cores = set()
    for transfers in phases(plan).values():
        clocks: dict[tuple[Xy, str], int] = {}
        for transfer in transfers:
            own = (transfer.issuer, transfer.noc)
            cores.add(own)
            for _ in range(transfer.packets):
                at = clocks.setdefault(own, start)
                events.append(_event(transfer, at))
                clocks[own] = at + -(-transfer.packet_bytes // link)
        start = max(clocks.values())
    end = start + AFTER_LAST
    for (x, y), noc in sorted(cores):
        for phase, at in (("begin", 0), ("end", end)):
            events.append(
                _head(noc, (x, y), at)
                | {"zone": f"{_PROCESSORS[noc]}-KERNEL", "zone_phase": phase}
            )
    return sorted(events, key=lambda event: event["timestamp"])


def _head(noc: str, core: Xy, at: int) -> dict[str, Any]:
    return {
        "run_host_id": 0,
        "op_name": "conv2d",
        "proc": _PROCESSORS[noc],
        "sx": core[0],
        "sy": core[1],
        "timestamp": at,
    }


def _event(transfer: Transfer, at: int) -> dict[str, Any]:
    other = transfer.source if transfer.kind == "READ" else transfer.target
    return (
        _head(transfer.noc, transfer.issuer, at)
        | {"noc": transfer.noc, "vc": -1, "type": transfer.kind}
        | {"num_bytes": transfer.packet_bytes}
        | _target(other, "dx", "dy")
    )


def write_npe(plan: Plan, path: str | Path) -> list[Path]:
    """Writes the trace to a file, each phase's workload beside it; returns all.

    Args:
      path: of the trace, `layer.json`; a workload is `layer.halo.json`.

    Raises:
      UnsupportedError: as `phases`.
      ConfigError: a file that cannot be written.
    """
    path = Path(path)
    found: dict[Path, Any] = {path: trace(plan)}
    for name, transfers in phases(plan).items():
        found[path.with_suffix(f".{name}.json")] = workload(transfers)
    for file, content in found.items():
        with whole_file(file) as draft:
            draft.write_text(json.dumps(content), "utf-8")
    return list(found)
