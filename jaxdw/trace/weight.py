"""Where a weight lives and why, both ways: from the tensor to the cores and back.

Every answer is read off the plan and the very maps that the emulator gathers with
(`jaxdw.trace.provenance`), so it says what the emulator does and nothing else.
"""

import dataclasses

import numpy as np
from jaxtyping import Int

from jaxdw.errors import ConfigError, range_problem, refuse
from jaxdw.plan.plan import Plan
from jaxdw.plan.units import TILE_BYTES, TILE_ELEMS, stick_elem_bytes
from jaxdw.trace.pages import (
    Element,
    Page,
    element_of,
    page_of,
    weight_table,
)
from jaxdw.trace.provenance import NOTHING, Provenance, Role, provenance_of


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """One core that holds a tile in its weight_cb.

    Attributes:
      source: the core that read the tile from DRAM; itself, or its multicast sender.
      l1_tile: place among the core's tiles, in the order of reading.
      l1_offset: bytes from the start of weight_cb; l1_address: in the core's L1. Of the
        weight's byte, or of the tile's first. Where weight_cb holds fewer tiles than
        the core reads, while its block of the first pass is there.
      multiplied: whether compute gets as far as this tile.
    """

    core: int
    xy: tuple[int, int]
    role: Role
    source: int
    l1_tile: int
    l1_offset: int
    l1_address: int
    multiplied: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """What one core multiplies a weight with, by the place it lies at in weight_cb.

    Attributes:
      channel: of the sticks; kernel_position: (row, column) of the window.
      outputs: of this core, to which a product goes.
      on_pixels: of those, where the window element is a pixel, not padding.
    """

    core: int
    channel: int
    kernel_position: tuple[int, int]
    outputs: int
    on_pixels: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """The product of a weight that goes to one output.

    Attributes:
      output, pixel: (image, row, column); a pixel of None is padding.
      output_row: of the core's output shard; halo_row: of its haloed shard.
      holder: the core of the input's grid whose haloed shard holds the window element.
      source: the core of the input's grid whose input shard held the stick before halo,
        at `source_row`; None for padding.
      l1_address: of the activation in the haloed shard.
    """

    output: tuple[int, int, int]
    core: int
    holder: int
    channel: int
    kernel_position: tuple[int, int]
    output_row: int
    halo_row: int
    pixel: tuple[int, int, int] | None
    source: int | None
    source_row: int | None
    l1_address: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WeightTrace:
    """One weight's way: prepared matrix, tile, DRAM, L1, products.

    Attributes:
      row, column: of the prepared matrix. Of a weight that stands in several rows, the
        first; `page`, `element` and `holders` are of that one, too.
      copies: rows that hold it, from `row` on.
      product: the one asked for; None if none was.
    """

    channel: int
    kernel_position: tuple[int, int]
    row: int
    column: int
    copies: int
    page: Page
    element: Element
    holders: tuple[Holder, ...]
    pairings: tuple[Pairing, ...]
    product: Product | None

    @property
    def readers(self) -> tuple[int, ...]:
        """The cores that read its tile from DRAM."""
        return tuple(h.core for h in self.holders if h.source == h.core)

    @property
    def receivers(self) -> tuple[int, ...]:
        """The cores that get its tile by multicast."""
        return tuple(h.core for h in self.holders if h.source != h.core)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TileTrace:
    """One tile of the prepared weights, and what is in it.

    Attributes:
      rows, columns: of the prepared matrix, first and last.
      channels: of its weights, as ranges (first, last); none in a tile of zeros.
      kernel_positions: of its weights, (row, column) in kernel order.
    """

    page: Page
    rows: tuple[int, int]
    columns: tuple[int, int]
    num_weights: int
    channels: tuple[tuple[int, int], ...]
    kernel_positions: tuple[tuple[int, int], ...]
    holders: tuple[Holder, ...]


def explain_weight(
    plan: Plan,
    channel: int,
    kh: int,
    kw: int,
    base_address: int = 0,
    output: tuple[int, int, int] | None = None,
) -> WeightTrace:
    """Returns the way of weight `w[channel, 0, kh, kw]`.

    Args:
      base_address: bytes, of the weights in every DRAM bank.
      output: (image, row, column) of an output whose product is wanted.

    Raises:
      ConfigError: a weight or an output that the layer does not have, one that the
        plan's older weight layout loses, an unaligned or negative base.
      UnsupportedError: as `Provenance`.
    """
    conv = plan.conv
    problems = range_problem("channel", channel, conv.channels)
    problems += range_problem("kh", kh, conv.kernel[0])
    problems += range_problem("kw", kw, conv.kernel[1])
    if output is not None:
        for name, value, limit in zip(
            ("image", "row", "column"), output, plan.output_shape, strict=False
        ):
            problems += range_problem(f"output {name}", value, limit)
    refuse(problems)
    provenance = provenance_of(plan)
    tap = kh * conv.kernel[1] + kw
    places = provenance.places_of(channel * conv.taps + tap)
    if not len(places):
        raise ConfigError(
            f"weight {(channel, kh, kw)} must have a place: layout "
            f"{plan.shard.weight_layout!r} loses it; use weight_layout='final'"
        )
    tile, inside = divmod(int(places[0]), TILE_ELEMS)
    row, column = divmod(
        int(provenance.matrix_places[tile, inside]), plan.weight_matrix_shape[1]
    )
    element = element_of(inside, conv.weights_dtype)
    holders = _holders(provenance, tile, element.byte)
    pairings = tuple(
        pairing
        for holder in holders
        if (pairing := _pairing(provenance, holder, inside))
    )
    return WeightTrace(
        channel=channel,
        kernel_position=(kh, kw),
        row=row,
        column=column,
        copies=len(places),
        page=page_of(plan, weight_table(plan, base_address), tile),
        element=element,
        holders=holders,
        pairings=pairings,
        product=None if output is None else _product(provenance, pairings, output),
    )


def explain_tile(plan: Plan, tile: int, base_address: int = 0) -> TileTrace:
    """Returns what tile `tile` of the prepared weights holds, and who holds it.

    Raises:
      ConfigError: no such tile; an unaligned or negative base.
    """
    provenance, conv = provenance_of(plan), plan.conv
    rows, columns = plan.weight_tile_grid
    refuse(range_problem("tile", tile, rows * columns))
    channel, tap = np.divmod(provenance.tile_weights[tile], conv.taps)
    real = channel >= 0
    row, column = np.divmod(provenance.matrix_places[tile], plan.weight_matrix_shape[1])
    return TileTrace(
        page=page_of(plan, weight_table(plan, base_address), tile),
        rows=(int(row.min()), int(row.max())),
        columns=(int(column.min()), int(column.max())),
        num_weights=int(real.sum()),
        channels=_ranges(np.unique(channel[real])),
        kernel_positions=tuple(
            divmod(t, conv.kernel[1]) for t in np.unique(tap[real]).tolist()
        ),
        holders=_holders(provenance, tile, 0),
    )


def _ranges(values: Int[np.ndarray, " n"]) -> tuple[tuple[int, int], ...]:
    """Returns ascending values as ranges, (first, last)."""
    if not len(values):
        return ()
    runs = np.split(values, np.flatnonzero(np.diff(values) != 1) + 1)
    return tuple((int(run[0]), int(run[-1])) for run in runs)


def explain_slot(plan: Plan, bank: int, slot: int, base_address: int = 0) -> TileTrace:
    """Returns what slot `slot` of DRAM bank `bank` holds.

    Raises:
      ConfigError: no such bank; a slot without weights; an unaligned or negative base.
    """
    table = weight_table(plan, base_address)
    refuse(range_problem("bank", bank, table.num_banks))
    in_bank = np.flatnonzero(table.bank == bank)
    if not len(in_bank):
        raise ConfigError(
            f"`bank` (={bank}) must hold weights, which fill {len(table.bank)} banks; "
            f"use 0 to {len(table.bank) - 1}"
        )
    refuse(range_problem("slot", slot, len(in_bank)))
    found = in_bank[table.slot[in_bank] == slot]
    return explain_tile(plan, int(found[0]), base_address)


def _holders(provenance: Provenance, tile: int, byte: int) -> tuple[Holder, ...]:
    plan = provenance.plan
    found = []
    for core, place in provenance.holders(tile):
        tile_bytes = TILE_BYTES[plan.conv.weights_dtype]
        offset = place % provenance.weight_cb_tiles * tile_bytes + byte
        found.append(
            Holder(
                core=core,
                xy=provenance.xy(core),
                role=provenance.role(core),
                source=int(provenance.weight_sources[core]),
                l1_tile=place,
                l1_offset=offset,
                l1_address=provenance.weight_cb_address + offset,
                multiplied=place < plan.multiplied_tiles,
            )
        )
    return tuple(found)


def _pairing(provenance: Provenance, holder: Holder, element: int) -> Pairing | None:
    """Returns what a core multiplies an element of one of its tiles with, if at all."""
    plan, channels = provenance.plan, provenance.maps.channels_per_core
    met = provenance.met_by(holder.core, holder.l1_tile * TILE_ELEMS + element)
    if met is None:
        return None
    tap, lane = met
    shard, channel_shard = divmod(holder.core, plan.num_output_shards)
    return Pairing(
        core=holder.core,
        channel=channel_shard * channels + lane,
        kernel_position=divmod(tap, plan.conv.kernel[1]),
        outputs=int((provenance.outputs[shard] != NOTHING).sum()),
        on_pixels=int((provenance.window_sticks[shard, tap] != NOTHING).sum()),
    )


def _product(
    provenance: Provenance, pairings: tuple[Pairing, ...], output: tuple[int, int, int]
) -> Product | None:
    plan, conv = provenance.plan, provenance.plan.conv
    flat = int(np.ravel_multi_index(output, plan.output_shape[:3]))
    place = int(provenance.maps.collect.index[flat])
    shard, row = divmod(place, plan.output_rows)
    here = [p for p in pairings if p.core // plan.num_output_shards == shard]
    if not here:
        return None
    pairing = here[0]
    kh, kw = pairing.kernel_position
    tap = kh * conv.kernel[1] + kw
    halo_row = int(provenance.window_rows[shard, tap, row])
    width = plan.input_shard.channels
    channel_shard, lane = divmod(pairing.channel, width)
    stick = int(provenance.window_sticks[shard, tap, row])
    source = source_row = pixel = None
    if stick != NOTHING:
        n, y, x = np.unravel_index(stick, conv.input_shape[:3])
        pixel = (int(n), int(y), int(x))
        place = int(provenance.halo_places[shard, halo_row])
        source_shard, source_row = divmod(place, plan.input_shard.rows)
        source = source_shard * plan.num_channel_shards + channel_shard
    activation = halo_row * width + lane
    return Product(
        output=output,
        core=pairing.core,
        holder=shard * plan.num_channel_shards + channel_shard,
        channel=pairing.channel,
        kernel_position=pairing.kernel_position,
        output_row=row,
        halo_row=halo_row,
        pixel=pixel,
        source=source,
        source_row=source_row,
        l1_address=provenance.haloed_address
        + activation * stick_elem_bytes(conv.dtype),
    )
