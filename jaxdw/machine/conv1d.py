"""The arithmetic of ttnn 0.81.1's 1D depthwise program, `conv1d`.

Coalesced, all taps of a channel add up in Dst, which is packed once. Per tap, each
product is added to the partial sum of the taps before it, and the sum is packed to the
output's format. SrcA is the activation (5 bits a phase), SrcB the weight (7).

Source: ttnn 0.81.1 compute_depthwise_conv1d.cpp, run on ttsim @56694c8a, Wormhole and
Blackhole (tests/golden/run_R_D_bf16.npz and its neighbours); tests/golden/arith.npz.
"""

import functools
from collections.abc import Callable, Hashable

from jaxtyping import Array, Float32

from jaxdw.arch.arch import Arch
from jaxdw.errors import ConfigError, UnsupportedError
from jaxdw.numerics import formats, fpu, mvmul, sfpu, tilise
from jaxdw.numerics.fpu import Dst, Tap
from jaxdw.numerics.fpu_float import MANTISSA_BITS, SOURCE_BITS
from jaxdw.plan.config import ComputeConfig
from jaxdw.plan.plan import Plan
from jaxdw.plan.ttnn.plan import TtnnPlan

Windows = Callable[[Tap], Float32[Array, "sticks channels"]]


def figures(plan: Plan) -> dict[str, Hashable]:
    """Returns what the arithmetic takes of a plan."""
    assert isinstance(plan, TtnnPlan)
    return {"coalesced": plan.launch.blocks.coalesced}


def compute_sticks(
    tap: Windows,
    weights: fpu.ByTap,
    bias: Float32[Array, " channels"] | None = None,
    *,
    coalesced: bool,
    activation: str | None,
    output_dtype: str,
    dtype: str,
    weights_dtype: str,
    compute: ComputeConfig,
    arch: Arch,
    form: mvmul.Form,
    cut_to: tuple[int, int] | None = None,
) -> Float32[Array, "sticks channels"]:
    """Multiplies windows with weights, activates, packs.

    Args:
      tap: gives the window elements of one kernel position.
      weights: of each kernel position, [1 or sticks, channels].
      bias: the program has none.
      activation: applied before the last packing, as program `regular` does. ttnn
        0.81.1 drops it (tt-metal #55272).
      form, cut_to: as for `regular.compute_sticks`.

    Returns:
      Values of `output_dtype`.

    Raises:
      ConfigError: a bias.
      UnsupportedError: float32 tensors; a bfloat8_b output of channels that are no
        multiple of 16.
    """
    fp32_dest = compute.fp32_dest_acc
    refuse_unknown(bias, dtype, weights_dtype, output_dtype, weights[0].shape[-1])
    assert compute.arithmetic == "fpu"
    short = "a" if cut_to is not None else ""
    unit = mvmul.unit_of(form, fp32_dest=fp32_dest, arch=arch, short=short)
    mantissa_bits = MANTISSA_BITS[dtype], MANTISSA_BITS[weights_dtype]
    phases = unit.phases(compute.math_fidelity, mantissa_bits)
    tilised = functools.partial(
        tilise.tilised,
        dtype=dtype,
        output_dtype=output_dtype,
        fp32_dest=fp32_dest,
        arch=arch,
    )
    packed = functools.partial(
        formats.pack_output, dtype=output_dtype, fp32_dest=fp32_dest
    )

    def add_taps(first: Tap, taps: int, dst: Dst) -> Dst:
        return mvmul.add_steps(
            unit,
            [mvmul.in_tap_order(taps, phases)],
            [tilised(tap(first + n)) for n in range(taps)],
            [weight(first + n) for n in range(taps)],
            dst,
        )

    def add_to_partials(before: Tap, taps: int, dst: Dst) -> Dst:
        """Adds taps, each to the sum packed before; products reach SrcB as bf16."""
        for n in range(1, taps + 1):
            product = add_taps(before + n, 1, empty)
            if fp32_dest:
                product = fpu.floats_of(fpu.bits_of(product) & -(1 << 16))
            dst = unit.elwadd(packed(dst), product)
        return dst

    weight = mvmul.weights_of(unit, weights, "b", phases)
    empty = mvmul.empty_dst(tap, weights)
    if coalesced:
        dst = mvmul.over_taps(add_taps, len(weights), len(phases), empty)
    else:
        dst = add_taps(0, 1, empty)
        steps = len(phases) + 1
        dst = mvmul.over_taps(add_to_partials, len(weights) - 1, steps, dst)
    return packed(sfpu.activate(dst, activation, fp32_dest=fp32_dest))


def read_bits(
    compute: ComputeConfig, *, dtype: str, output_dtype: str
) -> tuple[int, int] | None:
    """Returns the mantissa bits of windows and weights that the phases read."""
    is_short = fpu.PHASES[compute.math_fidelity] == 1
    if not is_short or not tilise.keeps_bits(dtype, output_dtype):
        return None
    return SOURCE_BITS["a"][0], 24


def refuse_unknown(
    bias: object, dtype: str, weights_dtype: str, output_dtype: str, channels: int
) -> None:
    """Refuses what the program has not, and formats whose rule is not known.

    Raises:
      ConfigError: a bias.
      UnsupportedError: float32.
    """
    if bias is not None:
        raise ConfigError(
            "`bias` (given) must be None: the 1D depthwise program has no bias; use "
            "program 'regular'"
        )
    if "float32" in (dtype, weights_dtype, output_dtype):
        raise UnsupportedError(
            f"`dtype` (={dtype!r}), `weights_dtype` (={weights_dtype!r}) and "
            f"`output_dtype` (={output_dtype!r}) are not modelled: how the vector unit "
            "rounds the float32 form of the 1D depthwise program is not known; use "
            "bfloat16"
        )
    if output_dtype == "bfloat8_b" and channels % formats.BLOCK:
        raise UnsupportedError(
            f"`channels` (={channels}) of a bfloat8_b output must be a multiple of "
            f"{formats.BLOCK}: the last ones share an exponent with memory that nobody "
            f"wrote; use {-(-channels // formats.BLOCK) * formats.BLOCK}"
        )
