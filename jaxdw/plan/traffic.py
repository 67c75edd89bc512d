"""What one launch moves, counted."""

import dataclasses

import numpy as np

from jaxdw.plan.grid import Broadcast
from jaxdw.plan.placement import Placement
from jaxdw.plan.units import TILE_BYTES, stick_elem_bytes
from jaxdw.plan.window import PAD, UNWRITTEN


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


def count_traffic(
    at: Placement,
    *,
    weight_tiles: int,
    readers: tuple[int, ...],
    broadcasts: tuple[Broadcast, ...],
    tiles_per_bank: tuple[int, ...],
) -> Traffic:
    """Counts what one launch moves.

    Args:
      weight_tiles: that a reader reads; readers: cores that read weights from DRAM.
    """
    cores = range(at.num_output_cores)
    senders = {broadcast.sender for broadcast in broadcasts}
    launch_bytes = weight_tiles * TILE_BYTES[at.conv.weights_dtype]
    sources = at.halo_sources()
    owner = np.arange(at.num_nhw_shards)[:, None]
    moved = (sources != PAD) & (sources != UNWRITTEN)
    local = np.count_nonzero(moved & (sources // at.input_shard.rows == owner))
    shard_stick_bytes = at.halo_shard.channels * stick_elem_bytes(at.conv.dtype)
    stick_bytes = shard_stick_bytes * at.num_channel_shards * at.has_halo
    return Traffic(
        tiles_per_bank=tiles_per_bank,
        weight_tiles_per_core=tuple(weight_tiles * (core in readers) for core in cores),
        bias_tiles_per_core=tuple(len(at.bias_tile_ids(core)) for core in cores),
        multicast_sent_bytes=tuple(launch_bytes * (c in senders) for c in cores),
        multicast_received_bytes=tuple(
            launch_bytes * (c not in readers) for c in cores
        ),
        multicast_stray_bytes=launch_bytes
        * sum(b.rect.area - 1 - b.num_dests for b in broadcasts),
        halo_local_bytes=int(local) * stick_bytes,
        halo_remote_bytes=(int(np.count_nonzero(moved)) - int(local)) * stick_bytes,
        halo_padding_bytes=int(np.count_nonzero(sources == PAD)) * stick_bytes,
    )
