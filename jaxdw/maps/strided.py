"""Windows that are strided slices of the padded image, the same on every core.

That is what halo, shards and window starts of an unspoiled launch come to. Slices are
read much faster than rows named one by one; any other launch is run by its table.
"""

import dataclasses
import functools

import jax
import numpy as np
from jaxtyping import Int32

from jaxdw.maps.indexmap import IndexMap
from jaxdw.plan.config import ConvConfig
from jaxdw.plan.window import Window


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=(),
    meta_fields=("image", "padding", "kernel", "stride", "dilation", "outputs"),
)
@dataclasses.dataclass(frozen=True)
class Strided:
    """Where the window elements of every output lie in the padded image.

    Attributes:
      image: N, H, W of the input; padding: rows above, below, columns left, right.
      kernel, stride, dilation: along H and W; outputs: Ho, Wo.
    """

    image: tuple[int, int, int]
    padding: tuple[int, int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    outputs: tuple[int, int]

    @classmethod
    def of_layer(cls, conv: ConvConfig) -> "Strided":
        """Returns the windows of a layer."""
        window = Window(conv)
        return cls(
            (conv.batch, conv.height, conv.width),
            conv.padding,
            conv.kernel,
            conv.stride,
            conv.dilation,
            (window.out_height, window.out_width),
        )

    @property
    def padded_image(self) -> tuple[int, int, int]:
        """N, H, W of the padded image."""
        images, height, width = self.image
        top, bottom, left, right = self.padding
        return images, height + top + bottom, width + left + right


@functools.lru_cache(maxsize=2)  # the same layer under several schemes
def strided_sticks(windows: Strided) -> Int32[np.ndarray, "taps outputs"]:
    """Returns the stick of each window element; N*H*W for the padding.

    Outputs count N, Ho, Wo; sticks N, H, W; taps kernel rows, then columns.
    """
    images, height, width = windows.image
    top, _, left, _ = windows.padding
    n, v, u, y, x = np.ogrid[
        tuple(map(slice, (images, *windows.kernel, *windows.outputs)))
    ]
    row = y * windows.stride[0] + v * windows.dilation[0] - top
    column = x * windows.stride[1] + u * windows.dilation[1] - left
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    stick = np.where(
        inside, (n * height + row) * width + column, images * height * width
    )
    taps = np.prod(windows.kernel)
    by_tap = np.moveaxis(stick, 0, 2).reshape(taps, -1).astype(np.int32)
    by_tap.setflags(write=False)
    return by_tap


def strided_windows(
    conv: ConvConfig, sticks: IndexMap, collect: IndexMap
) -> Strided | None:
    """Returns the windows of a layer if cores read exactly those, else None.

    Args:
      sticks: `[shards, taps, output rows]` from NHW sticks; collect: as in `Maps`.
    """
    windows = Strided.of_layer(conv)
    want = strided_sticks(windows)
    if sticks.size != np.prod(windows.image) or sticks.index.shape[1] != len(want):
        return None
    rows = np.moveaxis(np.asarray(sticks.index), 1, 0).reshape(len(want), -1)
    output = np.asarray(collect.index)
    if len(output) != want.shape[1] or (output >= rows.shape[1]).any():
        return None
    return windows if np.array_equal(rows[:, output], want) else None
