"""The padded image, and cores that read their windows as slices of it.

What cores compute does not depend on which of them computes it: all run as one.
"""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Shaped, UInt16, UInt32

from jaxdw.machine.core import Arithmetic, as_float32
from jaxdw.maps.strided import Strided
from jaxdw.numerics.fpu import Tap
from jaxdw.xla import computed_once, half_of, in_pairs

Held = Literal["bits", "floats", "words"]

_LANES = 16  # of float32 in 512 bits; whole blocks of bfloat8_b, too
_MOST_TAPS = 9  # of words: more do not stay in registers
_BESIDE_WORDS, _BESIDE_BITS = 640, 1024  # weights of all channels, for floats
_MOST_OUTPUTS = 2**21  # of floats, which take twice the memory of bits


def how_held(
    *, arithmetic: str, taps: int, channels: int, padded: int, outputs: int
) -> Held:
    """Returns how an image of bf16 is held for a CPU to read it fastest.

    As `bits`, uint16, of which two operations make float32. Arithmetic in float32 takes
    one for each kernel position, so that reading counts there. Measured on an AMD EPYC,
    launches of 0.05 to 0.25 ms:
      - as `words` of two channels, of which one operation makes float32, if there are
        few kernel positions and nothing of the output is cut off: a sixth less time;
      - as `floats` of layers with few weights, which then stay in registers or near:
        up to a third less.

    Args:
      padded: channels of the image.
      outputs: of the launch.
    """
    if arithmetic != "float32" or jax.default_backend() != "cpu":
        return "bits"
    is_whole = channels == padded and channels % (2 * _LANES) == 0
    has_words = is_whole and taps <= _MOST_TAPS
    few_weights = taps * padded <= (_BESIDE_WORDS if has_words else _BESIDE_BITS)
    if few_weights and outputs <= _MOST_OUTPUTS:
        return "floats"
    return "words" if has_words else "bits"


def held_as(bits: UInt16[Array, "*n channels"], held: Held) -> Shaped[Array, "..."]:
    """Returns bits of bf16 as they are to be held; words are `[*n, groups, lanes]`."""
    if held == "words":
        return _words_of(bits)
    return as_float32(bits) if held == "floats" else bits


def _words_of(
    bits: UInt16[Array, "*n channels"],
) -> UInt32[Array, "*n groups lanes"]:
    """Returns words of channels `_LANES` apart, the first in the lower half."""
    halves = bits.reshape(*bits.shape[:-1], -1, 2, _LANES).astype(jnp.uint32)
    return halves[..., 0, :] | halves[..., 1, :] << 16


def _windows_at(
    image: Shaped[Array, "n h w *sticks"],
    windows: Strided,
    k: Tap,
    first: Sequence[int],
    outputs: Sequence[int],
) -> Shaped[Array, "n ho wo *sticks"]:
    """Returns what some outputs read at one kernel position.

    Args:
      first: output, along H and W; outputs: how many.
    """
    position = k // windows.kernel[1], k % windows.kernel[1]
    starts = [
        one * stride + at * dilation
        for one, stride, at, dilation in zip(
            first, windows.stride, position, windows.dilation, strict=True
        )
    ]
    spans = [
        (many - 1) * stride + 1
        for many, stride in zip(outputs, windows.stride, strict=True)
    ]
    images, others = image.shape[0], image.shape[3:]
    found = jax.lax.dynamic_slice(
        image,
        (0, *starts, *[0] * len(others)),
        (images, *spans, *others),
        allow_negative_indices=False,
    )
    return found[:, :: windows.stride[0], :: windows.stride[1]]


def map_image(
    image: Shaped[Array, "n h w *sticks"],
    windows: Strided,
    weights: Float32[Array, "taps channels"],
    bias: Float32[Array, " channels"] | None,
    arithmetic: Arithmetic,
    *,
    pairs: bool,
) -> Float32[Array, "1 outputs channels"]:
    """Runs every core on windows that are slices.

    Args:
      image: the padded image, as `held_as` or as float32.
      pairs: whether outputs are computed two by two; those of bf16.
    """
    if image.dtype == jnp.uint32:
        return _map_words(image, windows, weights, bias, arithmetic)
    images, channels = image.shape[0], image.shape[-1]
    axis = 0 if windows.outputs[0] > 1 else 1  # of the image; parts are cut along it

    def part(first: int, num_outputs: int) -> Float32[Array, "n h w channels"]:
        firsts, outputs = [0, 0], list(windows.outputs)
        firsts[axis], outputs[axis] = first, num_outputs

        def tap(k: Tap) -> Float32[Array, "outputs channels"]:
            found = _windows_at(image, windows, k, firsts, outputs)
            return as_float32(found.reshape(-1, channels))

        done = arithmetic(tap, weights[:, None], bias)
        return done.reshape(images, *outputs, channels)

    length = windows.outputs[axis]
    if pairs and length % 2 == 0 and jax.default_backend() == "cpu":
        return in_pairs(part, length, axis=1 + axis).reshape(1, -1, channels)
    return part(0, length).reshape(1, -1, channels)


def _map_words(
    image: UInt32[Array, "n h w groups lanes"],
    windows: Strided,
    weights: Float32[Array, "taps channels"],
    bias: Float32[Array, " channels"] | None,
    arithmetic: Arithmetic,
) -> Float32[Array, "1 outputs channels"]:
    """Runs every core on words, mapped over groups of channels and their halves."""
    groups = image.shape[-2]

    def core(
        image: UInt32[Array, "n h w lanes"],
        is_upper: Bool[Array, ""],
        weights: Float32[Array, "taps lanes"],
        bias: Float32[Array, " lanes"] | None,
    ) -> Float32[Array, "outputs lanes"]:
        def tap(k: Tap) -> Float32[Array, "outputs lanes"]:
            found = _windows_at(image, windows, k, (0, 0), windows.outputs)
            return half_of(found.reshape(-1, _LANES), is_upper)

        return arithmetic(tap, weights[:, None], bias)

    @jax.jit
    def cores(image, weights, bias) -> Float32[Array, "n ho wo groups 2 lanes"]:
        halves = jax.vmap(core, (None, 0, 1, 0), 1)
        all_groups = jax.vmap(halves, (3, None, 1, 0), 1)
        done = all_groups(image, jnp.arange(2) == 1, weights, bias)
        return done.reshape(len(image), *windows.outputs, groups, 2, _LANES)

    # apart, so that XLA's innermost loop is over lanes, which a vector holds
    done = computed_once(
        cores(
            image,
            weights.reshape(-1, groups, 2, _LANES),
            None if bias is None else bias.reshape(groups, 2, _LANES),
        )
    )
    return done.reshape(1, -1, groups * 2 * _LANES)
