"""The whole chip: every stage of the data path, one core's program over the grid."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Float32, Int32, Shaped

from jaxdw.arch.arch import Arch
from jaxdw.errors import UnsupportedError, refuse
from jaxdw.machine import noc
from jaxdw.machine.core import core_program
from jaxdw.machine.memory import Memory
from jaxdw.maps.indexmap import HostOrDevice, gather, gather_written
from jaxdw.maps.maps import ComposedMaps, Maps, make_maps, window_map
from jaxdw.maps.weights import prepare_map, served_channels
from jaxdw.numerics import formats, fpu_fast
from jaxdw.plan.config import ComputeConfig, ConvConfig, ShardConfig
from jaxdw.plan.plan import Plan
from jaxdw.plan.planner import make_plan
from jaxdw.plan.traffic import Traffic

MEMORIES = (
    "weights",
    "tiles",
    "dram",
    "l1_weights",
    "bias",
    "bias_tiles",
    "bias_dram",
    "l1_bias",
    "sender_semaphores",
    "receiver_semaphores",
    "input_shards",
    "haloed_shards",
    "output_shards",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Emulation:
    """What one emulated launch left behind.

    Attributes:
      output: `[N, Ho, Wo, C]` float32, values of the output dtype.
      memories: the arrays asked for with `keep`. `weights`, `bias` are the prepared
        matrices, `tiles`, `bias_tiles` `[tiles, 1024]`, `dram`, `bias_dram` raw bytes
        `[banks, slots, page bytes]`, `l1_weights`, `l1_bias` values `[cores, tiles,
        1024]`, the semaphores `[cores]`, the shards `[cores, rows, channels]`.
        Memory that nobody wrote is NaN, or 255 in bytes.
    """

    plan: Plan
    output: Float32[Array, "n ho wo c"]
    memories: Mapping[str, Shaped[Array, "..."]]

    @property
    def traffic(self) -> Traffic:
        return self.plan.traffic


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """What fixes shapes or chooses code; all else of a plan travels as arrays."""

    num_channel_shards: int
    channels_per_core: int  # padded
    channels: int
    num_outputs: int
    dtype: str
    weights_dtype: str
    output_dtype: str
    activation: str | None
    compute: ComputeConfig
    arch: Arch
    keep: tuple[str, ...]


def program_of(plan: Plan, keep: tuple[str, ...] = ()) -> Program:
    """Returns the static part of a plan."""
    conv = plan.conv
    return Program(
        num_channel_shards=plan.num_channel_shards,
        channels_per_core=plan.input_shard.channels,
        channels=conv.channels,
        num_outputs=plan.window.num_outputs,
        dtype=conv.dtype,
        weights_dtype=conv.weights_dtype,
        output_dtype=conv.output_dtype,
        activation=conv.activation,
        compute=plan.compute,
        arch=plan.arch,
        keep=keep,
    )


def _host_weights(
    values: Float[Array, "..."], program: Program
) -> Float[Array, " elements"]:
    """Returns the flat host tensor in the dtype the preparation works on.

    Source: tt-metal prepare_conv2d_weights.cpp @002a3f41: bf16 tensors stay bf16, all
    others are float32 until they are packed.
    """
    host_dtype = "bfloat16" if program.weights_dtype == "bfloat16" else "float32"
    return formats.cast(values.reshape(-1), host_dtype)


def _pad_channels(
    sticks: Float[Array, "sticks channels"], program: Program
) -> Float[Array, "sticks padded"]:
    padded = program.num_channel_shards * program.channels_per_core
    sticks = jnp.pad(sticks, [(0, 0), (0, padded - program.channels)])
    return formats.cast(sticks, program.dtype)


def operands_ordinary(
    sticks: Float[Array, "sticks padded"],
    weight_tiles: Float32[Array, "*grid tiles 1024"],
    program: Program,
) -> Bool[Array, ""]:
    """Whether the matrix unit's float32 forms hold for these operands."""
    if program.compute.arithmetic != "fpu":
        return jnp.asarray(True)
    return fpu_fast.is_ordinary(sticks) & fpu_fast.is_ordinary(weight_tiles)


def map_grid(
    l1: Float[Array, "*grid rows channel_shards channels"],
    sticks: Int32[HostOrDevice, "shards taps outputs"],
    weight_tiles: Float32[Array, "*weight_grid tiles 1024"],
    bias_tiles: Float32[Array, "*bias_grid bias_tiles 1024"] | None,
    channels_written: Bool[HostOrDevice, "*written_grid channels"] | None,
    windows_written: Bool[HostOrDevice, "shards outputs"] | None,
    ordinary: Bool[Array, ""] | bool,
    program: Program,
) -> Float32[Array, "shards outputs channel_shards channels"]:
    """Maps one core's program over the grid: channel shards inside NHW shards.

    Arguments without the axis of NHW shards are the same for all of them.
    """
    core = functools.partial(
        core_program,
        weights_dtype=program.weights_dtype,
        activation=program.activation,
        output_dtype=program.output_dtype,
        compute=program.compute,
        arch=program.arch,
    )

    def shards(values: HostOrDevice | None, axes: int) -> int | None:
        return 0 if values is not None and values.ndim == axes else None

    over_channels = jax.vmap(core, in_axes=(1, None, 0, 0, 0, None, None), out_axes=1)
    over_grid = jax.vmap(
        over_channels,
        in_axes=(
            shards(l1, 4),
            0,
            shards(weight_tiles, 4),
            shards(bias_tiles, 4),
            shards(channels_written, 3),
            0,
            None,
        ),
    )
    return over_grid(
        l1,
        sticks,
        weight_tiles,
        bias_tiles,
        channels_written,
        windows_written,
        ordinary,
    )


def _through(
    maps: ComposedMaps,
    x: Float[Array, "sticks channels"],
    w: Float[Array, "c one kh kw"],
    bias: Float[Array, " c"] | None,
    program: Program,
) -> Float32[Array, "outputs c"]:
    """Moves and computes with the maps of all stages run together."""

    def tiles(host, index_map):
        found = gather(_host_weights(host, program), index_map)
        held = formats.hold(found.reshape(-1, found.shape[-1]), program.weights_dtype)
        return held.reshape(found.shape)

    sticks = _pad_channels(x, program)
    weight_tiles = tiles(w, maps.weights)
    shards = map_grid(
        sticks.reshape(len(x), program.num_channel_shards, -1),
        maps.sticks.index,
        weight_tiles,
        None if bias is None else tiles(bias, maps.bias),
        maps.channels_written,
        maps.windows_written,
        operands_ordinary(sticks, weight_tiles, program),
        program,
    )
    rows = shards.reshape(shards.shape[0] * shards.shape[1], -1)
    if maps.collect is not None:
        rows = gather(rows, maps.collect)
    return rows[: program.num_outputs, : program.channels]


@functools.partial(jax.jit, static_argnames="program")
def run_composed(
    maps: ComposedMaps,
    x: Float[Array, "sticks channels"],
    w: Float[Array, "c one kh kw"],
    bias: Float[Array, " c"] | None,
    program: Program,
) -> Float32[Array, "outputs c"]:
    """Runs without intermediate copies; derivatives go straight through roundings."""
    smooth = dataclasses.replace(
        program,
        dtype="float32",
        weights_dtype="float32",
        output_dtype="float32",
        compute=ComputeConfig(arithmetic="float32"),
    )
    leaves, structure = jax.tree.flatten(maps)

    @jax.custom_jvp
    def through(leaves, x, w, bias):
        return _through(structure.unflatten(leaves), x, w, bias, program)

    @through.defjvp
    def through_jvp(primals, tangents):
        def smoothly(x, w, bias):
            return _through(structure.unflatten(primals[0]), x, w, bias, smooth)

        tangent = jax.jvp(smoothly, primals[1:], tangents[1:])[1]
        return through(*primals), tangent

    return through(leaves, x, w, bias)


@jax.custom_jvp
def _refuse_derivatives(x, w, bias):
    """Returns its arguments: derivatives do not pass bytes and banks."""
    return x, w, bias


@_refuse_derivatives.defjvp
def _refuse_derivatives_jvp(primals, tangents):
    raise UnsupportedError(
        "derivatives go through composed maps only: call `run` without `keep`, and "
        "with `maps` closed over rather than passed through an outer jit"
    )


@functools.partial(jax.jit, static_argnames="program")
def _run_staged(
    maps: Maps,
    x: Float[Array, "sticks channels"],
    w: Float[Array, "c one kh kw"],
    bias: Float[Array, " c"] | None,
    program: Program,
) -> tuple[Float32[Array, "outputs c"], dict[str, Shaped[Array, "..."]]]:
    """Runs stage by stage; every memory is made."""
    x, w, bias = _refuse_derivatives(x, w, bias)
    num_nhw_shards, num_channel_shards = (
        len(maps.shard.index),
        program.num_channel_shards,
    )
    grid = (num_nhw_shards, num_channel_shards)
    dtype = program.weights_dtype

    def l1_tiles(l1: Memory) -> Float32[Array, "cores tiles 1024"]:
        tiles = formats.unpack(l1.data.reshape(-1, l1.data.shape[-1]), dtype)
        tiles = tiles.reshape(*l1.written.shape, -1)
        return jnp.where(l1.written[..., None], tiles, jnp.nan)

    def by_grid(values: Shaped[Array, "cores ..."]) -> Shaped[Array, "n s ..."]:
        return values.reshape(*grid, *values.shape[1:])

    def by_core(shards: Float[Array, "n rows sc"]) -> Float[Array, "cores rows c"]:
        split = shards.reshape(*shards.shape[:2], num_channel_shards, -1)
        return split.swapaxes(1, 2).reshape(-1, split.shape[1], split.shape[3])

    weights = noc.upload(_host_weights(w, program), maps.weights, dtype)
    l1_weights, delivery = noc.multicast(
        noc.read(weights.dram, maps.weights), maps.multicast
    )
    weight_tiles = l1_tiles(l1_weights)
    memories = {
        "weights": weights.matrix,
        "tiles": weights.tiles,
        "dram": weights.dram.data,
        "l1_weights": weight_tiles,
        "sender_semaphores": delivery.sender_semaphore,
        "receiver_semaphores": delivery.receiver_semaphore,
    }
    bias_tiles = bias_written = None
    if bias is not None and maps.bias is not None:
        upload = noc.upload(_host_weights(bias, program), maps.bias, dtype)
        l1_bias = noc.read(upload.dram, maps.bias)
        bias_tiles, bias_written = l1_tiles(l1_bias), by_grid(l1_bias.written)
        memories |= {
            "bias": upload.matrix,
            "bias_tiles": upload.tiles,
            "bias_dram": upload.dram.data,
            "l1_bias": bias_tiles,
        }

    sticks = _pad_channels(x, program)
    shards = Memory.full(sticks).move(maps.shard)
    haloed = shards.move(maps.halo)
    windows = window_map(maps.top_left, maps.taps)
    windows_written = jax.vmap(gather_written)(haloed.written, windows).all(axis=1)
    multiplied = slice(maps.effective_tiles)
    channels_written = served_channels(
        by_grid(l1_weights.written)[:, :, multiplied],
        bias_written,
        taps=len(maps.taps),
        channels=program.channels_per_core,
    )
    outputs = map_grid(
        haloed.data.reshape(*haloed.written.shape, num_channel_shards, -1),
        windows.index,
        by_grid(weight_tiles)[:, :, multiplied],
        None if bias_tiles is None else by_grid(bias_tiles),
        channels_written,
        windows_written,
        operands_ordinary(sticks, weight_tiles, program),
        program,
    )
    outputs = outputs.reshape(*outputs.shape[:2], -1)
    memories |= {
        "input_shards": by_core(shards.data),
        "haloed_shards": by_core(haloed.data),
        "output_shards": by_core(outputs),
    }
    rows = gather(outputs.reshape(-1, outputs.shape[-1]), maps.collect)
    return rows[:, : program.channels], {
        name: memories[name] for name in program.keep if name in memories
    }


def run(
    plan: Plan,
    maps: Maps,
    x: Shaped[HostOrDevice, "..."],
    w: Shaped[HostOrDevice, "..."],
    bias: Shaped[HostOrDevice, "..."] | None = None,
    *,
    keep: tuple[str, ...] = (),
) -> Emulation:
    """Emulates one launch: every byte through the maps, one core's program on each.

    Without `keep` the maps of consecutive stages are run together; with it (and for
    maps traced by an outer jit) every memory is made. Both give the same bits.

    Derivatives with respect to `x`, `w` and `bias` are those of the float32 convolution
    with the true activation, at the values given: they go straight through every
    rounding, block format and fidelity (straight-through estimator).

    Args:
      x: `[N, H, W, C]`, rounded to the activations' dtype as the host does.
      w: `[C, 1, kh, kw]`; bias: `[C]`, if and only if `plan.conv.bias`.
      keep: names of `MEMORIES` to hold on to.

    Raises:
      ConfigError: an array of another shape than planned, a bias missing or not
        planned, an unknown name in `keep`.
      UnsupportedError: a derivative with `keep` or with traced maps.
    """
    keep = tuple(keep)
    x, w = _real(x), _real(w)
    bias = None if bias is None else _real(bias)
    refuse(_problems(plan, x, w, bias, keep))
    sticks = x.reshape(-1, plan.conv.channels)
    program = program_of(plan, keep)
    traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(maps))
    memories = {}
    if keep or traced:
        rows, memories = _run_staged(maps, sticks, w, bias, program)
    else:
        rows = run_composed(maps.composed, sticks, w, bias, program)
    return Emulation(
        plan=plan,
        output=rows.reshape(plan.output_shape),
        memories=MappingProxyType(memories),
    )


def _real(values: Shaped[HostOrDevice, "*shape"]) -> Float[Array, "*shape"]:
    values = jnp.asarray(values)
    floating = jnp.issubdtype(values.dtype, jnp.floating)
    return values if floating else values.astype(jnp.float32)


def _problems(plan: Plan, x, w, bias, keep: tuple[str, ...]) -> list[str]:
    conv = plan.conv
    found = []
    if x.shape != conv.input_shape:
        found.append(
            f"`x` (={x.shape}) must have the planned shape {conv.input_shape}, NHWC"
        )
    if w.shape != conv.weight_shape:
        found.append(
            f"`w` (={w.shape}) must have the planned shape {conv.weight_shape}, "
            f"[C, 1, kernel height, kernel width]"
        )
    if conv.bias and bias is None:
        found.append(
            "`bias` (=None) must be given for a plan with bias; pass an array "
            f"({conv.channels},) or plan with bias=False"
        )
    elif bias is not None and not conv.bias:
        found.append(
            f"`bias` (={bias.shape}) must be planned for; use ConvConfig(bias=True)"
        )
    elif bias is not None and bias.shape != (conv.channels,):
        found.append(f"`bias` (={bias.shape}) must have the shape ({conv.channels},)")
    unknown = [name for name in keep if name not in MEMORIES]
    if unknown:
        found.append(
            f"`keep` (={', '.join(unknown)}) must name memories; "
            f"use any of {', '.join(MEMORIES)}"
        )
    return found


def emulate(
    conv: ConvConfig,
    shard: ShardConfig | None,
    x: Shaped[HostOrDevice, "..."],
    w: Shaped[HostOrDevice, "..."],
    bias: Shaped[HostOrDevice, "..."] | None = None,
    *,
    compute: ComputeConfig | None = None,
    arch: str | Path | Arch = "wormhole_b0",
    keep: tuple[str, ...] = (),
) -> Emulation:
    """Plans, builds the maps and runs; `run` says what it takes and refuses.

    A layer that does not fit L1 is emulated all the same; `plan.l1.fits` tells.
    """
    plan = make_plan(conv, shard, compute, arch, must_fit=False)
    return run(plan, make_maps(plan), x, w, bias, keep=keep)


def prepare_weights(
    plan: Plan, w: Shaped[HostOrDevice, "..."]
) -> Float[Array, "rows columns"]:
    """Returns the row-major prepared matrix of OIHW weights, before tilization.

    Raises:
      ConfigError: weights of another shape than planned.
    """
    w = _real(w)
    if w.shape != plan.conv.weight_shape:
        refuse(
            [f"`w` (={w.shape}) must have the planned shape {plan.conv.weight_shape}"]
        )
    prepare = prepare_map(
        plan.weight_layout, channels=plan.conv.channels, taps=plan.conv.taps
    )
    return _gather(_host_weights(w, program_of(plan)), prepare)


_gather = jax.jit(gather)
