"""Mistakes of the branch's program, from prepared weights to output shards."""

import dataclasses
from collections.abc import Callable
from functools import partial

from jaxdw.faults import arithmetic, multicast, sticks, weights
from jaxdw.faults.fault import Fault
from jaxdw.faults.on_host import on_host
from jaxdw.faults.used_chip import Launch
from jaxdw.numerics.formats import BLOCK, MAGNITUDE_BITS
from jaxdw.plan.depthwise.weights import (
    effective_tiles,
    is_large_kernel,
    is_wide_reduction,
    weight_layout,
)
from jaxdw.plan.plan import Plan
from jaxdw.plan.units import TILE, TILE_ELEMS


def _sharded(plan: Plan) -> bool:
    """Whether more than one channel shard has channels."""
    return sum(count > 0 for count in weight_layout(plan).shard_channels) > 1


def _multicast(plan: Plan) -> bool:
    """Whether a receiver has anything to compute."""
    return bool(plan.broadcasts) and plan.shard_ranges[1].num_outputs > 0


def _block_weights(plan: Plan) -> bool:
    return plan.conv.weights_dtype in MAGNITUDE_BITS


def _matrix_unit(plan: Plan) -> bool:
    return plan.compute.arithmetic == "fpu"


def _reads_stale_rows(plan: Plan) -> bool:
    """More channels than whole tiles of products fill, in the second 16 rows."""
    rows = arithmetic.REDUCE_ROWS
    held = effective_tiles(plan) * TILE_ELEMS
    beyond = held < rows * plan.input_shard.channels
    return 16 < plan.conv.taps <= rows and beyond and not is_wide_reduction(plan)


def _rounds_on_output(plan: Plan) -> bool:
    """Whether Dst holds more than bf16 when it is packed to that."""
    longer = plan.conv.taps > 1 or plan.conv.bias or not _matrix_unit(plan)
    wide = plan.compute.fp32_dest_acc or not _matrix_unit(plan)
    return plan.conv.output_dtype == "bfloat16" and wide and longer


def _pack_with(**rule) -> Callable[[Launch], Launch]:
    """Has the host pack weights by another rule of `pack_blocks`."""
    return on_host(partial(arithmetic.pack_blocks, **rule))


_FAULTS: tuple[Fault, ...] = (
    Fault(
        "channels-rotated",
        "prepare",
        lambda plan: max(weight_layout(plan).shard_channels) > 1,
        weights.prepare_from(weights.rotated),
        "weights of every shard one channel on, the first in the last one's place",
    ),
    Fault(
        "remainder-dropped",
        "prepare",
        lambda plan: weight_layout(plan).shard_channels[-1] % TILE > 0,
        weights.prepare_from(weights.without_remainder),
        "channels of the last shard beyond its whole tiles have no weights",
    ),
    Fault(
        "height-layout",
        "prepare",
        _sharded,
        partial(weights.prepare_as, "final", num_shards=1),
        "weights prepared for HEIGHT sharding, read as this scheme reads",
    ),
    Fault(
        "height-layout-tile-zero",
        "prepare",
        _sharded,
        lambda launch: weights.tile_zero(
            weights.prepare_as("final", launch, num_shards=1)
        ),
        "weights prepared for HEIGHT sharding, and every core starts at tile 0",
    ),
    Fault(
        "tile-chunks-layout",
        "prepare",
        lambda plan: weights.misplaces("tile_chunks", plan),
        partial(weights.prepare_as, "tile_chunks"),
        "weights prepared by the revision that gives every shard 32 channels",
    ),
    Fault(
        "concatenated-layout",
        "prepare",
        lambda plan: weights.misplaces("concatenated", plan),
        partial(weights.prepare_as, "concatenated"),
        "weights prepared by the revision that puts shards one after another",
    ),
    Fault(
        "layout-overrun",
        "prepare",
        lambda plan: is_large_kernel(plan) and weight_layout(plan).name == "final",
        weights.overrun,
        "more than 32 kernel positions: a shard's tiles run over the next columns",
        code="JDW003",
    ),
    Fault(
        "wide-blocks",
        "prepare",
        lambda plan: is_wide_reduction(plan) and weight_layout(plan).name == "final",
        weights.wide_blocks,
        "more than 256 channels to a core: sticks in blocks of 256, weights not",
        code="JDW004",
    ),
    Fault(
        "face-order",
        "tiles",
        lambda plan: plan.conv.taps > 1,
        weights.row_major_faces,
        "tiles row-major, not face by face",
    ),
    Fault(
        "block-exponent-per-32",
        "pack",
        lambda plan: (
            _block_weights(plan) and max(weight_layout(plan).shard_channels) > BLOCK
        ),
        _pack_with(elems=2 * BLOCK),
        "32 weights share an exponent instead of 16",
        rounds=True,
    ),
    Fault(
        "block-exponent-saturated",
        "pack",
        _block_weights,
        _pack_with(most_exponent=0),
        "the shared exponent goes no higher than that of 1.0",
    ),
    Fault(
        "block-truncated",
        "pack",
        _block_weights,
        _pack_with(rounds=False),
        "magnitudes of a block are truncated instead of rounded",
        rounds=True,
    ),
    Fault(
        "byte-offset",
        "read",
        _sharded,
        weights.byte_offset,
        "start tile added to the base address as bytes, not to the tile id",
    ),
    Fault(
        "start-tile-zero",
        "read",
        _sharded,
        weights.tile_zero,
        "every core starts at tile 0",
    ),
    Fault(
        "columns-swapped",
        "read",
        _sharded,
        weights.swapped_columns,
        "the first two channel shards read each other's weights",
    ),
    Fault(
        "stale-weights",
        "read",
        lambda plan: True,
        weights.earlier_weights,
        "weights of an earlier launch, from an address that was not refreshed",
    ),
    Fault(
        "three-pages",
        "read",
        lambda plan: effective_tiles(plan) > weights.OLDER_PAGES,
        weights.first_pages_only,
        "tiles of a stick past the third are never multiplied",
        code="JDW013",
    ),
    Fault(
        "rectangle-short",
        "multicast",
        lambda plan: multicast.misroutes(multicast.short_rects, plan),
        multicast.over_rects(multicast.short_rects),
        "multicast rectangles end one core early; the rest go on with old weights",
    ),
    Fault(
        "rectangle-axes-swapped",
        "multicast",
        lambda plan: multicast.misroutes(multicast.swapped_axes, plan),
        multicast.over_rects(multicast.swapped_axes),
        "x and y of the multicast rectangles swapped",
    ),
    Fault(
        "receiver-missing",
        "multicast",
        _multicast,
        multicast.hasty_receiver,
        "the last receiver does not wait and goes on with old weights",
    ),
    Fault(
        "bias-of-next-shard",
        "bias",
        lambda plan: plan.conv.bias and _sharded(plan),
        weights.next_bias,
        "every core adds the next channel shard's bias",
    ),
    Fault(
        "padding-not-zeroed",
        "halo",
        sticks.reads_padding,
        partial(sticks.padding_sticks, ones=False),
        "padding sticks hold what L1 held before",
    ),
    Fault(
        "padding-of-ones",
        "halo",
        sticks.reads_padding,
        partial(sticks.padding_sticks, ones=True),
        "padding sticks are 1.0 instead of 0",
    ),
    Fault(
        "halo-row-off",
        "halo",
        lambda plan: True,
        sticks.row_below,
        "the halo copies sticks of one image row further down",
    ),
    Fault(
        "window-column-off",
        "window",
        lambda plan: True,
        sticks.next_column,
        "windows start one column further on",
    ),
    Fault(
        "stride-ignored",
        "window",
        lambda plan: plan.conv.stride[1] > 1 and plan.window.out_width > 1,
        sticks.unit_steps,
        "window starts of a row step by 1 instead of the stride",
    ),
    Fault(
        "dilation-ignored",
        "window",
        lambda plan: any(
            d > 1 and k > 1
            for d, k in zip(plan.conv.dilation, plan.kernel, strict=True)
        ),
        sticks.undilated,
        "kernel positions gathered without dilation",
        code="JDW006",
    ),
    Fault(
        "stale-rows",
        "compute",
        _reads_stale_rows,
        lambda launch: dataclasses.replace(launch, cores=arithmetic.add_stale_rows),
        "17 to 32 kernel positions: the reduce adds rows that nobody wrote",
        code="JDW005",
    ),
    Fault(
        "bias-after-activation",
        "compute",
        lambda plan: plan.conv.bias and plan.conv.activation is not None,
        lambda launch: dataclasses.replace(
            launch, cores=arithmetic.add_bias_last, bias_last=True
        ),
        "the bias is added after the activation",
    ),
    Fault(
        "output-truncated",
        "output",
        _rounds_on_output,
        lambda launch: dataclasses.replace(launch, cores=arithmetic.cut_on_output),
        "the packer cuts a 32-bit Dst to bf16 instead of rounding it",
        rounds=True,
    ),
)


def _of_the_branch(applies: Callable[[Plan], bool], plan: Plan) -> bool:
    return plan.program == "depthwise" and applies(plan)


DEVICE_FAULTS = tuple(
    dataclasses.replace(fault, applies=partial(_of_the_branch, fault.applies))
    for fault in _FAULTS
)
