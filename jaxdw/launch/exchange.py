"""Input sticks dealt to devices, and those that devices exchange: the halo between."""

import dataclasses

import jax
import numpy as np

from jaxdw.maps.indexmap import IndexMap, make_index_map


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Exchange:
    """Where a device's cores find the sticks of their windows.

    A device runs NHW shards in a row and holds the sticks of their input shards.

    Attributes:
      send: `[devices, devices, most]`, for each device and receiver, rows of its own
        sticks; padding fills up to the largest transfer.
      sticks: `[devices * shards, taps, output rows]`, rows of a device's own sticks
        followed by what each device sent it. Shards past the last read padding.
    """

    send: IndexMap
    sticks: IndexMap


def make_exchange(sticks: IndexMap, shard_rows: int, num_devices: int) -> Exchange:
    """Deals NHW shards to devices and finds what each must get from each other.

    Args:
      sticks: `[shards, taps, output rows]` from NHW sticks.
      shard_rows: input sticks of one NHW shard.
    """
    shards, taps, outputs = sticks.index.shape
    per_device = -(-shards // num_devices)
    own = per_device * shard_rows
    past = num_devices * per_device - shards
    index = np.pad(
        np.asarray(sticks.index),
        [(0, past), (0, 0), (0, 0)],
        constant_values=sticks.padding,
    ).reshape(num_devices, per_device, taps, outputs)

    needed = [np.unique(part[part < sticks.size]) for part in index]
    transfers = {
        (source, device): needs[needs // own == source] - source * own
        for device, needs in enumerate(needed)
        for source in range(num_devices)
        if source != device
    }
    most = max(map(len, transfers.values()), default=0)
    send = np.full((num_devices, num_devices, most), own)
    held = own + num_devices * most
    found = np.empty_like(index)
    for device in range(num_devices):
        place = np.full(sticks.size + 2, held + 1)
        place[sticks.padding] = held
        first = min(device * own, sticks.size)
        mine = min(own, sticks.size - first)
        place[first : first + mine] = np.arange(mine)
        for source in range(num_devices):
            if source == device:
                continue
            rows = transfers[source, device]
            send[source, device, : len(rows)] = rows
            place[source * own + rows] = own + source * most + np.arange(len(rows))
        found[device] = place[index[device]]
    return Exchange(
        send=make_index_map(send, own),
        sticks=make_index_map(found.reshape(-1, taps, outputs), held),
    )
