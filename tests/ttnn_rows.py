"""Rows of plans of ttnn 0.81.1: what was asked, and what a plan says in their words."""

import csv
import lzma
from pathlib import Path

import jaxdw as jd
from jaxdw.plan.grid import CoreGrid, Shard
from jaxdw.plan.ttnn.operations import operations
from jaxdw.plan.ttnn.plan import Launch, TtnnPlan
from jaxdw.plan.ttnn.planner import default_compute, plan_ttnn

GOLDEN = Path(__file__).parent / "golden"
DTYPES = {
    "bf16": "bfloat16",
    "fp32": "float32",
    "bfp8": "bfloat8_b",
    "bfp4": "bfloat4_b",
}
SCHEMES = {"auto": "auto", "H": "height", "B": "block", "W": "width"}
# options that are fields; the others are transpose_shards, which is the orientation,
# and deallocate_activation, which has no effect on a tensor of the host
FIELDS = (
    "enable_act_double_buffer",
    "enable_weights_double_buffer",
    "full_inner_dim",
    "force_split_reader",
    "enable_activation_reuse",
)
OPTIONS = (*FIELDS, "transpose_shards", "deallocate_activation")


def rows() -> list[dict[str, str]]:
    with lzma.open(GOLDEN / "plan_ttnn.csv.xz", "rt") as file:
        return list(csv.DictReader(file))


def conv_of(row: dict[str, str]) -> jd.ConvConfig:
    return jd.ConvConfig(
        batch=int(row["N"]),
        channels=int(row["C"]),
        height=int(row["H"]),
        width=int(row["W"]),
        kernel=(int(row["kh"]), int(row["kw"])),
        stride=(int(row["sh"]), int(row["sw"])),
        padding=tuple(map(int, row["pad"].split())),
        bias=row["bias"] == "1",
        activation=row["act"].lower() or None,
        dtype=DTYPES[row["in"]],
        weights_dtype=DTYPES[row["w"]],
        output_dtype=DTYPES[row["out"]],
    )


def shard_of(row: dict[str, str]) -> jd.ShardConfig:
    asked = row["opts"].split()
    return jd.ShardConfig(
        scheme=SCHEMES[row["layout"]],
        memory=row["path"],
        input_layout="tile" if row["inl"] else "row_major",
        output_layout="row_major" if row["rm"] else "tile",
        act_block_h_override=int(row["abh"] or 0),
        config_tensors_in_dram=bool(row["ctd"]),
        orientation="col_major" if "transpose_shards" in asked else "row_major",
        **{name: True for name in FIELDS if name in asked},
    )


def compute_of(row: dict[str, str]) -> jd.ComputeConfig:
    if not row["cc"]:
        return default_compute(conv_of(row))
    fidelity, dst, l1_acc = row["cc"].split("/")
    return jd.ComputeConfig(
        math_fidelity=fidelity,
        fp32_dest_acc=dst == "acc32",
        packer_l1_acc=l1_acc == "l1acc",
    )


def plan_of(row: dict[str, str]) -> TtnnPlan:
    arch = jd.load_arch(row["arch"])
    return plan_ttnn(conv_of(row), shard_of(row), compute_of(row), arch)


def columns_of(plan: TtnnPlan) -> dict[str, str]:
    """Returns the columns of the table that say what became of a plan."""
    found = {
        "error": (plan.message or "")[:300],
        "slices": str(plan.num_launches) if plan.shard.memory == "dram" else "",
        "slice_type": " ".join(operations(plan)),
    }
    if plan.message is None or plan.launch is not None:
        found |= _weights(plan)
    launch = plan.launch
    if launch is None:
        return found
    failure = launch.allocation_failure
    if failure is not None:
        del found["weight_shape"], found["weight_padded"]
        if failure.tensor == "input":
            return found
        at = launch.at
        return found | {
            "in_grid": _ranges(at.core_grid),
            "in_shard": _shape(at.input_shard),
            "halo_shard": _shape(at.halo_shard),
        }
    found |= _launch(launch)
    if launch.program.refusal(launch.at, launch.blocks) is None:
        found |= _buffers(launch)
    return found


def _weights(plan: TtnnPlan) -> dict[str, str]:
    padded = "1x1x{}x{}".format(*plan.padded_weight_shape)
    if plan.message is not None:  # a failed launch leaves the alignment alone
        padded = "{}x{}".format(*plan.launch.weights.alignment)
    return {
        "weight_shape": "1x1x{}x{}".format(*plan.weight_shape),
        "weight_padded": padded,
    }


def _launch(launch: Launch) -> dict[str, str]:
    at, blocks = launch.at, launch.blocks
    factory = "Conv2dWidthSharded" if at.scheme == "width" else "Conv2dSharded"
    counts = {
        "cores_nhw": at.num_nhw_shards,
        "cores_c_in": at.input_columns,
        "cores_c_out": at.output_columns,
        "out_h_ntile": at.out_h_tiles,
        "out_w_ntile": at.out_w_tiles,
        "act_block_h": blocks.act_h,
        "act_block_w": blocks.act_w,
        "subblock_h": blocks.subblock_h,
        "subblock_w": blocks.subblock_w,
    }
    return {
        "program": "" if launch.message else f"{factory}ProgramFactory",
        "chosen": at.scheme.upper(),
        "in_grid": _ranges(at.core_grid),
        "in_shard": _shape(at.input_shard),
        "halo_shard": _shape(at.halo_shard),
        "out_grid": _ranges(at.output_grid),
        "out_shard": _shape(at.output_shard),
    } | {name: str(count) for name, count in counts.items()}


def _buffers(launch: Launch) -> dict[str, str]:
    l1 = launch.l1
    return {
        "conv_cb": " ".join(
            "G" * buffer.on_buffer + str(buffer.num_bytes) for buffer in launch.buffers
        ),
        "conv_cb_sum": str(l1.static_bytes),
        "cb_base": str(l1.base),
        "cb_end": str(l1.region_end),
        "lowest_l1": str(l1.lowest_buffer),
    }


def _ranges(grid: CoreGrid) -> str:
    rows, rest = divmod(grid.num_cores, grid.x)
    full = f"0,0-{grid.x - 1},{rows - 1}"
    return f"{full}+0,{rows}-{rest - 1},{rows}" if rest else full


def _shape(shard: Shard) -> str:
    return f"{shard.rows}x{shard.channels}"
