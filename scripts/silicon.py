"""Prints what jaxdw says of two runs that were recorded on a Wormhole chip.

Usage: python scripts/silicon.py (after scripts/demo.sh or scripts/test.sh).
"""

import dataclasses
from pathlib import Path

import ml_dtypes
import numpy as np

import jaxdw as jd
from jaxdw.maps.banks import read_map

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "recorded_height.npz"
# Source: DEPTHWISE_CONV2D_WIDTH_SHARDED_PLAN.md of the tt-metal branch, @6f883191.
RECORDED_FAILURE = 0.0895812379007859


def main() -> None:
    recorded = np.load(GOLDEN)
    x, w, silicon = (
        recorded[name].view(ml_dtypes.bfloat16).astype(np.float32)
        for name in ("x_nchw", "w_oihw", "out_nhwc")
    )
    x = x.transpose(0, 2, 3, 1)
    conv = jd.ConvConfig(channels=64, height=8, width=8, padding=(1, 1, 1, 1))
    reference = jd.reference(conv, x, w).astype(np.float32)

    def pcc(output) -> float:
        output = np.asarray(output).astype(ml_dtypes.bfloat16)
        return jd.pcc(output, reference, revision="branch")

    output = np.asarray(jd.emulate(conv, jd.ShardConfig(scheme="height"), x, w).output)
    equal = np.count_nonzero(output == silicon)
    print("HEIGHT, LoFi, bf16")
    print(f"  outputs equal to the chip's, bit for bit: {equal} of {silicon.size}")
    print(f"  PCC here         {pcc(output)}")
    print(f"  PCC on the chip  {float(recorded['recorded_pcc'])}")

    plan = jd.make_plan(conv, jd.ShardConfig(scheme="width"))
    height = jd.make_maps(jd.make_plan(conv, jd.ShardConfig(scheme="height"))).weights
    table = jd.bank_table(4, 2048, 0, plan.arch)
    tile_0 = dataclasses.replace(height, read=read_map(table, np.array([[0], [0]])))
    maps = dataclasses.replace(jd.make_maps(plan), weights=tile_0)
    print("WIDTH, every core fed tile 0 of the HEIGHT weight layout")
    print(f"  PCC here         {pcc(jd.run(plan, maps, x, w).output)}")
    print(f"  PCC on the chip  {RECORDED_FAILURE}")


if __name__ == "__main__":
    main()
