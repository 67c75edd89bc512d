"""One point of a sweep: planned, run, judged, and written down as a row."""

import dataclasses
import functools
import time
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jaxdw.errors import ConfigError, UnsupportedError
from jaxdw.launch.cache import CompileClock
from jaxdw.plan.l1 import L1OutOfMemory
from jaxdw.sweep.axes import is_onnx
from jaxdw.sweep.layers import onnx_file, onnx_layer
from jaxdw.sweep.repeat import repeat_line
from jaxdw.sweep.rows import Point, Row, config_row, plan_row

if TYPE_CHECKING:
    from jaxdw.judge.compare import Verdict
    from jaxdw.judge.draws import Operands
    from jaxdw.plan.config import ConvConfig
    from jaxdw.plan.plan import Plan


def evaluate(point: Point, *, plan_only: bool = False, seed: int = 0) -> Row:
    """Plans, runs and judges one point; whatever goes wrong becomes its row."""
    row = empty_row(point, None)
    if is_onnx(point.model):
        row |= _left_out(point)
    started = time.perf_counter()
    clock = CompileClock()
    try:
        plan = point.plan()
        row |= plan_row(plan)
        if not plan.l1.fits:
            raise L1OutOfMemory(plan.l1.problems(), plan.l1, None)
        row["status"] = "planned"
        if not plan_only:
            row["repeat"] = repeat_line(point, seed)
            with clock:
                row |= _run_row(plan, operands_of(point, seed)) | {"seed": seed}
    except (ConfigError, UnsupportedError) as error:
        row |= {"status": "refused", "error": said(error)}
    except Exception as error:
        row |= {"status": "error", "error": said(error)}
    row["seconds_compile"] = round(clock.seconds, 6)
    row["compilations"] = clock.compilations
    row["seconds_run"] = round(time.perf_counter() - started - clock.seconds, 6)
    return row


def _left_out(point: Point) -> Row:
    """Returns what of a file's network is no part of a layer, and what is in none."""
    try:
        layer = onnx_layer(point.model, point.inputs, point.layer)
        skipped = onnx_file(point.model, point.inputs).skipped
    except ConfigError:  # which the row says itself
        return {}
    return {
        "left_out": layer.left_out or None,
        "not_read": "\n".join(skipped) or None,
    }


def said(error: Exception) -> str:
    """Returns an exception's type and its first line."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def empty_row(point: Point, seed: int | None) -> Row:
    """Returns a row before its plan.

    Args:
      seed: of the tensors it is to run with, None for none.
    """
    return config_row(point) | {"repeat": repeat_line(point, seed)}


def _run_row(plan: "Plan", operands: "Operands") -> Row:
    from jaxdw.judge.compare import pcc_threshold

    verdict = _verdict(plan, operands)
    return {
        "status": "pass" if verdict.passed else "fail",
        "outputs": verdict.outputs,
        "exact": verdict.exact,
        "max_ulp": verdict.max_ulp,
        "mean_ulp": verdict.mean_ulp,
        "pcc": verdict.pcc,
        "pcc_needed": pcc_threshold(plan.conv, plan.compute),
        "gain": verdict.gain,
        "snr_db": verdict.snr_db,
    }


def operands_of(point: Point, seed: int) -> "Operands":
    """Returns drawn tensors, the weights those of the point's file if it has one."""
    from jaxdw.judge.draws import draw

    if not is_onnx(point.model):
        # what is drawn depends on the shapes alone
        fixed = {"weights_dtype": "bfloat16", "output_dtype": "bfloat16"}
        return _drawn(dataclasses.replace(point.conv, **fixed, activation=None), seed)
    layer = onnx_layer(point.model, point.inputs, point.layer)
    return draw(point.conv, "random", seed, own=(layer.weights, layer.bias))


@functools.lru_cache(maxsize=1)
def _drawn(conv: "ConvConfig", seed: int) -> "Operands":
    from jaxdw.judge.draws import draw

    return draw(conv, "random", seed)


class _Last:
    """The layer that this process ran last, and the verdicts on its outputs."""

    operands: "Operands | None" = None
    conv: "ConvConfig | None" = None
    want: Any = None
    verdicts: ClassVar[dict[Hashable, "Verdict"]] = {}


def _verdict(plan: "Plan", operands: "Operands") -> "Verdict":
    """Runs and judges a plan, or returns the verdict of one that computes the same.

    Schemes and grids must agree bit for bit, so that most plans of a layer do.
    """
    from jaxdw.judge.compare import judge
    from jaxdw.judge.reference import reference
    from jaxdw.launch.bucketed import output_key, run_bucketed
    from jaxdw.launch.slices import run_slices
    from jaxdw.maps.maps import make_maps

    if not _same_layer(plan.conv, operands):
        _Last.operands, _Last.conv, _Last.verdicts = operands, plan.conv, {}
        _Last.want = reference(plan.conv, *operands)
    x, w, bias = operands
    key = None
    if plan.slices <= 1:
        maps = make_maps(plan)
        key = output_key(plan, maps)
        if key is not None and key in _Last.verdicts:
            return _Last.verdicts[key]
        output = run_bucketed(plan, maps, x, w, bias)
    else:

        def run_launch(launch: "Plan", image):
            return run_bucketed(launch, make_maps(launch), image, w, bias)

        output = run_slices(plan, x, run_launch)
    verdict = judge(output, _Last.want, plan.conv, plan.compute)
    if key is not None:
        _Last.verdicts[key] = verdict
    return verdict


def _same_layer(conv: "ConvConfig", operands: "Operands") -> bool:
    """Whether the reference of the last layer is that of this one."""
    if _Last.operands is None or _Last.conv is None:
        return False
    names = ("kernel", "stride", "padding", "dilation", "activation")
    if any(getattr(conv, name) != getattr(_Last.conv, name) for name in names):
        return False
    pairs = zip(operands, _Last.operands, strict=True)
    return all(
        a is b or (a is not None and b is not None and np.array_equal(a, b))
        for a, b in pairs
    )
