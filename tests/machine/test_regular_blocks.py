"""Blocks of K one by one, with all lanes, on the scalar oracle of the matrix unit."""

import itertools

import jax.numpy as jnp
import numpy as np
import oracles_fpu as oracle
import pytest

import jaxdw as jd
from jaxdw.arch.arch import load_arch
from jaxdw.machine import regular
from jaxdw.numerics.sfpu import activate

CHIPS = {"wormhole": "wormhole_b0", "blackhole": "blackhole"}


def blocks_of(scheme, kernel, width, shards, full_inner_dim, parts):
    """Returns, block by block, the (tap, channel) of each lane of K; None in gaps."""
    (kh, kw), taps = kernel, range(kernel[0] * kernel[1])
    if scheme == "height" or (scheme == "block" and not full_inner_dim):
        rows = [[r * kw + s for s in range(kw)] for r in range(kh)]
    else:
        rows = [list(taps)]
    for row, part, shard in itertools.product(rows, range(parts), range(shards)):
        first = shard * width + part * (width // parts)
        own = range(first, first + width // parts)
        lanes = [(tap, channel) for tap in row for channel in own]
        yield lanes + [None] * (-len(lanes) % 32)


def pack_row(row, dtype, fp32_dest, pack_block=lambda b: oracle.kernel_block(b, 7)):
    if dtype == "bfloat8_b":
        padded = row + [0] * (-len(row) % 16)
        packed = [pack_block(padded[n : n + 16]) for n in range(0, len(padded), 16)]
        held = [oracle.unpack_code(code, e, 7) for e, codes in packed for code in codes]
        return held[: len(row)]
    if dtype == "bfloat16" and fp32_dest:
        return [oracle.dst_to_bf16(bits) for bits in row]
    return row


def tilise(lanes, dtype, out, fp32_dest, chip):
    if out == "bfloat8_b":
        if chip == "blackhole" and fp32_dest:
            return pack_row(lanes, out, fp32_dest, oracle.device_bfp8_block)
        return pack_row(lanes, out, fp32_dest)
    if dtype == "float32" and out == "bfloat16":
        if chip == "wormhole" and fp32_dest:
            return [oracle.dst_to_bf16(bits) for bits in lanes]
        return [bits & oracle.BF16_MASK for bits in lanes]
    return lanes


def add_in_l1(old, new, dtype):
    """Adds patterns as IEEE floats; no operand here is a denormal."""
    both = np.array([old, new], np.uint32).view(np.float32)
    total = (both[0] + both[1]).view(np.uint32).tolist()
    return [oracle.round_bf16_even(t) for t in total] if dtype == "bfloat16" else total


def oracle_dst(windows, weights, bias, how):
    """Returns Dst of one stick before the activation, by going through all of K."""
    fp32_dest, out, chip = how["fp32_dest"], how["out"], how["chip"]
    channels, phases = windows.shape[1], oracle.FIDELITY_PHASES[how["fidelity"]]
    shards = channels // how["width"]
    grid = (how["width"], shards, how["full"], how["parts"])
    blocks = list(blocks_of(how["scheme"], how["kernel"], *grid))
    in_l1 = how["l1"] and len(blocks) > (2 if bias is None else 1)
    partials_dtype = ("float32" if fp32_dest else "bfloat16") if in_l1 else out
    partials = None
    for number, lanes in enumerate(blocks):
        last = number == len(blocks) - 1
        to_dst = not in_l1 or (last and bias is None)
        dst = [0] * channels
        if to_dst and partials is not None:
            dst = [
                bits & ~0x1FFF if partials_dtype == "float32" else bits
                for bits in partials
            ]
        acts = [0 if at is None else int(windows[at]) for at in lanes]
        acts = tilise(acts, how["dtype"], out, fp32_dest, chip)
        for channel in range(channels):
            column = [
                int(weights[at]) if at is not None and at[1] == channel else 0
                for at in lanes
            ]
            for tile in range(0, len(lanes), 32):
                for phase in phases:
                    for half in (tile, tile + 16):
                        dst[channel] = oracle.gapool(
                            column[half : half + 16],
                            acts[half : half + 16],
                            dst[channel],
                            phase,
                            fp32_dest,
                            chip,
                        )
        if last and bias is None:
            return dst
        packed = pack_row(dst, partials_dtype, fp32_dest)
        adds = in_l1 and partials is not None
        partials = add_in_l1(partials, packed, partials_dtype) if adds else packed
    return [
        oracle.elwadd(a, b, 0, False, fp32_dest, chip)
        for a, b in zip(partials, bias.tolist(), strict=True)
    ]


CASES = {
    "scheme": "block", "kernel": (2, 3), "width": 8, "full": False, "bias": False,
    "fidelity": "HiFi2", "fp32_dest": False, "dtype": "bfloat16", "out": "bfloat16",
    "l1": False, "chip": "wormhole", "activation": None, "parts": 1,
}  # fmt: skip
F32 = {"fp32_dest": True, "out": "float32"}
BFP8 = {"out": "bfloat8_b"}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "how",
    [
        {"fidelity": "LoFi"},
        {"width": 24, "fidelity": "HiFi3"},
        {"width": 24, "full": True, "kernel": (2, 2), "fidelity": "HiFi4"},
        {"width": 16, "full": True},
        {"width": 40, "kernel": (1, 2)},
        {"scheme": "height", "width": 24, "kernel": (1, 6), "fidelity": "HiFi4"},
        {"scheme": "width", "width": 32, "kernel": (1, 3), **F32},
        F32,
        {**F32, "bias": True},
        {**F32, "dtype": "float32", "full": True},
        {**F32, "dtype": "float32", "chip": "blackhole", "l1": True},
        {**F32, "l1": True, "bias": True},
        {"l1": True},
        {"l1": True, "bias": True, "kernel": (3, 1)},
        {"l1": True, "bias": True, "kernel": (1, 2), "width": 16, "shards": 1},
        {"l1": True, "fp32_dest": True, "full": True, "activation": "gelu"},
        {"scheme": "width", "width": 32, "kernel": (1, 2), "l1": True, **F32},
        {"scheme": "width", "width": 32, "kernel": (2, 2), **F32},
        {"scheme": "width", "width": 64, "kernel": (1, 1), "parts": 2, **F32},
        {"scheme": "height", "width": 96, "kernel": (2, 1), "l1": True, "bias": True},
        {"l1": True, "scheme": "height", "kernel": (2, 2), **F32},
        {"fp32_dest": True, "activation": "gelu"},
        {"fp32_dest": True, "activation": "relu6", "bias": True},
        {"fp32_dest": True, "dtype": "float32"},
        {"fp32_dest": True, "dtype": "float32", "chip": "blackhole"},
        {"dtype": "float32", "bias": True},
        BFP8,
        {**BFP8, "bias": True, "width": 24, "kernel": (2, 2)},
        {**BFP8, "full": True, "kernel": (3, 1), "fp32_dest": True},
        {**BFP8, "width": 16, "fp32_dest": True, "chip": "blackhole"},
        {**BFP8, "fp32_dest": True, "activation": "gelu", "shards": 3},
        {**BFP8, "scheme": "height", "width": 40, "kernel": (1, 3)},
        {**BFP8, "scheme": "width", "width": 32, "kernel": (1, 2), "fp32_dest": True},
        {**BFP8, "l1": True, "kernel": (3, 1)},
        {**BFP8, "width": 16, "chip": "blackhole"},
        {
            "scheme": "width",
            "width": 96,
            "parts": 3,
            "shards": 1,
            "kernel": (1, 1),
            "l1": True,
            "bias": True,
            "fp32_dest": True,
            "fidelity": "HiFi4",
        },
    ],
    ids=str,
)
def test_sticks_equal_those_of_all_blocks_and_lanes(how, seed):
    how = CASES | how
    shards = how.get("shards", 1 if how["scheme"] == "height" else 2)
    rng = np.random.default_rng(seed)
    taps, channels = how["kernel"][0] * how["kernel"][1], shards * how["width"]

    def draw(*shape, dtype):
        """Normal values, and in odd seeds wide ones; a tenth zeros."""
        scale = 2.0 ** rng.integers(-8, 8, shape) if seed else 1
        values = (rng.standard_normal(shape) * scale).astype(np.float32)
        values[rng.random(shape) < 0.1] = 0
        bits = values.view(np.uint32)
        return bits if dtype == "float32" else bits & oracle.BF16_MASK

    windows = draw(taps, 1, channels, dtype=how["dtype"])
    weights_dtype = "float32" if how["out"] == "float32" else "bfloat16"
    weights = draw(taps, 1, channels, dtype=weights_dtype)
    bias = draw(channels, dtype=weights_dtype) if how["bias"] else None
    dst = oracle_dst(windows[:, 0], weights[:, 0], bias, how)
    held = jnp.asarray(np.array([dst], np.uint32).view(np.float32))
    active = activate(held, how["activation"], fp32_dest=how["fp32_dest"])
    row = np.asarray(active).view(np.uint32)[0].tolist()
    want = pack_row(row, how["out"], how["fp32_dest"])

    values = [None if v is None else jnp.asarray(v.view("f4")) for v in (windows, bias)]
    for form in ("integer", "float"):
        got = regular.compute_sticks(
            lambda k: values[0][k],
            jnp.asarray(weights.view(np.float32)),
            values[1],
            scheme=how["scheme"],
            kernel=how["kernel"],
            width=how["width"],
            full_inner_dim=how["full"],
            act_block_w_div=how["parts"],
            packer_l1_acc=how["l1"],
            activation=how["activation"],
            output_dtype=how["out"],
            dtype=how["dtype"],
            weights_dtype=weights_dtype,
            compute=jd.ComputeConfig(
                math_fidelity=how["fidelity"], fp32_dest_acc=how["fp32_dest"]
            ),
            arch=load_arch(CHIPS[how["chip"]]),
            form=form,
        )
        assert np.asarray(got).view(np.uint32)[0].tolist() == want


def test_denormal_partials_in_l1_are_zero():
    """Blocks of 1.5, -1, 1 and 0 times the smallest normal number: 0.5 is lost."""
    values = jnp.array([1.5, -1.0, 1.0, 0.0])[:, None, None] * jnp.ones((1, 1, 8))
    how = CASES | {"scheme": "height", "kernel": (4, 1)}
    for fp32_dest, output_dtype in ((False, "bfloat16"), (True, "float32")):
        got = regular.compute_sticks(
            lambda k: values[k] * 2.0**-63,
            jnp.full((4, 1, 8), 2.0**-63),
            None,
            scheme=how["scheme"],
            kernel=how["kernel"],
            width=8,
            packer_l1_acc=True,
            activation=None,
            output_dtype=output_dtype,
            dtype="bfloat16",
            weights_dtype="bfloat16",
            compute=jd.ComputeConfig(fp32_dest_acc=fp32_dest),
            arch=load_arch("wormhole_b0"),
            form="integer",
        )
        assert np.asarray(got).view(np.uint32).tolist() == [[0x00800000] * 8]
