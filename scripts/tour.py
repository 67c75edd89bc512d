"""The story of WIDTH sharding, from a right output to a wrong one and back.

Read it from top to bottom, or cell by cell in an editor that knows `# %%`.
Usage: python scripts/tour.py (after scripts/demo.sh or scripts/test.sh).
"""

# %% A layer as the chip ran it: 64 channels, 8x8, 3x3, HEIGHT sharded
import dataclasses
from pathlib import Path

import ml_dtypes
import numpy as np

import jaxdw as jd
from jaxdw.maps.banks import read_map
from jaxdw.trace.address import explain_address

RECORDED = Path(__file__).parents[1] / "tests" / "golden" / "recorded_height.npz"
recorded = np.load(RECORDED)
x, w, silicon = (
    recorded[name].view(ml_dtypes.bfloat16).astype(np.float32)
    for name in ("x_nchw", "w_oihw", "out_nhwc")
)
x = x.transpose(0, 2, 3, 1)
conv = jd.ConvConfig(channels=64, height=8, width=8, padding="same")
reference = jd.reference(conv, x, w).astype(np.float32)


def pcc(output) -> float:
    """Returns the PCC as the branch of tt-metal computes it."""
    rounded = np.asarray(output).astype(ml_dtypes.bfloat16)
    return jd.pcc(rounded, reference, revision="branch")


print("1. HEIGHT: every core has all channels, and reads weights from tile 0 on.")
height = jd.make_plan(conv, jd.ShardConfig(scheme="height"))
print(f"   {height!r}")
result = jd.run(height, jd.make_maps(height), x, w)
same = np.count_nonzero(np.asarray(result.output) == silicon)
print(
    f"   PCC {pcc(result.output):.5f}; {same} of {silicon.size} outputs are the chip's"
)

# %% The same weights, cores that hold 32 channels each
print(
    "2. WIDTH: each core has 32 channels. Fed tile 0 of the HEIGHT layout, all of them"
)
print(
    "   take the weights of the first 32 channels, some for the wrong kernel position."
)
width = jd.make_plan(conv, jd.ShardConfig(scheme="width"))
print(f"   {width!r}")
prepared = jd.make_maps(height).weights
table = jd.bank_table(4, 2048, 0, width.arch)
tile_0 = dataclasses.replace(prepared, read=read_map(table, np.array([[0], [0]])))
wrong = dataclasses.replace(jd.make_maps(width), weights=tile_0)
print(f"   PCC {pcc(jd.run(width, wrong, x, w).output):.4f}, as the chip gave")
print(f"   {jd.misread(height, width).verdict}")

# %% Where a byte offset leads
print("3. A byte offset: core 1 starts 2048 bytes behind the base, one tile further.")
print(
    "   But tiles are dealt over the banks, one to each, and an address counts inside"
)
print("   one bank: behind tile 0 there lies no weight.")
base = 0x1D4DA0
trace = explain_address(width, base + 2048, core=1, base_address=base)
(read,) = trace.as_base
(piece,) = read.pieces
tile = "no tile of the weights" if piece.tile is None else f"tile {piece.tile}"
print(
    f"   core 1 wants tile {read.wanted}; {read.noc_address:#x} is bank {piece.bank}, "
)
print(f"   slot {piece.slot}: {tile}")

# %% Tile ids
print("4. Tile ids: each core is told where its tiles start; the readers add the bank.")
for core in range(width.num_cores):
    print(f"   core {core} reads tiles {width.weight_tile_ids(core)}")
right = jd.run(width, jd.make_maps(width), x, w)
print(f"   PCC {pcc(right.output):.5f}")
certificate = jd.certify(width)
print(f"   the layout is proved right: {certificate.holds}, {certificate.counts}")
