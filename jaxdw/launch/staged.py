"""The whole chip stage by stage: every memory is made."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Shaped

from jaxdw.errors import UnsupportedError
from jaxdw.launch.composed import collected, host_sticks, host_tensor
from jaxdw.machine import noc
from jaxdw.machine.core import are_ordinary, by_operands
from jaxdw.machine.grid import Program, map_grid, streams
from jaxdw.machine.memory import Memory, made
from jaxdw.maps.indexmap import gather_written
from jaxdw.maps.maps import Maps, window_map
from jaxdw.maps.weights import served_channels
from jaxdw.numerics import formats

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


def l1_tiles(l1: Memory, dtype: str) -> Float32[Array, "cores tiles 1024"]:
    """Returns the tiles that cores unpack, NaN where nobody wrote."""
    tiles = formats.unpack(l1.data.reshape(-1, l1.data.shape[-1]), dtype)
    tiles = tiles.reshape(*l1.written.shape, -1)
    return jnp.where(l1.written[..., None], tiles, jnp.nan)


_streams = jax.jit(streams, static_argnames=("taps", "program"))


@functools.partial(jax.jit, static_argnames=("program", "keep"))
def run_staged(
    maps: Maps,
    x: Float[Array, "n h w c"],
    w: Float[Array, "c one kh kw"],
    bias: Float[Array, " c"] | None,
    program: Program,
    keep: tuple[str, ...],
) -> tuple[Float32[Array, "n ho wo c"], dict[str, Shaped[Array, "..."]]]:
    """Runs stage by stage; every memory is made."""
    x, w, bias = _refuse_derivatives(x, w, bias)
    num_nhw_shards = len(maps.shard.index)
    num_channel_shards = program.num_channel_shards
    grid = (num_nhw_shards, num_channel_shards)
    dtype = program.weights_dtype

    def by_grid(values: Shaped[Array, "cores ..."]) -> Shaped[Array, "n s ..."]:
        return values.reshape(*grid, *values.shape[1:])

    def by_core(shards: Float[Array, "n rows sc"]) -> Float[Array, "cores rows c"]:
        split = shards.reshape(*shards.shape[:2], num_channel_shards, -1)
        return split.swapaxes(1, 2).reshape(-1, split.shape[1], split.shape[3])

    weights = noc.upload(host_tensor(w, program), maps.weights, dtype)
    l1_weights, delivery = noc.multicast(
        noc.read(weights.dram, maps.weights), maps.multicast
    )
    weight_tiles = l1_tiles(l1_weights, dtype)
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
        upload = noc.upload(host_tensor(bias, program), maps.bias, dtype)
        l1_bias = noc.read(upload.dram, maps.bias)
        bias_tiles, bias_written = l1_tiles(l1_bias, dtype), by_grid(l1_bias.written)
        memories |= {
            "bias": upload.matrix,
            "bias_tiles": upload.tiles,
            "bias_dram": upload.dram.data,
            "l1_bias": bias_tiles,
        }

    sticks = host_sticks(x, program)
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
    ).reshape(num_nhw_shards, -1)
    weights, biases = made(
        _streams(
            by_grid(weight_tiles)[:, :, multiplied],
            None if bias_tiles is None else by_grid(bias_tiles),
            len(maps.taps),
            program,
        )
    )
    outputs = by_operands(
        are_ordinary(sticks, weights, compute=program.compute),
        lambda exact: map_grid(
            haloed.data,
            windows.index,
            weights,
            biases,
            channels_written,
            windows_written,
            program,
            exact=exact,
        ),
    )
    memories |= {
        "input_shards": by_core(shards.data),
        "haloed_shards": by_core(haloed.data),
        "output_shards": by_core(outputs),
    }
    output = collected(outputs, maps.collect, program)
    return output, {name: memories[name] for name in keep}
