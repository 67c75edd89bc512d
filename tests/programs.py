"""What tests of ttnn's programs share: layers, operands, and a whole layer's oracle."""

import jax.numpy as jnp
import numpy as np
import oracles_fpu
import oracles_ttnn as ttnn
from oracles_unit import Compute, numbers, of_values, pack

import jaxdw as jd
from jaxdw.numerics import sfpu

KEPT_BITS = {"bfloat8_b": 7, "bfloat4_b": 3}


def draw(conv: jd.ConvConfig, seed: int = 0):
    """Draws x, w and bias, float32 values of no short format."""
    rng = np.random.default_rng(seed)
    shapes = conv.input_shape, conv.weight_shape, (conv.channels,)
    x, w, bias = (rng.standard_normal(s).astype(np.float32) for s in shapes)
    return x, w, bias if conv.bias else None


def rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """Returns the patterns of values as the host casts them to bf16 or float32."""
    bits = of_values(values)
    if dtype == "float32":
        return bits
    even = [oracles_fpu.round_bf16_even(b) for b in bits.ravel().tolist()]
    return np.array(even, np.int64).reshape(bits.shape)


def held(values: np.ndarray, dtype: str, run: int) -> np.ndarray:
    """Returns the patterns of weights `[..., channels]` that the host packed.

    Args:
      run: channels of the last axis that share an exponent, of a block format.
    """
    if dtype not in KEPT_BITS:
        return rounded(values, dtype)
    kept = KEPT_BITS[dtype]
    channels = values.shape[-1]
    filled = np.zeros((*values.shape[:-1], -(-channels // run) * run), np.float32)
    filled[..., :channels] = values
    blocks = of_values(filled).reshape(-1, run).tolist()
    found = []
    for block in blocks:
        shared, codes = oracles_fpu.host_block(block + [0] * (16 - run), kept)
        found += [oracles_fpu.unpack_code(c, shared, kept) for c in codes[:run]]
    return np.array(found, np.int64).reshape(filled.shape)[..., :channels]


def windows_of(conv: jd.ConvConfig, x: np.ndarray) -> np.ndarray:
    """Returns `[sticks, kh, kw, C]` of an image `[N, H, W, C]`, zeros around it."""
    top, bottom, left, right = conv.padding
    image = np.pad(x, [(0, 0), (top, bottom), (left, right), (0, 0)])
    reach = [d * (k - 1) + 1 for d, k in zip(conv.dilation, conv.kernel, strict=True)]
    found = [
        picture[
            y : y + reach[0] : conv.dilation[0], x : x + reach[1] : conv.dilation[1]
        ]
        for picture in image
        for y in range(0, image.shape[1] - reach[0] + 1, conv.stride[0])
        for x in range(0, image.shape[2] - reach[1] + 1, conv.stride[1])
    ]
    return np.stack(found)


def layout_of(plan: jd.Plan) -> ttnn.Layout:
    """Returns how a plan of `regular` cuts K."""
    full = plan.scheme == "block" and plan.shard.full_inner_dim
    return ttnn.Layout(
        "block_full" if full else plan.scheme,
        plan.conv.kernel,
        plan.input_shard.channels,
        plan.num_channel_shards,
        plan.shard.act_block_w_div,
    )


def expected(plan: jd.Plan, x, w, bias, *, coalesced: bool | None = None) -> np.ndarray:
    """Returns the output of a whole layer by the slow oracle, float32 values.

    `regular` multiplies the whole matrix on all its lanes, zeros and all. SILU is the
    package's own, which has oracles of its own.

    Args:
      coalesced: of `conv1d`; the plan says it if None.
    """
    conv, compute = plan.conv, plan.compute
    own = Compute(
        compute.math_fidelity,
        compute.fp32_dest_acc,
        "blackhole" if plan.arch.name.startswith(("blackhole", "p1")) else "wormhole",
        conv.output_dtype,
        compute.packer_l1_acc,
    )
    windows = windows_of(conv, rounded(x, conv.dtype))
    if plan.program == "conv1d":
        by_tap = held(w.reshape(conv.channels, -1).T, conv.weights_dtype, 16)
        coalesced = plan.own_facts()["coalesced"] if coalesced is None else coalesced
        taps = windows.reshape(len(windows), -1, conv.channels)
        dst = ttnn.conv1d_dst(taps, by_tap, own, coalesced)
    else:
        # on the diagonal each weight has a block of 16 to itself
        diagonal = held(w[:, 0, ..., None], conv.weights_dtype, 1)[..., 0]
        own_bias = None if bias is None else held(bias, conv.weights_dtype, 16)
        dst = ttnn.regular_dst(windows, diagonal, layout_of(plan), own, own_bias)
    if conv.activation == "relu":
        dst = np.where(dst >> 31, 0, dst)
    elif conv.activation is not None:
        active = sfpu.activate(
            jnp.asarray(numbers(dst)), conv.activation, fp32_dest=compute.fp32_dest_acc
        )
        dst = of_values(np.asarray(active))
    packed = numbers(pack(dst, conv.output_dtype, compute.fp32_dest_acc))
    return packed[:, : conv.channels].reshape(plan.output_shape)


def same_bits(got, want) -> None:
    """Asserts that two float32 arrays hold the same patterns."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    np.testing.assert_array_equal(got.view(np.uint32), want.view(np.uint32))
