"""Two arrays that are compared: like with like, element by element."""

import itertools

import numpy as np
from numpy.typing import ArrayLike

from jaxdw.errors import ConfigError


def pair(
    want: ArrayLike, got: ArrayLike, names: tuple[str, str]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns two arrays of real numbers and of one shape.

    Args:
      names: what messages call them, in this order.

    Raises:
      ConfigError: different shapes, no elements, values that are no real numbers.
    """
    arrays = np.asarray(want), np.asarray(got)
    for name, array in zip(names, arrays, strict=True):
        if array.dtype.kind not in "biufV":  # V: bf16 and other types of ml_dtypes
            raise ConfigError(
                f"`{name}` (={array.dtype}) must hold real numbers; take the real part"
            )
    shape, other = (array.shape for array in arrays)
    if shape != other:
        raise ConfigError(
            f"`{names[1]}` (={other}) must have the shape of `{names[0]}` (={shape}); "
            + _way_out(shape, other, names[1])
        )
    if not arrays[0].size:
        raise ConfigError(
            f"`{names[0]}` (={shape}) must hold elements to compare; pass some"
        )
    return arrays


def _way_out(want: tuple[int, ...], got: tuple[int, ...], name: str) -> str:
    """Returns what makes one shape the other, if its axes or their number do."""
    if len(want) == len(got) <= 4 and sorted(want) == sorted(got):
        orders = itertools.permutations(range(len(got)))
        order = next(o for o in orders if tuple(got[i] for i in o) == want)
        return f"if its axes stand otherwise, pass {name}.transpose{order}"
    if np.prod(want) == np.prod(got):
        return (
            f"if it is the same in another shape, pass {name}.reshape{want}, its axes "
            "in the same order"
        )
    return "compare like with like"
