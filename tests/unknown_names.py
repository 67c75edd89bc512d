"""What no public function knows, each with the words of its refusal.

As a program it prints what each call says, free of the type checks of tests.
"""

import json
import sys

import numpy as np

import jaxdw as jd

CONV = jd.ConvConfig(channels=32, height=4, width=4)
PLAN = jd.make_plan(CONV)
X = np.ones(CONV.input_shape, np.float32)
W = np.ones(CONV.weight_shape, np.float32)
WINDOWS = np.ones((5, 9, 64), np.float32)
WEIGHTS = np.ones((1, 9, 64), np.float32)
TILES = np.ones((2, 1024), np.float32)
BLOCKS = np.zeros((2, 1088), np.uint8)


def sticks(windows=WINDOWS, weights=WEIGHTS, bias=None, arithmetic="fpu", **options):
    compute = jd.ComputeConfig(arithmetic=arithmetic)
    return jd.core_sticks(windows, weights, bias, compute=compute, **options)


REGULAR = {"program": "regular", "scheme": "height", "kernel": (3, 3)}
REFUSED = {
    "8 weights": (lambda: sticks(weights=WEIGHTS[:, :8]), r"`weights` .*8, 64.*9, 64"),
    "10 weights": (lambda: sticks(weights=np.ones((1, 10, 64))), r"10, 64.*9, 64"),
    "32 channels": (lambda: sticks(weights=WEIGHTS[..., :32]), r"9, 32.*9, 64"),
    "3 sticks": (lambda: sticks(weights=np.ones((3, 9, 64))), r"3, 9, 64.*1, 9, 64"),
    "2 axes": (lambda: sticks(WINDOWS[0]), r"`windows` \(=\(9, 64\)\)"),
    "no taps": (lambda: sticks(WINDOWS[:, :0], WEIGHTS[:, :0]), "`windows`"),
    "a bias of 32": (lambda: sticks(bias=np.ones(32)), r"`bias` \(=\(32,\).*\(64,\)"),
    "complex": (lambda: sticks(WINDOWS * 1j), r"`windows` \(=complex.*real numbers"),
    "text": (lambda: sticks(weights=np.array([["a"]])), "`weights`.*real numbers"),
    "tanh": (lambda: sticks(activation="tanh"), r"'tanh'.*relu6"),
    "tanh in float32": (
        lambda: sticks(activation="tanh", arithmetic="float32"), r"'tanh'.*relu6",
    ),
    "a short dtype": (lambda: sticks(dtype="bf16"), r"`dtype` \(='bf16'\)"),
    "a short output": (lambda: sticks(output_dtype="bfp8"), r"`output_dtype` .*bfp8"),
    "bf4 output": (lambda: sticks(output_dtype="bfloat4_b"), r"`output_dtype`"),
    "20 channels in blocks": (
        lambda: sticks(WINDOWS[..., :20], WEIGHTS[..., :20], output_dtype="bfloat8_b"),
        "20 channels.*try 32",
    ),
    "a misspelt scheme": (lambda: sticks(**REGULAR | {"scheme": "hight"}), "'hight'"),
    "a kernel of 6": (lambda: sticks(**REGULAR | {"kernel": (2, 3)}), r"taps \(=9\)"),
    "a kernel of one": (lambda: sticks(**REGULAR | {"kernel": 3}), "2 integers"),
    "coalesced": (
        lambda: sticks(program="conv1d", coalesced="no"), "`coalesced` .*True or False",
    ),
    "full_inner_dim": (
        lambda: sticks(**REGULAR, full_inner_dim=1), "`full_inner_dim` .*True or False",
    ),
    "packer": (lambda: jd.pack(TILES, "bfloat8_b", "Host"), "'Host'.*host, device"),
    "packer of bf16": (lambda: jd.pack(TILES, "bfloat16", "Host"), "'Host'"),
    "pack bfp8": (lambda: jd.pack(TILES, "bfp8"), r"'bfp8'.*bfloat8_b"),
    "pack a vector": (lambda: jd.pack(TILES[0], "bfloat16"), r"\[1024\].*tiles, 1024"),
    "pack half tiles": (lambda: jd.pack(TILES[:, :512], "bfloat8_b"), r"\[2, 512\]"),
    "pack complex": (lambda: jd.pack(TILES * 1j, "bfloat16"), "complex.*real numbers"),
    "unpack bfp8": (lambda: jd.unpack(BLOCKS, "bfp8"), r"'bfp8'.*bfloat8_b"),
    "unpack as float32": (lambda: jd.unpack(BLOCKS, "float32"), r"1088.*tiles, 4096"),
    "unpack as bfp4": (lambda: jd.unpack(BLOCKS, "bfloat4_b"), r"1088.*tiles, 576"),
    "unpack floats": (lambda: jd.unpack(BLOCKS * 1.0, "bfloat8_b"), "float64.*bytes"),
    "unpack a page": (lambda: jd.unpack(BLOCKS[0], "bfloat8_b"), r"\[1088\]"),
    "ULPs of bfp8": (lambda: jd.ulp_distance(X, X, "bfloat8_b"), "`dtype`.*float32"),
    "ULPs of two shapes": (lambda: jd.ulp_distance(X, X[..., :1]), r"`b` .*`a`"),
    "revision": (lambda: jd.pcc(X, X, revision="Branch"), "'Branch'.*branch"),
    "backend": (
        lambda: jd.run(PLAN, jd.make_maps(PLAN), X, W, backend="XLA"), "'XLA'.*xla",
    ),
    "kind": (lambda: jd.identify(PLAN, WEIGHTS[0], W, "tile"), "'tile'.*tiles"),
    "program": (lambda: jd.make_plan(CONV, program="Regula"), "'Regula'.*regular"),
    "arch": (lambda: jd.bank_table(1, 2048, 0, "wormhol"), "'wormhol'"),
    "all at once": (
        lambda: sticks(weights=WEIGHTS[:, :8], activation="tanh", dtype="int8"),
        "`weights`.*\n.*`activation`.*\n.*`dtype`",
    ),
}  # fmt: skip


def said(call) -> str:
    """Returns what a call is refused with, or what else came of it."""
    try:
        call()
    except (jd.ConfigError, jd.UnsupportedError) as refusal:
        return str(refusal)
    except Exception as error:
        return f"not refused: {type(error).__name__}"
    return "not refused"


if __name__ == "__main__":
    json.dump({name: said(call) for name, (call, _) in REFUSED.items()}, sys.stdout)
