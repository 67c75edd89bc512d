"""A plan as ttnn and tt-metal's tests take it: a call, a row, a sweep's vector.

What ttnn has no option for is said in a comment, never left out in silence.
Source: tt-metal conv2d_nanobind.cpp (2026), names, order and defaults; the row as in
test_conv2d.py @002a3f41, `test_groups_vs_pool2`; the vector as in
conv2d_short_sweep.py @6d460b7c.
"""

from collections.abc import Iterator
from typing import Any

from jaxdw.inputs.names import ACTIVATIONS, DTYPES, LAYOUTS, SCHEMES
from jaxdw.plan.config import ShardConfig
from jaxdw.plan.grid import CoreGrid
from jaxdw.plan.plan import Plan

_UNSET = ShardConfig()


def core_ranges(grid: CoreGrid) -> list[tuple[int, int, int, int]]:
    """Returns the rectangles that a plan's cores fill: (x0, y0, x1, y1), inclusive."""
    rows, rest = divmod(grid.num_cores, grid.x)
    found = [(0, 0, grid.x - 1, rows - 1)] if rows else []
    return [*found, (0, rows, rest - 1, rows)] if rest else found


def ttnn_call(plan: Plan) -> str:
    """Returns the call of ttnn that asks for a plan, as Python."""
    conv, compute = plan.conv, plan.compute
    arguments = {
        "input_tensor": "input_tensor",
        "weight_tensor": "weight_tensor",
        "bias_tensor": "bias_tensor" if conv.bias else "None",
        "device": "device",
        "in_channels": conv.channels,
        "out_channels": conv.channels,
        "groups": conv.channels,
        "batch_size": conv.batch,
        "input_height": conv.height,
        "input_width": conv.width,
        "kernel_size": conv.kernel,
        "stride": conv.stride,
        "padding": conv.padding,
        "dilation": conv.dilation,
        "dtype": _dtype(conv.output_dtype),
        "conv_config": _called("ttnn.Conv2dConfig", _conv_config(plan), "    "),
        "compute_config": _called(
            "ttnn.init_device_compute_kernel_config",
            {
                "": "device.arch()",
                "math_fidelity": f"ttnn.MathFidelity.{compute.math_fidelity}",
                "fp32_dest_acc_en": compute.fp32_dest_acc,
                "packer_l1_acc": compute.packer_l1_acc,
            },
            "    ",
        ),
    }
    if plan.shard.memory == "l1":
        arguments["slice_config"] = "ttnn.Conv2dL1FullSliceConfig"
    comments = [f"# {line}\n" for line in _beside(plan)]
    return "".join(comments) + "output = " + _called("ttnn.conv2d", arguments, "")


def _called(name: str, arguments: dict[str, Any], indent: str) -> str:
    lines = [
        f"{indent}    {f'{key}={value}' if key else value},\n"
        for key, value in arguments.items()
    ]
    return f"{name}(\n{''.join(lines)}{indent})"


def _dtype(name: str) -> str:
    return f"ttnn.{DTYPES[name][0]}"


def _conv_config(plan: Plan) -> dict[str, Any]:
    """Returns the fields of Conv2dConfig that are not at their defaults."""
    conv, shard = plan.conv, plan.shard
    config: dict[str, Any] = {
        "weights_dtype": _dtype(conv.weights_dtype),
        "shard_layout": f"ttnn.TensorMemoryLayout.{SCHEMES[plan.scheme][0]}",
    }
    if conv.activation is not None:
        kind = ACTIVATIONS[conv.activation.removesuffix("_approx")][0]
        fast = ", 1.0" if conv.activation == "gelu_approx" else ""
        config["activation"] = f"ttnn.UnaryWithParam(ttnn.UnaryOpType.{kind}{fast})"
    if shard.cores is not None or shard.grid is not None:
        config["override_sharding_config"] = True
        config["core_grid"] = _core_grid(plan.core_grid)
    if shard.orientation == "col_major":
        config["transpose_shards"] = True
    if shard.output_layout != "tile":
        config["output_layout"] = f"ttnn.{LAYOUTS[shard.output_layout][0]}"
    for name in (
        "act_block_h_override", "act_block_w_div", "reshard_if_not_optimal",
        "enable_act_double_buffer", "enable_weights_double_buffer", "full_inner_dim",
        "enable_activation_reuse", "config_tensors_in_dram", "force_split_reader",
    ):  # fmt: skip
        if getattr(shard, name) != getattr(_UNSET, name):
            config[name] = getattr(shard, name)
    return config


def _core_grid(grid: CoreGrid) -> str:
    ranges = ", ".join(
        f"ttnn.CoreRange(ttnn.CoreCoord({x0}, {y0}), ttnn.CoreCoord({x1}, {y1}))"
        for x0, y0, x1, y1 in core_ranges(grid)
    )
    return f"ttnn.CoreRangeSet({{{ranges}}})"


def _beside(plan: Plan) -> Iterator[str]:
    """Yields what the call does not say."""
    conv, shard = plan.conv, plan.shard
    yield f"{plan.arch.name}, program {plan.program} of {plan.tree}"
    where = "sharded" if shard.input_shard else shard.input_layout
    yield (
        f"input_tensor: {conv.dtype}, {where}, [1, 1, {plan.window.num_inputs}, "
        f"{conv.channels}]"
        if not plan.slices > 1
        else f"input_tensor: {conv.dtype}, {where}, {plan.slices} launches"
    )
    if plan.compute.arithmetic != "fpu":
        yield f"jaxdw computes it with arithmetic {plan.compute.arithmetic}"
    if shard.weight_layout != "final":
        yield f"weights prepared by the revision {shard.weight_layout}"
    if shard.program_cache:
        yield "called again from the program cache, tensors at other addresses"
    if plan.upstream_program != plan.program:
        yield f"{plan.tree} itself gives this layer to {plan.upstream_program}"


def parametrize_row(plan: Plan) -> str:
    """Returns the plan as a `pytest.mark.parametrize` of tt-metal's conv tests."""
    conv = plan.conv
    values: dict[str, Any] = {
        "batch": conv.batch,
        "input_channels": conv.channels,
        "output_channels": conv.channels,
        "input_height": conv.height,
        "input_width": conv.width,
        "groups": conv.channels,
        "kernel": conv.kernel,
        "stride": conv.stride,
        "padding": conv.padding,
        "dilation": conv.dilation,
        "shard_layout": f"ttnn.TensorMemoryLayout.{SCHEMES[plan.scheme][0]}",
        "input_dtype": _dtype(conv.dtype),
        "weights_dtype": _dtype(conv.weights_dtype),
        "output_dtype": _dtype(conv.output_dtype),
        "has_bias": conv.bias,
        "activation": repr(conv.activation),
        "math_fidelity": f"ttnn.MathFidelity.{plan.compute.math_fidelity}",
        "fp32_accum": plan.compute.fp32_dest_acc,
    }
    names, row = ", ".join(values), ", ".join(map(str, values.values()))
    return f'@pytest.mark.parametrize(\n    "{names}",\n    [({row})],\n)'


def sweep_vector(plan: Plan) -> str:
    """Returns the plan as an input spec of tt-metal's short conv2d sweep, or why not.

    [batch, output channels, input channels, height, width, kernel h, kernel w, stride
    h, stride w, pad h, pad w, groups, bias, dilation].
    """
    conv = plan.conv
    top, bottom, left, right = conv.padding
    if (top, left) != (bottom, right):
        return f"# the sweep has no vector for uneven padding {conv.padding}"
    if conv.dilation[0] != conv.dilation[1]:
        return f"# the sweep has no vector for uneven dilation {conv.dilation}"
    return str(
        [
            conv.batch,
            conv.channels,
            conv.channels,
            conv.height,
            conv.width,
            *conv.kernel,
            *conv.stride,
            top,
            left,
            conv.channels,
            conv.bias,
            conv.dilation[0],
        ]
    )


def ttnn_text(plan: Plan) -> str:
    """Returns the three of them, each below its heading."""
    return "\n".join(
        f"# {title}\n{text}"
        for title, text in (
            ("ttnn", ttnn_call(plan)),
            ("a row of tt-metal's conv tests", parametrize_row(plan)),
            ("a vector of tt-metal's short sweep", sweep_vector(plan)),
        )
    )
