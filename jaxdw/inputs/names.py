"""How ttnn and tt-mlir spell what a configuration holds, both ways.

A spelling is compared by its last word, without case or underscores, so that
`ttnn.TensorMemoryLayout.HEIGHT_SHARDED`, `height_sharded` and `HeightSharded` are one.
Source: tt-metal conv2d_nanobind.cpp, Conv2dConfig (2026); tt-mlir TTNNOpsEnums.td
(2026).
"""

import re
from typing import Any

from jaxdw.errors import ConfigError

# What is written for each value, the first of them by `jaxdw` itself.
SCHEMES = {
    "height": ("HEIGHT_SHARDED", "HEIGHT", "HS"),
    "width": ("WIDTH_SHARDED", "WIDTH", "WS"),
    "block": ("BLOCK_SHARDED", "BLOCK", "BS"),
}
DTYPES = {
    "bfloat16": ("bfloat16", "bf16"),
    "float32": ("float32", "f32", "fp32"),
    "bfloat8_b": ("bfloat8_b", "bfp_bf8", "bfp8"),
    "bfloat4_b": ("bfloat4_b", "bfp_bf4", "bfp4"),
}
LAYOUTS = {
    "tile": ("TILE_LAYOUT", "TILE"),
    "row_major": ("ROW_MAJOR_LAYOUT", "ROW_MAJOR"),
}
FIDELITIES = {name: (name,) for name in ("LoFi", "HiFi2", "HiFi3", "HiFi4")}
ACTIVATIONS = {name: (name.upper(),) for name in ("relu", "relu6", "silu", "gelu")}
ACTIVATIONS["gelu_approx"] = ("GELU_APPROX",)
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def is_function_name(name: str) -> bool:
    """Whether a text has the form `module:function`."""
    return _FUNCTION.fullmatch(name) is not None


def _bare(word: str) -> str:
    return word.rpartition(".")[2].replace("_", "").lower()


def read_name(key: str, word: Any, names: dict[str, tuple[str, ...]]) -> str:
    """Returns the value that a word of ttnn or tt-mlir stands for.

    Raises:
      ConfigError: a word that stands for none.
    """
    for value, spellings in names.items():
        if _bare(str(word)) in map(_bare, spellings):
            return value
    raise ConfigError(
        f"`{key}` (={word}) must be one of "
        f"{', '.join(spellings[0] for spellings in names.values())}"
    )


def is_name(word: Any, names: dict[str, tuple[str, ...]]) -> bool:
    """Whether a word stands for one of the values."""
    return any(_bare(str(word)) in map(_bare, said) for said in names.values())
