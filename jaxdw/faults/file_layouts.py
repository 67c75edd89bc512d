"""An output that is read, or written, in another layout than its own."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from jaxdw.faults.units import channel_columns, units_of
from jaxdw.faults.used_chip import Output
from jaxdw.plan.plan import Plan
from jaxdw.plan.units import FACE, TILE, TILE_ELEMS, tile_place


def _nchw_bytes(plan: Plan, values: Output) -> Output:
    return values.transpose(0, 3, 1, 2).reshape(values.shape)


def _read_as_nchw(plan: Plan, values: Output) -> Output:
    n, h, w, c = values.shape
    return values.reshape(n, c, h, w).transpose(0, 2, 3, 1)


def _transposed_image(plan: Plan, values: Output) -> Output:
    return values.swapaxes(1, 2)


def _tile_order(plan: Plan) -> Int[np.ndarray, " outputs"]:
    """Returns the output's places in the order of tiles in memory."""
    row, column = tile_place(np.arange(TILE_ELEMS))
    return units_of(plan, "tile").index[:, row * TILE + column].ravel()


def _tilized(plan: Plan, values: Output) -> Output:
    return values.ravel()[_tile_order(plan)].reshape(values.shape)


def _untilized(plan: Plan, values: Output) -> Output:
    flat = np.empty_like(values.ravel())
    flat[_tile_order(plan)] = values.ravel()
    return flat.reshape(values.shape)


def _square_transposed(side: int) -> Callable[[Plan, Output], Output]:
    def transpose(plan: Plan, values: Output) -> Output:
        index = units_of(plan, "tile" if side == TILE else "face").index
        turned = index.reshape(-1, side, side).swapaxes(1, 2).reshape(index.shape)
        flat = np.empty_like(values.ravel())
        flat[index.ravel()] = values.ravel()[turned.ravel()]
        return flat.reshape(values.shape)

    return transpose


def _middle_faces(plan: Plan, values: Output) -> Output:
    """Exchanges the second and third face of every tile."""
    index = units_of(plan, "tile").index.reshape(-1, 2, FACE, 2, FACE)
    turned = index.transpose(0, 3, 2, 1, 4)
    flat = np.empty_like(values.ravel())
    flat[index.ravel()] = values.ravel()[turned.ravel()]
    return flat.reshape(values.shape)


def _shard_after_shard(plan: Plan, values: Output) -> Output:
    sticks = values.reshape(-1, plan.conv.channels)
    parts = [sticks[:, columns].ravel() for columns in channel_columns(plan)]
    return np.concatenate(parts).reshape(values.shape)


def _bytes_swapped(plan: Plan, values: Output) -> Output:
    bits = values.view(np.uint32)
    if plan.conv.output_dtype == "float32":
        return bits.byteswap().view(np.float32)
    swapped = (bits >> 8 & 0x00FF0000) | (bits << 8 & 0xFF000000)
    return swapped.astype(np.uint32).view(np.float32)


LAYOUTS: dict[str, Callable[[Plan, Output], Output]] = {
    "file-is-nchw": _nchw_bytes,
    "read-as-nchw": _read_as_nchw,
    "rows-as-columns": _transposed_image,
    "left-tilized": _tilized,
    "tilized-twice": _untilized,
    "tiles-transposed": _square_transposed(TILE),
    "faces-transposed": _square_transposed(FACE),
    "faces-column-major": _middle_faces,
    "shard-after-shard": _shard_after_shard,
    "bytes-swapped": _bytes_swapped,
}


def has_layout(name: str, plan: Plan) -> bool:
    """Whether a layout is another than the output's own, and is of its size."""
    _, height, width, channels = plan.output_shape
    sticks = plan.window.num_outputs
    if name in ("file-is-nchw", "read-as-nchw"):
        return height * width > 1 and channels > 1
    if name == "rows-as-columns":
        return height == width > 1
    if name == "shard-after-shard":
        return plan.output_shard.channels < channels and sticks > 1
    if name == "bytes-swapped":
        return plan.conv.output_dtype != "bfloat8_b"
    side = FACE if name == "faces-transposed" else TILE
    return not sticks % side and not channels % side
