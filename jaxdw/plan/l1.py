"""What one core's L1 holds while the program runs, and whether it fits.

Circular buffers of the program grow from the unreserved base upward, in the order of
their ids; the halo's output and then the op's output lie below the small region, one
under the other. Buffers that a circular buffer stands on (`out`, `raw_in`) count once.
The input shard is taken as given up before the program runs (tt-metal's
deallocate_activation); the halo's own config tensors are not counted. Every core's
reader indices take the bytes of the longest list.

Source: tt-metal conv2d_op_depthwise_program_factory.cpp @002a3f41 (circular buffers),
halo_device_operation.cpp @001d8351; the condition as in tt-metal issues #17947, #15310.
"""

import dataclasses
from typing import TYPE_CHECKING, Literal

from jaxdw.errors import ConfigError
from jaxdw.plan.config import ShardConfig
from jaxdw.plan.units import TILE, TILE_BYTES, round_up, stick_elem_bytes
from jaxdw.plan.window import index_list_length

if TYPE_CHECKING:
    from jaxdw.plan.plan import Plan

Place = Literal["circular buffer", "L1 buffer", "small L1"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class L1Buffer:
    """One buffer of every core; `num_bytes` as allocated, aligned."""

    name: str
    place: Place
    cb: int | None  # id of the circular buffer, if one stands here
    page_bytes: int
    pages: int
    num_bytes: int
    address: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class L1Use:
    """One core's L1 as a table, lowest id first, then from the top downward."""

    buffers: tuple[L1Buffer, ...]
    base: int  # first byte for circular buffers
    top: int  # first byte above L1 buffers
    small_bytes: int  # above the top, for config tensors

    def _sum(self, place: Place) -> int:
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


def l1_use(plan: "Plan") -> L1Use:
    """Returns what one core of a plan holds in L1."""
    conv, arch, nt = plan.conv, plan.arch, plan.channel_tiles
    elem_bytes = stick_elem_bytes(conv.dtype)
    data_tile = TILE * TILE * elem_bytes
    weights_tile = TILE_BYTES[conv.weights_dtype]
    tiled = plan.shard.output_layout == "tile"
    static = [
        ("in", 0, data_tile, 2 * plan.effective_tiles),
        ("mul", 1, data_tile, 2 * plan.effective_tiles),
        ("weight", 2, weights_tile, plan.weight_tiles_per_core),
        ("scalar", 4, TILE_BYTES["bfloat16"], 2),
        ("clear", 5, TILE_BYTES["bfloat16"], 1),
    ]
    if conv.bias:
        static.append(("bias", 6, weights_tile, nt))
    indices_cb = 6 + conv.bias
    if tiled:
        static.append(("pre_tilize", indices_cb + 1, TILE * elem_bytes, TILE * nt))
    found = []
    address = arch.l1_unreserved_base_bytes
    for name, cb, page_bytes, pages in static:
        size = round_up(page_bytes * pages, arch.l1_align_bytes)
        found.append(
            L1Buffer(
                name=name,
                place="circular buffer",
                cb=cb,
                page_bytes=page_bytes,
                pages=pages,
                num_bytes=size,
                address=address,
            )
        )
        address += size
    rows, channels = plan.output_shard
    output_page, output_pages = channels * stick_elem_bytes(conv.output_dtype), rows
    if tiled:
        output_page = TILE_BYTES[conv.output_dtype]
        output_pages = rows * channels // TILE**2
    source = plan.halo_shard if plan.has_halo else plan.input_shard
    address = arch.l1_top_bytes
    for name, cb, page_bytes, pages in (
        (
            "halo output" if plan.has_halo else "input",
            indices_cb + 1 + tiled,
            source.channels * elem_bytes,
            source.rows,
        ),
        ("output", 3, output_page, output_pages),
    ):
        size = round_up(page_bytes * pages, arch.l1_align_bytes)
        address -= size
        found.append(
            L1Buffer(
                name=name,
                place="L1 buffer",
                cb=cb,
                page_bytes=page_bytes,
                pages=pages,
                num_bytes=size,
                address=address,
            )
        )
    longest = max(map(plan.window.num_segments, plan.shard_ranges))
    index_bytes = round_up(2 * index_list_length(longest), 4)
    found.append(
        L1Buffer(
            name="reader indices",
            place="small L1",
            cb=indices_cb,
            page_bytes=index_bytes,
            pages=1,
            num_bytes=round_up(index_bytes, arch.l1_align_bytes),
            address=arch.l1_top_bytes,
        )
    )
    return L1Use(
        buffers=tuple(found),
        base=arch.l1_unreserved_base_bytes,
        top=arch.l1_top_bytes,
        small_bytes=arch.l1_small_bytes,
    )
