"""The core grid spread over several JAX devices, with a halo exchange between them."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Float32, Shaped

from jaxdw.launch.composed import collected, load_weights
from jaxdw.launch.exchange import make_exchange
from jaxdw.machine.core import are_ordinary, by_operands
from jaxdw.machine.grid import Program, map_grid, program_of
from jaxdw.machine.memory import made
from jaxdw.maps.indexmap import HostOrDevice, IndexMap, gather
from jaxdw.maps.maps import ComposedMaps, Maps
from jaxdw.numerics import formats
from jaxdw.plan.plan import Plan


class Spread(NamedTuple):
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


def _padded(
    values: Shaped[HostOrDevice, "..."],
    shape: tuple[int, ...],
    fill: float | int | bool,
) -> Shaped[HostOrDevice, "..."]:
    """Fills up trailing axes to `shape`."""
    shape = (*values.shape[: values.ndim - len(shape)], *shape)
    past = [(0, to - has) for to, has in zip(shape, values.shape, strict=True)]
    xp = np if isinstance(values, np.ndarray) else jnp
    return xp.pad(values, past, constant_values=fill)


def _channels(plan: Plan, mesh: Mesh, axes: Axes) -> int:
    """Returns the channels that all devices compute: whole shards on each."""
    devices = _size(mesh, axes.channels)
    shards = -(-plan.num_channel_shards // devices) * devices
    return shards * plan.input_shard.channels


def spread(plan: Plan, maps: Maps, mesh: Mesh) -> Spread:
    """Returns the maps on a mesh; made once for each mesh."""
    axes = _axes(plan, mesh)
    key = (mesh, axes)
    if key not in maps.spread:
        maps.spread[key] = _spread(plan, maps, mesh, axes)
    return maps.spread[key]


def _spread(plan: Plan, maps: Maps, mesh: Mesh, axes: Axes) -> Spread:
    composed = jax.tree.map(np.asarray, maps.composed)
    exchange = make_exchange(
        composed.sticks, plan.input_shard.rows, _size(mesh, axes.nhw)
    )
    shards, _, outputs = exchange.sticks.index.shape
    channels, windows = composed.channels_written, composed.windows_written

    def put(values, *spec):
        return jax.device_put(values, NamedSharding(mesh, P(*spec)))

    if channels is not None:
        whole = (shards, _channels(plan, mesh, axes))
        channels = _padded(channels, whole[-channels.ndim :], True)
        channels = put(channels, *(axes.nhw,) * (channels.ndim - 1), axes.channels)
    if windows is not None:
        windows = put(_padded(windows, (shards, outputs), True), axes.nhw)
    return Spread(
        send=put(exchange.send, axes.nhw),
        composed=dataclasses.replace(
            composed,
            weights=put(composed.weights),
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
    mesh: Mesh,
) -> Float32[Array, "n ho wo c"]:
    """Runs the chip on the devices of a mesh; the output lies whole on each of them.

    NHW shards and channel shards are dealt to the devices in order. Each device holds
    the input of its own shards only; sticks of its windows that lie elsewhere are sent
    to it, in the activations' dtype, by one all-to-all.
    """
    mesh = Mesh(mesh.devices, mesh.axis_names)  # axes that the compiler may shard over
    axes = _axes(plan, mesh)
    laid = spread(plan, maps, mesh)
    rows = laid.send.size * _size(mesh, axes.nhw)
    sticks = x.reshape(-1, plan.conv.channels)
    sticks = _padded(sticks, (rows, _channels(plan, mesh, axes)), 0)
    everywhere = NamedSharding(mesh, P())
    w, bias = jax.device_put((w, bias), everywhere)
    sticks = jax.device_put(sticks, NamedSharding(mesh, P(axes.nhw, axes.channels)))
    return _compiled(mesh, axes)(laid, sticks, w, bias, program_of(plan))


@functools.cache
def _compiled(mesh: Mesh, axes: Axes):
    return jax.jit(
        functools.partial(_run, mesh=mesh, axes=axes),
        static_argnames="program",
        out_shardings=NamedSharding(mesh, P()),
    )


def _run(
    laid: Spread,
    sticks: Float[Array, "sticks channels"],
    w: Float[Array, "c one kh kw"],
    bias: Float[Array, " c"] | None,
    program: Program,
    *,
    mesh: Mesh,
    axes: Axes,
) -> Float32[Array, "n ho wo c"]:
    maps = laid.composed
    shards, channels = len(maps.sticks.index), sticks.shape[1]

    def whole(values: Float32[Array, "..."], of_nhw: int):
        shape = (shards, *values.shape[1:]) if values.ndim == of_nhw else values.shape
        return _padded(values, (*shape[:-1], channels), 0)

    weights, biases = made(load_weights(maps, w, bias, program))
    operands = {"sticks": sticks, "weights": whole(weights, 3)}
    specs = {
        "sticks": P(axes.nhw, axes.channels),
        "weights": P(*(axes.nhw,) * (weights.ndim - 2), None, axes.channels),
    }
    for name, values in (
        ("bias", None if biases is None else whole(biases, 2)),
        ("channels_written", maps.channels_written),
    ):
        if values is not None:
            operands[name] = values
            specs[name] = P(*(axes.nhw,) * (values.ndim - 1), axes.channels)
    if maps.windows_written is not None:
        operands["windows_written"] = maps.windows_written
        specs["windows_written"] = P(axes.nhw)

    of_shards = jax.shard_map(
        functools.partial(_one_device, program=program, axes=axes),
        mesh=mesh,
        in_specs=(P(axes.nhw), P(axes.nhw), specs),
        out_specs=P(axes.nhw, None, axes.channels),
        check_vma=False,
    )(laid.send, maps.sticks, operands)
    return collected(of_shards, maps.collect, program)


def _one_device(
    send: IndexMap,
    sticks: IndexMap,
    operands: dict[str, Shaped[Array, "..."]],
    *,
    program: Program,
    axes: Axes,
) -> Float32[Array, "nhw outputs channels"]:
    """Sends and gets the sticks at the borders and runs its own cores."""
    l1 = made(_cast(operands["sticks"], program.dtype))
    if send.index.size:
        own = IndexMap(send.index[0], send.size)
        received = jax.lax.all_to_all(gather(l1, own), axes.nhw, 0, 0)
        l1 = made(_append(l1, received))
    weights = operands["weights"]
    return by_operands(
        are_ordinary(l1, weights, compute=program.compute),
        lambda exact: map_grid(
            l1,
            sticks.index,
            weights,
            operands.get("bias"),
            operands.get("channels_written"),
            operands.get("windows_written"),
            program,
            exact=exact,
        ),
    )


_cast = jax.jit(formats.cast, static_argnames="dtype")


@jax.jit
def _append(
    own: Float[Array, "sticks channels"],
    received: Float[Array, "devices most channels"],
) -> Float[Array, "rows channels"]:
    return jnp.concatenate([own, received.reshape(-1, own.shape[1])])
