"""Known defects of tt-metal's depthwise branch in how weights reach the cores."""

from jaxdw.plan.findings import Defects
from jaxdw.plan.placement import Placement

DEFECTS = Defects()

_FACTORY = "tt-metal conv2d_op_depthwise_program_factory.cpp @002a3f41"
_READER = "tt-metal reader_pool_2d.cpp @ff6ab496"


@DEFECTS.add("JDW007", "memory corruption", "read", _FACTORY)
def _stray_multicast(at: Placement) -> str | None:
    """The multicast's bounding box takes in idle cores.

    Cores that fill only part of their last row are addressed by one rectangle. The idle
    cores in it are overwritten, and their acknowledgements are counted.

    Do: choose cores that fill a rectangle, by `cores=(x, y)`.
    """
    stray = sum(b.rect.area - 1 - b.num_dests for b in at.output_grid.broadcasts())
    if not stray:
        return None
    return (
        f"weights are multicast to the bounding box of {at.num_cores} cores: {stray} "
        "idle cores are overwritten and acknowledge too"
    )


@DEFECTS.add("JDW008", "wrong values", "read", _FACTORY)
def _column_major(at: Placement) -> str | None:
    """COL_MAJOR shards get the reader arguments of ROW_MAJOR.

    The factory takes row and column of a core as for ROW_MAJOR, always.

    Do: use orientation='row_major'.
    """
    if at.core_grid.orientation == "row_major" or at.num_cores == 1:
        return None
    return "BLOCK with COL_MAJOR shards gets the reader arguments of ROW_MAJOR"


@DEFECTS.add(
    "JDW012",
    "hang",
    "assumed",
    f"{_READER}, `num_dests > 0`; the reader @002a3f41 was not found",
)
def _no_receivers(at: Placement) -> str | None:
    """A sender without receivers multicasts to none.

    With one core along the rows nobody is left to receive. The reader that was found
    asks first; the one of the branch was not found.

    Do: use more than one core along the rows; assumed, so it stops no gate.
    """
    if at.scheme == "width" or at.num_nhw_shards > 1:
        return None
    return (
        "a sender has no receivers: a multicast to none breaks the NoC's contract and "
        "may hang; the reader found guards it"
    )


@DEFECTS.add("JDW020", "hang", "read", _FACTORY)
def _column_major_oblong(at: Placement) -> str | None:
    """COL_MAJOR on an oblong grid: rectangles leave out cores that wait.

    The rectangles are those of ROW_MAJOR; on a grid that is not square they miss cores,
    which wait for weights for ever.

    Do: use orientation='row_major', or a square grid.
    """
    x, y = at.grid
    if at.core_grid.orientation == "row_major" or x == y or at.num_nhw_shards == 1:
        return None
    return (
        f"BLOCK with COL_MAJOR shards on {x}x{y} cores: the multicast rectangles of "
        "ROW_MAJOR leave out cores that wait for weights"
    )
