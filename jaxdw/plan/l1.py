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
from jaxdw.shown import Shown

Region = Literal["circular buffer", "L1 buffer", "small L1"]
Role = Literal[
    "weights", "bias", "window", "products", "scalar", "clear", "pre_tilize",
    "partials", "scratch", "activations", "second_reader", "tilized", "row_major",
    "array", "source", "output", "indices",
]  # fmt: skip
_TENSORS = ("source", "output")  # from the top of L1 downward


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CircularBuffer:
    """One buffer that a program asks for on every core.

    Attributes:
      role: what the program uses it for, alike in all programs.
      place: `circular buffer` has memory of its own; `L1 buffer` stands on a tensor's
        shard, the output's if its role is no tensor's; `small L1` on a config tensor.
      cb: its id; None where it is not known.
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

    @property
    def asked_bytes(self) -> int:
        return self.page_bytes * self.pages


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class L1Buffer(CircularBuffer):
    """The same where it lies; `num_bytes` as allocated."""

    num_bytes: int
    address: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class L1Use(Shown):
    """One core's L1 as a table: in the order of creation, as the program asks.

    Attributes:
      base: first byte for circular buffers; region_end: first byte above them.
      top: first byte above tensors; lowest_buffer: first byte of the lowest one.
      small_bytes: above the top, for config tensors.
      message: the library's own refusal of the launch; None if it runs.
    """

    buffers: tuple[L1Buffer, ...]
    base: int
    region_end: int
    lowest_buffer: int
    top: int
    small_bytes: int
    message: str | None

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
        return self.top - self.lowest_buffer

    @property
    def used_bytes(self) -> int:
        return self.region_end - self.base + self.buffer_bytes

    @property
    def capacity_bytes(self) -> int:
        return self.top - self.base

    @property
    def free_bytes(self) -> int:
        """Bytes between the two regions; below 0 if they overlap."""
        return self.lowest_buffer - self.region_end

    @property
    def fits(self) -> bool:
        return self.message is None and not self.problems()

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
                f"circular buffers, which end at {self.region_end}, must "
                f"not clash with L1 buffers, which begin at "
                f"{self.lowest_buffer}: {-self.free_bytes} bytes too many"
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


LIBRARY = "in tt-metal's own words"


class L1OutOfMemory(ConfigError):
    """A plan whose buffers do not fit one core's L1, or that the library refuses.

    Attributes:
      l1: the breakdown.
      suggestion: a sharding of the same layer that does fit; None if none does.
    """

    def __init__(
        self,
        problems: list[str],
        l1: L1Use,
        suggestion: ShardConfig | None,
        launches: int = 1,
        program: str = "",
    ):
        """Makes the refusal.

        Args:
          launches: that the suggestion takes.
          program: that the figures are of, and its tree.
        """
        self.l1 = l1
        self.suggestion = suggestion
        if suggestion is not None:
            way_out = f"use {shown(suggestion)}"
            way_out += f", which takes {launches} launches" if launches > 1 else ""
        elif problems:
            way_out = (
                "no sharding of this layer fits the chip; use fewer images, rows or "
                "channels at a time"
            )
        else:
            way_out = "no sharding tried is accepted; use another program or layer"
        said = [f"{LIBRARY}: {l1.message}"] if l1.message else []
        said += [f"planned by {program}"] if program else []
        super().__init__("\n".join([*problems, *said, *l1.lines(), way_out]))


def shown(shard: ShardConfig) -> str:
    """Returns a sharding as Python, defaults left out but for the scheme."""
    fields = (
        f"{field.name}={getattr(shard, field.name)!r}"
        for field in dataclasses.fields(shard)
        if field.name == "scheme" or getattr(shard, field.name) != field.default
    )
    return f"ShardConfig({', '.join(fields)})"


def l1_use(
    arch: Arch,
    asked: tuple[CircularBuffer, ...],
    *,
    cores: tuple[int, int],
    starts: int = 1,
    sizes: int = 1,
) -> L1Use:
    """Lays out what a program asks for in one core.

    Args:
      asked: in the order of creation.
      cores: the rectangle that the library names in its messages, (x, y).
      starts: circular buffers and tensors begin at multiples of it; sizes: what a
        buffer takes is rounded up to a multiple of it.
    """
    lowest, tensors = arch.l1_top_bytes, {}
    for role in _TENSORS:
        for buffer in asked:
            if buffer.role == role:
                lowest -= round_up(buffer.asked_bytes, max(starts, sizes))
                tensors[role] = lowest
    end, found = arch.l1_unreserved_base_bytes, []
    for buffer in asked:
        size = round_up(buffer.asked_bytes, sizes)
        if buffer.place == "circular buffer":
            address = round_up(end, starts)
            end = address + size
        elif buffer.place == "L1 buffer":
            address = tensors.get(buffer.role, tensors["output"])
        else:
            address = arch.l1_top_bytes
        found.append(
            L1Buffer(
                name=buffer.name,
                role=buffer.role,
                place=buffer.place,
                cb=buffer.cb,
                page_bytes=buffer.page_bytes,
                pages=buffer.pages,
                num_bytes=size,
                address=address,
            )
        )
    return L1Use(
        buffers=tuple(found),
        base=arch.l1_unreserved_base_bytes,
        region_end=end,
        lowest_buffer=lowest,
        top=arch.l1_top_bytes,
        small_bytes=arch.l1_small_bytes,
        message=_message(arch, cores, end, lowest),
    )


def _message(arch: Arch, cores: tuple[int, int], end: int, lowest: int) -> str | None:
    """Returns what the library says of circular buffers that end at `end`.

    The number of its program reads #. None, too, if the tensors alone do not fit: it
    refuses them before. Source: ttnn 0.81.1 on a mock device.
    """
    tensors_fit = lowest >= arch.l1_unreserved_base_bytes
    if end <= min(arch.l1_size_bytes, lowest) or not tensors_fit:
        return None
    where = f"core range [0-0 - {cores[0] - 1}-{cores[1] - 1}]"
    if end > arch.l1_size_bytes:
        return (
            f"Statically allocated circular buffers on {where} grow to {end} B which "
            f"is beyond max L1 size of {arch.l1_size_bytes} B"
        )
    return (
        f"Statically allocated circular buffers in program # clash with L1 buffers on "
        f"{where}. L1 buffer allocated at {lowest} and static circular buffer region "
        f"ends at {end}"
    )
