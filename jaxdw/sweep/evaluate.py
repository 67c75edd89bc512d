"""One point of a sweep: planned, run, judged, and written down as a row."""

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdw.errors import ConfigError, UnsupportedError
from jaxdw.launch.cache import CompileClock
from jaxdw.plan.l1 import L1OutOfMemory
from jaxdw.sweep.axes import is_onnx
from jaxdw.sweep.repeat import repeat_line
from jaxdw.sweep.rows import Point, Row, config_row, plan_row
from jaxdw.sweep.space import onnx_layer

if TYPE_CHECKING:
    from jaxdw.judge.draws import Operands
    from jaxdw.plan.plan import Plan


def evaluate(point: Point, *, plan_only: bool = False, seed: int = 0) -> Row:
    """Plans, runs and judges one point; whatever goes wrong becomes its row."""
    row = empty_row(point, None)
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
    from jaxdw.launch.bucketed import run_bucketed
    from jaxdw.launch.slices import run_slices
    from jaxdw.maps.maps import make_maps

    x, w, bias = operands

    def run_launch(launch: "Plan", image):
        return run_bucketed(launch, make_maps(launch), image, w, bias)

    output = run_slices(plan, x, run_launch)
    verdict = _judged(plan, operands, output)
    return {
        "status": "pass" if verdict.passed else "fail",
        "outputs": verdict.outputs,
        "exact": verdict.exact,
        "max_ulp": verdict.max_ulp,
        "mean_ulp": verdict.mean_ulp,
        "pcc": verdict.pcc,
        "pcc_needed": pcc_threshold(plan.conv, plan.compute),
    }


def operands_of(point: Point, seed: int) -> "Operands":
    """Returns drawn tensors, the weights those of the point's file if it has one."""
    from jaxdw.judge.draws import draw

    if not is_onnx(point.model):
        return draw(point.conv, "random", seed)
    layer = onnx_layer(point.model, point.inputs, point.layer)
    return draw(point.conv, "random", seed, own=(layer.weights, layer.bias))


_LAST: dict[str, Any] = {}


def _judged(plan: "Plan", operands: "Operands", output):
    """Judges an output, or returns the verdict of the last one if it is the same.

    Schemes and grids must agree bit for bit, so that most outputs of a layer are.
    """
    from jaxdw.judge.compare import judge
    from jaxdw.judge.reference import reference

    layer = (
        plan.conv.kernel,
        plan.conv.stride,
        plan.conv.padding,
        plan.conv.dilation,
        plan.conv.activation,
        *(
            None if values is None else (values.shape, values.tobytes())
            for values in operands
        ),
    )
    if _LAST.get("layer") != layer:
        _LAST.clear()
        _LAST["layer"] = layer
        _LAST["want"] = reference(plan.conv, *operands)
    asked = (plan.conv, plan.compute)
    same = _LAST.get("asked") == asked and np.array_equal(_LAST["output"], output)
    if not same:
        _LAST["verdict"] = judge(output, _LAST["want"], plan.conv, plan.compute)
        _LAST["asked"], _LAST["output"] = asked, output
    return _LAST["verdict"]
