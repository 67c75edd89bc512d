"""The core grid on XLA: what one core does, mapped over NHW and channel shards."""

import functools
from typing import Any

import jax
from jaxtyping import Array, Float, Float32, Int32

from jaxdw.machine.core import Arithmetic, run_core
from jaxdw.maps.indexmap import HostOrDevice
from jaxdw.numerics.fpu import Form

# Outputs that the matrix unit's integer form computes together, over all cores: it
# holds some 25 int32 for each. The float form holds none: XLA fuses all its steps.
INTEGER_OUTPUTS = 2**16


def map_grid(
    l1: Float[Array, "*l1_nhw rows channels"],
    sticks: Int32[HostOrDevice, "nhw taps outputs"],
    weights: Float32[Array, "*weight_nhw taps channels"],
    bias: Float32[Array, "*bias_nhw channels"] | None,
    arithmetic: Arithmetic,
    form: Form,
) -> Float32[Array, "nhw outputs channels"]:
    """Runs every core.

    The cores of one NHW shard read the same sticks and differ in their channels: they
    run side by side, along the channels of all of them (as an axis of its own, channel
    shards take XLA twice as long). NHW shards are mapped with `jax.vmap`.

    Args:
      l1: rows of all channel shards, for each NHW shard or the same for all, as are
        weights and bias.
      form: of `arithmetic`.
    """
    num_shards, _, num_sticks = sticks.shape
    at_once = num_sticks
    if form == "integer":
        most = INTEGER_OUTPUTS // (num_shards * l1.shape[-1])
        even = (n for n in range(1, num_sticks + 1) if num_sticks % n == 0)
        at_once = max((n for n in even if n <= most), default=1)
    core = functools.partial(run_core, arithmetic=arithmetic, sticks_at_once=at_once)
    arguments = (l1, sticks, weights, bias)
    shared_ndims = (2, None, 2, 1)
    in_axes = tuple(
        None if values is None or values.ndim == ndim else 0
        for values, ndim in zip(arguments, shared_ndims, strict=True)
    )
    if num_shards == 1:  # a batch of one takes twice as long to trace
        alone: list[Any] = [
            values if values is None or axis is None else values[0]
            for values, axis in zip(arguments, in_axes, strict=True)
        ]
        return core(*alone)[None]
    return jax.vmap(core, in_axes)(*arguments)
