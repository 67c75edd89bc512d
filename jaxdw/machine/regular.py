"""The arithmetic of ttnn 0.81.1's dense conv2d on a depthwise layer, program `regular`.

The program multiplies matrices: the rows of K are kernel positions times channels, and
all weights but those of an output's own channel are zero. The matrix unit drops those
products, so that `taps` products remain for each output. Where they lie among the lanes
of K says in which order they meet Dst.

How the blocks of K reach Dst says k_blocks.py.

Source: ttnn 0.81.1 conv_bmm_tilize.cpp, run on ttsim @56694c8a, Wormhole and Blackhole
(tests/golden/run_R_D_bf16.npz and its neighbours); tests/golden/arith.npz.
"""

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float32

from jaxdw.arch.arch import Arch
from jaxdw.errors import refuse
from jaxdw.machine.k_blocks import TILE_LANES, Core, Windows, through_dst, through_l1
from jaxdw.numerics import formats, fpu, mvmul, sfpu, tilise
from jaxdw.numerics.fpu import GROUP_LANES
from jaxdw.numerics.fpu_float import MANTISSA_BITS, SOURCE_BITS
from jaxdw.plan.config import ComputeConfig, Scheme
from jaxdw.plan.plan import Plan


def figures(plan: Plan) -> dict[str, Hashable]:
    """Returns what the arithmetic takes of a plan."""
    return {
        "scheme": plan.scheme,
        "kernel": plan.kernel,
        "width": plan.input_shard.channels,
        "full_inner_dim": plan.scheme == "block" and plan.shard.full_inner_dim,
        "act_block_w_div": plan.shard.act_block_w_div if plan.scheme == "width" else 1,
        "packer_l1_acc": plan.compute.packer_l1_acc,
    }


def channels_part(compute: ComputeConfig, output_dtype: str) -> bool:
    """Whether channel shards can be computed apart, and give the same bits.

    Blocks follow each other over the shards of the input, which shows in partials that
    packing changes and in how many there are.
    """
    return not (
        compute.fp32_dest_acc or compute.packer_l1_acc or output_dtype == "bfloat8_b"
    )


def figures_of_slice(
    figures: tuple[tuple[str, Any], ...], most: int
) -> tuple[tuple[tuple[str, Any], ...], int]:
    """Returns the figures that give the same bits of some channels, and how many.

    From 32 lanes on taps follow each other whatever the shard, so that all layers of
    one kernel size are alike. Narrower shards stay whole.

    Args:
      figures: of a launch whose channels can be computed apart.
      most: channels wanted; a multiple of 32.
    """
    own: dict[str, Any] = dict(figures)
    width, (kernel_h, kernel_w) = own["width"], own["kernel"]
    if width >= TILE_LANES:
        alike = {"scheme": "height", "kernel": (1, kernel_h * kernel_w), "width": most}
        return tuple((own | _ONE_BLOCK | alike).items()), most
    return tuple((own | {"scheme": "block"}).items()), most // width * width


_ONE_BLOCK = {"full_inner_dim": False, "act_block_w_div": 1}


def compute_sticks(
    tap: Windows,
    weights: fpu.ByTap,
    bias: Float32[Array, " channels"] | None,
    *,
    scheme: Scheme,
    kernel: tuple[int, int],
    width: int,
    full_inner_dim: bool = False,
    act_block_w_div: int = 1,
    packer_l1_acc: bool = False,
    activation: str | None,
    output_dtype: str,
    dtype: str,
    weights_dtype: str,
    compute: ComputeConfig,
    arch: Arch,
    form: mvmul.Form,
    cut_to: tuple[int, int] | None = None,
) -> Float32[Array, "sticks channels"]:
    """Multiplies windows with weights, adds the bias, activates, packs.

    Args:
      tap: gives the window elements of one kernel position.
      weights: of each kernel position, [1 or sticks, channels]. Channels are those of
        all input shards in order, their padding included.
      width: channels of one input shard, a multiple of 8.
      full_inner_dim: BLOCK: one block of K holds all kernel rows.
      act_block_w_div: WIDTH: parts of a shard's channels, whole tiles each.
      packer_l1_acc: as asked for; in force with more than two blocks of K, or with more
        than one and a bias.
      dtype: of the activations before they are tilised.
      form: `float` takes ordinary operands (`fpu_float.is_ordinary`), any bias, and
        gives the same bits. A 32-bit Dst has one form only.
      cut_to: mantissa bits that windows and weights are cut to (`read_bits`), if so.

    Returns:
      Values of `output_dtype`.

    Raises:
      ConfigError: a shard or a kernel that is none.
      UnsupportedError: formats whose rule is not known (`tilise.refuse_unknown`).
    """
    fp32_dest = compute.fp32_dest_acc
    taps, channels = kernel[0] * kernel[1], weights[0].shape[-1]
    found = _shape_problems(
        scheme, taps, len(weights), width, channels, act_block_w_div
    )
    if full_inner_dim and scheme != "block":
        found.append(
            f"`full_inner_dim` (=True) must be False with scheme={scheme!r}; use False"
        )
    refuse(found)
    tilise.refuse_unknown(dtype, weights_dtype, output_dtype, fp32_dest=fp32_dest)
    assert compute.arithmetic == "fpu"

    one_block = scheme == "width" or full_inner_dim
    rows, row_taps = (1, taps) if one_block else kernel
    shards = channels // width
    blocks = rows * shards * act_block_w_div
    in_l1 = packer_l1_acc and blocks > (2 if bias is None else 1)
    short = "b" if cut_to is not None else ""
    unit = mvmul.unit_of(form, fp32_dest=fp32_dest, arch=arch, short=short)
    tilised_dtype = output_dtype if output_dtype == "bfloat8_b" else dtype
    phases = _phases(unit, width, compute, weights_dtype, tilised_dtype)
    core = Core(
        tap=tap,
        weight=mvmul.weights_of(unit, weights, "a", phases),
        unit=unit,
        rows=rows,
        row_taps=row_taps,
        width=width,
        shards=shards,
        parts=act_block_w_div,
        phases=phases,
        partials_dtype=_l1_dtype(fp32_dest) if in_l1 else output_dtype,
        dtype=dtype,
        output_dtype=output_dtype,
        fp32_dest=fp32_dest,
        arch=arch,
    )
    if core.keeps_dst and core.in_tap_order and not in_l1:
        core = dataclasses.replace(core, rows=1, row_taps=taps)
    empty = mvmul.empty_dst(tap, weights)
    if in_l1:
        dst = through_l1(core, empty, to_the_end=bias is not None)
    else:
        dst = through_dst(core, empty)
    if bias is not None:
        added = jnp.broadcast_to(bias[None], dst.shape)
        exact = mvmul.IntegerUnit(fp32_dest, arch)
        dst = exact.elwadd(dst if in_l1 else core.packed(dst), added)
    dst = sfpu.activate(dst, activation, fp32_dest=fp32_dest)
    return formats.pack_output(dst, output_dtype, fp32_dest=fp32_dest)


def read_bits(
    compute: ComputeConfig, *, dtype: str, output_dtype: str
) -> tuple[int, int] | None:
    """Returns the mantissa bits of windows and weights that the phases read."""
    is_short = fpu.PHASES[compute.math_fidelity] <= 2
    if not is_short or not tilise.keeps_bits(dtype, output_dtype):
        return None
    return SOURCE_BITS["b"][0], 24


def _phases(
    unit: mvmul.Unit, width: int, compute: ComputeConfig, *dtypes: str
) -> Sequence[int]:
    """Returns the phases to run on weights and tilised activations of `dtypes`."""
    fidelity = compute.math_fidelity
    if width < TILE_LANES:
        return range(fpu.PHASES[fidelity])
    weights_dtype, dtype = dtypes
    return unit.phases(fidelity, (MANTISSA_BITS[weights_dtype], MANTISSA_BITS[dtype]))


def steps_in_a_row(
    *,
    kernel: tuple[int, int],
    width: int,
    packer_l1_acc: bool,
    output_dtype: str,
    dtype: str,
    weights_dtype: str,
    compute: ComputeConfig,
    arch: Arch,
    **_,
) -> int:
    """Returns the steps of the matrix unit that an output waits for one by one.

    Where XLA computes all of them in one loop and each of bf16, else 0.
    """
    if compute.fp32_dest_acc or packer_l1_acc:
        return 0
    unit = mvmul.unit_of("float", fp32_dest=False, arch=arch)
    phases = _phases(unit, width, compute, weights_dtype, dtype)
    steps = kernel[0] * kernel[1] * len(phases)
    return steps if output_dtype == "bfloat16" and steps <= mvmul.STEPS_AT_ONCE else 0


def _l1_dtype(fp32_dest: bool) -> str:
    return "float32" if fp32_dest else "bfloat16"


def _shape_problems(
    scheme: str, taps: int, num_weights: int, width: int, channels: int, parts: int
) -> list[str]:
    found = []
    if num_weights != taps:
        found.append(
            f"`weights` (of {num_weights} taps) must have one for each of the kernel's "
            f"{taps} positions; use {taps}"
        )
    if width < GROUP_LANES or width % GROUP_LANES:
        found.append(
            f"`width` (={width}) must be a multiple of {GROUP_LANES}; use "
            f"{-(-max(width, 1) // GROUP_LANES) * GROUP_LANES}"
        )
    elif channels % width:
        found.append(
            f"`channels` (={channels}) must be whole shards of `width` (={width}); use "
            f"{-(-channels // width) * width}"
        )
    if scheme != "width" and parts != 1:
        found.append(
            f"`act_block_w_div` (={parts}) must be 1 with scheme={scheme!r}; use 1"
        )
    least = TILE_LANES * parts
    if scheme == "width" and width % least:
        found.append(
            f"`width` (={width}) must be a multiple of {TILE_LANES} times "
            f"`act_block_w_div` (={parts}) with scheme='width'; use "
            f"{-(-width // least) * least}"
        )
    if scheme == "height" and channels != width:
        found.append(
            f"`width` (={width}) must be all {channels} channels with "
            f"scheme='height'; use {channels}"
        )
    return found
