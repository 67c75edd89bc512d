"""Host tensors to emulate a layer with, drawn.

`random` is what tt-metal's own test draws. `pattern` has weights equal to their kernel
position + 1, the same for every channel. `witness` gives every element a value that
hardly any other element of its tensor has and that bf16 hardly ever holds, so that each
one's origin and each rounding show.
"""

from typing import Literal, NamedTuple

import ml_dtypes
import numpy as np
from jaxtyping import Float32

from jaxdw.errors import refuse
from jaxdw.numerics.formats import BLOCK
from jaxdw.plan.config import ConvConfig

Values = Literal["random", "pattern", "witness"]

WITNESS_REACH = 4.0  # witness values lie within, so that some saturate in block formats


class Operands(NamedTuple):
    """Host tensors of one launch, float32."""

    x: Float32[np.ndarray, "n h w c"]
    w: Float32[np.ndarray, "c one kh kw"]
    bias: Float32[np.ndarray, " c"] | None


def draw(
    conv: ConvConfig,
    values: Values,
    seed: int,
    own: tuple[np.ndarray, np.ndarray | None] | None = None,
) -> Operands:
    """Draws the host tensors of one set of values.

    `random` and `pattern` hold bf16 values; the bias is ten times as wide, as in
    tt-metal's own test (Source: tests/ttnn/nightly/unit_tests/operations/conv/
    test_conv2d.py @002a3f41, run_conv).

    Args:
      own: weights and bias that the layer has itself, in place of drawn ones. They are
        rounded to bf16 where the host sends them so: a verdict is on the chip.

    Raises:
      ConfigError: `own` of another shape than the convolution's.
    """
    rng = np.random.default_rng(seed)
    shapes = (conv.input_shape, conv.weight_shape, (conv.channels,))
    if values == "witness":
        x, w, bias = (_distinct(rng, shape) for shape in shapes)
        odd_block = np.arange(conv.channels) // BLOCK % 2 == 1
        w = np.where(odd_block[:, None, None, None], w / 2, w)  # other block exponents
    else:
        x, w, bias = (
            _bf16(rng.standard_normal(shape) * scale)
            for shape, scale in zip(shapes, (1, 1, 10), strict=True)
        )
    if values == "pattern":
        position = np.arange(1, conv.taps + 1, dtype=np.float32).reshape(conv.kernel)
        w = np.broadcast_to(position, conv.weight_shape)
    if own is not None:
        return as_sent(conv, Operands(x, *own))._replace(x=x)
    return Operands(x, w, bias if conv.bias else None)


def as_sent(conv: ConvConfig, own: Operands) -> Operands:
    """Returns a user's tensors as the host sends them: rounded to bf16 where it does.

    Raises:
      ConfigError: tensors of other shapes than the convolution's.
    """
    x, w, bias = own
    given = None if bias is None else bias.shape
    problems = conv.tensor_problems(x.shape, w.shape, given)
    if conv.bias != (bias is not None):
        has = "no bias" if bias is None else "a bias"
        problems.append(
            f"`bias` (={conv.bias}) must be that of the layer, which has {has}"
        )
    refuse(problems)
    if conv.dtype == "bfloat16":
        x = _bf16(x)
    if conv.weights_dtype == "bfloat16":
        w, bias = _bf16(w), None if bias is None else _bf16(bias)
    return Operands(x, w, bias)


def _bf16(values: np.ndarray) -> Float32[np.ndarray, "..."]:
    return values.astype(ml_dtypes.bfloat16).astype(np.float32)


def _distinct(
    rng: np.random.Generator, shape: tuple[int, ...]
) -> Float32[np.ndarray, "..."]:
    """Returns evenly spread values in random places, each with all its bits in use."""
    size = int(np.prod(shape))
    place = (rng.permutation(size) + rng.uniform(0.25, 0.75, size)) / size * 2 - 1
    return (place * WITNESS_REACH).astype(np.float32).reshape(shape)
