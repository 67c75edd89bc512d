"""Arithmetic that goes wrong: host conversions and cores that faults put in."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from jaxdw.arch.arch import Arch
from jaxdw.faults.used_chip import Launch, emulate_sticks, even_shapes
from jaxdw.judge.draws import Operands
from jaxdw.launch.host import bias_in_lanes, weights_in_lanes
from jaxdw.machine.sticks import core_sticks
from jaxdw.maps.held import held_in_l1
from jaxdw.maps.indexmap import IndexMap, gather, make_index_map
from jaxdw.maps.maps import ComposedMaps
from jaxdw.maps.multicast import handshake
from jaxdw.numerics import formats, fpu, fpu_float
from jaxdw.plan.config import Activation, ComputeConfig, Fidelity, OutputDtype
from jaxdw.plan.depthwise.weights import effective_tiles
from jaxdw.plan.plan import Plan
from jaxdw.plan.units import TILE_ELEMS

REDUCE_ROWS = 32  # that unpack_tilizeA_B reads for more than 16 kernel positions


def cut_operands(plan: Plan, operands: Operands) -> Operands:
    """Cuts to bf16 on the host instead of rounding: bfloat16::truncate."""

    x, w, bias = operands
    if plan.conv.dtype == "bfloat16":
        x = formats.truncated(x)
    if plan.conv.weights_dtype == "bfloat16":
        w = formats.truncated(w)
        bias = None if bias is None else formats.truncated(bias)
    return Operands(x, w, bias)


def block_values(
    blocks: Float[np.ndarray, "blocks elems *rest"],
    magnitude_bits: int,
    *,
    rounds: bool = True,
    most_exponent: int = 128,
) -> Float32[np.ndarray, "blocks elems *rest"]:
    """Returns the values that block formats keep; one exponent along the second axis.

    Args:
      rounds: to nearest even as the host does, after truncating to 24 aligned bits; if
        not, toward zero.
      most_exponent: above which the shared exponent saturates, unbiased.
    """
    size = np.abs(blocks.astype(np.float64))
    exponent = np.where(size > 0, np.frexp(size)[1] - 1, -127)
    shared = np.minimum(exponent.max(axis=1, keepdims=True), most_exponent)
    step = np.ldexp(1.0, shared - (magnitude_bits - 1))
    aligned = np.floor(np.ldexp(size / step, 24 - magnitude_bits))
    magnitude = np.ldexp(aligned, magnitude_bits - 24)
    magnitude = np.rint(magnitude) if rounds else np.floor(magnitude)
    magnitude = np.minimum(magnitude, 2**magnitude_bits - 1)
    return (np.sign(blocks) * magnitude * step).astype(np.float32)


def pack_blocks(
    plan: Plan, operands: Operands, *, elems: int = formats.BLOCK, **rule
) -> Operands:
    """Packs weights by another rule; the right packer then leaves them as they are.

    Args:
      elems: that share an exponent; neighbours in a tile are channels of one position.
      rule: of `block_values`.
    """
    channels, taps = plan.conv.channels, plan.conv.taps
    padded = plan.num_channel_shards * plan.input_shard.channels
    lanes = np.zeros((padded, taps), np.float32)
    lanes[:channels] = operands.w.reshape(channels, taps)
    bits = formats.MAGNITUDE_BITS[plan.conv.weights_dtype]
    held = block_values(lanes.reshape(-1, elems, taps), bits, **rule)
    w = held.reshape(padded, taps)[:channels].reshape(operands.w.shape)
    return operands._replace(w=w)


def _dst_sticks(launch: Launch, laid: Operands) -> Float32[Array, "outputs c"]:
    """Returns what the packer finds in Dst."""
    conv = dataclasses.replace(launch.plan.conv, output_dtype="float32")
    plan = dataclasses.replace(launch.plan, conv=conv)
    return emulate_sticks(dataclasses.replace(launch, plan=plan), laid)


def cut_on_output(launch: Launch, laid: Operands) -> Float32[Array, "outputs c"]:
    """Packs Dst to bf16 by cutting its low 16 bits off."""
    return formats.cut_to_bf16(_dst_sticks(launch, laid))


def add_bias_last(launch: Launch, laid: Operands) -> Float32[Array, "outputs c"]:
    """Adds the bias to what the activation left in Dst."""
    plan, maps = launch.plan, launch.maps
    unbiased = dataclasses.replace(plan.conv, bias=False)
    dst = _dst_sticks(
        dataclasses.replace(
            launch,
            plan=dataclasses.replace(plan, conv=unbiased),
            maps=dataclasses.replace(maps, bias=None),
        ),
        laid._replace(bias=None),
    )
    assert laid.bias is not None
    return _add_bias(dst, jnp.asarray(laid.bias), maps.composed, plan=plan)


@functools.partial(jax.jit, static_argnames="plan")
def _add_bias(dst, bias, maps: ComposedMaps, *, plan: Plan):
    held = bias_in_lanes(maps, bias, plan.conv.weights_dtype)
    assert held is not None
    channels, fp32_dest = plan.conv.channels, plan.compute.fp32_dest_acc
    padded = plan.num_channel_shards * plan.input_shard.channels
    dst = jnp.pad(dst, [(0, 0), (0, padded - channels)])
    added = jnp.broadcast_to(held[None], dst.shape)
    if plan.compute.arithmetic == "float32":
        return formats.round_to(dst + added, plan.conv.output_dtype)[:, :channels]
    dst = fpu.elwadd(
        jnp.zeros_like(dst),
        added,
        dst,
        accumulate=True,
        fp32_dest=fp32_dest,
        arch=plan.arch,
    )
    packed = formats.pack_output(dst, plan.conv.output_dtype, fp32_dest=fp32_dest)
    return packed[:, :channels]


def more_phases_matter(plan: Plan) -> bool:
    """Whether HiFi4 multiplies bits that the fidelity asked for leaves out."""
    return phases_matter(plan, "HiFi4")


def phases_matter(plan: Plan, fidelity: Fidelity, than: Fidelity | None = None) -> bool:
    """Whether a fidelity multiplies other bits than another, or the one asked for."""
    windows_dtype = "float32" if plan.conv.dtype == "float32" else "bfloat16"
    bits = fpu_float.mantissa_bits_of(windows_dtype, plan.conv.weights_dtype)
    asked, other = (
        fpu_float.effective_phases(fpu.PHASES[name], plan.compute.fp32_dest_acc, bits)
        for name in (than or plan.compute.math_fidelity, fidelity)
    )
    return asked != other


def compute_with(launch: Launch, **fields) -> Launch:
    """Computes with other fields of the compute config."""
    plan = launch.plan
    compute = dataclasses.replace(plan.compute, **fields)
    return dataclasses.replace(launch, plan=dataclasses.replace(plan, compute=compute))


def _packed_products(
    windows: Float32[Array, "sticks taps channels"],
    weights: Float32[Array, "one taps channels"],
    compute: ComputeConfig,
    arch: Arch,
) -> Float32[Array, "sticks elems"]:
    """Returns each stick's products as they lie in mul_cb, position by position."""
    products = windows * weights
    if compute.arithmetic == "fpu":
        fp32_dest = compute.fp32_dest_acc
        weights = jnp.broadcast_to(weights, windows.shape)
        products = jnp.zeros_like(windows)
        for phase in range(fpu.PHASES[compute.math_fidelity]):
            products = fpu.elwmul(
                windows, weights, products, phase=phase, fp32_dest=fp32_dest, arch=arch
            )
        products = formats.dst_to_bf16(products) if fp32_dest else products
    return products.reshape(len(windows), -1)


def _fit(rows: Float32[Array, "n elems"], elems: int) -> Float32[Array, "n fit"]:
    missing = max(0, elems - rows.shape[1])
    return jnp.pad(rows[:, :elems], [(0, 0), (0, missing)])


@functools.partial(
    jax.jit, static_argnames=("compute", "arch", "activation", "output_dtype")
)
def stale_row_sticks(
    windows: Float32[Array, "sticks taps channels"],
    weights: Float32[Array, "one taps channels"],
    bias: Float32[Array, " channels"] | None,
    after: Float32[Array, " elems"],
    *,
    compute: ComputeConfig,
    arch: Arch,
    activation: Activation | None = None,
    output_dtype: OutputDtype = "bfloat16",
) -> Float32[Array, "sticks channels"]:
    """Computes one core's sticks as upstream does for 17 to 32 kernel positions.

    The reduce reads 32 rows of channels, of which mul_cb holds whole tiles up to
    `taps * channels` elements only. What it reads past them: on even sticks the other
    slot, with the previous stick's products (zeros before the first stick, which on a
    chip nobody initialised); on odd sticks what lies after mul_cb.

    Args:
      after: the start of weight_cb, its bytes read as bf16.

    Source: tt-metal compute_pool_2d.cpp @002a3f41; tests/golden/stale_rows_K25_C160.npz
    agrees from the second stick on.
    """
    sticks, taps, channels = windows.shape
    written = -(-taps * channels // TILE_ELEMS) * TILE_ELEMS
    stale = REDUCE_ROWS * channels - written
    products = _packed_products(windows, weights, compute, arch)
    other_slot = jnp.pad(products[:-1], [(1, 0), (0, 0)])
    even = jnp.arange(sticks)[:, None] % 2 == 0
    tail = jnp.where(even, _fit(other_slot, stale), _fit(after[None], stale))
    read = jnp.pad(tail, [(0, 0), (written, 0)])
    rows = read.reshape(sticks, REDUCE_ROWS, channels)[:, taps:]
    ones = jnp.ones((1, REDUCE_ROWS - taps, channels), jnp.float32)
    return core_sticks(
        jnp.concatenate([windows, rows], axis=1),
        jnp.concatenate([weights, ones], axis=1),
        bias,
        compute=compute,
        arch=arch,
        activation=activation,
        output_dtype=output_dtype,
    )


def add_stale_rows(launch: Launch, laid: Operands) -> Float32[Array, "outputs c"]:
    """Runs `stale_row_sticks` on every core of a launch.

    Every core's first stick is NaN if the memory before the launch is not known.
    """
    plan = launch.plan
    maps = even_shapes(launch.maps.composed, plan)
    return _stale_rows(maps, _tiles(launch), laid, plan=plan, known=launch.known)


def _tiles(launch: Launch) -> IndexMap:
    """Returns the OIHW weights in every core's weight_cb, `[cores, elements]`."""
    plan, maps = launch.plan, launch.maps
    elements = np.arange(effective_tiles(plan) * TILE_ELEMS)[None]
    found = held_in_l1(
        maps.weights,
        handshake(maps.multicast).source,
        make_index_map(elements, maps.pairing.size),
        plan.num_nhw_shards,
    ).sources
    shape = (plan.num_nhw_shards, plan.num_channel_shards, elements.size)
    return IndexMap(
        np.broadcast_to(found.index, shape).reshape(-1, elements.size), found.size
    )


@functools.partial(jax.jit, static_argnames=("plan", "known"))
def _stale_rows(
    maps: ComposedMaps, tiles: IndexMap, laid: Operands, *, plan: Plan, known: bool
) -> Float32[Array, "outputs c"]:
    conv, channels = plan.conv, plan.input_shard.channels
    padded = plan.num_channel_shards * channels
    x = jnp.pad(laid.x, [(0, 0), (0, padded - conv.channels)])
    sticks = formats.round_to(x, conv.dtype).reshape(len(x), -1, channels)

    def by_core(values):
        if values is None:
            return None
        split = values.reshape(*values.shape[:-1], -1, channels)
        split = jnp.moveaxis(split, -2, 1)
        return split.reshape(-1, *split.shape[2:])

    def one_core(core):
        column, rows, elements, weights, bias = core
        windows = gather(sticks, IndexMap(rows, maps.sticks.size))[:, :, column]
        held = gather(laid.w.reshape(-1), IndexMap(elements, tiles.size))
        raw = formats.pack(held.reshape(-1, TILE_ELEMS), conv.weights_dtype)
        after = jax.lax.bitcast_convert_type(raw.reshape(-1, 2), jnp.bfloat16)
        return stale_row_sticks(
            windows.swapaxes(0, 1),
            weights[None],
            bias,
            after.astype(jnp.float32),
            compute=plan.compute,
            arch=plan.arch,
            activation=conv.activation,
            output_dtype=conv.output_dtype,
        )

    columns = jnp.arange(plan.num_cores) % plan.num_channel_shards
    rows = jnp.repeat(jnp.asarray(maps.sticks.index), plan.num_channel_shards, axis=0)
    weights = weights_in_lanes(maps, laid.w, conv.weights_dtype)
    bias = bias_in_lanes(maps, laid.bias, conv.weights_dtype)
    cores = columns, rows, tiles.index, by_core(weights), by_core(bias)
    outputs = jax.lax.map(one_core, cores)
    if not known:
        outputs = outputs.at[:, 0].set(jnp.nan)
    grid = (plan.num_nhw_shards, plan.num_channel_shards)
    by_shard = outputs.reshape(*grid, -1, channels).swapaxes(1, 2)
    assert maps.collect is not None
    return gather(by_shard.reshape(-1, padded), maps.collect)[:, : conv.channels]
