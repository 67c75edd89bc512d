"""What tilising makes of activations: they take the output's format before a product.

Source: ttnn 0.81.1, its own kernels run on ttsim @56694c8a, Wormhole and Blackhole.
"""

from jaxtyping import Array, Float32

from jaxdw.arch.arch import Arch
from jaxdw.errors import UnsupportedError
from jaxdw.numerics import formats


def is_wormhole(arch: Arch) -> bool:
    """Whether the chip's matrix unit and packer are Wormhole's, by their -1 quirk."""
    return arch.minus_one_unit_exponent_step != -23


def refuse_unknown(
    dtype: str, weights_dtype: str, output_dtype: str, *, fp32_dest: bool
) -> None:
    """Refuses a mix of formats whose rule is not known.

    Raises:
      UnsupportedError: float32 activations of a bfloat8_b output, or a 16-bit Dst with
        float32 weights or with float32 activations that stay so.
    """
    if dtype == "float32" and output_dtype == "bfloat8_b":
        raise UnsupportedError(
            "`dtype` (='float32') with `output_dtype` (='bfloat8_b') is not modelled: "
            "how the chip tilises float32 to bfloat8_b is not known; use "
            "dtype='bfloat16'"
        )
    stays = dtype == output_dtype == "float32"
    if not fp32_dest and (weights_dtype == "float32" or stays):
        raise UnsupportedError(
            f"`weights_dtype` (={weights_dtype!r}) with `dtype` (={dtype!r}) and "
            f"`output_dtype` (={output_dtype!r}) is not modelled with a 16-bit Dst: "
            "how the chip unpacks float32 into it is not known; use fp32_dest_acc=True"
        )


def keeps_bits(dtype: str, output_dtype: str) -> bool:
    """Whether `tilised` changes no bf16 value, nor one with lower bits cut off.

    Another format packs activations, which all their bits decide.
    """
    return dtype == "bfloat16" and output_dtype != "bfloat8_b"


def tilised(
    values: Float32[Array, "*shape lanes"],
    dtype: str,
    output_dtype: str,
    *,
    fp32_dest: bool,
    arch: Arch,
) -> Float32[Array, "*shape lanes"]:
    """Returns activations as the matrix unit meets them, 16 lanes to a block.

    float32 becomes bf16 by truncation. With a 32-bit Dst of Wormhole all values are
    packed as from Dst: to nearest, ties away, NaN to infinity. bfloat8_b is the
    `kernel` packer's, with a 32-bit Dst of Blackhole the `device` one's. The rest is
    exact, or cut to TF32 when it is read.
    """
    if output_dtype == "bfloat8_b":
        packer = "device" if fp32_dest and not is_wormhole(arch) else "kernel"
        return formats.packed_values(values, output_dtype, packer)
    if output_dtype == "bfloat16" and fp32_dest and is_wormhole(arch):
        return formats.dst_to_bf16(values)
    if output_dtype == "bfloat16" and dtype == "float32":
        return formats.cut_to_bf16(values)
    return values
