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
    """Older layouts put weights where the cores do not read them.

    The cores read sticks in the order of the layout `final`; two earlier revisions of
    the preparation place them otherwise.

    Do: prepare the weights anew with weight_layout='final'.
    """
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
    """More than 32 taps: compute waits for pages that never come.

    The reader pushes one page for every 32 kernel positions, compute waits for all
    pages of a stick each time. Nothing guards it.

    Do: use a kernel of at most 32 positions, or program='ttnn'.
    """
    if not is_large_kernel(at):
        return None
    return (
        f"{at.conv.taps} kernel positions: the reader pushes one page for every 32 "
        f"sticks while compute waits for {effective_tiles(at)}"
    )


@DEFECTS.add("JDW003", "wrong values", "read", _WEIGHTS)
def _large_kernel_overruns(at: Placement) -> str | None:
    """More than 32 taps: weights run into the next shard or row.

    They need more tiles than a shard has in a row of tiles, and nothing checks it.

    Do: use a kernel of at most 32 positions, or program='ttnn'.
    """
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
    """A wide reduction reads sticks in blocks, weights lie linear.

    Above 8 tiles of channels (4 for large kernels) the reader splits a stick into
    blocks of 256 or 128 channels; the preparation does not.

    Do: cut the channels over more cores by BLOCK or WIDTH.
    """
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
    """17 to 32 taps of many channels: the sum reads rows nobody wrote.

    The reduction reads 32 rows of every tile of channels, but only as many tiles were
    packed as the products fill. What follows in memory is added instead: the products
    of the stick before, or raw weights.

    Do: cut the channels over more cores by BLOCK or WIDTH, use at most 16 positions,
    or program='ttnn'.
    """
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
    """Dilation decides sizes and halo, but windows are gathered undilated.

    The host plans the padded shards with it; the kernel steps from tap to tap by one
    stick and one row.

    Do: use dilation 1, or program='ttnn'.
    """
    pairs = zip(at.conv.dilation, at.conv.kernel, strict=True)
    if not any(dilation > 1 and kernel > 1 for dilation, kernel in pairs):
        return None
    return (
        f"dilation {at.conv.dilation} decides sizes and halo, but the kernel gathers "
        "its windows undilated"
    )


@DEFECTS.add(
    "JDW009",
    "wrong values",
    "observed",
    f"{_FACTORY}; MobileNetV2 passes only without the program cache",
)
def _stale_addresses(at: Placement) -> str | None:
    """On a program-cache hit weights and bias are read at old addresses.

    On a hit the override renews the input's and the index buffer's addresses only.

    Do: switch the program cache off, or keep the tensors where they were.
    """
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
    """Reader index lists of unequal length mis-shape the config tensor.

    Cores with fewer rows have shorter lists, which are not padded, while the tensor
    that holds all of them is cut into equal shards.

    Do: choose a number of cores that divides the output's rows.
    """
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
    """More sticks in a haloed shard than a 16-bit index can name.

    The reader's indices are uint16: from stick 65,536 on they count from 0 again.

    Do: use more cores or a smaller batch.
    """
    if at.halo_shard.rows < _INDEX_LIMIT:
        return None
    return (
        f"{at.halo_shard.rows} sticks in a haloed shard do not fit the 16 bits of a "
        "reader index"
    )


@DEFECTS.add(
    "JDW013",
    "wrong values",
    "assumed",
    f"{_READER}; the reader @002a3f41 was not found",
)
def _page_cap(at: Placement) -> str | None:
    """Readers found multiply at most three weight tiles.

    The newest reader that was found caps the pages of one stick; the one of the branch
    itself was not found.

    Do: cut the channels over more cores, until a core has three weight tiles or fewer.
    """
    if effective_tiles(at) <= _OLD_PAGE_CAP:
        return None
    return (
        f"{effective_tiles(at)} weight tiles per core: readers up to the newest one "
        f"found multiply only the first {_OLD_PAGE_CAP}"
    )


@DEFECTS.add("JDW014", "wrong values", "read", f"{_READER}, BYTES_PER_ELEM")
def _float32_wide(at: Placement) -> str | None:
    """Block constants of the reader count 2 bytes to a float32.

    The constants that step through a wide reduction are those of bf16.

    Do: use bf16 activations, or cut the channels over more cores.
    """
    if at.conv.dtype != "float32" or not is_wide_reduction(at):
        return None
    return "the reader's block constants count 2 bytes to an element of float32"


@DEFECTS.add("JDW015", "performance", "read", f"{_COMPUTE}, num_pages_to_8")
def _unbatched_reads(at: Placement) -> str | None:
    """Tiles of a stick are packed one page at a time.

    The batching of 8 pages is switched off in the kernel of the branch.

    Do: nothing is wrong with the values; fewer channels on a core cost less.
    """
    if effective_tiles(at) < 2:
        return None
    return (
        f"{effective_tiles(at)} tiles of a stick are packed one page at a time: "
        "batching of 8 is switched off"
    )


@DEFECTS.add("JDW016", "performance", "read", _COMPUTE)
def _filler_rows(at: Placement) -> str | None:
    """The activation runs over whole tiles, of which one row is packed.

    The SFPU works on all rows of Dst; only the first of every 16 holds a sum.

    Do: nothing is wrong with the values; a separate activation may cost less.
    """
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
    """A sharded input is resharded.

    Its shards are not those that the program wants, or not whole tiles wide.

    Do: hand the input over in the shards of the plan (`input_shard`).
    """
    if at.shard.input_shard is None or at.shard.keeps_cores:
        return None
    return (
        f"the input lies in shards of {at.shard.input_shard} and is resharded to "
        f"{tuple(at.input_shard)}"
    )


@DEFECTS.add("JDW019", "wrong values", "read", f"{_FACTORY}, in_c_per_shard_ceil")
def _empty_shards(at: Placement) -> str | None:
    """Empty channel shards: channels per shard no longer match weights.

    The factory counts on all shards but the last being full when it divides the
    channels over them.

    Do: use fewer cores along the channels.
    """
    shards, channels = at.num_channel_shards, at.conv.channels
    padded = at.input_shard.channels
    if shards == 1 or (shards - 1) * padded < channels:
        return None
    return (
        f"{channels} channels leave some of {shards} shards of {padded} empty: the "
        "factory's channels per shard then no longer match the weights"
    )


@DEFECTS.add(
    "JDW021",
    "wrong values",
    "read",
    "tt-metal conv2d_utils.cpp @002a3f41",
    elsewhere=True,
)
def _other_program(at: Placement) -> str | None:
    """The branch runs the layer with another program.

    Its detection gives kernels of one position and inputs of one row to other programs.

    Do: plan the program that runs: program='ttnn'.
    """
    program = upstream_program(at.conv)
    unsettled = ", or, by a commit of the branch's time, with regular"
    return (
        f"tt-metal runs this layer with its {program} program"
        f"{unsettled * (program == 'conv1d')}, not with depthwise, as planned here"
    )


@DEFECTS.add("JDW022", "wrong values", "read", f"{_WEIGHTS}; {_FACTORY}")
def _one_channel(at: Placement) -> str | None:
    """One channel: weights are laid out as those of another conv.

    The preparation asks for more than one group before it takes the depthwise layout,
    the program does not.

    Do: pad the layer to two channels.
    """
    if at.conv.channels > 1:
        return None
    return (
        "one channel: the weight preparation asks for more than one group, the "
        "program does not, so that weights lie as those of another conv"
    )


DEFECTS.append(lofi_gain("depthwise"))
