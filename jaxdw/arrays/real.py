"""Values as float32, in which every value of every format here is exact."""

import numpy as np
from jaxtyping import Float32
from numpy.typing import ArrayLike

from jaxdw.errors import ConfigError

_EXACT = 2**24  # integers up to here are float32 values


def as_float32(values: ArrayLike, name: str) -> Float32[np.ndarray, "..."]:
    """Returns real numbers as float32; masked ones are NaN.

    float64 is rounded; integers have to be exact.

    Args:
      name: what messages call them.

    Raises:
      ConfigError: values that are no real numbers, or that float32 does not hold.
    """
    mask = np.ma.getmask(values)
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"`{name}` must be one array of numbers ({error}); pass a NumPy array"
        ) from error
    if array.dtype.kind == "c":
        raise ConfigError(
            f"`{name}` (={array.dtype}) must hold real numbers; take the real part"
        )
    # V: bf16 and float8, whose types are those of ml_dtypes
    is_untyped = array.dtype.kind == "V" and array.dtype.type is np.void
    if array.dtype.kind not in "biufV" or is_untyped:
        raise ConfigError(
            f"`{name}` (={array.dtype}) must hold real numbers; save float32"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        real = array.astype(np.float32)
    _refuse_lost(array, real, name)
    if mask is not np.ma.nomask and mask.any():
        real[mask] = np.nan
    return real


def _refuse_lost(
    array: np.ndarray, real: Float32[np.ndarray, "..."], name: str
) -> None:
    """Refuses what float32 does not hold."""
    if array.dtype.kind in "iu" and array.dtype.itemsize > 2:
        lost = (array < -_EXACT) | (array > _EXACT)
        way_out = f"use integers up to {_EXACT}, or save floats"
    elif array.dtype.kind == "f" and array.dtype.itemsize > 4:
        lost = np.isfinite(array) & ~np.isfinite(real)
        way_out = f"use values up to {np.finfo(np.float32).max:.8g}"
    else:
        return
    if lost.any():
        raise ConfigError(
            f"`{name}` (={array.ravel()[lost.ravel().argmax()]}, {array.dtype}) must "
            f"hold values that float32 holds; {way_out}"
        )
