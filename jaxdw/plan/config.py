"""What is asked: the convolution, how it is sharded, how it is computed.

A config holds the question as given (a lone integer for `kernel`, `stride`, `padding`
or `dilation` is spread over its axes) and lists its own problems; `make_plan` refuses,
so that all problems of one input arrive in one message. Hence `no_type_check`: a config
takes any value when the program runs; its annotations say what is legal.
"""

import dataclasses
from typing import TYPE_CHECKING, Literal, Unpack, no_type_check

from jaxdw.arch.arch import Arch
from jaxdw.plan.choices import (
    Activation,
    ActivationDtype,
    Arithmetic,
    Fidelity,
    InputLayout,
    Memory,
    Orientation,
    OutputDtype,
    OutputLayout,
    Scheme,
    WeightLayoutName,
    WeightsDtype,
    choice_problems,
    take_words,
)
from jaxdw.plan.given import ComputeGiven, ConvGiven, ShardGiven
from jaxdw.plan.problems import (
    bool_problem,
    grid_problem,
    int_problem,
    ints_problem,
    is_int,
)

MAX_ELEMENTS = 2**31 - 2  # int32 index maps, less the two sentinels


def _spread(value: object, count: int) -> object:
    if isinstance(value, list | tuple):
        return tuple(value)
    return (value,) * count if isinstance(value, int) else value


@no_type_check
@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvConfig:
    """One depthwise conv2d (groups == in channels == out channels).

    Attributes:
      kernel, stride, dilation: (height, width); an integer stands for both.
      padding: top, bottom, left, right in pixels of zeros; (h, w), an integer, `same`
        or `valid` also.
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

    if TYPE_CHECKING:  # what the constructor takes, of which the fields hold tuples

        def __init__(self, **given: Unpack[ConvGiven]) -> None: ...

    def __post_init__(self):
        for name in ("kernel", "stride", "dilation"):
            object.__setattr__(self, name, _spread(getattr(self, name), 2))
        padding = _spread(self.padding, 4)
        if isinstance(padding, tuple) and len(padding) == 2:
            padding = (padding[0], padding[0], padding[1], padding[1])
        if isinstance(padding, str):
            padding = self._named_padding(padding)
        object.__setattr__(self, "padding", padding)
        take_words(self)

    def _named_padding(self, name: str) -> object:
        """Returns what `same` or `valid` come to; another word as it is.

        Source: jax 0.10 lax.padtype_to_pads: `same` gives ceil(size / stride) outputs.
        """
        if name.lower() == "valid":
            return (0, 0, 0, 0)
        sizes = (self.height, self.width, *self.kernel, *self.stride, *self.dilation)
        if name.lower() != "same" or not all(is_int(s) and s > 0 for s in sizes):
            return name
        pads = []
        for axis, size in enumerate((self.height, self.width)):
            outputs = -(-size // self.stride[axis])
            reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1
            total = max(0, (outputs - 1) * self.stride[axis] + reach - size)
            pads += [total // 2, total - total // 2]
        return tuple(pads)

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

    def tensor_problems(
        self,
        x: tuple[int, ...] | None,
        w: tuple[int, ...],
        bias: tuple[int, ...] | None,
    ) -> list[str]:
        """Returns one sentence for each shape that is not this convolution's.

        Args:
          x, bias: None is not looked at.
        """
        found = []
        if x is not None and x != self.input_shape:
            found.append(f"`x` (={x}) must have the shape {self.input_shape}, NHWC")
        if w != self.weight_shape:
            found.append(
                f"`w` (={w}) must have the shape {self.weight_shape}, "
                f"[C, 1, kernel height, kernel width]"
            )
        if bias is not None and bias != (self.channels,):
            found.append(f"`bias` (={bias}) must have the shape ({self.channels},)")
        return found

    def problems(self) -> list[str]:
        """Returns one sentence for each rule that this convolution breaks."""
        sizes = []
        for name in ("batch", "channels", "height", "width"):
            sizes += int_problem(name, getattr(self, name), 1)
        for name in ("kernel", "dilation"):
            sizes += ints_problem(name, getattr(self, name), 2, 1)
        sizes += ints_problem("padding", self.padding, 4, 0)
        found = sizes or self._fit_problems()
        found += ints_problem("stride", self.stride, 2, 1)
        return found + choice_problems(self) + bool_problem("bias", self.bias)

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


@no_type_check
@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardConfig:
    """How the op is laid out over cores: the options of tt-metal's Conv2dConfig.

    Attributes:
      scheme: `auto` takes the best of `rank_plans`.
      grid: the largest core grid allowed, (x, y); None for the chip's.
      cores: these cores instead of a search: (x, y) a full rectangle; a number, for
        HEIGHT and WIDTH only, full rows of the grid and then a partial one.
      orientation: `col_major` (tt-metal's transpose_shards) deals BLOCK's NHW shards
        along x; the other schemes always go row by row.
      act_block_h_override: rows of a core come in multiples of this (tt-metal's
        option of that name); 0 for none.
      input_shard: (rows, channels) of an input that lies sharded over `cores` already;
        None for one that is sharded here.
      reshard_if_not_optimal: search even if the input is sharded.
      output_layout: `tile`, or `row_major` sticks.
      enable_act_double_buffer, enable_weights_double_buffer: options of the op that
        its depthwise program ignores.
      program_cache: the program is called again with tensors at other addresses.
      weight_layout: `final`, or an older revision of the upstream weight preparation
        (jaxdw.plan.depthwise.layout).

    Only the programs of ttnn 0.81.1 know the rest, the depthwise one refuses it:
      input_layout: of the tensor given, `row_major` sticks or `tile`.
      memory: `l1` runs one launch from L1 (L1_FULL); `dram` is the library's default,
        which slices until a launch fits.
      config_tensors_in_dram: the reader's indices come from DRAM, not from L1_SMALL.
      full_inner_dim: BLOCK takes all kernel rows in one block.
      act_block_w_div: WIDTH cuts a core's channels into so many blocks.
      force_split_reader: two readers wherever they can be, not only where they pay.
      enable_activation_reuse: HEIGHT keeps sticks that the next row of outputs reads.
    """

    scheme: Scheme | Literal["auto"] = "height"
    grid: tuple[int, int] | None = None
    cores: int | tuple[int, int] | None = None
    orientation: Orientation = "row_major"
    act_block_h_override: int = 0
    input_shard: tuple[int, int] | None = None
    reshard_if_not_optimal: bool = False
    output_layout: OutputLayout = "tile"
    enable_act_double_buffer: bool = False
    enable_weights_double_buffer: bool = False
    program_cache: bool = False
    weight_layout: WeightLayoutName = "final"
    input_layout: InputLayout = "row_major"
    memory: Memory = "l1"
    config_tensors_in_dram: bool = False
    full_inner_dim: bool = False
    act_block_w_div: int = 1
    force_split_reader: bool = False
    enable_activation_reuse: bool = False

    if TYPE_CHECKING:

        def __init__(self, **given: Unpack[ShardGiven]) -> None: ...

    def __post_init__(self):
        for name in ("grid", "cores", "input_shard"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        take_words(self)

    @property
    def keeps_cores(self) -> bool:
        """Whether `cores` is taken as it is.

        An input whose shards are not whole tiles wide is resharded. Source: tt-metal
        conv2d_utils.cpp @002a3f41, shard_or_reshard.
        """
        if self.cores is None or self.reshard_if_not_optimal:
            return False
        return self.input_shard is None or self.input_shard[1] % 32 == 0

    def problems(self, arch: Arch) -> list[str]:
        """Returns one sentence for each rule that this sharding breaks on `arch`."""
        found = choice_problems(self)
        for name in (
            "reshard_if_not_optimal",
            "enable_act_double_buffer",
            "enable_weights_double_buffer",
            "program_cache",
            "config_tensors_in_dram",
            "full_inner_dim",
            "force_split_reader",
            "enable_activation_reuse",
        ):
            found += bool_problem(name, getattr(self, name))
        found += int_problem("act_block_w_div", self.act_block_w_div, 1)
        rows = self.act_block_h_override
        if not is_int(rows) or rows < 0 or rows % 32:
            near = (
                max(32, round(rows / 32) * 32) if isinstance(rows, int | float) else 0
            )
            found.append(
                f"`act_block_h_override` (={rows!r}) must be a multiple of 32; "
                f"try {near}"
            )
        limit = arch.grid
        if self.grid is not None:
            found += grid_problem("grid", self.grid, arch.grid, arch.name)
            limit = arch.grid if found else self.grid
        found += self._cores_problems(limit, arch)
        if self.input_shard is not None:
            found += ints_problem("input_shard", self.input_shard, 2, 1)
            if self.cores is None:
                found.append(
                    f"`input_shard` (={self.input_shard}) must come with the `cores` "
                    "it lies on; add cores=(x, y)"
                )
        elif self.cores is not None and self.reshard_if_not_optimal:
            found.append(
                f"`reshard_if_not_optimal` must come with the `input_shard` that lies "
                f"on `cores` (={self.cores}); add it, or leave one of the two out"
            )
        return found

    def _cores_problems(self, limit: tuple[int, int], arch: Arch) -> list[str]:
        cores = self.cores
        if cores is None:
            return []
        most = limit[0] * limit[1]
        if self.scheme == "auto":
            rule = "be left out with scheme='auto', which searches; give a scheme"
        elif not isinstance(cores, int) or isinstance(cores, bool):
            return grid_problem("cores", cores, limit, arch.name)
        elif self.scheme == "block":
            rule = f"be (x, y) for BLOCK; try {(max(1, min(cores, limit[0])), 1)}"
        elif not 1 <= cores <= most:
            rule = f"be 1 to {most} of {arch.name}; try {max(1, min(cores, most))}"
        else:
            return []
        return [f"`cores` (={cores}) must {rule}"]


@no_type_check
@dataclasses.dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """How a core computes.

    Attributes:
      arithmetic: `fpu` is the matrix unit bit by bit; `float32` moves the same data and
        accumulates in float32 in kernel-position order, with one rounding to the
        output's dtype. Its products are exact for bf16 tensors, rounded for float32.
      math_fidelity: 1 to 4 phases of every product, `LoFi` to `HiFi4`.
      fp32_dest_acc: a 32-bit Dst instead of a 16-bit one.
      packer_l1_acc: the packer adds blocks of a long sum up in L1; only the programs
        of ttnn 0.81.1 have such blocks.
    """

    arithmetic: Arithmetic = "fpu"
    math_fidelity: Fidelity = "LoFi"
    fp32_dest_acc: bool = False
    packer_l1_acc: bool = False

    if TYPE_CHECKING:

        def __init__(self, **given: Unpack[ComputeGiven]) -> None: ...

    def __post_init__(self):
        take_words(self)

    def problems(self) -> list[str]:
        """Returns one sentence for each rule that this way of computing breaks."""
        found = choice_problems(self)
        for name in ("fp32_dest_acc", "packer_l1_acc"):
            found += bool_problem(name, getattr(self, name))
        return found


def output_problems(output_dtype: str, compute: ComputeConfig) -> list[str]:
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


def joint_problems(
    conv: ConvConfig, shard: ShardConfig, compute: ComputeConfig
) -> list[str]:
    """Returns one sentence for each rule that legal configs break together."""
    found = output_problems(conv.output_dtype, compute)
    if conv.output_dtype == "bfloat8_b" and shard.output_layout == "row_major":
        found.append(
            "`output_layout` (='row_major') must not be asked of a block format "
            "(output_dtype is bfloat8_b); use 'tile' or output_dtype='bfloat16'"
        )
    return found
