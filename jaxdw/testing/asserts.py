"""Assertions on a user's own preparation, tiles and outputs, with the diagnosis.

Each compares with what the plan says and raises `AssertionError`, whose message holds
which check it was, for which configuration, how much differs, and the known mistake
that explains it, if one does.
"""

import numpy as np
from numpy.typing import ArrayLike

from jaxdw.errors import ConfigError, UnsupportedError
from jaxdw.exports.ttnn import ttnn_call
from jaxdw.layouts.hypotheses import PreparedForm
from jaxdw.plan.plan import Plan


def assert_prepared(plan: Plan, prepared: ArrayLike, weights: ArrayLike) -> None:
    """Asserts that prepared weights are the plan's, exactly in its weights' dtype.

    Args:
      prepared: row-major `[rows, columns]` as `jd.prepare_weights` gives it.
      weights: the original `[C, 1, kh, kw]`.

    Raises:
      AssertionError: they are not; the message says what they are instead.
      ConfigError: arrays of no fitting shape.
    """
    _assert_identified("assert_prepared", plan, prepared, weights, "matrix", None)


def assert_tiles(
    plan: Plan, tiles: ArrayLike, weights: ArrayLike, *, core: int | None = None
) -> None:
    """Asserts that weight tiles are the plan's, in memory order.

    Args:
      tiles: `[tiles, 1024]` values, or raw bytes `uint8 [tiles, page bytes]`; those of
        the DRAM tensor by id or, with `core`, of that core's L1 in read order.
      weights: the original `[C, 1, kh, kw]`.

    Raises:
      AssertionError: they are not; the message says what they are instead.
      ConfigError: arrays of no fitting shape, no such core.
    """
    form: PreparedForm = "tiles" if core is None else "l1"
    _assert_identified("assert_tiles", plan, tiles, weights, form, core)


def assert_output(
    plan: Plan,
    output: ArrayLike,
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    max_ulp: int = 0,
) -> None:
    """Asserts that an output is the emulation's, bit for bit or within some ULP.

    Args:
      output: `[N, Ho, Wo, C]`, of a device or of a kernel of one's own.
      x, w, bias: as for `jd.run`.
      max_ulp: steps of the output's dtype by which an element may differ.

    Raises:
      AssertionError: it is not; the message holds the diagnosis.
      ConfigError: arrays of another shape than planned.
    """
    from jaxdw.judge.compare import ulp_distance
    from jaxdw.launch.emulator import run
    from jaxdw.maps.maps import make_maps

    plan.refuse_slices("assert_output")
    got = np.asarray(output).astype(np.float32)
    if got.shape != plan.output_shape:
        raise ConfigError(
            f"`output` (={got.shape}) must have the shape {plan.output_shape}, "
            "[N, out height, out width, C]"
        )
    x, w = np.asarray(x), np.asarray(w)
    bias = None if bias is None else np.asarray(bias)
    want = run(plan, make_maps(plan), x, w, bias).output
    want = np.asarray(want).astype(np.float32)
    alike = (got == want) | (np.isnan(got) & np.isnan(want))
    if max_ulp and not alike.all():
        held = "float32" if plan.conv.output_dtype == "float32" else "bfloat16"
        finite = np.isfinite(got) & np.isfinite(want)
        steps = ulp_distance(np.where(finite, got, 0), np.where(finite, want, 0), held)
        alike |= finite & (np.asarray(steps) <= max_ulp)
    if alike.all():
        return
    first = tuple(int(i) for i in np.argwhere(~alike)[0])
    allowed = f"more than {max_ulp} ULP" if max_ulp else "in any bit"
    _fail(
        "assert_output",
        plan,
        f"{np.count_nonzero(~alike)} of {got.size} outputs differ {allowed}, the first "
        f"at (n, y, x, channel) {first}: expected {want[first]:g}, got {got[first]:g}\n"
        f"Diagnosis: {_diagnosis(plan, x, w, bias, got)}",
    )


def _diagnosis(
    plan: Plan, x: ArrayLike, w: ArrayLike, bias: ArrayLike | None, output: ArrayLike
) -> str:
    """Returns the report of what made an output, or why there is none."""
    from jaxdw.faults.diagnose import diagnose

    try:
        return str(diagnose(plan, x, w, bias, output))
    except UnsupportedError as error:
        return f"none, for {error}"


def _assert_identified(
    name: str,
    plan: Plan,
    data: ArrayLike,
    weights: ArrayLike,
    kind: PreparedForm,
    core: int | None,
) -> None:
    from jaxdw.layouts.identify import identify

    found = identify(plan, data, weights, kind, core)
    if found.matches:
        return
    lines = [f"Diagnosis: {found.verdict}"]
    if found.differing is not None:
        lines.insert(0, f"{found.differing} of {np.size(data)} elements differ")
    if found.first is not None and str(found.first) not in found.verdict:
        lines.append(f"The first: {found.first}")
    _fail(name, plan, "\n".join(lines))


def _fail(name: str, plan: Plan, problem: str) -> None:
    raise AssertionError(
        f"[jaxdw] Assertion {name} failed: {problem}\nThe layer, as ttnn takes it:\n"
        f"{ttnn_call(plan)}"
    )
