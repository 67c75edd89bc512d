"""The readers' weight protocol as data: each role's steps, in order.

Source: tt-metal reader_pool_2d.cpp @ff6ab496.
"""

import dataclasses
import enum

from jaxdw.arch.arch import Arch
from jaxdw.errors import refuse


class Step(enum.Enum):
    """One step of a reader's program."""

    RESERVE = enum.auto()  # pages for all weights in the weight buffer
    PUSH = enum.auto()  # compute may read the weights from here on
    SET_OWN_VALID = enum.auto()  # receiver semaphore of this core
    READ_DRAM = enum.auto()  # starts; ends at any time until the barrier
    READ_BARRIER = enum.auto()
    WAIT_SENDER_EQUALS = enum.auto()  # own sender semaphore against num_dests
    RESET_SENDER = enum.auto()
    MULTICAST_DATA = enum.auto()  # linked: a flag must follow
    FLUSH_WRITES = enum.auto()
    MULTICAST_FLAG = enum.auto()  # copies this core's receiver semaphore
    SET_OWN_INVALID = enum.auto()
    INCREMENT_SENDER = enum.auto()  # atomically, at the core it names
    WAIT_RECEIVER_VALID = enum.auto()


_COMMON = {Step.RESERVE, Step.PUSH}
_RECEIVER = {Step.SET_OWN_INVALID, Step.INCREMENT_SENDER, Step.WAIT_RECEIVER_VALID}
MULTICASTS = (Step.MULTICAST_DATA, Step.MULTICAST_FLAG)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """What each role's reader does, in order.

    Attributes:
      lone_sender: of a core that reads DRAM and has `num_dests` 0.
      count_excess: added to `num_dests` where a sender waits.
      in_order: whether writes leave a core in the order of issue without a flush.

    Raises:
      ConfigError: a step that the role has no arguments for.
    """

    sender: tuple[Step, ...]
    lone_sender: tuple[Step, ...]
    receiver: tuple[Step, ...]
    count_excess: int = 0
    in_order: bool = True

    def __post_init__(self) -> None:
        wrong = [
            f"`{role}` (={step.name}) must hold its own role's steps; move this one to "
            f"`{'receiver' if step in _RECEIVER else 'sender'}`"
            for role in ("sender", "lone_sender", "receiver")
            for step in getattr(self, role)
            if step not in _COMMON and (step in _RECEIVER) != (role == "receiver")
        ]
        refuse(wrong)


_LONE = (
    Step.SET_OWN_VALID,
    Step.RESERVE,
    Step.READ_DRAM,
    Step.READ_BARRIER,
    Step.PUSH,
)
READERS_PROTOCOL = Protocol(
    sender=(
        *_LONE[:-1],
        Step.WAIT_SENDER_EQUALS,
        Step.RESET_SENDER,
        Step.MULTICAST_DATA,
        Step.MULTICAST_FLAG,
        Step.PUSH,
    ),
    lone_sender=_LONE,
    receiver=(
        Step.RESERVE,
        Step.SET_OWN_INVALID,
        Step.INCREMENT_SENDER,
        Step.WAIT_RECEIVER_VALID,
        Step.PUSH,
    ),
)
# The same reader built for a chip whose writes may leave in another order.
BLACKHOLE_PROTOCOL = dataclasses.replace(
    READERS_PROTOCOL,
    sender=(
        *READERS_PROTOCOL.sender[:-2],
        Step.FLUSH_WRITES,
        *READERS_PROTOCOL.sender[-2:],
    ),
    in_order=False,
)


def protocol_of(arch: Arch) -> Protocol:
    """Returns what the readers of a chip do."""
    return READERS_PROTOCOL if arch.noc_ordered_writes else BLACKHOLE_PROTOCOL
