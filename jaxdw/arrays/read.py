"""Reads one array from a file: the loader of every command that takes arrays.

| file | what is read |
|---|---|
| `a.npy` | its array |
| `a.npz`, `a.npz:name` | the only array, or the one of that name |
| `a.safetensors`, `a.safetensors:name` | the same of tensors (extra `files`) |
| `a.pt`, `a.pth`, `a.pt:name` | a tensor, or one of a dict of tensors (needs torch) |
| `a.bin` | raw little-endian values of a dtype given, flat |

Nothing in a file is ever run: pickled objects are refused, torch loads weights only.

NumPy does not keep the names of bf16 and float8 in a `.npy`: values of two bytes
without a type are bf16, and so are unsigned ones, which is how bf16 bits are mostly
kept; `notes` say so. Values of one byte without a type are of the dtype given.
"""

import contextlib
import dataclasses
import importlib
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from jaxdw.errors import ConfigError, needing

BLOCK_FORMATS = ("bfloat8_b", "bfloat4_b")
DTYPES = (
    "bfloat16", "float16", "float32", "float64",
    "float8_e4m3fn", "float8_e5m2", "float8_e4m3", "float8_e4m3fnuz", "float8_e5m2fnuz",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
)  # fmt: skip
_MAGICS = {
    b"\x93NUMPY": "a .npy array",
    b"PK\x03\x04": "a zip archive (.npz or .pt)",
    b"PK\x05\x06": "an empty zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"\x80": "a pickle",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileArray:
    """An array of a file.

    Attributes:
      values: in their own dtype, native byte order; bf16 and float8 as of ml_dtypes.
      note: what was taken for granted, a sentence; empty if nothing was.
      used_dtype: whether the dtype given was used.
    """

    values: np.ndarray
    note: str = ""
    used_dtype: bool = False


def read_array(
    path: str | Path, dtype: str | None = None, *, name: str = "path"
) -> FileArray:
    """Reads the array of a file, as this page says.

    Args:
      path: of the file; `file.npz:name` for one array of several.
      dtype: one of `DTYPES`, of values whose file does not say: raw ones, those of one
        or two bytes without a type or unsigned. Other files have their own.
      name: what messages call it, an option for one.

    Raises:
      ConfigError: no such file, a folder, nothing in it, cut short, another kind than
        its ending says, several arrays and no name, pickled objects, values that are
        no numbers, no dtype where one is needed, a package that is not installed.
    """
    if dtype is not None and dtype not in DTYPES:
        rule = f"must be one of {', '.join(DTYPES)}"
        if dtype in BLOCK_FORMATS:
            rule = "is packed in tiles; unpack them with `jaxdw.unpack`, save float32"
        raise ConfigError(f"the dtype of `{name}` (={dtype!r}) {rule}")
    file, member = parted(str(path))
    with _refusals(name, str(path)):
        reader = _reader(file, member)
        stored = reader(file, member)
        if stored.dtype.names or stored.dtype.subdtype:
            raise _Refused("must hold plain numbers, not records; save one field")
        if stored.dtype.kind not in "biufcV":
            raise _Refused(f"must hold numbers, not {stored.dtype}; save float32")
        return _typed(stored, dtype, file.suffix == ".bin")


def parted(path: str) -> tuple[Path, str | None]:
    """Returns the file that a path names, and the array in it if one is named."""
    if Path(path).exists():
        return Path(path), None
    for suffix in _NAMED:
        file, found, member = path.rpartition(f"{suffix}:")
        if found:
            return Path(f"{file}{suffix}"), member
    return Path(path), None


class _Refused(Exception):
    """The rest of a sentence that begins with the file."""


@contextlib.contextmanager
def _refusals(name: str, path: str) -> Iterator[None]:
    """Turns whatever a reader raises into one sentence."""
    try:
        yield
    except _Refused as refused:
        raise ConfigError(f"`{name}` (={path!r}) {refused}") from refused.__cause__
    except ConfigError as error:
        raise ConfigError(f"`{name}` (={path!r}): {error}") from error
    except MemoryError as error:
        raise ConfigError(
            f"`{name}` (={path!r}) must fit in memory; its header asks for too much, "
            "or is damaged: write it again"
        ) from error
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"`{name}` (={path!r}) must be a whole file of numbers: {reason}; write it "
            "again, with numpy.save for one"
        ) from error


# what readers raise of files that are damaged, cut short or hold something else
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    TypeError,
    RuntimeError,  # an archive with a password
    NotImplementedError,
    SyntaxError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
)

Reader = Callable[[Path, str | None], np.ndarray]


def _reader(file: Path, member: str | None) -> Reader:
    suffix = file.suffix.lower()
    if suffix not in _READERS:
        raise _Refused(f"must end in {', '.join(_READERS)}; {_instead(file)}")
    if file.is_dir():
        raise _Refused("must be a file, not a folder; name a file in it")
    if not file.exists():
        raise _Refused("must be a file that exists (No such file); look at the path")
    if not file.is_file():
        raise _Refused("must be a plain file; write one")
    if not file.stat().st_size:
        raise _Refused("must hold an array, the file is empty; write it again")
    if member is not None and suffix not in _NAMED:
        raise _Refused(f"has one array and no names; leave out {member!r}")
    return _READERS[suffix]


def _instead(file: Path) -> str:
    """Returns what to do with a file of another kind than its ending says."""
    with contextlib.suppress(OSError):
        if _kind(file) in _MAGICS.values():
            return f"this one is {_kind(file)}, rename or convert it"
    return "write one with numpy.save"


def _read_npy(file: Path, member: str | None) -> np.ndarray:
    kind = _kind(file)
    if kind != _MAGICS[b"\x93NUMPY"]:
        raise _Refused(f"must be a .npy array, but is {kind}; rename or convert it")
    # mapped first: a header that asks for more than the file holds is refused so
    try:
        return np.array(np.load(file, mmap_mode="r", allow_pickle=False))
    except ValueError as error:
        raise _refused_npy(error) from error


def _refused_npy(error: ValueError) -> Exception:
    """Returns what to say of the errors that are met most."""
    text = str(error)
    if "Python objects" in text or "Object arrays" in text:
        return _Refused("must hold numbers, not pickled objects; save float32")
    if "mmap length" in text:
        return _Refused("is cut short: its header asks for more; write it again")
    if "Header info length" in text:
        return _Refused("has a header too long to be trusted; save the array alone")
    if "'<f1'" in text:
        return _Refused("holds float8_e5m2, which numpy cannot read; save float32")
    return error


def _kind(file: Path) -> str:
    with file.open("rb") as opened:
        head = opened.read(8)
    found = (kind for magic, kind in _MAGICS.items() if head.startswith(magic))
    return next(found, "another kind of file")


def _read_npz(file: Path, member: str | None) -> np.ndarray:
    if not zipfile.is_zipfile(file):
        raise _Refused(
            f"must be a whole archive of numpy.savez, but is {_kind(file)}; rename "
            "or convert it"
        )
    with np.load(file, allow_pickle=False) as archive:
        names = [name for name in archive.files if not name.endswith("/")]
        try:
            found = archive[_chosen(names, member)]
        except ValueError as error:
            raise _refused_npy(error) from error
    if not isinstance(found, np.ndarray):
        raise _Refused("must be an archive of numpy.savez; it holds other files")
    return found


def _read_safetensors(file: Path, member: str | None) -> np.ndarray:
    with needing("files", "safetensors"):
        from safetensors import SafetensorError, safe_open
    try:
        with safe_open(file, "np") as opened:
            return np.array(opened.get_tensor(_chosen(list(opened.keys()), member)))
    except SafetensorError as error:
        raise ValueError(error) from error


def _read_torch(file: Path, member: str | None) -> np.ndarray:
    if _kind(file) == _MAGICS[b"\x93NUMPY"]:
        raise _Refused("must be a file of torch.save, but is a .npy array; rename it")
    try:
        torch: Any = importlib.import_module("torch")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        array = f".npy of `{member}`" if member else ".npy"
        chosen = f"[{member!r}]" if member else ""
        raise _Refused(
            "needs torch, which is not installed; where it is, this writes the "
            f"{array}: python -c \"import numpy, torch; numpy.save('"
            f"{file.with_suffix('.npy')}', torch.load('{file}', map_location='cpu', "
            f'weights_only=True){chosen}.float().numpy())"'
        ) from error
    try:
        loaded: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch raise kinds of their own
        reason = str(error).split("\n", 1)[0].split(". ", 1)[0]
        raise _Refused(
            f"must be a tensor that torch.load(weights_only=True) reads: {reason}; "
            "save the tensor alone"
        ) from error
    if isinstance(loaded, Mapping):
        loaded = loaded[_chosen([str(name) for name in loaded], member)]
    elif member is not None:
        raise _Refused(f"holds one tensor and no names; leave out {member!r}")
    if not isinstance(loaded, torch.Tensor):
        raise _Refused(f"must hold a tensor, not {type(loaded).__name__}; save one")
    tensor = loaded.detach().to_dense() if loaded.is_sparse else loaded.detach()
    if tensor.is_floating_point() and tensor.dtype != torch.float64:
        if tensor.dtype == torch.bfloat16:
            return tensor.float().numpy().astype(ml_dtypes.bfloat16)
        tensor = tensor.float()
    return tensor.numpy()


def _read_raw(file: Path, member: str | None) -> np.ndarray:
    return np.fromfile(file, np.uint8)


_READERS: dict[str, Reader] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    ".pt": _read_torch,
    ".pth": _read_torch,
    ".bin": _read_raw,
}
_NAMED = (".npz", ".safetensors", ".pt", ".pth")


def _chosen(names: list[str], member: str | None) -> str:
    """Returns the name asked for, or the only one."""
    if member in names:
        return str(member)
    listed = ", ".join(names[:20]) + ", ..." * (len(names) > 20)
    if member is not None:
        raise _Refused(f"has no array {member!r}; it has {listed or 'none'}")
    if not names:
        raise _Refused("must hold an array; it holds none")
    if len(names) > 1:
        raise _Refused(
            f"holds {len(names)} arrays, {listed}; name one, as in FILE:{names[0]}"
        )
    return names[0]


def _typed(stored: np.ndarray, dtype: str | None, is_raw: bool) -> FileArray:
    """Gives values without a type, or with that of their bits, their own."""
    size = stored.dtype.itemsize
    if is_raw:
        if dtype is None:
            raise _Refused("is raw and does not say its dtype; give one")
        width = np.dtype(_named(dtype)).itemsize
        if stored.size % width:
            raise _Refused(
                f"(={stored.size} bytes) must be whole values of {dtype}, {width} "
                "bytes each; give the dtype that it was written in"
            )
        values = stored.view(np.dtype(_named(dtype)).newbyteorder("<"))
        return FileArray(values=_native(values), used_dtype=True)
    stored = _native(stored)
    untyped = stored.dtype.kind == "V" and stored.dtype not in _ML_DTYPES
    if not untyped and (stored.dtype.kind != "u" or size > 2):
        return FileArray(values=stored)
    if dtype is not None and np.dtype(_named(dtype)).itemsize == size:
        return FileArray(values=stored.view(_named(dtype)), used_dtype=True)
    if size == 2 and (dtype is None or not untyped):
        what = "without a type" if untyped else "of uint16"
        return FileArray(
            values=stored.view(ml_dtypes.bfloat16),
            note=f"values {what} taken as the bits of bfloat16",
        )
    if untyped:
        raise _Refused(
            f"holds values of {size} bytes without a type; give a dtype of that size, "
            "or save float32"
        )
    return FileArray(values=stored)


def _native(values: np.ndarray) -> np.ndarray:
    order = values.dtype.newbyteorder("=")
    return np.ascontiguousarray(values, order).reshape(values.shape)


def _named(dtype: str) -> Any:
    return getattr(ml_dtypes, dtype, None) or np.dtype(dtype).type


_ML_DTYPES = {
    np.dtype(getattr(ml_dtypes, name)) for name in DTYPES if hasattr(ml_dtypes, name)
}
