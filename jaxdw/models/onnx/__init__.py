"""Depthwise layers of ONNX files."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxdw.models.onnx.file import (
        OnnxFile,
        OnnxLayer,
        SkippedLayersWarning,
        read_file,
        read_onnx,
    )

__all__ = [
    "OnnxFile",
    "OnnxLayer",
    "SkippedLayersWarning",
    "read_file",
    "read_onnx",
]


def __getattr__(name: str) -> Any:
    """Arrives on first use: `jaxdw.models.onnx.file` also runs as a process."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from jaxdw.models.onnx import file

    return getattr(file, name)
