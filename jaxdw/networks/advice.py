"""A recommendation as files: TOML, and arguments for ttnn's conv2d."""

import json

from jaxdw.networks.recommend import Recommendation
from jaxdw.plan.config import ComputeConfig, ConvConfig, ShardConfig
from jaxdw.sweep.rows import Point


def as_toml(found: Recommendation) -> str:
    """Returns a recommendation as TOML, a table for each layer."""
    lines = [
        f'target = "{found.target.figure}={found.target.least:g}"',
        f"value = {found.value!r}",
        f"kept = {str(found.kept).lower()}",
        f"cycles = {found.cycles}",
    ]
    for point in found.setting.points:
        lines += ["", "[[layers]]"]
        lines += [f"{name} = {_toml(value)}" for name, value in _facts(point).items()]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _facts(point: Point) -> dict[str, object]:
    return {
        "name": point.layer,
        "program": point.program,
        "scheme": point.plan().scheme,
        "weights_dtype": point.conv.weights_dtype,
        "math_fidelity": point.compute.math_fidelity,
        "fp32_dest_acc": point.compute.fp32_dest_acc,
    }


_LAYOUTS = {
    "height": "HEIGHT_SHARDED",
    "width": "WIDTH_SHARDED",
    "block": "BLOCK_SHARDED",
}


def as_ttnn(found: Recommendation) -> str:
    """Returns Python that makes the two configs of ttnn.conv2d for each layer.

    Source: ttnn 0.81.1, Conv2dConfig and init_device_compute_kernel_config.
    """
    lines = [
        '"""Configs of ttnn.conv2d by layer."""',
        "",
        "import ttnn",
        "",
        "",
        "def configs(device):",
        "    return {",
    ]
    for point in found.setting.points:
        lines += [f"        {line}" for line in _ttnn(point.conv, point)]
    return "\n".join([*lines, "    }"]) + "\n"


def _ttnn(conv: ConvConfig, point: Point) -> list[str]:
    compute: ComputeConfig = point.compute
    shard: ShardConfig = point.shard
    plan = point.plan()
    return [
        f"{point.layer!r}: (",
        "    ttnn.Conv2dConfig(",
        f"        weights_dtype=ttnn.{conv.weights_dtype},",
        f"        shard_layout=ttnn.TensorMemoryLayout.{_LAYOUTS[plan.scheme]},",
        f"        act_block_h_override={shard.act_block_h_override},",
        "    ),",
        "    ttnn.init_device_compute_kernel_config(",
        "        device.arch(),",
        f"        math_fidelity=ttnn.MathFidelity.{compute.math_fidelity},",
        f"        fp32_dest_acc_en={compute.fp32_dest_acc},",
        f"        packer_l1_acc={compute.packer_l1_acc},",
        "    ),",
        "),",
    ]
