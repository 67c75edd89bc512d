"""What is asked: the convolution, how it is sharded, how it is computed.

A config holds the question as given (a lone integer for `kernel`, `stride`, `padding`
or `dilation` is spread over its axes) and lists its own problems; `make_plan` refuses,
so that all problems of one input arrive in one message.
"""

import dataclasses
from typing import Literal, get_args

from jaxdw.arch.arch import Arch

Scheme = Literal["height", "width", "block"]
WeightLayoutName = Literal["final", "tile_chunks", "concatenated"]
Activation = Literal["relu", "relu6", "silu", "gelu", "gelu_approx"]
ActivationDtype = Literal["bfloat16", "float32", "bfloat8_b"]
WeightsDtype = Literal["bfloat16", "float32", "bfloat8_b", "bfloat4_b"]
OutputDtype = Literal["bfloat16", "float32", "bfloat8_b"]
Fidelity = Literal["LoFi", "HiFi2", "HiFi3", "HiFi4"]
Arithmetic = Literal["fpu", "float32"]

MAX_ELEMENTS = 2**31 - 2  # int32 index maps, less the two sentinels

# Bytes of one 32x32 tile. Source: tt-metal dataflow_api_addrgen.h; ttnn 0.81.1, host.
TILE_BYTES: dict[str, int] = {
    "bfloat16": 2048,
    "float32": 4096,
    "bfloat8_b": 1088,
    "bfloat4_b": 576,
}


def stick_elem_bytes(dtype: str) -> int:
    """Returns the bytes of one element of a row-major stick in L1.

    Block formats have no sticks: they become bf16 before the halo.
    Source: tt-metal halo_device_operation.cpp @001d8351.
    """
    return 4 if dtype == "float32" else 2


def _spread(value: object, count: int) -> object:
    if isinstance(value, list | tuple):
        return tuple(value)
    return (value,) * count if isinstance(value, int) else value


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _int_problem(name: str, value: object, least: int) -> list[str]:
    if _is_int(value) and value >= least:  # pyright: ignore[reportOperatorIssue]
        return []
    return [f"`{name}` (={value!r}) must be an integer >= {least}; try {least}"]


def _ints_problem(name: str, value: object, count: int, least: int) -> list[str]:
    ints = value if isinstance(value, tuple) else ()
    if len(ints) == count and all(_is_int(v) and v >= least for v in ints):
        return []
    legal = (least,) * count
    return [f"`{name}` (={value!r}) must be {count} integers >= {least}; try {legal}"]


def _choice_problem(name: str, value: object, choices: tuple) -> list[str]:
    if value in choices:
        return []
    legal = ", ".join(map(str, choices))
    return [f"`{name}` (={value!r}) must be one of {legal}"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvConfig:
    """One depthwise conv2d (groups == in channels == out channels).

    Attributes:
      kernel, stride, dilation: (height, width); an integer stands for both.
      padding: top, bottom, left, right in pixels of zeros; (h, w) or an integer also.
      dtype: of the activations; `bfloat8_b` becomes bf16 at the halo (Source: tt-metal
        halo_device_operation.cpp @001d8351).
      weights_dtype: also of the bias, as on the chip (Source: tt-metal
        prepare_conv2d_weights.cpp @002a3f41).
      activation: applied after the bias; None for none.
    """

    channels: int
    height: int
    width: int
    batch: int = 1
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    dtype: ActivationDtype = "bfloat16"
    weights_dtype: WeightsDtype = "bfloat16"
    output_dtype: OutputDtype = "bfloat16"
    bias: bool = False
    activation: Activation | None = None

    def __post_init__(self):
        for name in ("kernel", "stride", "dilation"):
            object.__setattr__(self, name, _spread(getattr(self, name), 2))
        padding = _spread(self.padding, 4)
        if isinstance(padding, tuple) and len(padding) == 2:
            padding = (padding[0], padding[0], padding[1], padding[1])
        object.__setattr__(self, "padding", padding)

    @property
    def taps(self) -> int:
        """Kernel positions, counted row by row."""
        return self.kernel[0] * self.kernel[1]

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        return (self.batch, self.height, self.width, self.channels)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return (self.channels, 1, *self.kernel)

    def problems(self) -> list[str]:
        """Returns one sentence for each rule that this convolution breaks."""
        sizes = []
        for name in ("batch", "channels", "height", "width"):
            sizes += _int_problem(name, getattr(self, name), 1)
        for name in ("kernel", "dilation"):
            sizes += _ints_problem(name, getattr(self, name), 2, 1)
        sizes += _ints_problem("padding", self.padding, 4, 0)
        found = sizes or self._fit_problems()
        found += _ints_problem("stride", self.stride, 2, 1)
        for name, dtypes in (
            ("dtype", ActivationDtype),
            ("weights_dtype", WeightsDtype),
            ("output_dtype", OutputDtype),
        ):
            found += _choice_problem(name, getattr(self, name), get_args(dtypes))
        found += _choice_problem(
            "activation", self.activation, (None, *get_args(Activation))
        )
        if type(self.bias) is not bool:
            found.append(f"`bias` (={self.bias!r}) must be True or False")
        return found

    def _fit_problems(self) -> list[str]:
        found = []
        padded = []
        for axis, name in enumerate(("height", "width")):
            size = getattr(self, name) + sum(self.padding[2 * axis : 2 * axis + 2])
            padded.append(size)
            reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1
            if reach > size:
                found.append(
                    f"`kernel` (={self.kernel[axis]} along {name}, {reach} dilated) "
                    f"must fit the padded input (={size}); use a {name} of at least "
                    f"{getattr(self, name) + reach - size}"
                )
        elements = self.batch * padded[0] * padded[1] * self.channels
        if elements > MAX_ELEMENTS:
            most = MAX_ELEMENTS // (elements // self.batch)
            found.append(
                f"the padded input (={elements} elements) must have at most "
                f"{MAX_ELEMENTS}; use "
                + (f"a batch of at most {most}" if most else "fewer pixels or channels")
            )
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardConfig:
    """How the tensors are spread over cores.

    Attributes:
      grid: the largest core grid allowed, (x, y); None for the chip's.
      act_block_h_override: rows of a core come in multiples of this (tt-metal's
        option of that name); 0 for none.
      weight_layout: `final`, or an older revision of the upstream weight preparation
        (jaxdw.plan.layout).
    """

    scheme: Scheme = "height"
    grid: tuple[int, int] | None = None
    act_block_h_override: int = 0
    weight_layout: WeightLayoutName = "final"

    def __post_init__(self):
        if isinstance(self.grid, list):
            object.__setattr__(self, "grid", tuple(self.grid))

    def problems(self, arch: Arch) -> list[str]:
        """Returns one sentence for each rule that this sharding breaks on `arch`."""
        found = _choice_problem("scheme", self.scheme, get_args(Scheme))
        found += _choice_problem(
            "weight_layout", self.weight_layout, get_args(WeightLayoutName)
        )
        rows = self.act_block_h_override
        if not _is_int(rows) or rows < 0 or rows % 32:
            near = (
                max(32, round(rows / 32) * 32) if isinstance(rows, int | float) else 0
            )
            found.append(
                f"`act_block_h_override` (={rows!r}) must be a multiple of 32; "
                f"try {near}"
            )
        if self.grid is None:
            return found
        broken = _ints_problem("grid", self.grid, 2, 1)
        if not broken and (self.grid[0] > arch.grid[0] or self.grid[1] > arch.grid[1]):
            near = tuple(min(a, b) for a, b in zip(self.grid, arch.grid, strict=True))
            broken.append(
                f"`grid` (={self.grid}, x and y) must lie inside the "
                f"{arch.grid[0]}x{arch.grid[1]} cores of {arch.name}; try {near}"
            )
        return found + broken


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """How a core computes.

    Attributes:
      arithmetic: `fpu` is the matrix unit bit by bit; `float32` moves the same data and
        accumulates in float32 in kernel-position order, with one rounding to the
        output's dtype. Its products are exact for bf16 tensors; of float32 ones a
        compiler may fuse each with its addition.
      math_fidelity: 1 to 4 phases of every product, `LoFi` to `HiFi4`.
      fp32_dest_acc: a 32-bit Dst instead of a 16-bit one.
    """

    arithmetic: Arithmetic = "fpu"
    math_fidelity: Fidelity = "LoFi"
    fp32_dest_acc: bool = False

    def problems(self) -> list[str]:
        """Returns one sentence for each rule that this way of computing breaks."""
        found = _choice_problem("arithmetic", self.arithmetic, get_args(Arithmetic))
        found += _choice_problem(
            "math_fidelity", self.math_fidelity, get_args(Fidelity)
        )
        if type(self.fp32_dest_acc) is not bool:
            found.append(f"`fp32_dest_acc` (={self.fp32_dest_acc!r}) must be a bool")
        return found


def output_problems(output_dtype: OutputDtype, compute: ComputeConfig) -> list[str]:
    """Returns a sentence if Dst cannot give that output."""
    if (
        output_dtype != "float32"
        or compute.arithmetic != "fpu"
        or compute.fp32_dest_acc
    ):
        return []
    problem = (
        "`output_dtype` (='float32') must have a 32-bit Dst (fp32_dest_acc is False: "
        "16 bits); use fp32_dest_acc=True or output_dtype='bfloat16'"
    )
    return [problem]
