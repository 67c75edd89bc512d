"""The page of `jaxdw explain`: where everything of one plan lies, drawn."""

from collections.abc import Sequence

from jaxdw.errors import UnsupportedError
from jaxdw.plan.plan import Plan
from jaxdw.report import core_figures, figures, html, traces
from jaxdw.report.drawing import svg
from jaxdw.report.facts import elsewhere, plan_facts
from jaxdw.trace.core import explain_core
from jaxdw.trace.pages import weight_table
from jaxdw.trace.provenance import provenance_of
from jaxdw.trace.weight import WeightTrace

MOST_ROWS = 64


def explain_page(
    plan: Plan,
    *,
    core: int,
    base_address: int,
    answers: Sequence[html.Section] = (),
    tile: int | None = None,
    weight: WeightTrace | None = None,
) -> str:
    """Returns the page of one plan.

    Args:
      core: whose haloed shard is drawn.
      answers: sections that come before the drawings.
      tile, weight: what the drawings mark; the tile is that of the weight if both are
        given.

    Raises:
      UnsupportedError: a plan of another program than `depthwise`.
    """
    if plan.program != "depthwise":
        raise UnsupportedError(
            f"the page is drawn for program 'depthwise', not {plan.program!r}; use the "
            "tables or --json"
        )
    element = None
    if weight is not None:
        tile, element = weight.page.tile, weight.element.index
    conv = plan.conv
    title = (
        f"{conv.channels} channels, {conv.height}x{conv.width}, kernel "
        f"{conv.kernel[0]}x{conv.kernel[1]}, {plan.scheme.upper()} sharded"
    )
    lead = (
        f"Where every weight, tile and stick of this depthwise convolution lies on "
        f"{plan.arch.name}, {plan.num_cores} cores, by the program {plan.program} "
        f"({plan.tree}); drawn by jaxdw explain."
    )
    notice = elsewhere(plan)
    lead = lead if notice is None else f"{notice} {lead}"
    return html.page(
        title,
        lead,
        [
            *answers,
            html.Section("weights", "Prepared weights", _weights(plan, tile, element)),
            html.Section("banks", "DRAM banks", _banks(plan, base_address, tile)),
            html.Section("cores", "Core grid", _cores(plan, core, weight)),
            html.Section(
                "halo", f"Haloed shard of core {core}", _halo(plan, core, weight)
            ),
            html.Section(
                "plan",
                "The plan",
                html.facts("What tt-metal decides", plan_facts(plan)),
            ),
        ],
    )


def _weights(plan: Plan, tile: int | None, element: int | None) -> str:
    rows, columns = plan.weight_tile_grid
    shown = figures.face_tiles(plan, tile)
    marked = "" if tile is None else f" Tile {tile} is outlined."
    grid = svg(
        figures.draw_tile_grid(plan, tile),
        "tiles",
        f"Grid of {rows} by {columns} weight tiles, coloured by channel shard.{marked}",
    )
    faces = svg(
        figures.draw_faces(plan, tile, element),
        "faces",
        f"Tiles {shown[0]} to {shown[-1]}, each of four faces, with the kernel "
        f"positions that lie in them.{marked}",
    )
    weight = "" if element is None else " The small square is the weight asked for."
    return html.figure(
        grid,
        f"The {rows} x {columns} tiles of the prepared matrix, in DRAM page order row "
        f"by row. Each channel shard has its colour (eight colours, repeated); tiles "
        f"without one hold zeros only.{marked}"
        + _rest(len(figures.grid_rows(plan, tile)), rows, "tile rows"),
    ) + html.figure(
        faces,
        "Tiles face by face (F0 to F3, 16x16 each, stored one after another). Every "
        "band holds the weights of one kernel position (row,column), channels side by "
        f"side, 16 to a face row; what has no colour is zeros.{marked}{weight}",
    )


def _rest(drawn: int, count: int, things: str) -> str:
    return f" Not drawn: {count - drawn} more {things}." if drawn < count else ""


def _banks(plan: Plan, base_address: int, tile: int | None) -> str:
    table = weight_table(plan, base_address)
    more = _rest(len(figures.bank_slots(plan, tile)), table.num_slots, "slots")
    tiles = range(min(len(table.bank), MOST_ROWS))
    return html.figure(
        svg(
            figures.draw_banks(plan, base_address, tile),
            "banks",
            f"{len(table.bank)} weight tiles dealt over {table.num_banks} DRAM banks.",
        ),
        "Page p lies in bank p mod "
        f"{table.num_banks}, slot p div {table.num_banks}. Cells show tile ids in the "
        "colours of their shards; addresses at the left are those inside bank 0; NoC "
        f"coordinates stand below the banks' names.{more}",
    ) + html.folded_table(
        f"Weight tiles, {len(tiles)} of {len(table.bank)}",
        traces.tile_rows(plan, tiles, base_address),
    )


def _cores(plan: Plan, core: int, weight: WeightTrace | None) -> str:
    holders = [] if weight is None else [h.core for h in weight.holders]
    marked = " Asterisks mark the cores that hold the weight." if holders else ""
    shown = range(min(plan.num_cores, MOST_ROWS))
    num_senders = len(plan.broadcasts)
    return html.figure(
        svg(
            core_figures.draw_cores(plan, core, holders),
            "cores",
            f"{plan.num_cores} cores of the {plan.arch.grid[0]} by "
            f"{plan.arch.grid[1]} grid by role, {num_senders} multicast rectangles.",
        ),
        "Readers and senders fetch weight tiles from DRAM; a sender multicasts them to "
        "its rectangle, itself left out. Idle cores inside a rectangle are overwritten "
        f"too. Core {core}, outlined, is the one drawn below.{marked}",
    ) + html.folded_table(
        f"Cores, {len(shown)} of {plan.num_cores}", traces.core_rows(plan, shown)
    )


def _halo(plan: Plan, core: int, weight: WeightTrace | None) -> str:
    product = None if weight is None else weight.product
    rows = None
    which = "the first and the last output"
    if product is not None and product.core == core:
        rows, which = (product.output_row,), f"output {product.output}"
    trace = explain_core(plan, *provenance_of(plan).xy(core))
    image_rows = len(core_figures.padded_rows(plan, core))
    more = _rest(core_figures.MOST_PADDED_ROWS, image_rows, "padded rows")
    return html.figure(
        svg(
            core_figures.draw_halo(plan, core, rows),
            "halo",
            f"{trace.halo_rows} rows of a haloed shard laid over the padded image, "
            f"with the windows of {which}.",
        ),
        "The rows of the haloed shard, laid over the padded images, one below another: "
        "where each stick comes from, where the core's windows start, and the windows "
        f"of {which}, one square for each kernel position.{more}",
    ) + html.folded_table(
        f"Runs of sticks, {min(len(trace.runs), MOST_ROWS)} of {len(trace.runs)}",
        traces.run_rows(trace)[:MOST_ROWS],
    )
