"""Known defects of tt-metal's depthwise branch that a configuration meets.

Two defects of the sources are no configuration's: host weights of another dtype than
bf16 and float32 cannot be prepared, and prepared weights of another sharding are not
recognised.
"""

from jaxdw.plan.depthwise.layout import make_weight_layout
from jaxdw.plan.depthwise.weights import (
    effective_tiles,
    is_large_kernel,
    is_wide_reduction,
    tiles_per_reduction,
    upstream_program,
    weight_layout,
)
from jaxdw.plan.findings import Defects
from jaxdw.plan.lofi import lofi_gain
from jaxdw.plan.options import EVERYWHERE, Option, never, unheeded
from jaxdw.plan.placement import Placement

DEFECTS = Defects()

_FACTORY = "tt-metal conv2d_op_depthwise_program_factory.cpp @002a3f41"
_READER = "tt-metal reader_pool_2d.cpp @ff6ab496"
_COMPUTE = "tt-metal compute_pool_2d.cpp @002a3f41"
_WEIGHTS = "tt-metal prepare_conv2d_weights.cpp @002a3f41"
_SLIDING = "tt-metal sliding_window.cpp @00002df2"

_SINGLE = "the depthwise program has no second buffer"
_INDEX_LIMIT = 1 << 16
_OLD_PAGE_CAP = 3


@DEFECTS.add(
    "JDW001",
    "wrong values",
    "observed",
    "tt-metal DEPTHWISE_CONV2D_WIDTH_SHARDED_PLAN.md @6f883191",
)
def _older_layout(at: Placement) -> str | None:
    layout, conv = weight_layout(at), at.conv
    num_shards = len(layout.shard_channels)
    final = make_weight_layout(
        "final", channels=conv.channels, taps=conv.taps, num_shards=num_shards
    )
    tiles_per_shard = -(-conv.taps * layout.stick_elems // 1024)
    placed_alike = (
        layout.shard_channels == final.shard_channels
        and layout.stick_elems == final.stick_elems
        and layout.columns == final.columns
        and (num_shards == 1 or layout.row_elems == final.row_elems)
        and tiles_per_shard <= final.tiles_per_row
    )
    if layout.name == "final" or placed_alike:
        return None
    return (
        f"weight layout {layout.name!r} puts weights where the cores do not read them "
        f"({conv.channels} channels over {num_shards} shards, {conv.taps} kernel "
        f"positions: {layout.stick_elems} elements to a stick against "
        f"{final.stick_elems}, matrix [{layout.rows}, {layout.columns}] against "
        f"[{final.rows}, {final.columns}])"
    )


@DEFECTS.add("JDW002", "hang", "read", f"{_READER}; {_COMPUTE}")
def _large_kernel_hangs(at: Placement) -> str | None:
    if not is_large_kernel(at):
        return None
    return (
        f"{at.conv.taps} kernel positions: the reader pushes one page for every 32 "
        f"sticks while compute waits for {effective_tiles(at)}"
    )


@DEFECTS.add("JDW003", "wrong values", "read", _WEIGHTS)
def _large_kernel_overruns(at: Placement) -> str | None:
    if not is_large_kernel(at):
        return None
    return (
        f"{at.conv.taps} kernel positions need {effective_tiles(at)} weight "
        f"tiles, a tile row has {at.channel_tiles}: the layout runs into the next "
        "shard's columns or aliases the next row"
    )


@DEFECTS.add(
    "JDW004",
    "wrong values",
    "observed",
    f"{_READER}; three failing nightly tests of the branch",
)
def _wide_reduction(at: Placement) -> str | None:
    if not is_wide_reduction(at):
        return None
    return (
        f"{at.input_shard.channels} channels per core: sticks are read in blocks of "
        f"{32 * tiles_per_reduction(at)} channels, weights lie linear"
    )


@DEFECTS.add(
    "JDW005",
    "wrong values",
    "observed",
    f"{_COMPUTE}; the low-level kernels in the functional simulator",
)
def _stale_rows(at: Placement) -> str | None:
    taps, tiles = at.conv.taps, at.channel_tiles
    if taps <= 16 or is_large_kernel(at) or effective_tiles(at) >= tiles:
        return None
    return (
        f"{taps} kernel positions of {at.input_shard.channels} padded channels: the "
        f"reduction reads 32 rows ({tiles} tiles), only {effective_tiles(at)} were "
        "written; the rest are the last stick's products or raw weights"
    )


@DEFECTS.add("JDW006", "wrong values", "read", _FACTORY)
def _dilation(at: Placement) -> str | None:
    pairs = zip(at.conv.dilation, at.conv.kernel, strict=True)
    if not any(dilation > 1 and kernel > 1 for dilation, kernel in pairs):
        return None
    return (
        f"dilation {at.conv.dilation} decides sizes and halo, but the kernel gathers "
        "its windows undilated"
    )


@DEFECTS.add("JDW007", "memory corruption", "read", _FACTORY)
def _stray_multicast(at: Placement) -> str | None:
    stray = sum(b.rect.area - 1 - b.num_dests for b in at.output_grid.broadcasts())
    if not stray:
        return None
    return (
        f"weights are multicast to the bounding box of {at.num_cores} cores: {stray} "
        "idle cores are overwritten and acknowledge too"
    )


@DEFECTS.add("JDW008", "wrong values", "read", _FACTORY)
def _column_major(at: Placement) -> str | None:
    if at.core_grid.orientation == "row_major" or at.num_cores == 1:
        return None
    return "BLOCK with COL_MAJOR shards gets the reader arguments of ROW_MAJOR"


@DEFECTS.add(
    "JDW009",
    "wrong values",
    "observed",
    f"{_FACTORY}; MobileNetV2 passes only without the program cache",
)
def _stale_addresses(at: Placement) -> str | None:
    if not at.shard.program_cache:
        return None
    return (
        "on a program-cache hit the addresses of weights and bias are those of the "
        "first call"
    )


@DEFECTS.add(
    "JDW010", "wrong values", "assumed", f"{_SLIDING}, construct_on_host_config_tensor"
)
def _unequal_lists(at: Placement) -> str | None:
    lengths = {
        at.index_list_length(core)
        for core in range(0, at.num_cores, at.num_channel_shards)
    }
    if len(lengths) == 1:
        return None
    return (
        f"reader index lists of {min(lengths)} to {max(lengths)} entries mis-shape the "
        "config tensor unless the caller pads them"
    )


@DEFECTS.add("JDW011", "wrong values", "read", f"{_SLIDING}, uint16 indices")
def _index_overflow(at: Placement) -> str | None:
    if at.halo_shard.rows < _INDEX_LIMIT:
        return None
    return (
        f"{at.halo_shard.rows} sticks in a haloed shard do not fit the 16 bits of a "
        "reader index"
    )


@DEFECTS.add(
    "JDW012",
    "hang",
    "assumed",
    f"{_READER}, `num_dests > 0`; the reader @002a3f41 was not found",
)
def _no_receivers(at: Placement) -> str | None:
    if at.scheme == "width" or at.num_nhw_shards > 1:
        return None
    return (
        "a sender has no receivers: a multicast to none breaks the NoC's contract and "
        "may hang; the reader found guards it"
    )


@DEFECTS.add(
    "JDW013",
    "wrong values",
    "assumed",
    f"{_READER}; the reader @002a3f41 was not found",
)
def _page_cap(at: Placement) -> str | None:
    if effective_tiles(at) <= _OLD_PAGE_CAP:
        return None
    return (
        f"{effective_tiles(at)} weight tiles per core: readers up to the newest one "
        f"found multiply only the first {_OLD_PAGE_CAP}"
    )


@DEFECTS.add("JDW014", "wrong values", "read", f"{_READER}, BYTES_PER_ELEM")
def _float32_wide(at: Placement) -> str | None:
    if at.conv.dtype != "float32" or not is_wide_reduction(at):
        return None
    return "the reader's block constants count 2 bytes to an element of float32"


@DEFECTS.add("JDW015", "performance", "read", f"{_COMPUTE}, num_pages_to_8")
def _unbatched_reads(at: Placement) -> str | None:
    if effective_tiles(at) < 2:
        return None
    return (
        f"{effective_tiles(at)} tiles of a stick are packed one page at a time: "
        "batching of 8 is switched off"
    )


@DEFECTS.add("JDW016", "performance", "read", _COMPUTE)
def _filler_rows(at: Placement) -> str | None:
    if at.conv.activation is None:
        return None
    return (
        "the activation runs over whole tiles of Dst, of which one row in 16 is packed"
    )


DEFECTS.append(
    unheeded(
        (
            *EVERYWHERE,
            Option("enable_act_double_buffer", never, _SINGLE),
            Option("enable_weights_double_buffer", never, _SINGLE),
            Option(
                "act_block_h_override",
                lambda at: at.output_shard.rows % at.shard.act_block_h_override == 0,
                lambda at: f"a core has {at.output_shard.rows} rows",
            ),
        ),
        basis="read",
        source=_FACTORY,
    )
)


@DEFECTS.add(
    "JDW018",
    "performance",
    "read",
    "tt-metal conv2d_utils.cpp @002a3f41, shard_or_reshard",
)
def _resharded(at: Placement) -> str | None:
    if at.shard.input_shard is None or at.shard.keeps_cores:
        return None
    return (
        f"the input lies in shards of {at.shard.input_shard} and is resharded to "
        f"{tuple(at.input_shard)}"
    )


@DEFECTS.add("JDW019", "wrong values", "read", f"{_FACTORY}, in_c_per_shard_ceil")
def _empty_shards(at: Placement) -> str | None:
    shards, channels = at.num_channel_shards, at.conv.channels
    padded = at.input_shard.channels
    if shards == 1 or (shards - 1) * padded < channels:
        return None
    return (
        f"{channels} channels leave some of {shards} shards of {padded} empty: the "
        "factory's channels per shard then no longer match the weights"
    )


@DEFECTS.add("JDW020", "hang", "read", _FACTORY)
def _column_major_oblong(at: Placement) -> str | None:
    x, y = at.grid
    if at.core_grid.orientation == "row_major" or x == y or at.num_nhw_shards == 1:
        return None
    return (
        f"BLOCK with COL_MAJOR shards on {x}x{y} cores: the multicast rectangles of "
        "ROW_MAJOR leave out cores that wait for weights"
    )


@DEFECTS.add(
    "JDW021",
    "wrong values",
    "read",
    "tt-metal conv2d_utils.cpp @002a3f41",
    elsewhere=True,
)
def _other_program(at: Placement) -> str | None:
    program = upstream_program(at.conv)
    unsettled = ", or, by a commit of the branch's time, with regular"
    return (
        f"tt-metal runs this layer with its {program} program"
        f"{unsettled * (program == 'conv1d')}, not with depthwise, as planned here"
    )


@DEFECTS.add("JDW022", "wrong values", "read", f"{_WEIGHTS}; {_FACTORY}")
def _one_channel(at: Placement) -> str | None:
    if at.conv.channels > 1:
        return None
    return (
        "one channel: the weight preparation asks for more than one group, the "
        "program does not, so that weights lie as those of another conv"
    )


DEFECTS.append(lofi_gain("depthwise"))
