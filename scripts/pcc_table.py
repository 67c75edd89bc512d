"""Prints the README's table: PCC of tt-metal's own test rows at every fidelity.

Usage: python scripts/pcc_table.py (after scripts/demo.sh or scripts/test.sh).
"""

import csv
from pathlib import Path

import ml_dtypes
import numpy as np

import jaxdw as jd
from jaxdw.judge.compare import pcc_threshold
from jaxdw.plan.config import ComputeConfig

CASES = Path(__file__).parents[1] / "tests" / "golden" / "upstream_cases.csv"
FORMATS = {"bf16": "bfloat16", "bfp8": "bfloat8_b", "bfp4": "bfloat4_b"}
FIDELITIES = ("LoFi", "HiFi2", "HiFi3", "HiFi4")
FINAL_ROWS = 23


def main() -> None:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(ml_dtypes.bfloat16).astype(np.float32)

    print("| row | layer | scheme | weights | activation | needs |", end="")
    print("".join(f" {fidelity} |" for fidelity in FIDELITIES))
    print("|---" * (6 + len(FIDELITIES)) + "|")
    rows = list(csv.DictReader(CASES.read_text().splitlines()))[:FINAL_ROWS]
    for number, row in enumerate(rows, 1):
        kernel, stride = int(row["kh"]), int(row["sh"])
        conv = jd.ConvConfig(
            batch=int(row["batch"]),
            channels=int(row["in_ch"]),
            height=int(row["H"]),
            width=int(row["W"]),
            kernel=(kernel, kernel),
            stride=(stride, stride),
            padding=(int(row["ph"]),) * 2 + (int(row["pw"]),) * 2,
            weights_dtype=FORMATS[row["wdtype"]],
            bias=True,
            activation=None if row["activation"] == "none" else row["activation"],
        )
        x, w = normal(*conv.input_shape), normal(*conv.weight_shape)
        bias = (normal(conv.channels) * 10).astype(ml_dtypes.bfloat16)
        bias = bias.astype(np.float32)
        want = jd.reference(conv, x, w, bias).astype(np.float32)
        shard = jd.ShardConfig(scheme=row["layout"].lower())
        layer = (
            f"{row['batch']}x{row['in_ch']}x{row['H']}x{row['W']} k{kernel} s{stride}"
        )
        cells = [str(number), layer, row["layout"], row["wdtype"], row["activation"]]
        cells.append(f"{pcc_threshold(conv, ComputeConfig())}")
        for fidelity in FIDELITIES:
            compute = ComputeConfig(math_fidelity=fidelity)
            output = jd.emulate(conv, shard, x, w, bias, compute=compute).output
            value = jd.pcc(np.asarray(output).astype(ml_dtypes.bfloat16), want)
            cells.append(f"{value:.6f}")
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
