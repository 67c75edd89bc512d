"""Provenance in words: what `jaxdw.trace` found, as facts and rows to print."""

from collections.abc import Sequence

from jaxdw.plan.plan import Plan
from jaxdw.trace.address import AddressTrace, Piece, Read
from jaxdw.trace.core import CoreTrace, explain_core
from jaxdw.trace.pages import Element, Page
from jaxdw.trace.provenance import provenance_of
from jaxdw.trace.weight import (
    Holder,
    Product,
    TileTrace,
    WeightTrace,
    explain_tile,
)

Facts = dict[str, object]

_SHOWN = 8  # values in one line


def name_cores(plan: Plan, cores: Sequence[int]) -> str:
    """Returns cores as their numbers and logical coordinates."""
    provenance = provenance_of(plan)
    many = f"{len(cores)} cores: " if len(cores) > 1 else "core "
    named = _listed([f"{core} {provenance.xy(core)}" for core in cores])
    return many + named if cores else "none"


def _name_input_core(plan: Plan, core: int) -> str:
    """Returns a core of the input's grid as its number and logical coordinates."""
    name = f"core {core} {plan.core_grid.xy(core)}"
    return name + " of the input's grid" * (plan.core_grid != plan.output_grid)


def _span(ends: tuple[object, object] | None) -> str:
    if ends is None:
        return "none"
    return str(ends[0]) if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def _listed(values: Sequence[object]) -> str:
    named = [str(value) for value in values]
    if len(named) > _SHOWN:
        named = [*named[: _SHOWN - 1], "...", named[-1]]
    return ", ".join(named)


def _xy(xy: tuple[int, int]) -> str:
    return f"{xy[0]},{xy[1]}"


def _page_facts(page: Page, byte: int | None = None) -> Facts:
    facts: Facts = {
        "tile": f"{page.tile} (tile row {page.tile_row}, tile column "
        f"{page.tile_column})",
        "DRAM": f"bank {page.bank}, slot {page.slot}, {page.num_bytes} bytes",
        "local_address": hex(page.local_address),
        "NoC_address": hex(page.noc_address),
    }
    if byte is not None:
        facts["weight_at"] = hex(page.noc_address + byte)
    return facts


def _bytes_in_tile(element: Element) -> str:
    first, last = element.byte, element.byte + element.num_bytes - 1
    text = f"byte {first}" if first == last else f"bytes {first} to {last}"
    if element.nibble is not None:
        text += f", {element.nibble} nibble"
    if element.exponent_byte is not None:
        text += f"; shared exponent in byte {element.exponent_byte}"
    return text


def weight_facts(plan: Plan, trace: WeightTrace) -> Facts:
    """Returns one weight's way, stage by stage."""
    kh, kw = trace.kernel_position
    rows, columns = plan.weight_matrix_shape
    element = trace.element
    facts: Facts = {
        "weight": f"channel {trace.channel}, kernel position ({kh}, {kw})",
        "prepared_matrix": f"row {trace.row}, column {trace.column} of {rows} x "
        f"{columns}",
        **_row_facts(plan, trace),
        **_page_facts(trace.page, element.byte),
        "face": f"{element.face}, row {element.face_row}, column {element.face_column}",
        "in_the_tile": _bytes_in_tile(element),
        "read_from_DRAM_by": name_cores(plan, trace.readers),
        "received_by_multicast": name_cores(plan, trace.receivers),
    }
    overwritten = [
        xy for core in trace.readers
        for xy in explain_core(plan, *provenance_of(plan).xy(core)).overwritten
    ]  # fmt: skip
    if overwritten:
        facts["overwritten_too"] = f"idle cores {', '.join(map(str, overwritten))}"
    for holder in trace.holders[:1]:
        facts["in_weight_cb"] = _l1_place(plan, holder)
    return facts | _pairing_facts(trace)


def _row_facts(plan: Plan, trace: WeightTrace) -> Facts:
    """Returns how a weight is repeated, and what else its row holds."""
    if trace.copies > 1:
        last = trace.row + trace.copies - 1
        return {"repeated": f"in each of rows {trace.row} to {last}; the first follows"}
    if plan.program == "regular":
        return {"in_its_row": "the only weight, all other columns hold zeros"}
    return {}


def _l1_place(plan: Plan, holder: Holder) -> str:
    text = (
        f"L1 tile {holder.l1_tile}, offset {holder.l1_offset}, address "
        f"{holder.l1_address:#x}"
    )
    held = provenance_of(plan).weight_cb_tiles
    if held < plan.weight_tiles_per_core:
        text += f", while its block is there: {held} of {plan.weight_tiles_per_core} "
        text += "tiles at a time"
    return text if holder.multiplied else f"{text}; never multiplied"


def _pairing_facts(trace: WeightTrace) -> Facts:
    partners = sorted({(p.channel, p.kernel_position) for p in trace.pairings})
    outputs = sum(pairing.outputs for pairing in trace.pairings)
    pixels = sum(pairing.on_pixels for pairing in trace.pairings)
    if not partners:
        return {"multiplied_with": "nothing"}
    right = partners == [(trace.channel, trace.kernel_position)]
    named = "; ".join(f"channel {c}, window element {k}" for c, k in partners)
    return {
        "multiplied_with": named if right else f"{named}: NOT ITS OWN",
        "products": f"{outputs} outputs: {pixels} on pixels, {outputs - pixels} on "
        "padding",
    }


def product_facts(plan: Plan, product: Product | None) -> Facts:
    """Returns the product of a weight that goes to one output."""
    if product is None:
        return {"product": "none goes to this output"}
    came = "padding"
    if product.pixel is not None:
        came = f"pixel {product.pixel}"
        if product.source != product.holder and product.source is not None:
            source = _name_input_core(plan, product.source)
            came += f", by halo from {source}, input shard row {product.source_row}"
    return {
        "output": f"{product.output}, channel {product.channel}",
        "computed_by": f"{name_cores(plan, [product.core])}, output shard row "
        f"{product.output_row}",
        "window_element": f"{product.kernel_position}: haloed shard row "
        f"{product.halo_row}, L1 address {product.l1_address:#x}"
        + _elsewhere(plan, product),
        "which_is": came,
    }


def _elsewhere(plan: Plan, product: Product) -> str:
    """Says which core holds a window element, if not the one that computes."""
    if plan.core_grid == plan.output_grid and product.holder == product.core:
        return ""
    return f" of {_name_input_core(plan, product.holder)}, which sends it"


def holder_rows(holders: Sequence[Holder]) -> list[Facts]:
    """Returns a row for each core that holds a tile."""
    return [
        {
            "core": holder.core,
            "xy": _xy(holder.xy),
            "role": holder.role,
            "weights_from": holder.source,
            "L1_tile": holder.l1_tile,
            "L1_offset": holder.l1_offset,
            "L1_address": hex(holder.l1_address),
            "multiplied": "yes" if holder.multiplied else "no",
        }
        for holder in holders
    ]


def tile_facts(plan: Plan, trace: TileTrace) -> Facts:
    """Returns what one tile holds."""
    positions = trace.kernel_positions
    readers = [h.core for h in trace.holders if h.source == h.core]
    receivers = [h.core for h in trace.holders if h.source != h.core]
    return {
        **_page_facts(trace.page),
        "matrix_rows": _span(trace.rows),
        "matrix_columns": _span(trace.columns),
        "weights": f"{trace.num_weights}, the other elements are zeros",
        "channels": _channels(trace),
        "kernel_positions": _span((positions[0], positions[-1]) if positions else None),
        "read_from_DRAM_by": name_cores(plan, readers),
        "received_by_multicast": name_cores(plan, receivers),
    }


def _channels(trace: TileTrace) -> str:
    return _listed([_span(ends) for ends in trace.channels]) or "none"


def core_facts(plan: Plan, trace: CoreTrace) -> Facts:
    """Returns what one core does and holds."""
    facts: Facts = {
        "core": "none of the plan" if trace.core is None else trace.core,
        "logical": _xy(trace.xy),
        "NoC": _xy(trace.noc_xy),
        "role": trace.role,
    }
    if plan.core_grid != plan.output_grid:
        facts["core"] = "none" if trace.core is None else trace.core
        facts["in_the_input's_grid"] = (
            "none" if trace.input_core is None else trace.input_core
        )
    if trace.role == "idle":
        sender = [] if trace.source is None else [trace.source]
        return facts | {"overwritten_by_the_multicast_of": name_cores(plan, sender)}
    if trace.role == "input":
        return facts | _input_facts(plan, trace)
    if trace.rectangle is not None:
        box = trace.rectangle
        facts["multicasts_to"] = (
            f"({box.x0}, {box.y0}) to ({box.x1}, {box.y1}), "
            f"{trace.num_dests} acknowledgements: {name_cores(plan, trace.receivers)}"
        )
        facts["overwrites"] = f"{len(trace.overwritten)} idle cores"
    elif trace.source is not None and trace.source != trace.core:
        facts["weights_from"] = name_cores(plan, [trace.source])
    return facts | {
        "weight_tiles": _listed(trace.tiles),
        "multiplied_tiles": trace.multiplied,
        "weight_cb_address": hex(trace.weight_cb_address),
        "bias_tiles": _listed(trace.bias_tiles) or "none",
        "channels": _span(trace.channels),
        "outputs": _span(trace.outputs),
        **_input_facts(plan, trace),
    }


def _input_facts(plan: Plan, trace: CoreTrace) -> Facts:
    """Returns which sticks a core holds, before and after halo."""
    if trace.input_core is None:
        return {"input_sticks": "none"}
    facts: Facts = {"input_sticks": _span(trace.input_sticks)}
    if plan.core_grid != plan.output_grid:
        facts["of_channels"] = _span(trace.input_channels)
    neighbours = {c: n for c, n in trace.rows_from.items() if c != trace.input_core}
    return facts | {
        "halo_rows": trace.halo_rows,
        "of_its_own": trace.rows_from.get(trace.input_core, 0),
        "of_padding": trace.padding_rows,
        "of_other_cores": ", ".join(f"{n} of core {c}" for c, n in neighbours.items())
        or "none",
        "window_starts": _listed([_span(run) for run in trace.window_starts]),
    }


def run_rows(trace: CoreTrace) -> list[Facts]:
    """Returns a row for each run of a core's haloed rows."""
    return [
        {
            "halo_rows": _span((run.row, run.row + run.length - 1)),
            "from": "padding" if run.source is None else f"core {run.source}",
            "input_shard_rows": ""
            if run.source_row is None
            else _span((run.source_row, run.source_row + run.length - 1)),
            "sticks": ""
            if run.stick is None
            else _span((run.stick, run.stick + run.length - 1)),
        }
        for run in trace.runs
    ]


def read_rows(plan: Plan, reads: Sequence[Read]) -> list[Facts]:
    """Returns a row for each page that misled reads touch."""
    return [
        {
            "L1_tile": read.l1_tile,
            "wants_tile": read.wanted,
            "asks_tile_id": read.asked,
            "bank": piece.bank,
            "slot": piece.slot,
            "bytes": _span((piece.first_byte, piece.first_byte + piece.num_bytes - 1)),
            "NoC_address": hex(read.noc_address),
            "holds": _piece(plan, piece),
        }
        for read in reads
        for piece in read.pieces
    ]


def _piece(plan: Plan, piece: Piece) -> str:
    if piece.tile is None:
        return f"memory {'before' if piece.slot < 0 else 'behind'} the weights"
    trace = explain_tile(plan, piece.tile)
    if not trace.num_weights:
        return f"tile {piece.tile}: zeros"
    return f"tile {piece.tile}: channels {_channels(trace)}"


def address_facts(plan: Plan, trace: AddressTrace) -> Facts:
    """Returns what is asked of an address, and whether the reads would be right."""
    offset = trace.address - trace.base_address
    return {
        "address": f"{trace.address:#x}, the base {offset:+d} bytes",
        "for": name_cores(plan, [trace.core]),
        "whose_weights_are_read_by": name_cores(plan, [trace.reader]),
        "as_the_weights'_address": _verdict(trace.as_base),
        "as_the_tile_id": _verdict(trace.as_tile_id),
    }


def _verdict(reads: Sequence[Read]) -> str:
    if not reads:
        return "no NoC address reaches there"
    right = sum(read.is_right for read in reads)
    return f"{right} of {len(reads)} reads right"


def tile_rows(plan: Plan, tiles: Sequence[int], base_address: int) -> list[Facts]:
    """Returns a row for each of these weight tiles."""
    rows = []
    for trace in (explain_tile(plan, tile, base_address) for tile in tiles):
        readers = [h.core for h in trace.holders if h.source == h.core]
        rows.append(
            {
                "tile": trace.page.tile,
                "bank": trace.page.bank,
                "slot": trace.page.slot,
                "NoC_address": hex(trace.page.noc_address),
                "channels": _channels(trace),
                "weights": trace.num_weights,
                "read_by": ", ".join(f"core {core}" for core in readers) or "none",
                "held_by": f"{len(trace.holders)} cores",
            }
        )
    return rows


def core_rows(plan: Plan, cores: Sequence[int]) -> list[Facts]:
    """Returns a row for each of these cores."""
    provenance = provenance_of(plan)
    rows = []
    for trace in (explain_core(plan, *provenance.xy(core)) for core in cores):
        rows.append(
            {
                "core": trace.core,
                "xy": _xy(trace.xy),
                "role": trace.role,
                "weights_from": trace.source,
                "tiles": _listed(trace.tiles),
                "channels": _span(trace.channels),
                "outputs": _span(trace.outputs),
                "input_sticks": _span(trace.input_sticks),
                "halo_rows": trace.halo_rows,
            }
        )
    return rows
