"""From a question to what ttnn 0.81.1 does with it."""

import dataclasses
from typing import cast

from jaxdw.arch.arch import Arch
from jaxdw.errors import UnsupportedError
from jaxdw.plan.config import ComputeConfig, ConvConfig, Scheme, ShardConfig
from jaxdw.plan.conv1d.program import CONV1D
from jaxdw.plan.grid import held_problems
from jaxdw.plan.program import ProgramName
from jaxdw.plan.regular.program import REGULAR
from jaxdw.plan.ttnn.auto import auto_scheme
from jaxdw.plan.ttnn.outcome import Launch, Outcome
from jaxdw.plan.ttnn.placed import place
from jaxdw.plan.ttnn.program import Asked
from jaxdw.plan.ttnn.route import Route, route, takes_conv1d
from jaxdw.plan.ttnn.slices import part_scheme, slice_layer
from jaxdw.plan.units import TILE

PROGRAMS = {"regular": REGULAR, "conv1d": CONV1D}


def default_compute(conv: ConvConfig) -> ComputeConfig:
    """Returns how ttnn computes if it is not told.

    Source: tt-metal conv2d_utils.cpp @71ff3c1d, get_conv_default_compute_kernel_config.
    """
    return ComputeConfig(
        math_fidelity="HiFi4",
        fp32_dest_acc=conv.dtype == conv.weights_dtype == "float32",
    )


def problems(
    conv: ConvConfig,
    shard: ShardConfig,
    compute: ComputeConfig,
    arch: Arch,
    program: str | None = None,
) -> list[str]:
    """Returns one sentence for each rule of ttnn's that legal configs break."""
    found = []
    if shard.weight_layout != "final":
        found.append(
            f"`weight_layout` (={shard.weight_layout!r}) must be 'final': ttnn's own "
            "programs have their own layout"
        )
    if shard.memory == "dram" and shard.cores is not None:
        found.append(
            f"`cores` (={shard.cores}) must be left out with memory='dram': only a "
            "sharded input keeps its cores, and it lies in L1; use memory='l1'"
        )
    if program == "conv1d" and not takes_conv1d(conv):
        found.append(
            f"program='conv1d' must have one row and no bias (kernel {conv.kernel}, "
            f"height {conv.height}, bias {conv.bias}); use 'regular' or 'ttnn'"
        )
    if shard.input_shard is not None and shard.keeps_cores:
        at = place(conv, shard, compute, arch, cast(Scheme, shard.scheme))
        found += held_problems(
            shard.input_shard,
            at.core_grid,
            num_inputs=at.window.num_inputs,
            channels=conv.channels,
        )
    parts = shard.act_block_w_div
    if shard.scheme == "width" and parts > 1:
        at = place(conv, shard, compute, arch, "width")
        tiles = at.input_shard.channels // TILE
        if tiles % parts:
            near = next(n for n in range(min(parts, tiles), 0, -1) if tiles % n == 0)
            found.append(
                f"`act_block_w_div` (={parts}) must divide the {tiles} tiles of a "
                f"core's channels; try {near}"
            )
    return found


def plan_ttnn(
    conv: ConvConfig,
    shard: ShardConfig,
    compute: ComputeConfig,
    arch: Arch,
    program: ProgramName | None = None,
) -> Outcome:
    """Plans one depthwise convolution as ttnn 0.81.1 does.

    The configs must be legal, by their own rules and by `problems`.

    Args:
      program: plan the layer by this one, though the library takes the other.

    Raises:
      UnsupportedError: a stride that the library folds into channels, or activations
        that it reuses.
    """
    if conv.dtype == "bfloat8_b":  # a block format has no sticks
        shard = dataclasses.replace(shard, input_layout="tile")
    way = route(conv, shard)
    if program is not None and way in PROGRAMS:
        way = cast(Route, program)
    plan = Outcome(conv=conv, shard=shard, compute=compute, arch=arch, route=way)
    if way == "matmul":
        return plan
    if way == "refused":
        message = (
            "The width of the first tensor must be equal to the height of the second "
            f"tensor. Mismatch: width={conv.channels} height={TILE}"
        )
        return dataclasses.replace(plan, message=message)
    if way == "folded":
        raise UnsupportedError(
            f"`stride` (={conv.stride}) must not equal the kernel where it divides the "
            "padded image: ttnn folds it into channels, another convolution; use "
            "another stride or program='depthwise'"
        )
    asked = plan.asked_of(PROGRAMS[way])
    if shard.enable_activation_reuse and shard.scheme in ("auto", "height"):
        return dataclasses.replace(plan, message=_reuse_message(asked))
    if shard.memory == "dram":
        return _in_slices(plan, asked)
    launch = _launch(asked, _scheme(asked))
    return dataclasses.replace(plan, launch=launch, message=launch.message)


def first_launch(outcome: Outcome, program: str) -> Launch:
    """Returns the launch of a layer that the library does not launch, all the same."""
    asked = outcome.asked_of(PROGRAMS[program])
    return _launch(asked, _scheme(asked))


def slice_launch(outcome: Outcome, part: ConvConfig, program: str) -> Launch:
    """Returns the launch of one of several slices."""
    asked = outcome.asked_of(PROGRAMS[program])
    of_part = dataclasses.replace(
        asked,
        conv=part,
        shard=dataclasses.replace(asked.shard, output_layout="tile"),
    )
    scheme = part_scheme(asked, part)
    return _launch(of_part, scheme, is_part=True)


def _in_slices(plan: Outcome, asked: Asked) -> Outcome:
    slicing = slice_layer(asked)
    if slicing.scheme is None:
        return dataclasses.replace(plan, slicing=slicing, message=slicing.message)
    # launches of this path write tiles, whatever is asked for
    tiled = dataclasses.replace(asked.shard, output_layout="tile")
    asked = dataclasses.replace(asked, conv=slicing.first, shard=tiled)
    if slicing.num_slices == 1:
        launch = _launch(asked, _scheme(asked))
    else:
        launch = _launch(asked, slicing.scheme, is_part=True)
    return dataclasses.replace(
        plan, slicing=slicing, launch=launch, message=launch.message
    )


def _scheme(asked: Asked) -> Scheme:
    if asked.shard.scheme != "auto":
        return asked.shard.scheme
    return auto_scheme(asked)


def _launch(asked: Asked, scheme: Scheme, *, is_part: bool = False) -> Launch:
    at = asked.place(scheme, as_slice=is_part, is_part=is_part)
    blocks = asked.program.block_config(at)
    return Launch(program=asked.program, at=at, blocks=blocks)


def _reuse_message(asked: Asked) -> str:
    """Returns why HEIGHT cannot reuse activations.

    Raises:
      UnsupportedError: it can.
    """
    at = asked.place("height")
    rows = asked.program.block_config(at).act_h
    columns = -(-at.window.out_width // TILE)
    if rows > columns:
        raise UnsupportedError(
            f"`enable_activation_reuse` must be False for blocks of {rows} tiles on "
            f"images {columns} tiles wide: their circular buffers are not modelled"
        )
    return (
        f"Activation reuse needs act block h ({rows}) to be bigger than output image "
        f"width in tiles ({columns}) for the optimization to give boost"
    )
