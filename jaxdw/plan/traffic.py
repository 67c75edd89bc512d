"""What one launch moves, counted."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from jaxdw.plan.units import TILE_BYTES, stick_elem_bytes
from jaxdw.plan.window import PAD, UNWRITTEN

if TYPE_CHECKING:
    from jaxdw.plan.plan import Plan


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Bytes and tiles that one launch moves; weights and bias in tiles of DRAM.

    Attributes:
      tiles_per_bank: tiles read from each DRAM bank, weights and bias.
      weight_tiles_per_core, bias_tiles_per_core: tiles each core reads itself.
      multicast_sent_bytes: by each core; one send counts once, however many receive.
      multicast_received_bytes: by each core of the program.
      multicast_stray_bytes: into idle cores inside a sender's rectangle.
      halo_local_bytes, halo_remote_bytes, halo_padding_bytes: sticks copied inside a
        core, to another core, and zeroed.
    """

    tiles_per_bank: tuple[int, ...]
    weight_tiles_per_core: tuple[int, ...]
    bias_tiles_per_core: tuple[int, ...]
    multicast_sent_bytes: tuple[int, ...]
    multicast_received_bytes: tuple[int, ...]
    multicast_stray_bytes: int
    halo_local_bytes: int
    halo_remote_bytes: int
    halo_padding_bytes: int


def count_traffic(plan: "Plan") -> Traffic:
    """Counts what one launch of a plan moves."""
    cores = range(plan.num_cores)
    broadcasts = plan.core_grid.broadcasts()
    senders = {broadcast.sender for broadcast in broadcasts}
    launch_bytes = plan.weight_tiles_per_core * TILE_BYTES[plan.conv.weights_dtype]
    sources = plan.halo_sources()
    owner = np.arange(plan.num_nhw_shards)[:, None]
    moved = (sources != PAD) & (sources != UNWRITTEN)
    local = np.count_nonzero(moved & (sources // plan.input_shard.rows == owner))
    shard_stick_bytes = plan.halo_shard.channels * stick_elem_bytes(plan.conv.dtype)
    stick_bytes = shard_stick_bytes * plan.num_channel_shards * plan.has_halo
    return Traffic(
        tiles_per_bank=plan.tiles_per_bank,
        weight_tiles_per_core=tuple(
            plan.weight_tiles_per_core * (core in plan.weight_readers) for core in cores
        ),
        bias_tiles_per_core=tuple(len(plan.bias_tile_ids(core)) for core in cores),
        multicast_sent_bytes=tuple(launch_bytes * (c in senders) for c in cores),
        multicast_received_bytes=tuple(
            launch_bytes * (c not in plan.weight_readers) for c in cores
        ),
        multicast_stray_bytes=launch_bytes
        * sum(b.rect.area - 1 - b.num_dests for b in broadcasts),
        halo_local_bytes=int(local) * stick_bytes,
        halo_remote_bytes=(int(np.count_nonzero(moved)) - int(local)) * stick_bytes,
        halo_padding_bytes=int(np.count_nonzero(sources == PAD)) * stick_bytes,
    )
