"""The one place where cores run: which device program, which form, on which backend."""

import dataclasses
import functools
import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32, Shaped

from jaxdw.arch.arch import Arch
from jaxdw.errors import UnsupportedError
from jaxdw.machine import conv1d, depthwise, regular
from jaxdw.machine.core import Arithmetic, float32_sticks
from jaxdw.machine.grid import map_grid
from jaxdw.machine.image import Held, how_held, map_image
from jaxdw.machine.memory import poisoned
from jaxdw.maps.indexmap import HostOrDevice
from jaxdw.maps.strided import Strided
from jaxdw.numerics.fpu import PHASES, Form
from jaxdw.numerics.fpu_float import is_ordinary
from jaxdw.plan.config import ComputeConfig
from jaxdw.plan.names import Backend
from jaxdw.plan.plan import Plan

FEW_STEPS = 2**22  # of the matrix unit, a phase of a product each
_FLOAT32_STEPS = 0.5  # that a product and a sum in float32 take
LONG_CHAIN, MANY_STEPS = 24, 2**20  # of one output, of a launch
AskedForm = Literal["integer", "float", "by operands"]
Result = TypeVar("Result")
Figures = tuple[tuple[str, Hashable], ...]  # by keyword


class DeviceProgram(NamedTuple):
    """How one of tt-metal's device programs computes.

    Attributes:
      compute_sticks: its arithmetic, as `depthwise.compute_sticks`.
      figures: what that takes of a plan beside what all programs take, by keyword.
      channels_part: whether channel shards can be computed apart, and give the same
        bits, in an arithmetic with an output's dtype.
      figures_of_slice: the figures of some channels computed apart, at most so many,
        and how many they are.
      read_bits: upper mantissa bits, hidden bit counted, of window elements and of
        weights that it reads in an arithmetic, with the activations' and the output's
        dtype, so that the others may be cut before; None if it has to have all.
      cost: of a step of its float form, in those of `depthwise`.
      steps_in_a_row: of the matrix unit, that an output waits for one by one; what
        computes it bound by keyword. 0 if two outputs are no quicker side by side.
    """

    compute_sticks: Callable[..., Float32[Array, "sticks channels"]]
    read_bits: Callable[..., tuple[int, int] | None]
    figures: Callable[[Plan], Mapping[str, Hashable]] = lambda plan: {}
    cost: float = 1
    channels_part: Callable[[ComputeConfig, str], bool] = lambda compute, dtype: True
    figures_of_slice: Callable[[Figures, int], tuple[Figures, int]] = (
        lambda figures, most: (figures, most)
    )
    steps_in_a_row: Callable[..., int] = lambda **_: 0


PROGRAMS = {
    "depthwise": DeviceProgram(
        compute_sticks=depthwise.compute_sticks, read_bits=depthwise.read_bits
    ),
    "regular": DeviceProgram(
        compute_sticks=regular.compute_sticks,
        figures=regular.figures,
        cost=3,
        read_bits=regular.read_bits,
        channels_part=regular.channels_part,
        figures_of_slice=regular.figures_of_slice,
        steps_in_a_row=regular.steps_in_a_row,
    ),
    "conv1d": DeviceProgram(
        compute_sticks=conv1d.compute_sticks,
        figures=conv1d.figures,
        cost=3,
        read_bits=conv1d.read_bits,
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Static:
    """What fixes shapes or chooses code; all else of a plan travels as arrays.

    Attributes:
      program: one of `PROGRAMS`; figures: what its arithmetic takes of its own.
      num_channel_shards, num_output_shards: of the input, of the output.
      channels_per_core: padded, of the input.
      output_shape: `[N, Ho, Wo, C]`; taps: of a window.
    """

    program: str
    figures: Figures
    num_channel_shards: int
    num_output_shards: int
    channels_per_core: int
    output_shape: tuple[int, ...]
    taps: int
    dtype: str
    weights_dtype: str
    output_dtype: str
    activation: str | None
    compute: ComputeConfig
    arch: Arch
    backend: Backend

    @property
    def channels(self) -> int:
        return self.output_shape[-1]

    @functools.cached_property
    def outputs(self) -> int:
        return math.prod(self.output_shape)

    @functools.cached_property
    def fits_one_thread(self) -> bool:
        """Whether other threads gain nothing: on 2 cores, under some 0.7 ms of work."""
        phases = _FLOAT32_STEPS
        if self.compute.arithmetic == "fpu":
            phases = PHASES[self.compute.math_fidelity] * PROGRAMS[self.program].cost
        return self.outputs * self.taps * phases <= FEW_STEPS

    def __hash__(self) -> int:  # asked at each call of a jitted function
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:
        return hash(tuple(getattr(self, f.name) for f in dataclasses.fields(self)))

    def __getstate__(self) -> dict[str, Any]:  # hashes of another process differ
        return {name: value for name, value in vars(self).items() if name != "_hash"}


def channels_part(static: Static) -> bool:
    """Whether channel shards can be computed apart, and give the same bits."""
    program = PROGRAMS[static.program]
    return program.channels_part(static.compute, static.output_dtype)


def of_slice(static: Static, most: int) -> tuple[Static, int]:
    """Returns the static part of some channels computed apart, and how many.

    Args:
      static: of a launch whose channels can be (`channels_part`).
      most: channels wanted; a multiple of 32.
    """
    figures, size = PROGRAMS[static.program].figures_of_slice(static.figures, most)
    return dataclasses.replace(static, figures=figures), size


def _of_pallas(static: Static, block: int) -> Static:
    """Returns the static part of one invocation of the Pallas kernel.

    Raises:
      UnsupportedError: channels that cannot be computed in blocks of that size.
    """
    if static.compute.arithmetic != "fpu":
        return static
    own, size = of_slice(static, block) if channels_part(static) else (static, 0)
    if size != block:
        raise UnsupportedError(
            f"`backend` (='pallas') must not be asked of this {static.program} launch "
            f"({static.channels_per_core} channels a core): its channels are not "
            f"computed in blocks of {block}; use backend='xla'"
        )
    return own


def static_of(plan: Plan, backend: Backend = "xla") -> Static:
    """Returns the static part of a plan, the same object each time."""
    if backend in plan.statics:
        return plan.statics[backend]
    conv, program = plan.conv, plan.program
    static = plan.statics[backend] = Static(
        program=program,
        figures=tuple(PROGRAMS[program].figures(plan).items()),
        num_channel_shards=plan.num_channel_shards,
        num_output_shards=plan.num_output_shards,
        channels_per_core=plan.input_shard.channels,
        output_shape=plan.output_shape,
        taps=conv.taps,
        dtype=conv.dtype,
        weights_dtype=conv.weights_dtype,
        output_dtype=conv.output_dtype,
        activation=conv.activation,
        compute=plan.compute,
        arch=plan.arch,
        backend=backend,
    )
    return static


_BOUND = ("activation", "output_dtype", "dtype", "weights_dtype", "compute", "arch")


def arithmetic_of(
    static: Static, form: Form, cut_to: tuple[int, int] | None = None
) -> Arithmetic:
    """Returns the arithmetic of a device program in one form.

    `arithmetic="float32"` is the same for all programs.

    Args:
      cut_to: mantissa bits to which windows and weights are cut already; None if they
        are not.
    """
    own = functools.partial(float32_sticks)
    if static.compute.arithmetic == "fpu":
        compute_sticks = PROGRAMS[static.program].compute_sticks
        own = functools.partial(compute_sticks, **dict(static.figures))
    bound: dict[str, Any] = {name: getattr(static, name) for name in _BOUND}
    if cut_to is not None:
        bound["cut_to"] = cut_to
    return functools.partial(own, **bound, form=form)


def read_bits(static: Static) -> tuple[int, int] | None:
    """Returns the mantissa bits of windows and weights to keep; None for all."""
    if static.compute.arithmetic != "fpu":
        return None
    return PROGRAMS[static.program].read_bits(
        static.compute, dtype=static.dtype, output_dtype=static.output_dtype
    )


def image_held(static: Static) -> Held:
    """Returns how the padded image of bf16 activations is held."""
    return how_held(
        arithmetic=static.compute.arithmetic,
        taps=static.taps,
        channels=static.channels,
        padded=static.num_channel_shards * static.channels_per_core,
        outputs=static.outputs,
    )


def gains_by_pairs(static: Static) -> bool:
    """Whether outputs side by side repay the compiling, within some thousand calls."""
    if static.compute.arithmetic != "fpu":
        return False
    bound: dict[str, Any] = {name: getattr(static, name) for name in _BOUND}
    program = PROGRAMS[static.program]
    steps = program.steps_in_a_row(**dict(static.figures), **bound)
    return steps >= LONG_CHAIN and steps * static.outputs >= MANY_STEPS


def are_ordinary(
    *operands: Shaped[Array, "..."], compute: ComputeConfig
) -> Bool[Array, ""] | None:
    """Whether the float form takes these operands; None if arithmetic takes any."""
    if compute.arithmetic != "fpu":
        return None
    return functools.reduce(jnp.logical_and, map(is_ordinary, operands))


def float_first(
    way: Callable[[Form], tuple[Result, Shaped[Array, ""] | None]],
) -> Result:
    """Computes in the float form, which tells on the way whether it may.

    Operands that it does not take are computed again in the integer form, which is
    compiled only then. Arithmetic in float32 takes all, and nothing is waited for.

    Args:
      way: returns its result, and whether its operands are such as `are_ordinary` says.
    """
    result, ordinary = way("float")
    return result if takes(ordinary) else way("integer")[0]


def takes(ordinary: Shaped[Array, ""] | None) -> bool:
    """Whether a result of the float form stands, of operands as `are_ordinary` says."""
    return ordinary is None or bool(np.asarray(ordinary))


def in_form(
    asked: AskedForm,
    way: Callable[[Form], Float32[Array, "*shape"]],
    *operands: Shaped[Array, "..."],
    compute: ComputeConfig,
) -> Float32[Array, "*shape"]:
    """Computes `way(form)` in the form asked for, or in the one that operands allow.

    Where the form is known, the other one is not even compiled. Arithmetic other than
    the matrix unit's has one form.
    """
    if compute.arithmetic != "fpu":
        return way("float")
    if asked != "by operands":
        return way(asked)
    ordinary = are_ordinary(*operands, compute=compute)
    forms = (functools.partial(way, form) for form in ("float", "integer"))
    return jax.lax.cond(ordinary, *forms)


def run_cores(
    l1: Shaped[Array, "..."],
    sticks: Int32[HostOrDevice, "nhw taps outputs"] | Strided,
    weights: Float32[Array, "*weight_nhw taps channels"],
    bias: Float32[Array, "*bias_nhw channels"] | None,
    static: Static,
    *,
    channels_written: Bool[HostOrDevice, "*written_nhw channels"] | None = None,
    windows_written: Bool[HostOrDevice, "nhw outputs"] | None = None,
    form: AskedForm = "by operands",
    operands: tuple[Shaped[Array, "..."], ...] | None = None,
    then: Callable[[Float32[Array, "nhw outputs channels"]], Array] = lambda rows: rows,
) -> Float32[Array, "..."]:
    """Runs every core of the grid; outputs that depend on poison are NaN.

    The Pallas kernel has the float form: operands that need the integer form take XLA
    on either backend.

    Args:
      l1: rows that hold sticks, of all channel shards side by side, for each NHW shard
        or the same for all, as are weights, bias and `channels_written`.
      sticks: the row of each window element; past the rows it reads zeros. Or slices of
        the padded image, which `l1` then is; the float form on XLA only, all NHW
        shards as one.
      channels_written, windows_written: as for `poisoned`.
      operands: hold every value by which the form is chosen; `(l1, weights)` if None.
      then: what follows, of either form, so that XLA runs both as one.
    """

    def way(form: Form) -> Float32[Array, "..."]:
        if isinstance(sticks, Strided):
            assert form == "float"
            rows = map_image(
                l1,
                sticks,
                weights,
                bias,
                arithmetic_of(static, form, cut_to=read_bits(static)),
                pairs=gains_by_pairs(static),
            )
            return then(poisoned(rows, channels_written, windows_written))
        arguments = l1, sticks, weights, bias
        if static.backend == "pallas" and form == "float":
            # Pallas takes a tenth of a second to import
            from jaxdw.machine.pallas_core import channel_block, pallas_grid

            interpret = jax.default_backend() == "cpu"
            block = channel_block(l1.shape[-1])
            rows = pallas_grid(
                *arguments,
                arithmetic_of(_of_pallas(static, block), form),
                activation=static.activation,
                output_dtype=static.output_dtype,
                compute=static.compute,
                interpret=interpret,
            )
        else:
            rows = map_grid(*arguments, arithmetic_of(static, form), form)
        return then(poisoned(rows, channels_written, windows_written))

    operands = operands or (l1, weights)
    return in_form(form, way, *operands, compute=static.compute)
