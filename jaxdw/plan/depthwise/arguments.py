"""The arguments that tt-metal's depthwise factory gives the kernels of every core.

They are upstream's, defects included (findings JDW006 and JDW008 show here): window
strides without dilation, and for COL_MAJOR BLOCK the roles of ROW_MAJOR. Multicast
corners are translated NoC coordinates.

Source: tt-metal conv2d_op_depthwise_program_factory.cpp @002a3f41; the order of the
reader's runtime arguments as reader_pool_2d.cpp @ff6ab496 takes them. `Assumed:` the
ids of the two semaphores, the order of their creation, and the id 32 of a circular
buffer that the program does not make.
"""

import dataclasses
from collections.abc import Iterable

from jaxdw.plan.plan import Plan
from jaxdw.plan.units import TILE, round_up, stick_elem_bytes

SENDER_SEMAPHORE, RECEIVER_SEMAPHORE = 0, 1
NO_CB = 32
_ONE_BF16 = 0x3F80_0000
_MAX_ROWS_FOR_REDUCTION = 32
_MULTI_BUFFERING = 2
_AVG_POOL = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a kernel: its place, its name, its value."""

    index: int
    name: str
    value: int | str


def _numbered(pairs: Iterable[tuple[str, int | str]]) -> tuple[Argument, ...]:
    return tuple(Argument(i, name, value) for i, (name, value) in enumerate(pairs))


def _cb_ids(plan: Plan) -> dict[str, int]:
    ids = {b.name: b.cb for b in plan.l1.buffers if b.cb is not None}
    ids["out"] = ids.pop("output")
    ids["raw_in"] = ids.pop("halo output" if plan.has_halo else "input")
    return {"bias": NO_CB, "pre_tilize": NO_CB} | ids


def _channels_per_shard(plan: Plan) -> int:
    """Real channels of a shard as the factory computes them, in_c_per_shard_ceil."""
    channels, shards = plan.conv.channels, plan.num_channel_shards
    rest = channels % plan.input_shard.channels
    if rest and shards > 1:
        return (channels - rest) // (shards - 1)
    return channels // shards


def _channel_blocks(plan: Plan) -> int:
    if not plan.is_wide_reduction:
        return 1
    return -(-plan.channel_tiles // plan.tiles_per_reduction)


def reader_compile_args(plan: Plan) -> tuple[Argument, ...]:
    """Returns the reader's compile-time arguments, the same on every core."""
    conv, cb = plan.conv, _cb_ids(plan)
    taps, nt = conv.taps, plan.channel_tiles
    elem_bytes = stick_elem_bytes(conv.dtype)
    last_block = plan.input_shard.channels
    if plan.is_wide_reduction:
        block = plan.tiles_per_reduction * TILE
        last_block = last_block % block or last_block
    page_tiles = plan.tiles_per_reduction if plan.is_wide_reduction else nt
    tilized_rows = taps if taps <= 16 else 32
    channels = _channels_per_shard(plan)
    zero_pages = plan.shard.output_layout == "tile" and conv.output_dtype == "bfloat8_b"
    return _numbered(
        [
            ("out_nhw_per_core", plan.output_shard.rows),
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
            ("in_nblocks_c", _channel_blocks(plan)),
            ("in_cb_sz", page_tiles * TILE * tilized_rows),
            ("max_rows_for_reduction", _MAX_ROWS_FOR_REDUCTION),
            ("ceil_pad_w", 0),
            ("in_cb_0", cb["in"]),
            ("in_cb_1", cb["in"]),
            ("raw_in_cb", cb["raw_in"]),
            ("reader_indices_cb", cb["reader indices"]),
            ("scalar_cb_0", cb["scalar"]),
            ("scalar_cb_1", cb["scalar"]),
            ("clear_cb", cb["clear"]),
            ("mul_cb", cb["mul"]),
            ("weight_cb", cb["weight"]),
            ("out_cb_0", cb["out"]),
            ("out_cb_1", cb["out"]),
            ("out_cb_2", cb["out"]),
            ("clear_value_cb", cb["clear"]),
            ("pool_type", _AVG_POOL),
            ("one_scalar_per_core", 1),
            ("config_cb", cb["clear"]),
            ("in_nbytes_c", channels * elem_bytes),
            ("shard_width_bytes", plan.input_shard.channels * elem_bytes),
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
            ("out_cb_3", cb["out"]),
            ("out_cb_4", cb["out"]),
            ("weight_cb", cb["weight"]),
            ("num_shards_c", plan.num_channel_shards),
            ("weight_accessor", "interleaved DRAM"),
            ("has_bias", int(conv.bias)),
            ("bias_cb", cb["bias"]),
            ("bias_ntiles", nt),
            ("bias_accessor", "interleaved DRAM"),
        ]
    )


def compute_compile_args(plan: Plan) -> tuple[Argument, ...]:
    """Returns the compute kernel's compile-time arguments, the same on every core."""
    conv, cb, nt = plan.conv, _cb_ids(plan), plan.channel_tiles
    tiled = plan.shard.output_layout == "tile"
    return _numbered(
        [
            ("in_ntiles_c", nt),
            ("window_size", conv.taps),
            ("split_reader", 0),
            ("out_sticks_at_runtime", 0),
            ("in_c_per_shard_ceil", _channels_per_shard(plan)),
            ("in_nblocks_c", _channel_blocks(plan)),
            ("max_rows_for_reduction", _MAX_ROWS_FOR_REDUCTION),
            ("in_cb_0", cb["in"]),
            ("in_cb_1", cb["in"]),
            ("scalar_cb_0", cb["scalar"]),
            ("scalar_cb_1", cb["scalar"]),
            ("clear_cb", cb["clear"]),
            ("mul_cb", cb["mul"]),
            ("weight_cb", cb["weight"]),
            *((f"out_cb_{i}", cb["out"]) for i in range(5)),
            ("one_scalar_per_core", 1),
            ("pre_tilize_cb", cb["pre_tilize"]),
            ("is_output_tiled", int(tiled)),
            ("is_output_block_format", int(conv.output_dtype == "bfloat8_b")),
            ("zero", 0),
            ("stride_h", conv.stride[0]),
            ("stride_w", conv.stride[1]),
            ("padded_in_h", plan.window.padded_height),
            ("padded_in_w", plan.window.padded_width),
            ("kernel_h", conv.kernel[0]),
            ("kernel_w", conv.kernel[1]),
            ("pad_l", conv.padding[2]),
            ("weight_cb", cb["weight"]),
            ("mul_cb", cb["mul"]),
            ("has_bias", int(conv.bias)),
            ("bias_cb", cb["bias"]),
            ("bias_ntiles", nt),
            ("clear_value_cb", cb["clear"]),
        ]
    )


def reader_runtime_args(
    plan: Plan, *, weight_address: int, bias_address: int
) -> tuple[tuple[Argument, ...], ...]:
    """Returns each core's reader arguments, row by row over the grid.

    Args:
      weight_address, bias_address: of the DRAM buffers, bytes; the same in every bank.

    Raises:
      ConfigError: COL_MAJOR BLOCK whose ROW_MAJOR roles name a core off the chip.
    """
    bias_address *= plan.conv.bias
    last = ("bias_addr", bias_address)
    rows, columns = plan.num_nhw_shards, plan.num_channel_shards
    args = []
    for core in range(plan.num_cores):
        row, column = divmod(core, columns)
        if plan.scheme == "height":
            row, column = core, 0
        if plan.scheme == "width":
            row, corners, dests = 0, (0, 0, 0, 0), 0
        elif plan.scheme == "height":
            box = (plan.grid[0] - 1, plan.grid[1] - 1)
            corners = (*_noc(plan, (0, 0)), *_noc(plan, box))
            dests = plan.num_cores - 1
        else:
            corners = (*_noc(plan, (column, 0)), *_noc(plan, (column, rows - 1)))
            dests = rows - 1
        start = ("start_tile_id", column * plan.channel_tiles)
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


def _noc(plan: Plan, logical: tuple[int, int]) -> tuple[int, int]:
    return plan.arch.worker_noc_xy(logical)


def compute_runtime_args(plan: Plan) -> tuple[tuple[Argument, ...], ...]:
    """Returns each core's compute arguments, row by row over the grid.

    The one argument is the output sticks of the core.
    """
    rows, total = plan.output_shard.rows, plan.window.num_outputs
    width = plan.grid[0]
    args = []
    for core in range(plan.num_cores):
        before = {"block": core // width, "width": 0, "height": core}[plan.scheme]
        sticks = min(rows, max(0, total - before * rows))
        args.append(_numbered([("out_sticks", sticks)]))
    return tuple(args)
