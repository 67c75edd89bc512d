"""The ground truth: depthwise convolution in float64, of NumPy and SciPy alone."""

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from jaxdw.errors import refuse
from jaxdw.plan.config import ConvConfig


def _silu(y: np.ndarray) -> np.ndarray:
    return y / (1 + np.exp(-y))


def _gelu(y: np.ndarray) -> np.ndarray:
    from scipy import special  # takes 0.2 s to import, and few layers need it

    return y * special.ndtr(y)


_ACTIVATIONS = {
    None: lambda y: y,
    "relu": lambda y: np.maximum(y, 0),
    "relu6": lambda y: np.clip(y, 0, 6),
    "silu": _silu,
    "gelu": _gelu,
    "gelu_approx": _gelu,
}


@np.errstate(over="ignore", invalid="ignore")  # of infinities, as they come
def reference(
    conv: ConvConfig, x: ArrayLike, w: ArrayLike, bias: ArrayLike | None = None
) -> Float64[np.ndarray, "n ho wo c"]:
    """Returns the depthwise convolution in float64, from the definition.

    Shares no code with the emulator: a NumPy loop over kernel positions on the padded
    image, then bias and the true activation. Nothing is rounded.

    Args:
      x: `[N, H, W, C]`; w: `[C, 1, kh, kw]`; bias: `[C]`, or None even where `conv`
        has one.

    Raises:
      ConfigError: an array of another shape than the convolution's.
    """
    shapes = (np.shape(x), np.shape(w), None if bias is None else np.shape(bias))
    refuse(conv.tensor_problems(*shapes))
    top, bottom, left, right = conv.padding
    (stride_h, stride_w), (dilation_h, dilation_w) = conv.stride, conv.dilation
    image = np.pad(
        np.asarray(x, np.float64), [(0, 0), (top, bottom), (left, right), (0, 0)]
    )
    weights = np.asarray(w, np.float64)
    kernel_h, kernel_w = conv.kernel
    rows = image.shape[1] - dilation_h * (kernel_h - 1)
    columns = image.shape[2] - dilation_w * (kernel_w - 1)
    heights = range(0, rows, stride_h)
    widths = range(0, columns, stride_w)
    total = np.zeros((len(image), len(heights), len(widths), len(weights)))
    product = np.empty_like(total)  # arrays of its size, new ones, cost as much again
    for y in range(kernel_h):
        for z in range(kernel_w):
            first_row, first_column = y * dilation_h, z * dilation_w
            window = image[
                :,
                first_row : first_row + rows : stride_h,
                first_column : first_column + columns : stride_w,
            ]
            total += np.multiply(window, weights[:, 0, y, z], out=product)
    if bias is not None:
        total += np.asarray(bias, np.float64)
    return _ACTIVATIONS[conv.activation](total)
