"""The core grid spread over several JAX devices, with a halo exchange between them."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Float32, Shaped

from jaxdw.errors import UnsupportedError
from jaxdw.launch.composed import load_weights
from jaxdw.launch.exchange import make_exchange
from jaxdw.launch.host import cast, collected, padded
from jaxdw.machine.cores import (
    Static,
    are_ordinary,
    channels_part,
    float_first,
    run_cores,
)
from jaxdw.maps.indexmap import IndexMap, gather
from jaxdw.maps.maps import ComposedMaps, Maps
from jaxdw.numerics.fpu import Form
from jaxdw.plan.plan import Plan
from jaxdw.xla import computed_once


class MeshMaps(NamedTuple):
    """Maps as they lie on the devices of a mesh.

    Attributes:
      send: as in `Exchange`.
      composed: with the sticks of `Exchange`, and flags for all shards of all devices.
    """

    send: IndexMap
    composed: ComposedMaps


class Axes(NamedTuple):
    """The mesh axes that NHW shards and channel shards are dealt over."""

    nhw: str | None
    channels: str | None


def mesh_problems(mesh: Mesh) -> list[str]:
    if len(mesh.axis_names) in (1, 2):
        return []
    shape = dict(mesh.shape)
    return [
        (
            f"`mesh` (={shape}) must have one axis or two, for NHW and channel shards; "
            "reshape its devices"
        )
    ]


def _axes(plan: Plan, mesh: Mesh) -> Axes:
    """One axis takes NHW shards, or channel shards if there is one NHW shard only."""
    names = mesh.axis_names
    if len(names) == 2:
        return Axes(*names)
    return Axes(names[0], None) if plan.num_nhw_shards > 1 else Axes(None, names[0])


def _size(mesh: Mesh, axis: str | None) -> int:
    return 1 if axis is None else mesh.shape[axis]


def _channels(plan: Plan, mesh: Mesh, axes: Axes) -> int:
    """Returns the channels that all devices compute: whole shards on each."""
    devices = _size(mesh, axes.channels)
    shards = -(-plan.num_channel_shards // devices) * devices
    return shards * plan.input_shard.channels


def mesh_maps(plan: Plan, maps: Maps, mesh: Mesh) -> MeshMaps:
    """Returns the maps on a mesh; made once for each mesh."""
    axes = _axes(plan, mesh)
    key = (mesh, axes)
    if key not in maps.by_mesh:
        maps.by_mesh[key] = _laid_out(plan, maps, mesh, axes)
    return maps.by_mesh[key]


def _laid_out(plan: Plan, maps: Maps, mesh: Mesh, axes: Axes) -> MeshMaps:
    composed = jax.tree.map(np.asarray, maps.composed)
    exchange = make_exchange(
        composed.sticks, plan.input_shard.rows, _size(mesh, axes.nhw)
    )
    shards, _, outputs = exchange.sticks.index.shape
    channels, windows = composed.channels_written, composed.windows_written

    def put(values, *spec):
        return jax.device_put(values, NamedSharding(mesh, P(*spec)))

    if channels is not None:
        shape = (shards, _channels(plan, mesh, axes))
        channels = padded(channels, shape[-channels.ndim :], True)
        channels = put(channels, *(axes.nhw,) * (channels.ndim - 1), axes.channels)
    if windows is not None:
        windows = put(padded(windows, (shards, outputs), True), axes.nhw)
    return MeshMaps(
        send=put(exchange.send, axes.nhw),
        composed=dataclasses.replace(
            composed,
            weights=put(composed.weights),
            blocks=put(composed.blocks),
            bias=put(composed.bias),
            sticks=put(exchange.sticks, axes.nhw),
            channels_written=channels,
            windows_written=windows,
            collect=put(composed.collect),
        ),
    )


def run_on_mesh(
    plan: Plan,
    maps: Maps,
    x: Float[Array, "n h w c"],
    w: Float[Array, "c one kh kw"],
    bias: Float[Array, " c"] | None,
    static: Static,
    mesh: Mesh,
) -> Float32[Array, "n ho wo c"]:
    """Runs the chip on the devices of a mesh; the output lies whole on each of them.

    NHW shards and channel shards are dealt to the devices in order. Each device holds
    the input of its own shards only; sticks of its windows that lie elsewhere are sent
    to it, in the activations' dtype, by one all-to-all.
    """
    mesh = Mesh(mesh.devices, mesh.axis_names)  # axes that the compiler may shard over
    axes = _axes(plan, mesh)
    if _size(mesh, axes.channels) > 1 and not channels_part(static):
        raise UnsupportedError(
            f"`mesh` (={dict(mesh.shape)}) must not deal the channel shards of this "
            f"{static.program} launch, whose blocks follow each other; use one axis, "
            "for NHW shards"
        )
    laid = mesh_maps(plan, maps, mesh)
    rows = laid.send.size * _size(mesh, axes.nhw)
    shape = rows, _channels(plan, mesh, axes)
    sticks = _padded(x.reshape(-1, plan.conv.channels), shape)
    everywhere = NamedSharding(mesh, P())
    w, bias = jax.device_put((w, bias), everywhere)
    sticks = jax.device_put(sticks, NamedSharding(mesh, P(axes.nhw, axes.channels)))
    run = functools.partial(_compiled(mesh, axes), laid, sticks, w, bias, static)
    return float_first(run)


_padded = jax.jit(padded, static_argnames="shape")


@functools.cache
def _compiled(mesh: Mesh, axes: Axes):
    return jax.jit(
        functools.partial(_run, mesh=mesh, axes=axes),
        static_argnames=("static", "form"),
        out_shardings=NamedSharding(mesh, P()),
    )


def _run(
    laid: MeshMaps,
    sticks: Float[Array, "sticks channels"],
    w: Float[Array, "c one kh kw"],
    bias: Float[Array, " c"] | None,
    static: Static,
    form: Form,
    *,
    mesh: Mesh,
    axes: Axes,
) -> tuple[Float32[Array, "n ho wo c"], Bool[Array, ""] | None]:
    maps = laid.composed
    shards, channels = len(maps.sticks.index), sticks.shape[1]

    def over_mesh(values: Float32[Array, "..."], of_nhw: int):
        shape = (shards, *values.shape[1:]) if values.ndim == of_nhw else values.shape
        return padded(values, (*shape[:-1], channels))

    weights, biases, _ = computed_once(load_weights(maps, w, bias, static))
    operands: dict[str, Any] = {
        "sticks": computed_once(cast(sticks, static.dtype)),
        "weights": over_mesh(weights, 3),
    }
    specs = {
        "sticks": P(axes.nhw, axes.channels),
        "weights": P(*(axes.nhw,) * (weights.ndim - 2), None, axes.channels),
    }
    for name, values in (
        ("bias", None if biases is None else over_mesh(biases, 2)),
        ("channels_written", maps.channels_written),
    ):
        if values is not None:
            operands[name] = values
            specs[name] = P(*(axes.nhw,) * (values.ndim - 1), axes.channels)
    if maps.windows_written is not None:
        operands["windows_written"] = maps.windows_written
        specs["windows_written"] = P(axes.nhw)

    of_shards = jax.shard_map(
        functools.partial(_one_device, static=static, form=form, axes=axes),
        mesh=mesh,
        in_specs=(P(axes.nhw), P(axes.nhw), specs),
        out_specs=P(axes.nhw, None, axes.channels),
        check_vma=False,
    )(laid.send, maps.sticks, operands)
    output = collected(of_shards, maps.collect, static.output_shape)
    used = operands["sticks"], weights
    return output, are_ordinary(*used, compute=static.compute)


def _one_device(
    send: IndexMap,
    sticks: IndexMap,
    operands: Mapping[str, Shaped[Array, "..."]],
    *,
    static: Static,
    form: Form,
    axes: Axes,
) -> Float32[Array, "nhw outputs channels"]:
    """Sends and gets the sticks at the borders and runs its own cores."""
    l1 = operands["sticks"]
    if send.index.size:
        own = IndexMap(send.index[0], send.size)
        received = jax.lax.all_to_all(gather(l1, own), axes.nhw, 0, 0)
        l1 = computed_once(_append(l1, received))
    return run_cores(
        l1,
        sticks.index,
        operands["weights"],
        operands.get("bias"),
        static,
        channels_written=operands.get("channels_written"),
        windows_written=operands.get("windows_written"),
        form=form,
    )


@jax.jit
def _append(
    own: Float[Array, "sticks channels"],
    received: Float[Array, "devices most channels"],
) -> Float[Array, "rows channels"]:
    return jnp.concatenate([own, received.reshape(-1, own.shape[1])])
