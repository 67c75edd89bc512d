"""Multicast of weights: roles, rectangles, and the readers' handshake.

Source: tt-metal reader_pool_2d.cpp @ff6ab496, in order: a receiver sets its own
receiver semaphore INVALID and adds 1 to its sender's sender semaphore; a sender waits
until that equals `num_dests`, resets it, multicasts the data and then the VALID flag to
its rectangle, itself left out; a receiver waits for VALID.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int32

from jaxdw.maps.indexmap import HostOrDevice, IndexMap
from jaxdw.plan.plan import Plan

INVALID = 0
VALID = 1
NO_CORE = -1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Multicast:
    """The runtime arguments of every core's reader that concern multicast.

    Invariants: `names[c] == NO_CORE` for cores that read for themselves; `num_dests`
    is 0 for cores that send nothing.
    """

    xy: Int32[HostOrDevice, "cores 2"]  # logical
    is_sender: Bool[HostOrDevice, " cores"]  # reads DRAM
    names: Int32[HostOrDevice, " cores"]  # a receiver's sender
    rect: Int32[HostOrDevice, "cores 4"]  # x0 y0 x1 y1
    num_dests: Int32[HostOrDevice, " cores"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Delivery:
    """What the handshake left behind.

    Attributes:
      source: the core each core's weights came from; poison if it got none.
      sender_semaphore: left at the count reached if the sender still waits for more.
      receiver_semaphore: VALID or INVALID.
    """

    source: IndexMap
    sender_semaphore: Int32[HostOrDevice, " cores"]
    receiver_semaphore: Int32[HostOrDevice, " cores"]


def make_multicast(plan: Plan) -> Multicast:
    """Returns the multicast arguments of every core of a plan."""
    num_cores = plan.num_output_cores
    is_sender = np.zeros(num_cores, bool)
    is_sender[list(plan.weight_readers)] = True
    names = np.full(num_cores, NO_CORE, np.int32)
    rect = np.zeros((num_cores, 4), np.int32)
    num_dests = np.zeros(num_cores, np.int32)
    for broadcast in plan.broadcasts:
        box = broadcast.rect
        rect[broadcast.sender] = box.x0, box.y0, box.x1, box.y1
        num_dests[broadcast.sender] = broadcast.num_dests
    for core in np.flatnonzero(~is_sender):
        names[core] = core % plan.num_output_shards
    xy = np.array([plan.output_grid.xy(core) for core in range(num_cores)], np.int32)
    return Multicast(
        xy=xy, is_sender=is_sender, names=names, rect=rect, num_dests=num_dests
    )


def receives(multicast: Multicast) -> Bool[HostOrDevice, "cores cores"]:
    """Returns which core each sender's rectangle writes, `[sender, receiver]`."""
    x, y = multicast.xy[None, :, 0], multicast.xy[None, :, 1]
    x0, y0, x1, y1 = (multicast.rect[:, side, None] for side in range(4))
    num_cores = len(multicast.names)
    inside = (x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1)
    loopback = np.eye(num_cores, dtype=bool)
    return inside & ~loopback & (multicast.num_dests > 0)[:, None]


def handshake(multicast: Multicast) -> Delivery:
    """Plays the readers' protocol once, for all cores together."""
    xp = np if isinstance(multicast.names, np.ndarray) else jnp
    num_cores = len(multicast.names)
    cores = np.arange(num_cores, dtype=np.int32)
    waits = ~multicast.is_sender
    # receivers invalidate, then count up on the sender they name
    receiver_semaphore = xp.where(waits, INVALID, VALID)
    arrived = waits[None] & (multicast.names[None] == cores[:, None])
    sender_semaphore = arrived.sum(axis=1)
    # a sender that saw its count resets it and sends data, then the flag
    sends = multicast.is_sender & (multicast.num_dests > 0)
    sends = sends & (sender_semaphore == multicast.num_dests)
    sender_semaphore = xp.where(sends, 0, sender_semaphore)
    written = receives(multicast) & sends[:, None]
    served = written.any(axis=0) & waits
    receiver_semaphore = xp.where(served, VALID, receiver_semaphore)
    source = xp.where(multicast.is_sender, cores, num_cores + 1)
    source = xp.where(served, written.argmax(axis=0), source)
    return Delivery(
        source=IndexMap(source.astype(np.int32), num_cores),
        sender_semaphore=sender_semaphore.astype(np.int32),
        receiver_semaphore=receiver_semaphore.astype(np.int32),
    )
