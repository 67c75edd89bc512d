"""The arguments that tt-metal's depthwise factory gives the kernels of every core.

They are upstream's, defects included (findings JDW006 and JDW008 show here): window
strides without dilation, and for COL_MAJOR BLOCK the roles of ROW_MAJOR. Multicast
corners are translated NoC coordinates.

Source: tt-metal conv2d_op_depthwise_program_factory.cpp @002a3f41; the order of the
reader's runtime arguments as reader_pool_2d.cpp @ff6ab496 takes them. `Assumed:` the
ids of the two semaphores, the order of their creation, and the id 32 of a circular
buffer that the program does not make.
"""

from collections.abc import Iterable

from jaxdw.plan.depthwise.weights import is_wide_reduction, tiles_per_reduction
from jaxdw.plan.l1 import L1Use, Role
from jaxdw.plan.placement import Placement
from jaxdw.plan.program import Argument, Arguments, KernelArguments
from jaxdw.plan.units import TILE, round_up, stick_elem_bytes

SENDER_SEMAPHORE, RECEIVER_SEMAPHORE = 0, 1
NO_CB = 32
_ONE_BF16 = 0x3F80_0000
_MAX_ROWS_FOR_REDUCTION = 32
_MULTI_BUFFERING = 2
_AVG_POOL = 1


def kernel_arguments(
    at: Placement, l1: L1Use, *, weight_address: int, bias_address: int
) -> KernelArguments:
    """Returns the arguments of the reader and of compute.

    Args:
      weight_address, bias_address: of the DRAM buffers, bytes; the same in every bank.

    Raises:
      ConfigError: COL_MAJOR BLOCK whose ROW_MAJOR roles name a core off the chip.
    """
    return KernelArguments(
        compile_time={
            "reader": _reader_compile_args(at, l1),
            "compute": _compute_compile_args(at, l1),
        },
        runtime={
            "reader": _reader_runtime_args(
                at, weight_address=weight_address, bias_address=bias_address
            ),
            "compute": _compute_runtime_args(at),
        },
    )


def _numbered(pairs: Iterable[tuple[str, int | str]]) -> Arguments:
    return tuple(Argument(i, name, value) for i, (name, value) in enumerate(pairs))


def _cb_ids(l1: L1Use) -> dict[Role, int]:
    ids: dict[Role, int] = {"bias": NO_CB, "pre_tilize": NO_CB}
    for buffer in l1.buffers:
        if buffer.cb is not None:
            ids[buffer.role] = buffer.cb
    return ids


def _channels_per_shard(at: Placement) -> int:
    """Real channels of a shard as the factory computes them, in_c_per_shard_ceil."""
    channels, shards = at.conv.channels, at.num_channel_shards
    rest = channels % at.input_shard.channels
    if rest and shards > 1:
        return (channels - rest) // (shards - 1)
    return channels // shards


def _channel_blocks(at: Placement) -> int:
    if not is_wide_reduction(at):
        return 1
    return -(-at.channel_tiles // tiles_per_reduction(at))


def _reader_compile_args(at: Placement, l1: L1Use) -> Arguments:
    """Returns the reader's compile-time arguments, the same on every core."""
    conv, cb = at.conv, _cb_ids(l1)
    taps, nt = conv.taps, at.channel_tiles
    elem_bytes = stick_elem_bytes(conv.dtype)
    last_block = at.input_shard.channels
    if is_wide_reduction(at):
        block = tiles_per_reduction(at) * TILE
        last_block = last_block % block or last_block
    page_tiles = tiles_per_reduction(at) if is_wide_reduction(at) else nt
    tilized_rows = taps if taps <= 16 else 32
    channels = _channels_per_shard(at)
    zero_pages = at.shard.output_layout == "tile" and conv.output_dtype == "bfloat8_b"
    return _numbered(
        [
            ("out_nhw_per_core", at.output_shard.rows),
            ("kernel_h", conv.kernel[0]),
            ("kernel_w", conv.kernel[1]),
            ("pad_w", conv.padding[2] + conv.padding[3]),
            ("in_nbytes_leftover", round_up(last_block, TILE) * elem_bytes),
            ("in_w", conv.width),
            ("in_c_per_shard_ceil", channels),
            ("split_reader", 0),
            ("reader_id", 0),
            ("bf16_scalar", hex(_ONE_BF16)),
            ("init_value", 0),
            ("in_nblocks_c", _channel_blocks(at)),
            ("in_cb_sz", page_tiles * TILE * tilized_rows),
            ("max_rows_for_reduction", _MAX_ROWS_FOR_REDUCTION),
            ("ceil_pad_w", 0),
            ("in_cb_0", cb["window"]),
            ("in_cb_1", cb["window"]),
            ("raw_in_cb", cb["source"]),
            ("reader_indices_cb", cb["indices"]),
            ("scalar_cb_0", cb["scalar"]),
            ("scalar_cb_1", cb["scalar"]),
            ("clear_cb", cb["clear"]),
            ("mul_cb", cb["products"]),
            ("weight_cb", cb["weights"]),
            ("out_cb_0", cb["output"]),
            ("out_cb_1", cb["output"]),
            ("out_cb_2", cb["output"]),
            ("clear_value_cb", cb["clear"]),
            ("pool_type", _AVG_POOL),
            ("one_scalar_per_core", 1),
            ("config_cb", cb["clear"]),
            ("in_nbytes_c", channels * elem_bytes),
            ("shard_width_bytes", at.input_shard.channels * elem_bytes),
            ("multi_buffering_factor", _MULTI_BUFFERING),
            ("stride_w", conv.stride[1]),
            ("dilation_h", 1),
            ("dilation_w", 1),
            ("return_indices", 0),
            ("pad_t", conv.padding[0]),
            ("pad_l", conv.padding[2]),
            ("zero_0", 0),
            ("zero_1", 0),
            ("zero_2", 0),
            ("zero_pages", int(zero_pages)),
            ("out_cb_3", cb["output"]),
            ("out_cb_4", cb["output"]),
            ("weight_cb", cb["weights"]),
            ("num_shards_c", at.num_channel_shards),
            ("weight_accessor", "interleaved DRAM"),
            ("has_bias", int(conv.bias)),
            ("bias_cb", cb["bias"]),
            ("bias_ntiles", nt),
            ("bias_accessor", "interleaved DRAM"),
        ]
    )


def _compute_compile_args(at: Placement, l1: L1Use) -> Arguments:
    """Returns the compute kernel's compile-time arguments, the same on every core."""
    conv, cb, nt = at.conv, _cb_ids(l1), at.channel_tiles
    tiled = at.shard.output_layout == "tile"
    return _numbered(
        [
            ("in_ntiles_c", nt),
            ("window_size", conv.taps),
            ("split_reader", 0),
            ("out_sticks_at_runtime", 0),
            ("in_c_per_shard_ceil", _channels_per_shard(at)),
            ("in_nblocks_c", _channel_blocks(at)),
            ("max_rows_for_reduction", _MAX_ROWS_FOR_REDUCTION),
            ("in_cb_0", cb["window"]),
            ("in_cb_1", cb["window"]),
            ("scalar_cb_0", cb["scalar"]),
            ("scalar_cb_1", cb["scalar"]),
            ("clear_cb", cb["clear"]),
            ("mul_cb", cb["products"]),
            ("weight_cb", cb["weights"]),
            *((f"out_cb_{i}", cb["output"]) for i in range(5)),
            ("one_scalar_per_core", 1),
            ("pre_tilize_cb", cb["pre_tilize"]),
            ("is_output_tiled", int(tiled)),
            ("is_output_block_format", int(conv.output_dtype == "bfloat8_b")),
            ("zero", 0),
            ("stride_h", conv.stride[0]),
            ("stride_w", conv.stride[1]),
            ("padded_in_h", at.window.padded_height),
            ("padded_in_w", at.window.padded_width),
            ("kernel_h", conv.kernel[0]),
            ("kernel_w", conv.kernel[1]),
            ("pad_l", conv.padding[2]),
            ("weight_cb", cb["weights"]),
            ("mul_cb", cb["products"]),
            ("has_bias", int(conv.bias)),
            ("bias_cb", cb["bias"]),
            ("bias_ntiles", nt),
            ("clear_value_cb", cb["clear"]),
        ]
    )


def _reader_runtime_args(
    at: Placement, *, weight_address: int, bias_address: int
) -> tuple[Arguments, ...]:
    """Returns each core's reader arguments, row by row over the grid.

    Args:
      weight_address, bias_address: of the DRAM buffers, bytes; the same in every bank.

    Raises:
      ConfigError: COL_MAJOR BLOCK whose ROW_MAJOR roles name a core off the chip.
    """
    bias_address *= at.conv.bias
    last = ("bias_addr", bias_address)
    rows, columns = at.num_nhw_shards, at.num_channel_shards
    args = []
    for core in range(at.num_cores):
        row, column = divmod(core, columns)
        if at.scheme == "height":
            row, column = core, 0
        if at.scheme == "width":
            row, corners, dests = 0, (0, 0, 0, 0), 0
        elif at.scheme == "height":
            box = (at.grid[0] - 1, at.grid[1] - 1)
            corners = (*_noc(at, (0, 0)), *_noc(at, box))
            dests = at.num_cores - 1
        else:
            corners = (*_noc(at, (column, 0)), *_noc(at, (column, rows - 1)))
            dests = rows - 1
        start = ("start_tile_id", column * at.channel_tiles)
        semaphores = [
            ("sender_semaphore", SENDER_SEMAPHORE),
            ("receiver_semaphore", RECEIVER_SEMAPHORE),
        ]
        names = ("mcast_start_x", "mcast_start_y", "mcast_end_x", "mcast_end_y")
        if row == 0:
            roles = [
                *zip(names, corners, strict=True),
                ("num_dests", dests),
                ("num_cores", dests),
                *semaphores,
            ]
        else:
            sender_x, sender_y = corners[:2]
            roles = [
                ("sender_x", sender_x),
                ("sender_y", sender_y),
                *semaphores,
                *((f"zero_{i}", 0) for i in range(4)),
            ]
        head = [("weight_addr", weight_address), ("is_sender", int(row == 0))]
        args.append(_numbered([*head, *roles, start, last]))
    return tuple(args)


def _noc(at: Placement, logical: tuple[int, int]) -> tuple[int, int]:
    return at.arch.worker_noc_xy(logical)


def _compute_runtime_args(at: Placement) -> tuple[Arguments, ...]:
    """Returns each core's compute arguments, row by row over the grid.

    The one argument is the output sticks of the core.
    """
    rows, total = at.output_shard.rows, at.window.num_outputs
    width = at.grid[0]
    args = []
    for core in range(at.num_cores):
        before = {"block": core // width, "width": 0, "height": core}[at.scheme]
        sticks = min(rows, max(0, total - before * rows))
        args.append(_numbered([("out_sticks", sticks)]))
    return tuple(args)
