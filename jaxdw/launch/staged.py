"""The whole chip stage by stage: every memory is made."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Shaped

from jaxdw.errors import UnsupportedError
from jaxdw.launch.host import (
    collected,
    host_sticks,
    host_tensor,
)
from jaxdw.machine import noc
from jaxdw.machine.cores import AskedForm, Static, are_ordinary, run_cores
from jaxdw.machine.memory import Memory
from jaxdw.maps.bias import bias_lanes
from jaxdw.maps.dense import columns_written
from jaxdw.maps.indexmap import IndexMap, gather, gather_written, narrow
from jaxdw.maps.lanes import fitted, side_by_side
from jaxdw.maps.maps import Maps, window_map
from jaxdw.numerics import formats
from jaxdw.plan.units import TILE_ELEMS
from jaxdw.xla import computed_once

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


def of_each_core(
    take: Callable[[Array, IndexMap], Array],
    held: Shaped[Array, "nhw channel_shards ..."],
    index_map: IndexMap,
) -> Shaped[Array, "nhw channel_shards ..."]:
    """Takes, of what every core holds, what a map of one core names.

    Args:
      take: `gather` or `gather_written`.
      index_map: `[channel shards or 1, ...]`.
    """
    shape = held.shape[1], *index_map.index.shape[1:]
    index = jnp.broadcast_to(index_map.index, shape)

    def one_core(held: Shaped[Array, "..."], index: Shaped[Array, "..."]):
        return take(held.reshape(-1), IndexMap(index, index_map.size))

    return jax.vmap(jax.vmap(one_core), in_axes=(0, None))(held, index)


@jax.jit
def weights_met(
    tiles: Float32[Array, "nhw channel_shards tiles 1024"], pairing: IndexMap
) -> Float32[Array, "nhw taps channels"]:
    """Returns what each window element meets, channel shards in a row."""
    return side_by_side(of_each_core(gather, tiles, pairing))


Memories = dict[str, Shaped[Array, "..."]]


@functools.partial(jax.jit, static_argnames=("static", "keep", "form"))
def run_staged(
    maps: Maps,
    x: Float[Array, "n h w c"],
    w: Float[Array, "c one kh kw"],
    bias: Float[Array, " c"] | None,
    static: Static,
    keep: tuple[str, ...],
    form: AskedForm,
) -> tuple[tuple[Float32[Array, "n ho wo c"], Memories], Bool[Array, ""] | None]:
    """Runs stage by stage; every memory is made.

    Returns:
      The output and the memories to keep, and whether the operands are such as the
      float form takes.
    """
    x, w, bias = _refuse_derivatives(x, w, bias)
    num_nhw_shards = len(maps.shard.index)
    grid = (num_nhw_shards, static.num_output_shards)
    dtype = static.weights_dtype

    def by_grid(values: Shaped[Array, "cores ..."]) -> Shaped[Array, "n s ..."]:
        return values.reshape(*grid, *values.shape[1:])

    def by_core(
        values: Float[Array, "n rows sc"], shards: int
    ) -> Float[Array, "cores rows c"]:
        split = values.reshape(*values.shape[:2], shards, -1)
        return split.swapaxes(1, 2).reshape(-1, split.shape[1], split.shape[3])

    uploaded = noc.upload(host_tensor(w, static), maps.weights, dtype)
    l1_weights, delivery = noc.multicast(
        noc.read(uploaded.dram, maps.weights), maps.multicast
    )
    weight_tiles = l1_tiles(l1_weights, dtype)
    memories = {
        "weights": uploaded.matrix,
        "tiles": uploaded.tiles,
        "dram": uploaded.dram.data,
        "l1_weights": weight_tiles,
        "sender_semaphores": delivery.sender_semaphore,
        "receiver_semaphores": delivery.receiver_semaphore,
    }
    channels_written = of_each_core(
        gather_written, by_grid(l1_weights.written), narrow(maps.pairing, TILE_ELEMS)
    ).all(axis=2)
    if maps.dense is not None:
        channels_written &= columns_written(by_grid(l1_weights.written), maps.dense)
    biases = None
    if bias is not None and maps.bias is not None:
        uploaded = noc.upload(host_tensor(bias, static), maps.bias, dtype)
        l1_bias = noc.read(uploaded.dram, maps.bias)
        bias_tiles = l1_tiles(l1_bias, dtype)
        lanes = bias_lanes(bias_tiles.shape[1])
        channels_written &= of_each_core(
            gather_written, by_grid(l1_bias.written), narrow(lanes, TILE_ELEMS)
        )
        biases = of_each_core(gather, by_grid(bias_tiles), lanes)
        biases = fitted(biases.reshape(num_nhw_shards, -1), maps.lanes)
        memories |= {
            "bias": uploaded.matrix,
            "bias_tiles": uploaded.tiles,
            "bias_dram": uploaded.dram.data,
            "l1_bias": bias_tiles,
        }

    sticks = host_sticks(x, static)
    shards = Memory.full(sticks).move(maps.shard)
    haloed = shards.move(maps.halo)
    windows = window_map(maps.top_left, maps.taps)
    windows_written = jax.vmap(gather_written)(haloed.written, windows).all(axis=1)
    weights = computed_once(
        fitted(weights_met(by_grid(weight_tiles), maps.pairing), maps.lanes)
    )
    channels_written = channels_written.reshape(num_nhw_shards, -1)
    outputs = run_cores(
        haloed.data,
        windows.index,
        weights,
        biases,
        static,
        channels_written=fitted(channels_written, maps.lanes, True),
        windows_written=windows_written,
        form=form,
        operands=(sticks, weights),
    )
    memories |= {
        "input_shards": by_core(shards.data, static.num_channel_shards),
        "haloed_shards": by_core(haloed.data, static.num_channel_shards),
        "output_shards": by_core(
            fitted(outputs, static.num_output_shards * maps.channels_per_core),
            static.num_output_shards,
        ),
    }
    output = collected(outputs, maps.collect, static.output_shape)
    kept = {name: memories[name] for name in keep}
    return (output, kept), are_ordinary(sticks, weights, compute=static.compute)
