"""The circular buffers of the depthwise program, in the order of their ids.

Every core's reader indices take the bytes of the longest list.
Source: tt-metal conv2d_op_depthwise_program_factory.cpp @002a3f41.
"""

from collections.abc import Iterator

from jaxdw.plan.depthwise.weights import effective_tiles
from jaxdw.plan.l1 import CircularBuffer, Region, Role
from jaxdw.plan.placement import Placement
from jaxdw.plan.program import WeightPages
from jaxdw.plan.units import TILE, TILE_BYTES, TILE_ELEMS, round_up, stick_elem_bytes
from jaxdw.plan.window import index_list_length


def buffers(at: Placement, weights: WeightPages) -> tuple[CircularBuffer, ...]:
    """Returns what one core asks for; what stands on tensors comes last."""
    conv, nt = at.conv, at.channel_tiles
    elem_bytes = stick_elem_bytes(conv.dtype)
    data_tile, weights_tile = TILE_ELEMS * elem_bytes, TILE_BYTES[conv.weights_dtype]
    bf16_tile = TILE_BYTES["bfloat16"]
    tiled = at.shard.output_layout == "tile"
    indices = 6 + conv.bias
    window_pages = 2 * effective_tiles(at)
    rows, channels = at.output_shard
    output_page, output_pages = channels * stick_elem_bytes(conv.output_dtype), rows
    if tiled:
        output_page = TILE_BYTES[conv.output_dtype]
        output_pages = rows * channels // TILE_ELEMS
    source = at.halo_shard if at.has_halo else at.input_shard
    source_name = "halo output" if at.has_halo else "input"
    source_page = source.channels * elem_bytes
    longest = max(map(at.window.num_segments, at.shard_ranges))
    index_page = round_up(2 * index_list_length(longest), 4)

    def asked() -> Iterator[tuple[str, Role, Region, int, int, int]]:
        own: Region = "circular buffer"
        yield "in", "window", own, 0, data_tile, window_pages
        yield "mul", "products", own, 1, data_tile, window_pages
        yield "weight", "weights", own, 2, weights_tile, weights.tiles_per_core
        yield "scalar", "scalar", own, 4, bf16_tile, 2
        yield "clear", "clear", own, 5, bf16_tile, 1
        if conv.bias:
            yield "bias", "bias", own, 6, weights_tile, nt
        if tiled:
            page = TILE * elem_bytes
            yield "pre_tilize", "pre_tilize", own, indices + 1, page, TILE * nt
        source_cb = indices + 1 + tiled
        yield source_name, "source", "L1 buffer", source_cb, source_page, source.rows
        yield "output", "output", "L1 buffer", 3, output_page, output_pages
        yield "reader indices", "indices", "small L1", indices, index_page, 1

    return tuple(
        CircularBuffer(
            name=name, role=role, place=place, cb=cb, page_bytes=page, pages=pages
        )
        for name, role, place, cb, page, pages in asked()
    )
