"""One point of a sweep: planned, run, judged, and written down as a row."""

import functools
import importlib.metadata
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdw.errors import ConfigError, UnsupportedError
from jaxdw.launch.cache import CompileClock
from jaxdw.plan.l1 import L1OutOfMemory
from jaxdw.plan.plan import Plan
from jaxdw.plan.planner import make_plan
from jaxdw.sweep.results import SCHEMA, Row
from jaxdw.sweep.space import Point, is_onnx, onnx_layers

Tensors = tuple[Any, Any, Any]  # x, w, bias or None


def evaluate(point: Point, *, plan_only: bool = False, seed: int = 0) -> Row:
    """Plans, runs and judges one point; whatever goes wrong becomes its row."""
    row = config_row(point)
    started = time.perf_counter()
    clock = CompileClock()
    try:
        plan = make_plan(
            point.conv, point.shard, point.compute, point.arch, must_fit=False
        )
        row |= _plan_row(plan)
        if not plan.l1.fits:
            raise L1OutOfMemory(plan.l1.problems(), plan.l1, None)
        row["status"] = "planned"
        if not plan_only:
            with clock:
                row |= _run_row(plan, _tensors(point, plan, seed)) | {"seed": seed}
    except (ConfigError, UnsupportedError) as error:
        row |= {"status": "refused", "error": said(error)}
    except Exception as error:
        row |= {"status": "error", "error": said(error)}
    row["seconds_compile"] = round(clock.seconds, 6)
    row["compilations"] = clock.compilations
    row["seconds_run"] = round(time.perf_counter() - started - clock.seconds, 6)
    return row


def said(error: Exception) -> str:
    """Returns an exception's type and its first line."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _x(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def config_row(point: Point) -> Row:
    """Returns what a row says of its configuration."""
    conv, grid = point.conv, point.shard.grid
    return {
        "schema": SCHEMA,
        "key": point.key,
        "model": point.model,
        "layer": point.layer,
        "times": point.times,
        "batch": conv.batch,
        "channels": conv.channels,
        "height": conv.height,
        "width": conv.width,
        "kernel": _x(conv.kernel),
        "stride": _x(conv.stride),
        "padding": _x(conv.padding),
        "dilation": _x(conv.dilation),
        "bias": conv.bias,
        "activation": conv.activation,
        "weights_dtype": conv.weights_dtype,
        "arch": point.arch,
        "scheme": point.shard.scheme,
        "grid_limit": None if grid is None else _x(grid),
        "arithmetic": point.compute.arithmetic,
        "fidelity": point.compute.math_fidelity,
        "fp32_dest_acc": point.compute.fp32_dest_acc,
        **_versions(),
    }


@functools.cache
def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("jaxdw", "jax")}


def _plan_row(plan: Plan) -> Row:
    conv, cycles, l1 = plan.conv, plan.cycles, plan.l1
    computed = plan.num_cores * plan.output_shard.rows * plan.output_shard.channels
    sends = bool(plan.core_grid.broadcasts())
    weights = next(b for b in l1.buffers if b.name == "weight")
    return {
        "planned_scheme": plan.scheme,
        "grid": _x(plan.grid),
        "cores": plan.num_cores,
        "nhw_shards": plan.num_nhw_shards,
        "channel_shards": plan.num_channel_shards,
        "halo_shard": _x(tuple(plan.halo_shard)),
        "out_shard": _x(tuple(plan.output_shard)),
        "padding_waste": round(
            1 - plan.window.num_outputs * conv.channels / computed, 6
        ),
        "l1_static_bytes": l1.static_bytes,
        "l1_buffer_bytes": l1.buffer_bytes,
        "l1_free_bytes": l1.free_bytes,
        "fits": l1.fits,
        "weight_tiles": plan.weight_tiles_per_core,
        "tiles_per_bank": max(plan.tiles_per_bank),
        "multicast_bytes": weights.num_bytes * sends,
        "cycles": cycles.total,
        "cycles_binding": cycles.binding,
        "cycles_halo": cycles.halo,
        "cycles_dram": cycles.dram,
        "cycles_multicast": cycles.multicast,
        "cycles_l1_reads": cycles.l1_reads,
        "cycles_matrix_unit": cycles.matrix_unit,
        "findings": " ".join(finding.code for finding in plan.findings),
    }


def _run_row(plan: Plan, tensors: Tensors) -> Row:
    from jaxdw.judge.compare import pcc_threshold
    from jaxdw.launch.bucketed import run_bucketed
    from jaxdw.maps.maps import make_maps

    output = run_bucketed(plan, make_maps(plan), *tensors)
    verdict = _judged(plan, tensors, output)
    return {
        "status": "pass" if verdict.passed else "fail",
        "outputs": verdict.outputs,
        "exact": verdict.exact,
        "max_ulp": verdict.max_ulp,
        "mean_ulp": verdict.mean_ulp,
        "pcc": verdict.pcc,
        "pcc_needed": pcc_threshold(plan.conv, plan.compute),
    }


def _tensors(point: Point, plan: Plan, seed: int) -> Tensors:
    """Returns the input and a file's own weights, or drawn ones.

    Drawn are values that bf16 holds, the same for every format and sharding. A file's
    are rounded to bf16 where the host sends them so, as the verdict is on the chip.
    """
    import ml_dtypes

    rng = np.random.default_rng(seed)

    def bf16(values):
        return values.astype(ml_dtypes.bfloat16).astype(np.float32)

    def normal(*shape: int):
        return bf16(rng.standard_normal(shape, np.float32))

    conv = plan.conv
    x = normal(*conv.input_shape)
    if is_onnx(point.model):
        layers = onnx_layers(point.model, point.inputs)
        layer = next(layer for layer in layers if layer.name == point.layer)
        w, bias = layer.weights, layer.bias
        if conv.weights_dtype == "bfloat16":
            w, bias = bf16(w), None if bias is None else bf16(bias)
        return x, w, bias
    w = normal(*conv.weight_shape)
    return x, w, normal(conv.channels) if conv.bias else None


_LAST: dict[str, Any] = {}


def _judged(plan: Plan, tensors: Tensors, output):
    """Judges an output, or returns the verdict of the last one if it is the same.

    Schemes and grids must agree bit for bit, so that most outputs of a layer are.
    """
    from jaxdw.judge.compare import judge, reference

    layer = (
        plan.conv.input_shape,
        plan.conv.kernel,
        plan.conv.stride,
        plan.conv.padding,
        plan.conv.dilation,
        plan.conv.bias,
        plan.conv.activation,
        *(None if values is None else values.tobytes() for values in tensors[1:]),
    )
    if _LAST.get("layer") != layer:
        _LAST.clear()
        _LAST["layer"] = layer
        _LAST["want"] = reference(plan.conv, *tensors)
    asked = (plan.conv, plan.compute)
    same = _LAST.get("asked") == asked and np.array_equal(_LAST["output"], output)
    if not same:
        _LAST["verdict"] = judge(output, _LAST["want"], plan.conv, plan.compute)
        _LAST["asked"], _LAST["output"] = asked, output
    return _LAST["verdict"]
