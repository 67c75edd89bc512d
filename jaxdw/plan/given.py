"""What the constructors of configs take, for type checkers.

A field holds one value for each meaning; its constructor also takes the words of the
command line, ttnn's names of shardings, and one number for both axes.
"""

from typing import Literal, Required, TypedDict

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
)

PerAxis = int | tuple[int, int] | list[int]  # (height, width); an integer for both
# four: top, bottom, left, right; SAME is as in XLA, half of the rest before
Padding = PerAxis | tuple[int, int, int, int] | Literal["same", "valid"]
DtypeWord = Literal["bf16", "fp32", "bfp8"]
FidelityWord = Literal["lofi", "hifi2", "hifi3", "hifi4"]
SchemeWord = Literal[
    "auto", "HEIGHT", "WIDTH", "BLOCK",
    "HEIGHT_SHARDED", "WIDTH_SHARDED", "BLOCK_SHARDED",
]  # fmt: skip


class ConvGiven(TypedDict, total=False):
    """Of `ConvConfig`."""

    channels: Required[int]
    height: Required[int]
    width: Required[int]
    batch: int
    kernel: PerAxis
    stride: PerAxis
    padding: Padding
    dilation: PerAxis
    dtype: ActivationDtype | DtypeWord
    weights_dtype: WeightsDtype | DtypeWord | Literal["bfp4"]
    output_dtype: OutputDtype | DtypeWord
    bias: bool
    activation: Activation | Literal["none"] | None


class ShardGiven(TypedDict, total=False):
    """Of `ShardConfig`."""

    scheme: Scheme | SchemeWord
    grid: tuple[int, int] | None
    cores: int | tuple[int, int] | None
    orientation: Orientation | Literal["ROW_MAJOR", "COL_MAJOR"]
    act_block_h_override: int
    input_shard: tuple[int, int] | None
    reshard_if_not_optimal: bool
    output_layout: OutputLayout | Literal["TILE", "ROW_MAJOR"]
    enable_act_double_buffer: bool
    enable_weights_double_buffer: bool
    program_cache: bool
    weight_layout: WeightLayoutName
    input_layout: InputLayout | Literal["TILE", "ROW_MAJOR"]
    memory: Memory
    config_tensors_in_dram: bool
    full_inner_dim: bool
    act_block_w_div: int
    force_split_reader: bool
    enable_activation_reuse: bool


class ComputeGiven(TypedDict, total=False):
    """Of `ComputeConfig`."""

    arithmetic: Arithmetic
    math_fidelity: Fidelity | FidelityWord
    fp32_dest_acc: bool
    packer_l1_acc: bool
