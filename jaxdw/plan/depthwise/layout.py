"""Where the weight preparation puts each weight, as data, one row for each revision.

One rule places every revision. Core `i` owns a linear stream in which the weight of
channel `c` (its own count) and kernel position `k` stands at `k * stick + c`. The
stream is cut into tiles of 1,024 elements in memory order (face 0 to 3, row by row);
tile `t` of core `i` begins at `offset[i] + (t // tiles_per_row) * 32 * row_elems +
(t % tiles_per_row) * 32` of the row-major matrix. Later cores overwrite earlier ones.

Source: tt-metal prepare_conv2d_weights.cpp @002a3f41
(conv_2d_depthwise_weight_layout_helper); DEPTHWISE_CONV2D_WIDTH_SHARDED_PLAN.md
@6f883191 (`tile_chunks` its listing, `concatenated` its step 6). `final` takes the
extension for more than 32 kernel positions: tiles wrap inside their shard's columns.
"""

import dataclasses

from jaxdw.plan.config import WeightLayoutName
from jaxdw.plan.units import FACE, TILE, round_up


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WeightLayout:
    """Where one revision of the weight preparation puts each weight.

    Invariants: one entry of `shard_channels` and `shard_offset_elems` for each channel
    shard; `rows` and `columns` are multiples of 32.
    """

    name: WeightLayoutName
    rows: int
    columns: int
    shard_channels: tuple[int, ...]  # real channels of each shard
    shard_offset_elems: tuple[int, ...]  # where each shard's first tile begins
    stick_elems: int  # stream elements between two kernel positions
    row_elems: int  # matrix elements between two rows of one shard's tiles
    tiles_per_row: int  # of one shard, before its stream wraps to the next tile row

    @property
    def tile_grid(self) -> tuple[int, int]:
        """Tile rows and tile columns of the prepared matrix."""
        return self.rows // TILE, self.columns // TILE


def make_weight_layout(
    name: WeightLayoutName, *, channels: int, taps: int, num_shards: int
) -> WeightLayout:
    """Returns the layout of that name for `channels` over `num_shards` shards."""
    return _LAYOUTS[name](channels, taps, num_shards)


def _deal(channels: int, share: int, num_shards: int) -> tuple[int, ...]:
    """Gives each shard up to `share` channels, the last one all that remain."""
    dealt = [max(0, min(share, channels - i * share)) for i in range(num_shards - 1)]
    return (*dealt, channels - sum(dealt))


def _stream_rows(taps: int, stick_elems: int) -> int:
    """Rows of the tensor: upstream counts each 16-element face row as a full one."""
    return round_up(taps * stick_elems // FACE, TILE)


def _final(channels: int, taps: int, num_shards: int) -> WeightLayout:
    share = round_up(-(-channels // num_shards), TILE)
    return WeightLayout(
        name="final",
        rows=_stream_rows(taps, share),
        columns=num_shards * share,
        shard_channels=_deal(channels, share, num_shards),
        shard_offset_elems=tuple(i * share for i in range(num_shards)),
        stick_elems=share,
        row_elems=num_shards * share,
        tiles_per_row=share // TILE,
    )


def _tile_chunks(channels: int, taps: int, num_shards: int) -> WeightLayout:
    shard_channels = _deal(channels, TILE, num_shards)
    padded = [round_up(max(1, c), TILE) for c in shard_channels]
    columns = sum(padded)
    return WeightLayout(
        name="tile_chunks",
        rows=_stream_rows(taps, max(padded)),
        columns=columns,
        shard_channels=shard_channels,
        shard_offset_elems=tuple(sum(padded[:i]) for i in range(num_shards)),
        stick_elems=max(padded),
        row_elems=columns,
        tiles_per_row=taps * max(padded),  # never wraps
    )


def _concatenated(channels: int, taps: int, num_shards: int) -> WeightLayout:
    share = channels // num_shards  # a remainder is lost
    padded = round_up(max(1, share), TILE)
    rows = round_up(taps, TILE)
    return WeightLayout(
        name="concatenated",
        rows=rows,
        columns=num_shards * padded,
        shard_channels=(share,) * num_shards,
        shard_offset_elems=tuple(i * padded * rows for i in range(num_shards)),
        stick_elems=padded,
        row_elems=padded,
        tiles_per_row=taps * padded,  # never wraps
    )


_LAYOUTS = {
    "final": _final,
    "tile_chunks": _tile_chunks,
    "concatenated": _concatenated,
}
