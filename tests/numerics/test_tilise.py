"""Activations as tilising leaves them, for every mix of formats, Dst and chip."""

import jax.numpy as jnp
import numpy as np
import oracles_ttnn as ttnn
import pytest
from oracles_unit import TF32_MASK, Compute, numbers, of_values

import jaxdw as jd
from jaxdw.arch.arch import load_arch
from jaxdw.numerics import tilise

CHIPS = {"wormhole": ("wormhole_b0", "n150"), "blackhole": ("blackhole", "p150")}
F32, BF16, BFP8 = "float32", "bfloat16", "bfloat8_b"
NAN, NOT_QUIET, MIDDLE = 0x7FC00000, 0xFF910000, 0x3F808000


def operands(dtype: str) -> np.ndarray:
    """Returns patterns `[4, 32]`: values of all sizes, then those that are special."""
    rng = np.random.default_rng(0)
    found = of_values(rng.standard_normal((4, 32)) * 2.0 ** rng.integers(-3, 4, 32))
    if dtype == BF16:
        found &= 0xFFFF0000
    found[1, ::5] = 0
    return found


def tilised(bits, dtype, output_dtype, *, fp32_dest, arch) -> np.ndarray:
    how = {"fp32_dest": fp32_dest, "arch": load_arch(arch)}
    values = jnp.asarray(numbers(np.asarray(bits)))
    return of_values(tilise.tilised(values, dtype, output_dtype, **how))


@pytest.mark.parametrize(
    ("dtype", "output_dtype"),
    [(BF16, BF16), (BF16, F32), (BF16, BFP8), (F32, BF16), (F32, F32)],
)
@pytest.mark.parametrize("fp32_dest", [False, True])
@pytest.mark.parametrize("chip", CHIPS)
def test_activations_take_the_outputs_format(chip, fp32_dest, dtype, output_dtype):
    bits = operands(dtype)
    if output_dtype != BFP8:
        bits[0, :3] = NAN, NOT_QUIET, 0x7F800000
    want = ttnn.tilise(bits, Compute("LoFi", fp32_dest, chip, output_dtype))
    for arch in CHIPS[chip]:
        got = tilised(bits, dtype, output_dtype, fp32_dest=fp32_dest, arch=arch)
        mask = TF32_MASK if output_dtype == F32 else -1  # the rest nothing reads
        np.testing.assert_array_equal(got & mask, want)


@pytest.mark.parametrize(
    ("fp32_dest", "arch", "want"),
    [
        (False, "wormhole_b0", [0x3F800000, NAN]),
        (True, "wormhole_b0", [0x3F810000, 0x7F800000]),
        (False, "blackhole", [0x3F800000, NAN]),
        (True, "blackhole", [0x3F800000, NAN]),
    ],
)  # fmt: skip
def test_only_a_32_bit_dst_of_wormhole_rounds(fp32_dest, arch, want):
    """The middle of two bf16 values, and a NaN."""
    how = {"fp32_dest": fp32_dest, "arch": arch}
    assert tilised([MIDDLE, NAN], F32, BF16, **how).tolist() == want
    assert tilised([NAN, 0x3F810000], BF16, BF16, **how).tolist() == [
        want[1],
        0x3F810000,
    ]


@pytest.mark.parametrize("weights_dtype", [BF16, BFP8, F32])
@pytest.mark.parametrize("dtype", [BF16, F32])
@pytest.mark.parametrize("output_dtype", [BF16, BFP8, F32])
@pytest.mark.parametrize("fp32_dest", [False, True])
def test_mixes_of_unknown_rule_are_refused(
    fp32_dest, output_dtype, dtype, weights_dtype
):
    how = {"fp32_dest": fp32_dest}
    if (dtype, output_dtype) == (F32, BFP8):
        message = r"`dtype` \(='float32'\) with `output_dtype` \(='bfloat8_b'\)"
    elif not fp32_dest and (weights_dtype == F32 or dtype == output_dtype == F32):
        message = rf"`weights_dtype` \(='{weights_dtype}'\) .* use fp32_dest_acc=True"
    else:
        tilise.refuse_unknown(dtype, weights_dtype, output_dtype, **how)
        return
    with pytest.raises(jd.UnsupportedError, match=message):
        tilise.refuse_unknown(dtype, weights_dtype, output_dtype, **how)
