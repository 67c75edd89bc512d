"""What people and ttnn call a value: one table for Python, command line and TOML.

Words are taken in any case, behind a class (`ttnn.TensorMemoryLayout.HEIGHT_SHARDED`)
or not. A dtype may be an object: NumPy's, JAX's, or an enum of ttnn.
"""

import difflib
from collections.abc import Iterable
from typing import Any

_DTYPES = {
    "bf16": "bfloat16",
    "fp32": "float32",
    "f32": "float32",
    "float": "float32",
    "bfp8": "bfloat8_b",
    "bfp8_b": "bfloat8_b",
    "bfloat8": "bfloat8_b",
    "bfp4": "bfloat4_b",
    "bfp4_b": "bfloat4_b",
    "bfloat4": "bfloat4_b",
}
_FIDELITIES = {name.lower(): name for name in ("LoFi", "HiFi2", "HiFi3", "HiFi4")}
_LAYOUTS = {"row_major_layout": "row_major", "tile_layout": "tile", "tiled": "tile"}
_SCHEMES = {f"{name}_sharded": name for name in ("height", "width", "block")}

# by the name of a config's field, or of a parameter: other words for its values
WORDS: dict[str, dict[str, Any]] = {
    "dtype": _DTYPES,
    "weights_dtype": _DTYPES,
    "output_dtype": _DTYPES,
    "activation": {"none": None},
    "scheme": _SCHEMES,
    "orientation": {"row": "row_major", "col": "col_major", "column": "col_major"},
    "output_layout": _LAYOUTS,
    "input_layout": _LAYOUTS,
    "memory": {"l1_full": "l1", "dram_interleaved": "dram"},
    "weight_layout": {},
    "arithmetic": {"fp32": "float32"},
    "math_fidelity": _FIDELITIES,
    "program": {},
    "arch": {"wormhole": "wormhole_b0"},
}


def meant(field: str, value: Any, legal: Iterable[object]) -> Any:
    """Returns the legal value that a word stands for, or what was given if none.

    Args:
      field: a key of `WORDS`.
    """
    name = value if isinstance(value, str) else _name(value)
    if name is None:
        return value
    word = name.strip().rpartition(".")[2].lower().replace("-", "_").replace(" ", "_")
    found = WORDS[field].get(word, word)
    return found if found in legal else value


def _name(value: Any) -> str | None:
    """Returns the name of an enum's member or of a dtype; None of anything else."""
    name = getattr(value, "name", None)
    if isinstance(name, str):
        return name
    if type(value).__name__ == "dtype":  # PyTorch's
        return str(value)
    if not isinstance(value, type):
        return None
    import numpy as np

    try:
        return np.dtype(value).name
    except TypeError:
        return None


def nearest(value: object, choices: Iterable[object]) -> str:
    """Returns the choice that reads most like a value."""
    named = {str(choice).lower(): str(choice) for choice in choices}
    found = difflib.get_close_matches(str(value).lower(), named, n=1, cutoff=0.0)
    return named[found[0]] if found else next(iter(named.values()))
