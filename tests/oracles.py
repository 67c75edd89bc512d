"""Slow reference loops for the data layouts of Tenstorrent's sharded depthwise conv2d.

Plain Python and NumPy, written from the hardware description in facts/*.md. Pairs are
(vertical, horizontal), padding is (top, bottom, left, right), tensors are [N, H, W, C].
"""

import math

import numpy as np

Pair = tuple[int, int]
Padding = tuple[int, int, int, int]
Entry = tuple[str, int, int] | tuple[str]

# device.md, DRAM: worker endpoint (x, y) of each bank on NoC 0, offset of the odd banks
# inside their endpoint, read alignment. Blackhole's 64 bytes are unverified upstream.
ENDPOINTS = {
    "wormhole_b0": [
        (0, 11), (0, 1), (0, 5), (0, 7), (5, 1), (5, 11),
        (5, 2), (5, 9), (5, 8), (5, 3), (5, 5), (5, 7),
    ],
    "blackhole": [
        (0, 11), (0, 3), (0, 8), (0, 6), (9, 11), (9, 3), (9, 8), (9, 6),
    ],
}  # fmt: skip
ODD_BANK_OFFSET = {"wormhole_b0": 0x40000000, "blackhole": 0}
DRAM_ALIGNMENT_BYTES = {"wormhole_b0": 32, "blackhole": 64}


def _ceil_div(a: int, b: int) -> int:
    """Returns a / b rounded up."""
    return -(-a // b)


def _round_up(a: int, b: int) -> int:
    """Returns the smallest multiple of b that is at least a (planning.md section 1)."""
    return _ceil_div(a, b) * b


# Planning: sizes, grid, shards.


def output_size(
    size: int,
    kernel: int,
    stride: int,
    pad_before: int,
    pad_after: int,
    dilation: int,
) -> int:
    """Returns the output length of one axis (planning.md section 4)."""
    span = dilation * (kernel - 1) + 1
    return (size + pad_before + pad_after - span) // stride + 1


def _largest_divisor(num: int, start: int) -> int:
    """Returns the largest share count whose padding is below one share.

    Follows planning.md section 1, F; FM is the same for a multiple of 1.
    """
    shares = start
    while True:
        padded = _round_up(num, shares)
        if shares == 1 or padded - num < padded // shares:
            return shares
        shares -= 1


def parallel_config(
    scheme: str,
    batch: int,
    channels: int,
    out_h: int,
    out_w: int,
    grid_x: int,
    grid_y: int,
) -> tuple[int, int]:
    """Returns (NHW shards, channel shards), ROW_MAJOR (planning.md section 2)."""
    nhw_tiles = _ceil_div(batch * out_h * out_w, 32)
    channel_tiles = _ceil_div(channels, 32)
    if scheme == "height":
        return _largest_divisor(nhw_tiles, grid_x * grid_y), 1
    if scheme == "width":
        return 1, _largest_divisor(channel_tiles, grid_x * grid_y)
    if scheme == "block":
        num_nhw = _largest_divisor(nhw_tiles, grid_y)
        return num_nhw, _largest_divisor(channel_tiles, grid_x)
    raise ValueError(f"`scheme` (={scheme}) must be height, width or block.")


def shard_shapes(
    scheme: str,
    batch: int,
    channels: int,
    height: int,
    width: int,
    out_h: int,
    out_w: int,
    num_nhw: int,
    num_c: int,
) -> tuple[Pair, Pair]:
    """Returns ((input rows, channels), (output rows, channels)) of one core.

    Follows planning.md section 3; the input rows of WIDTH are not padded.
    """
    in_rows = batch * height * width
    if scheme != "width":
        in_rows = _round_up(in_rows, num_nhw * 32) // num_nhw
    out_rows = _round_up(batch * out_h * out_w, num_nhw * 32) // num_nhw
    shard_channels = _round_up(channels, num_c * 32) // num_c
    return (in_rows, shard_channels), (out_rows, shard_channels)


# Sliding window: halo and window starts.


def _window_starts(
    batch: int,
    height: int,
    width: int,
    kernel: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
) -> list[int]:
    """Returns the padded position of every output's top left tap, NHW order.

    Follows planning.md section 5, op_trace.
    """
    top, bottom, left, right = padding
    padded_h = height + top + bottom
    padded_w = width + left + right
    out_h = output_size(height, kernel[0], stride[0], top, bottom, dilation[0])
    out_w = output_size(width, kernel[1], stride[1], left, right, dilation[1])
    starts = []
    for image in range(batch):
        for oy in range(out_h):
            for ox in range(out_w):
                y = oy * stride[0]
                x = ox * stride[1]
                starts.append((image * padded_h + y) * padded_w + x)
    return starts


def _padded_positions(
    batch: int, height: int, width: int, padding: Padding, in_rows: int
) -> list[Entry]:
    """Returns what each position of the padded images holds: an input stick or padding.

    Follows planning.md section 5, pad_metadata and tensor_metadata.
    """
    top, bottom, left, right = padding
    positions: list[Entry] = []
    stick = 0
    for _image in range(batch):
        for y in range(top + height + bottom):
            for x in range(left + width + right):
                inside_y = top <= y < top + height
                inside_x = left <= x < left + width
                if inside_y and inside_x:
                    positions.append(("stick", stick // in_rows, stick % in_rows))
                    stick += 1
                else:
                    positions.append(("pad",))
    return positions


def _output_ranges(num_outputs: int, num_nhw: int) -> list[Pair]:
    """Returns (first, last + 1) output of each core, an empty range past the end.

    Follows planning.md section 5, shard_boundaries.
    """
    rows = _round_up(num_outputs, num_nhw * 32) // num_nhw
    ranges = []
    for core in range(num_nhw):
        first = min(core * rows, num_outputs)
        ranges.append((first, min(first + rows, num_outputs)))
    return ranges


def _padded_ranges(starts: list[int], reach: int, num_nhw: int) -> list[Pair]:
    """Returns (first, last) padded position each core holds; last < first is empty.

    Follows planning.md section 5, shard_boundaries, with its rules for idle cores.
    """
    ranges = []
    for first, end in _output_ranges(len(starts), num_nhw):
        in_start = starts[min(first, len(starts) - 1)]
        in_end = starts[end - 1] + reach
        if in_start == 0 and first != 0:
            in_start = starts[end - 1] + 1
            in_end = in_start - 1
        ranges.append((in_start, in_end))
    return ranges


def haloed_shards(
    batch: int,
    height: int,
    width: int,
    kernel: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    num_nhw: int,
    in_rows: int,
) -> tuple[int, list[list[Entry]]]:
    """Returns the haloed shard height and, per NHW core, what each of its rows holds.

    Follows planning.md section 5, with the true dilation.
    """
    padded_w = width + padding[2] + padding[3]
    reach_y = dilation[0] * (kernel[0] - 1)
    reach_x = dilation[1] * (kernel[1] - 1)
    reach = reach_y * padded_w + reach_x
    starts = _window_starts(batch, height, width, kernel, stride, padding, dilation)
    ranges = _padded_ranges(starts, reach, num_nhw)
    positions = _padded_positions(batch, height, width, padding, in_rows)
    halo_rows = max(last - first + 1 for first, last in ranges)
    shards = []
    for first, last in ranges:
        shard: list[Entry] = []
        for row in range(halo_rows):
            if first + row <= last:
                shard.append(positions[first + row])
            else:
                shard.append(("unwritten",))
        shards.append(shard)
    return halo_rows, shards


def top_left(
    batch: int,
    height: int,
    width: int,
    kernel: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    num_nhw: int,
) -> list[list[int]]:
    """Returns, per NHW core, the haloed-shard row where each of its windows starts.

    Follows planning.md section 6: window start minus the core's first window start.
    """
    starts = _window_starts(batch, height, width, kernel, stride, padding, dilation)
    cores = []
    for first, end in _output_ranges(len(starts), num_nhw):
        rows = []
        for output in range(first, end):
            rows.append(starts[output] - starts[first])
        cores.append(rows)
    return cores


# Tiles.


def tilize(matrix: np.ndarray) -> np.ndarray:
    """Returns [tiles, 1024]: zero-padded 32x32 tiles row-major, faces 0..3 in order.

    Follows device.md, Tile memory.
    """
    rows, columns = matrix.shape
    tile_rows = _ceil_div(rows, 32)
    tile_columns = _ceil_div(columns, 32)
    tiles = np.zeros((tile_rows * tile_columns, 1024), matrix.dtype)
    for row in range(rows):
        for column in range(columns):
            tile = (row // 32) * tile_columns + column // 32
            tiles[tile, _tile_offset(row % 32, column % 32)] = matrix[row, column]
    return tiles


def untilize(tiles: np.ndarray, shape: Pair) -> np.ndarray:
    """Returns the [rows, columns] matrix held by tiles, without its padding.

    Follows device.md, Tile memory.
    """
    rows, columns = shape
    tile_columns = _ceil_div(columns, 32)
    matrix = np.zeros((rows, columns), tiles.dtype)
    for row in range(rows):
        for column in range(columns):
            tile = (row // 32) * tile_columns + column // 32
            matrix[row, column] = tiles[tile, _tile_offset(row % 32, column % 32)]
    return matrix


def _tile_offset(row: int, column: int) -> int:
    """Returns the memory offset of an element of one tile (device.md, Tile memory)."""
    face = (row // 16) * 2 + column // 16
    return face * 256 + (row % 16) * 16 + column % 16


# Weight and bias matrices.


def _final_channels(channels: int, num_shards: int) -> tuple[list[int], int]:
    """Returns the channels of each shard and their padded count, the same for all.

    Follows weights.md section 1.
    """
    padded = _round_up(_ceil_div(channels, num_shards), 32)
    counts = []
    remaining = channels
    for _shard in range(num_shards - 1):
        counts.append(min(padded, remaining))
        remaining -= counts[-1]
    counts.append(remaining)
    return counts, padded


def _linear_stream(w: np.ndarray, start: int, count: int, padded: int) -> np.ndarray:
    """Returns L[k*padded + c] of one shard, zero-filled to whole tiles.

    Follows weights.md section 0.
    """
    kernel_w = w.shape[3]
    taps = w.shape[2] * kernel_w
    stream = np.zeros(_round_up(taps * padded, 1024), w.dtype)
    for k in range(taps):
        for c in range(count):
            stream[k * padded + c] = w[start + c, 0, k // kernel_w, k % kernel_w]
    return stream


def prepare_final(w: np.ndarray, num_shards: int) -> np.ndarray:
    """Returns [R, Wd]: each shard's linear stream, cut into tiles over its own columns.

    Follows weights.md sections 0 and 1, extended to any kernel by DESIGN decision 6.
    """
    taps = w.shape[2] * w.shape[3]
    counts, padded = _final_channels(w.shape[0], num_shards)
    tile_columns = padded // 32
    rows = _round_up(taps * (padded // 16), 32)
    out = np.zeros((rows, num_shards * padded), w.dtype)
    start = 0
    for shard in range(num_shards):
        stream = _linear_stream(w, start, counts[shard], padded)
        for tile in range(len(stream) // 1024):
            row0 = (tile // tile_columns) * 32
            column0 = shard * padded + (tile % tile_columns) * 32
            for row in range(32):
                for column in range(32):
                    value = stream[tile * 1024 + _tile_offset(row, column)]
                    out[row0 + row, column0 + column] = value
        start += counts[shard]
    return out


def _sixteen(
    w: np.ndarray, start: int, count: int, tap: int, strip: int
) -> list[np.generic | int]:
    """Returns 16 channels of one kernel position, 0 past the shard's channels."""
    kernel_w = w.shape[3]
    values = []
    for c in range(16):
        channel = strip * 16 + c
        if channel < count:
            values.append(w[start + channel, 0, tap // kernel_w, tap % kernel_w])
        else:
            values.append(0)
    return values


def _face_position(absolute_row: int) -> tuple[int, int, int]:
    """Returns (tile, row, first column) in a tile of one 16-element row of the stream.

    Follows weights.md section 1: 16 rows to a face, 4 faces to a tile.
    """
    face = absolute_row // 16
    tile = face // 4
    row = (face % 4) // 2 * 16 + absolute_row % 16
    column = (face % 2) * 16
    return tile, row, column


def _write(flat: np.ndarray, index: int, values: list[np.generic | int]) -> None:
    """Writes values to flat[index:], dropping those past the end of the buffer."""
    for c, value in enumerate(values):
        if index + c < flat.size:
            flat[index + c] = value


def prepare_final_literal(w: np.ndarray, num_shards: int) -> np.ndarray:
    """Returns [R, Wd] by the listing as upstream runs it, its overruns included.

    Follows weights.md section 1, with the zero fill of face 1.
    """
    taps = w.shape[2] * w.shape[3]
    counts, padded = _final_channels(w.shape[0], num_shards)
    rows_per_stick = padded // 16
    rows = _round_up(taps * rows_per_stick, 32)
    columns = num_shards * padded
    flat = np.zeros(rows * columns, w.dtype)
    start = 0
    for shard in range(num_shards):
        column_start = shard * padded
        for tap in range(taps):
            for strip in range(_ceil_div(counts[shard], 16)):
                position = _face_position(tap * rows_per_stick + strip)
                tile, row, column = position
                index = row * columns + column_start + tile * 32 + column
                _write(flat, index, _sixteen(w, start, counts[shard], tap, strip))
                if counts[shard] == 16 and tile == 0 and column == 0:
                    _write(flat, index + 16, [0] * 16)
        start += counts[shard]
    return flat.reshape(rows, columns)


def prepare_tile_chunks(w: np.ndarray, num_shards: int) -> np.ndarray:
    """Returns [R, Wd] with 32 channels per shard and the rest on the last shard.

    Follows weights.md section 2 item 1; an overrun lands in the following columns.
    """
    taps = w.shape[2] * w.shape[3]
    counts = []
    remaining = w.shape[0]
    for _shard in range(num_shards - 1):
        counts.append(min(32, remaining))
        remaining -= counts[-1]
    counts.append(remaining)
    padded = [_round_up(max(count, 1), 32) for count in counts]
    rows_per_stick = max(padded) // 16
    rows = _round_up(taps * rows_per_stick, 32)
    columns = sum(padded)
    flat = np.zeros(rows * columns, w.dtype)
    start = 0
    column_start = 0
    for shard in range(num_shards):
        for tap in range(taps):
            for strip in range(_ceil_div(counts[shard], 16)):
                position = _face_position(tap * rows_per_stick + strip)
                tile, row, column = position
                index = row * columns + column_start + tile * 32 + column
                _write(flat, index, _sixteen(w, start, counts[shard], tap, strip))
        start += counts[shard]
        column_start += padded[shard]
    return flat.reshape(rows, columns)


def prepare_concatenated(w: np.ndarray, num_shards: int) -> np.ndarray:
    """Returns [round_up(K, 32), S*P]: whole shard buffers one after another in memory.

    Follows weights.md section 2 item 2; channels past S * (C // S) are lost.
    """
    taps = w.shape[2] * w.shape[3]
    count = w.shape[0] // num_shards
    padded = _round_up(max(count, 1), 32)
    rows = _round_up(taps, 32)
    flat = np.zeros(num_shards * padded * rows, w.dtype)
    for shard in range(num_shards):
        for tap in range(taps):
            for strip in range(_ceil_div(count, 16)):
                position = _face_position(tap * (padded // 16) + strip)
                tile, row, column = position
                index = shard * padded * rows + row * padded + tile * 32 + column
                _write(flat, index, _sixteen(w, shard * count, count, tap, strip))
    return flat.reshape(rows, num_shards * padded)


def bias_matrix(bias: np.ndarray, padded_channels: int) -> np.ndarray:
    """Returns [32, padded_channels]: the bias in row 0, zeros below it.

    Follows weights.md section 5.
    """
    out = np.zeros((32, padded_channels), bias.dtype)
    for c, value in enumerate(bias.reshape(-1)):
        out[0, c] = value
    return out


# Placement: tile ids, DRAM banks, multicast.


def weight_tile_ids(
    scheme: str, core: int, num_nhw: int, num_c: int, channels: int, taps: int
) -> list[int]:
    """Returns the tiles that end up in a core's L1, in read order.

    Follows weights.md section 1, Tile grid; a receiver holds its sender's tiles.
    """
    assert 0 <= core < num_nhw * num_c
    num_shards = 1 if scheme == "height" else num_c
    tiles_per_shard = _ceil_div(_ceil_div(channels, num_shards), 32)
    rows_per_stick = tiles_per_shard * 2
    tile_rows = _ceil_div(taps * rows_per_stick, 32)
    tile_columns = num_shards * tiles_per_shard
    first_column = 0 if scheme == "height" else (core % num_c) * tiles_per_shard
    ids = []
    for row in range(tile_rows):
        for column in range(tiles_per_shard):
            ids.append(row * tile_columns + first_column + column)
    return ids


def page_address(
    page: int, page_bytes: int, base: int, arch: str
) -> tuple[int, int, int, int]:
    """Returns (bank, slot, address inside the endpoint, NoC address) of a DRAM page.

    Follows device.md, Interleaved address.
    """
    endpoints = ENDPOINTS[arch]
    bank = page % len(endpoints)
    slot = page // len(endpoints)
    slot_bytes = _round_up(page_bytes, DRAM_ALIGNMENT_BYTES[arch])
    bank_offset = ODD_BANK_OFFSET[arch] if bank % 2 == 1 else 0
    local_address = base + slot * slot_bytes + bank_offset
    x, y = endpoints[bank]
    noc_address = (((y << 6) | x) << 36) | local_address
    return bank, slot, local_address, noc_address


def deal(num_pages: int, num_banks: int) -> list[list[int]]:
    """Returns the pages of each bank in slot order, dealt one by one from bank 0.

    Follows device.md, Interleaved address.
    """
    banks: list[list[int]] = [[] for _ in range(num_banks)]
    bank = 0
    for page in range(num_pages):
        banks[bank].append(page)
        bank += 1
        if bank == num_banks:
            bank = 0
    return banks


def multicast_receivers(
    scheme: str, num_nhw: int, num_c: int, grid_x: int
) -> dict[int, list[int]]:
    """Returns the cores that receive weights from each sender, itself excluded.

    Follows kernels.md section 1, Reader runtime args; only cores of the program.
    """
    num_cores = num_nhw * num_c
    if scheme == "width":
        return {core: [] for core in range(num_cores)}
    receivers: dict[int, list[int]] = {}
    if scheme == "block":
        for column in range(num_c):
            receivers[column] = []
            for row in range(1, num_nhw):
                receivers[column].append(row * num_c + column)
        return receivers
    receivers[0] = []
    for y in range(_ceil_div(num_cores, grid_x)):
        for x in range(min(grid_x, num_cores)):
            core = y * grid_x + x
            if core != 0 and core < num_cores:
                receivers[0].append(core)
    return receivers


# Values.


def _padded_input(x: np.ndarray, padding: Padding) -> np.ndarray:
    """Returns x [N, H, W, C] inside a border of zeros (planning.md section 5)."""
    top, bottom, left, right = padding
    batch, height, width, channels = x.shape
    shape = (batch, top + height + bottom, left + width + right, channels)
    out = np.zeros(shape, x.dtype)
    for image in range(batch):
        for row in range(height):
            for column in range(width):
                out[image, top + row, left + column] = x[image, row, column]
    return out


def conv(
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    dtype: type = np.float64,
) -> np.ndarray:
    """Returns the depthwise convolution [N, Ho, Wo, C], every step in dtype.

    Takes x [N, H, W, C] and w [C, 1, kh, kw]; output size as planning.md section 4.
    Taps are added from 0 in kernel order, then the bias: in float32 what DESIGN says of
    arithmetic="float32", before its final rounding.
    """
    channels, _, kernel_h, kernel_w = w.shape
    top, bottom, left, right = padding
    out_h = output_size(x.shape[1], kernel_h, stride[0], top, bottom, dilation[0])
    out_w = output_size(x.shape[2], kernel_w, stride[1], left, right, dilation[1])
    padded = _padded_input(x.astype(dtype), padding)
    weights = w.astype(dtype)
    out = np.zeros((x.shape[0], out_h, out_w, channels), dtype)
    for image in range(x.shape[0]):
        for oy in range(out_h):
            for ox in range(out_w):
                total = np.zeros(channels, dtype)
                for ky in range(kernel_h):
                    for kx in range(kernel_w):
                        row = oy * stride[0] + ky * dilation[0]
                        column = ox * stride[1] + kx * dilation[1]
                        product = padded[image, row, column] * weights[:, 0, ky, kx]
                        total = total + product
                if bias is not None:
                    total = total + bias.reshape(-1).astype(dtype)
                out[image, oy, ox] = total
    return out


def _sigmoid(y: float) -> float:
    """Returns 1 / (1 + exp(-y)) without overflow."""
    if y >= 0:
        return 1 / (1 + math.exp(-y))
    return math.exp(y) / (1 + math.exp(y))


def _activate(name: str, y: float) -> float:
    """Returns the activation of one value (numerics.md, SFPU activations)."""
    if name == "relu":
        return max(y, 0.0)
    if name == "relu6":
        return min(max(y, 0.0), 6.0)
    if name == "silu":
        return y * _sigmoid(y)
    if name == "gelu":
        # erfc(-z) is 1 + erf(z) without the cancellation for large negative z.
        return 0.5 * y * math.erfc(-y / math.sqrt(2))
    raise ValueError(f"`name` (={name}) must be relu, relu6, silu or gelu.")


def activation(name: str, y: np.ndarray) -> np.ndarray:
    """Returns the exact activation in float64 (numerics.md, SFPU activations)."""
    values = np.asarray(y, np.float64)
    out = np.zeros(values.size)
    for i, value in enumerate(values.reshape(-1)):
        out[i] = _activate(name, float(value))
    return out.reshape(values.shape)


def bf16_round(x: np.ndarray) -> np.ndarray:
    """Returns float32 values rounded to bfloat16: nearest even, NaN becomes 0x7fc0.

    Follows numerics.md, Host conversions; denormals are kept.
    """
    bits = np.asarray(x, np.float32).reshape(-1).view(np.uint32)
    out = np.zeros(bits.size, np.uint32)
    for i, pattern in enumerate(bits.tolist()):
        upper = pattern >> 16
        lower = pattern & 0xFFFF
        if (pattern & 0x7FFFFFFF) > 0x7F800000:
            upper = 0x7FC0
        elif lower > 0x8000 or (lower == 0x8000 and upper % 2 == 1):
            upper += 1
        out[i] = upper << 16
    return out.view(np.float32).reshape(np.shape(x))
