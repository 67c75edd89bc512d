"""The core grid on XLA: what one core does, mapped over NHW and channel shards."""

import functools
from typing import Any

import jax
from jaxtyping import Array, Float, Float32, Int32, Shaped

from jaxdw.machine.core import Arithmetic, as_float32, run_core
from jaxdw.maps.indexmap import HostOrDevice
from jaxdw.maps.strided import Strided
from jaxdw.numerics.fpu import Form, Tap
from jaxdw.xla import in_pairs

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


def map_image(
    image: Shaped[Array, "rows channels"],
    windows: Strided,
    weights: Float32[Array, "taps channels"],
    bias: Float32[Array, " channels"] | None,
    arithmetic: Arithmetic,
    *,
    pairs: bool,
) -> Float32[Array, "1 outputs channels"]:
    """Runs every core, all NHW shards together, on windows that are slices.

    What cores compute does not depend on which of them computes it.

    Args:
      image: rows of the padded image, in NHW order; bits of bf16 as uint16.
      pairs: whether outputs are computed two by two; those of bf16.
    """
    images, channels = windows.padded_image[0], image.shape[-1]
    image = image.reshape(*windows.padded_image, channels)
    axis = 0 if windows.outputs[0] > 1 else 1  # of the image; parts are cut along it

    def part(first: Tap, num_outputs: int) -> Float32[Array, "n h w channels"]:
        firsts: list[Tap] = [0, 0]
        outputs = list(windows.outputs)
        firsts[axis], outputs[axis] = first, num_outputs
        spans = [
            (outputs - 1) * stride + 1
            for outputs, stride in zip(outputs, windows.stride, strict=True)
        ]

        def tap(k: Tap) -> Float32[Array, "outputs channels"]:
            position = k // windows.kernel[1], k % windows.kernel[1]
            row, column = (
                first * stride + at * dilation
                for first, stride, at, dilation in zip(
                    firsts, windows.stride, position, windows.dilation, strict=True
                )
            )
            size = (images, *spans, channels)
            found = jax.lax.dynamic_slice(
                image, (0, row, column, 0), size, allow_negative_indices=False
            )
            found = found[:, :: windows.stride[0], :: windows.stride[1]]
            return as_float32(found.reshape(-1, channels))

        done = arithmetic(tap, weights[:, None], bias)
        return done.reshape(images, *outputs, channels)

    length = windows.outputs[axis]
    if pairs and length % 2 == 0 and jax.default_backend() == "cpu":
        return in_pairs(part, length, axis=1 + axis).reshape(1, -1, channels)
    return part(0, length).reshape(1, -1, channels)
