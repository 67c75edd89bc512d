"""Golden outputs of ttnn 0.81.1's own convolutions, as operands of a core.

`tests/golden/README.md` says where they come from and how they are named.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import oracles_fpu

FILES = Path(__file__).parent / "golden"
BLOCK_SHARDS = {"b64": 8, "b128": 16}  # channels of a shard, of the BLOCK cases


def values(bits: np.ndarray) -> np.ndarray:
    """Returns float32 of bf16 patterns (uint16) or float32 patterns (uint32)."""
    shift = 16 if bits.dtype == np.uint16 else 0
    return (bits.astype(np.uint32) << shift).view(np.float32)


class Case(NamedTuple):
    """One golden case: operands, how they are computed, what comes out."""

    name: str
    windows: np.ndarray  # [taps, sticks, channels]
    weights: np.ndarray  # [taps, sticks or 1, channels]
    bias: np.ndarray | None
    want: np.ndarray  # [sticks, channels]
    fidelity: str
    fp32_dest: bool
    scheme: str
    kernel: tuple[int, int]
    width: int
    dtypes: dict[str, str]
    compared: np.ndarray | None  # channel of each stick, None for all


def names(file: str, first_letter: str) -> list[str]:
    """Returns the cases of a file whose name starts, past the chip, with a letter."""
    with np.load(FILES / f"{file}.npz") as golden:
        stems = {name.split("__")[0] for name in golden.files}
    return sorted(s for s in stems if s.removeprefix("wh_").startswith(first_letter))


def arithmetic_case(name: str) -> Case:
    """Returns a case R of `arith.npz`: one channel of a shard for each stick."""
    _, layout, width, kernel, fidelity, dst = name.split("_")
    with np.load(FILES / "arith.npz") as golden:
        x, w, lane, out = (golden[f"{name}__{n}"] for n in ("x", "w", "lane", "out"))
    sticks, channels = np.arange(len(lane)), int(width[1:])
    operands = np.zeros((2, x.shape[1], len(lane), channels), np.uint16)
    operands[0][:, sticks, lane], operands[1][:, sticks, lane] = x.T, w.T
    want = np.zeros((len(lane), channels), np.uint16)
    want[sticks, lane] = out
    rows, columns = (int(size) for size in kernel[1:].split("x"))
    return Case(
        name=name,
        windows=values(operands[0]),
        weights=values(operands[1]),
        bias=None,
        want=values(want),
        fidelity=fidelity,
        fp32_dest=dst == "dst32",
        scheme={"H": "height", "B": "block", "W": "width"}[layout],
        kernel=(rows, columns),
        width=channels,
        dtypes={},
        compared=lane,
    )


def run_case(file: str, name: str) -> Case:
    """Returns a case of the `run_*.npz`; of padded channels the real ones."""
    _, kind, fidelity, dst = name.split("_")[:4]
    with np.load(FILES / f"{file}.npz") as golden:
        stems = (key.split("__") for key in golden.files)
        found = {part: golden[f"{s}__{part}"] for s, part in stems if s == name}
    x, w = found["x"], found["w"]
    if kind.startswith("d"):  # [sticks, taps, channels], [taps, channels]
        kernel = (1, len(w))
        windows, weights = x.swapaxes(0, 1), w[:, None]
    else:  # [sticks, channels, kh, kw], [channels, kh, kw]
        kernel = x.shape[2:]
        windows = x.reshape(*x.shape[:2], -1).transpose(2, 0, 1)
        weights = w.reshape(len(w), -1).T[:, None]
    channels = windows.shape[2]
    bfp8 = "man" in found
    out = None if bfp8 else found["out"][:, :channels]
    names = {2: "bfloat16", 4: "float32"}
    return Case(
        name=name,
        windows=values(windows),
        weights=values(weights),
        bias=values(found["bias"]) if "bias" in found else None,
        want=_of_codes(found["exp"], found["man"]) if out is None else values(out),
        fidelity=fidelity,
        fp32_dest=dst == "dst32",
        scheme="block" if kind in BLOCK_SHARDS else "height",
        kernel=kernel,
        width=BLOCK_SHARDS.get(kind, channels),
        dtypes={
            "dtype": names[x.itemsize],
            "weights_dtype": "bfloat8_b" if "w8" in kind else names[w.itemsize],
            "output_dtype": "bfloat8_b" if out is None else names[out.itemsize],
        },
        compared=None,
    )


def _of_codes(exponents: np.ndarray, codes: np.ndarray) -> np.ndarray:
    shared = np.repeat(exponents, 16, axis=1)
    pairs = zip(codes.ravel().tolist(), shared.ravel().tolist(), strict=True)
    bits = [oracles_fpu.unpack_code(code, exponent, 7) for code, exponent in pairs]
    return np.array(bits, np.uint32).view(np.float32).reshape(codes.shape)


def compared(case: Case, result: np.ndarray) -> np.ndarray:
    """Returns the patterns of a result that the golden file has."""
    bits = np.asarray(result).view(np.uint32)
    if case.compared is None:
        return bits
    return bits[np.arange(len(bits)), case.compared]


def ordinary_sticks(case: Case) -> np.ndarray:
    """Returns which sticks have operands within 2**-43 to 2**37 only."""

    def ordinary(values: np.ndarray) -> np.ndarray:
        size = np.abs(values)
        inside = (size >= 2.0**-43) & (size < 2.0**37)
        return (inside | (size == 0)).all(axis=(0, 2))

    return ordinary(case.windows) & ordinary(case.weights)
