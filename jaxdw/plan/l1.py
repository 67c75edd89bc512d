"""What one core's L1 holds while the program runs, and whether it fits.

Circular buffers of the program grow from the unreserved base upward, in the order of
their creation; the halo's output and then the op's output lie below the small region,
one under the other. Buffers that a circular buffer stands on count once. The input
shard is taken as given up before the program runs (tt-metal's deallocate_activation);
the halo's own config tensors are not counted.

Source: tt-metal halo_device_operation.cpp @001d8351; the condition as in tt-metal
issues #17947, #15310.
"""

import dataclasses
from typing import Literal

from jaxdw.arch.arch import Arch
from jaxdw.errors import ConfigError
from jaxdw.plan.config import ShardConfig
from jaxdw.plan.units import round_up

Region = Literal["circular buffer", "L1 buffer", "small L1"]
Role = Literal[
    "weights", "bias", "window", "products", "scalar", "clear", "pre_tilize",
    "source", "output", "indices",
]  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CircularBuffer:
    """One buffer that a program asks for on every core.

    Attributes:
      role: what the program uses it for, alike in all programs.
      place: `circular buffer` has memory of its own; `L1 buffer` stands on a tensor's
        shard, `small L1` on a config tensor.
      cb: its id; None if no circular buffer stands there.
    """

    name: str
    role: Role
    place: Region
    cb: int | None
    page_bytes: int
    pages: int

    @property
    def on_buffer(self) -> bool:
        """Whether it stands on a tensor that is in L1 anyway."""
        return self.place != "circular buffer"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class L1Buffer(CircularBuffer):
    """The same where it lies; `num_bytes` as allocated, aligned."""

    num_bytes: int
    address: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class L1Use:
    """One core's L1 as a table: in the order of creation, as the program asks."""

    buffers: tuple[L1Buffer, ...]
    base: int  # first byte for circular buffers
    top: int  # first byte above L1 buffers
    small_bytes: int  # above the top, for config tensors

    def of(self, role: Role) -> L1Buffer | None:
        """Returns the buffer that has a role; None if the program has none such."""
        return next((b for b in self.buffers if b.role == role), None)

    def address_of(self, role: Role) -> int:
        """Returns where the buffer of a role that the program has begins."""
        buffer = self.of(role)
        assert buffer is not None, role
        return buffer.address

    def _sum(self, place: Region) -> int:
        return sum(b.num_bytes for b in self.buffers if b.place == place)

    @property
    def static_bytes(self) -> int:
        """Bytes of circular buffers, from the base upward."""
        return self._sum("circular buffer")

    @property
    def buffer_bytes(self) -> int:
        """Bytes of L1 buffers, from the top downward."""
        return self._sum("L1 buffer")

    @property
    def used_bytes(self) -> int:
        return self.static_bytes + self.buffer_bytes

    @property
    def capacity_bytes(self) -> int:
        return self.top - self.base

    @property
    def free_bytes(self) -> int:
        """Bytes between the two regions; below 0 if they overlap."""
        return self.capacity_bytes - self.used_bytes

    @property
    def fits(self) -> bool:
        return not self.problems()

    def problems(self) -> list[str]:
        """Returns one sentence for each of tt-metal's conditions that is broken."""
        found = []
        if self.buffer_bytes > self.capacity_bytes:
            found.append(
                f"L1 buffers (={self.buffer_bytes} bytes) must fit the "
                f"{self.capacity_bytes} bytes of one core"
            )
        elif self.free_bytes < 0:
            found.append(
                f"circular buffers, which end at {self.base + self.static_bytes}, must "
                f"not clash with L1 buffers, which begin at "
                f"{self.top - self.buffer_bytes}: {-self.free_bytes} bytes too many"
            )
        small = self._sum("small L1")
        if small > self.small_bytes:
            found.append(
                f"config tensors (={small} bytes) must fit the small region "
                f"(={self.small_bytes} bytes)"
            )
        return found

    def lines(self) -> list[str]:
        """Returns the breakdown, one buffer to a line."""
        return [
            f"{b.name}: {b.pages} x {b.page_bytes} = {b.num_bytes} bytes at {b.address}"
            f" ({b.place})"
            for b in self.buffers
        ]


class L1OutOfMemory(ConfigError):
    """A plan whose buffers do not fit one core's L1.

    Attributes:
      l1: the breakdown.
      suggestion: a sharding of the same layer that does fit; None if none does.
    """

    def __init__(self, problems: list[str], l1: L1Use, suggestion: ShardConfig | None):
        self.l1 = l1
        self.suggestion = suggestion
        way_out = (
            "no sharding of this layer fits the chip; use fewer images, rows or "
            "channels at a time"
            if suggestion is None
            else f"use {shown(suggestion)}"
        )
        super().__init__("\n".join([*problems, *l1.lines(), way_out]))


def shown(shard: ShardConfig) -> str:
    """Returns a sharding as Python, defaults left out."""
    fields = (
        f"{field.name}={getattr(shard, field.name)!r}"
        for field in dataclasses.fields(shard)
        if getattr(shard, field.name) != field.default
    )
    return f"ShardConfig({', '.join(fields)})"


def l1_use(arch: Arch, asked: tuple[CircularBuffer, ...]) -> L1Use:
    """Lays out what a program asks for in one core.

    Args:
      asked: in the order of creation; L1 buffers from the top downward.
    """
    low, high = arch.l1_unreserved_base_bytes, arch.l1_top_bytes
    found = []
    for buffer in asked:
        size = round_up(buffer.page_bytes * buffer.pages, arch.l1_align_bytes)
        address = arch.l1_top_bytes
        if buffer.place == "circular buffer":
            address, low = low, low + size
        elif buffer.place == "L1 buffer":
            address = high = high - size
        fields = {f.name: getattr(buffer, f.name) for f in dataclasses.fields(buffer)}
        found.append(L1Buffer(**fields, num_bytes=size, address=address))
    return L1Use(
        buffers=tuple(found),
        base=arch.l1_unreserved_base_bytes,
        top=arch.l1_top_bytes,
        small_bytes=arch.l1_small_bytes,
    )
