"""The arithmetic of one core on ready windows, with its derivative."""

import dataclasses
import functools
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Shaped

from jaxdw.arch.arch import Arch, load_arch
from jaxdw.errors import refuse
from jaxdw.machine.core import float32_sticks
from jaxdw.machine.cores import PROGRAMS, in_form
from jaxdw.maps.indexmap import HostOrDevice
from jaxdw.numerics.formats import BLOCK
from jaxdw.plan.config import (
    ActivationDtype,
    ComputeConfig,
    OutputDtype,
    output_problems,
)
from jaxdw.plan.names import name_problem
from jaxdw.plan.problems import bool_problem, ints_problem
from jaxdw.plan.units import round_up


def core_sticks(
    windows: Shaped[HostOrDevice, "sticks taps channels"],
    weights: Shaped[HostOrDevice, "sticks_or_1 taps channels"],
    bias: Shaped[HostOrDevice, " channels"] | None = None,
    *,
    compute: ComputeConfig,
    activation: str | None = None,
    output_dtype: OutputDtype = "bfloat16",
    arch: str | Path | Arch = "wormhole_b0",
    program: str = "depthwise",
    scheme: str | None = None,
    kernel: tuple[int, int] | None = None,
    full_inner_dim: bool | None = None,
    coalesced: bool | None = None,
    dtype: ActivationDtype = "bfloat16",
) -> Float32[Array, "sticks channels"]:
    """Computes output sticks from ready windows, as one core of the grid does.

    `depthwise`: for each tap ELWMUL over the fidelity's phases into an empty Dst,
    packed to bf16; GAPOOL with 1.0 over 16 taps at a time; the bias by ELWADD onto Dst;
    the activation; the packer. Any number of taps and channels. `regular` and `conv1d`
    as `machine.regular` and `machine.conv1d` say.

    Args:
      windows, weights, bias: values as the unpacker reads them: bf16, or float32 of
        which the matrix unit reads TF32.
      output_dtype: `bfloat16`, `float32` (32-bit Dst only) or `bfloat8_b` (channels in
        whole groups of 16, which share an exponent).
      program: the device program.
      scheme, kernel, full_inner_dim: of `regular`, whose order of steps they decide;
        channels are the width of one input shard.
      coalesced: of `conv1d`: whether all taps add up in Dst.
      dtype: of the activations before `regular` and `conv1d` tilise them.

    Returns:
      float32, values of `output_dtype`. Derivatives go straight through roundings.

    Raises:
      ConfigError: a compute config or an output that the chip does not have, arrays
        that do not fit each other, an unknown name, an option that the program does not
        have or lacks.
      UnsupportedError: formats whose rule is not known.

    Source: tt-metal compute_pool_2d.cpp @002a3f41; tests/golden/core_kernels.npz.
    """
    options = {
        "scheme": scheme,
        "kernel": tuple(kernel) if isinstance(kernel, list) else kernel,
        "full_inner_dim": full_inner_dim,
        "coalesced": coalesced,
    }
    given = {name: value for name, value in options.items() if value is not None}
    refuse(
        compute.problems()
        + _tensor_problems(windows, weights, bias, output_dtype)
        + name_problem("activation", activation)
        + name_problem("output_dtype", output_dtype)
        + name_problem("dtype", dtype, "activations' dtype")
        + output_problems(output_dtype, compute)
        + _option_problems(program, given, np.shape(weights))
    )
    if program == "regular":
        given["width"] = windows.shape[-1]
        given["packer_l1_acc"] = compute.packer_l1_acc
    # values of float32 have every mantissa bit that the unit reads
    held = "float32" if program == "depthwise" else dtype
    own = _Core(
        program=program if compute.arithmetic == "fpu" else None,
        figures=tuple(sorted(given.items())),
        activation=activation,
        output_dtype=output_dtype,
        dtype=held,
        weights_dtype=held,
        compute=compute,
        arch=load_arch(arch),
    )
    biases = None if bias is None else _float32(bias)
    return _ready_sticks(_float32(windows), _float32(weights), biases, own)


def _float32(values: Shaped[HostOrDevice, "*shape"]) -> Float32[Array, "*shape"]:
    if isinstance(values, jax.Array):
        return values.astype(jnp.float32)
    return jax.device_put(np.asarray(values).astype(np.float32))


# What each program must be told, and what it may be told.
_OPTIONS: dict[str, tuple[set[str], set[str]]] = {
    "depthwise": (set(), set()),
    "regular": ({"scheme", "kernel"}, {"full_inner_dim"}),
    "conv1d": ({"coalesced"}, set()),
}


def _tensor_problems(windows, weights, bias, output_dtype: str) -> list[str]:
    """Returns a sentence for each array that does not go with the windows."""
    found = []
    for name, values in (("windows", windows), ("weights", weights), ("bias", bias)):
        kind = np.dtype(getattr(values, "dtype", np.float32)).kind
        if values is not None and kind not in "biufV":
            found.append(
                f"`{name}` (={values.dtype}) must hold real numbers; take the real part"
            )
    shape = np.shape(windows)
    if len(shape) != 3 or 0 in shape:
        return [*found, f"`windows` (={shape}) must be [sticks, taps, channels]"]
    fitting = ((1, *shape[1:]), shape)
    if np.shape(weights) not in fitting:
        found.append(
            f"`weights` (={np.shape(weights)}) must have the shape {fitting[0]}, or "
            f"{shape} with weights of each stick's own"
        )
    if bias is not None and np.shape(bias) != shape[2:]:
        found.append(f"`bias` (={np.shape(bias)}) must have the shape {shape[2:]}")
    if output_dtype == "bfloat8_b" and shape[2] % BLOCK:
        found.append(
            f"`windows` (of {shape[2]} channels) must have whole groups of {BLOCK} for "
            f"output_dtype='bfloat8_b'; try {round_up(shape[2], BLOCK)}"
        )
    return found


def _option_problems(
    program: str, given: dict[str, Any], weights: tuple[int, ...]
) -> list[str]:
    if program not in PROGRAMS:
        return [f"`program` (={program!r}) must be one of {', '.join(PROGRAMS)}"]
    needed, allowed = _OPTIONS.get(program, (set(), set()))
    lacking = [
        f"`{name}` (=None) must be given for program={program!r}"
        for name in sorted(needed - given.keys())
    ]
    unknown = [
        f"`{name}` (={given[name]!r}) must be left out with program={program!r}, which "
        "has no such option"
        for name in sorted(given.keys() - needed - allowed)
    ]
    wrong = []
    if "scheme" in given:
        wrong += name_problem("scheme", given["scheme"])
    for name in given.keys() & {"full_inner_dim", "coalesced"}:
        wrong += bool_problem(name, given[name])
    if "kernel" in given:
        kernel = given["kernel"]
        wrong += ints_problem("kernel", kernel, 2, 1)
        if not wrong and len(weights) == 3 and math.prod(kernel) != weights[1]:
            wrong.append(
                f"`kernel` (={kernel}) must have as many positions as `weights` have "
                f"taps (={weights[1]})"
            )
    return lacking + unknown + wrong


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Core:
    """What one core computes with; program: None for float32."""

    program: str | None
    figures: tuple[tuple[str, Any], ...]
    activation: str | None
    output_dtype: str
    dtype: str
    weights_dtype: str
    compute: ComputeConfig
    arch: Arch

    def sticks(self, windows, weights, bias):
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        program, figures = options.pop("program"), dict(options.pop("figures"))
        compute_sticks = PROGRAMS[program].compute_sticks if program else float32_sticks
        taps = weights.swapaxes(0, 1)

        def way(form):
            return compute_sticks(
                lambda k: windows[:, k], taps, bias, form=form, **options, **figures
            )

        return in_form("by operands", way, windows, weights, compute=self.compute)

    @property
    def smooth(self) -> "_Core":
        """The same without a rounding, for derivatives."""
        return dataclasses.replace(
            self,
            program=None,
            output_dtype="float32",
            compute=ComputeConfig(arithmetic="float32"),
        )


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _rounded(windows, weights, bias, core: _Core):
    return core.sticks(windows, weights, bias)


@_rounded.defjvp
def _rounded_jvp(core: _Core, primals, tangents):
    tangent = jax.jvp(core.smooth.sticks, primals, tangents)[1]
    return _rounded(*primals, core), tangent


_ready_sticks = jax.jit(_rounded, static_argnames="core")
