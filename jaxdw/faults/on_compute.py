"""Mistakes in what the cores compute, the same for every program."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from jaxdw.errors import ConfigError, UnsupportedError
from jaxdw.faults import arithmetic
from jaxdw.faults.fault import Fault
from jaxdw.faults.used_chip import Launch, index_of, lay_out, with_maps
from jaxdw.machine import conv1d
from jaxdw.maps.indexmap import make_index_map
from jaxdw.numerics import tilise
from jaxdw.plan.config import Activation, Fidelity
from jaxdw.plan.plan import Plan
from jaxdw.plan.planner import make_plan
from jaxdw.plan.program import ProgramName


@functools.lru_cache(maxsize=64)
def _planned(plan: Plan, program: ProgramName, **fields) -> Plan | None:
    """Returns the plan of the layer with other fields; None if there is none."""
    try:
        conv = dataclasses.replace(plan.conv, **fields)
        other = make_plan(
            conv,
            plan.shard,
            plan.compute,
            plan.arch,
            program=program,
            must_fit=False,
        )
        if plan.compute.arithmetic == "fpu":
            _refuse_unknown(other)
    except (ConfigError, UnsupportedError):
        return None
    alike = other.output_shape == plan.output_shape and other.slices == plan.slices
    return other if alike and other.program == program else None


def _refuse_unknown(plan: Plan) -> None:
    """Refuses formats that a program's arithmetic is not known for."""
    conv = plan.conv
    formats = conv.dtype, conv.weights_dtype, conv.output_dtype
    if plan.program == "regular":
        tilise.refuse_unknown(*formats, fp32_dest=plan.compute.fp32_dest_acc)
    elif plan.program == "conv1d":
        conv1d.refuse_unknown(None, *formats, conv.channels)


def _laid_out(launch: Launch, plan: Plan | None) -> Launch:
    """Lays out another plan; what host and file do stays."""
    assert plan is not None
    laid = lay_out(plan, known=launch.known)
    return dataclasses.replace(laid, host=launch.host, save=launch.save)


def _is_another(name: ProgramName, plan: Plan) -> bool:
    """Whether another program takes the layer; float32 is the same in all."""
    another = _matrix_unit(plan) and plan.program != name
    return another and _planned(plan, name) is not None


def _by_program(name: ProgramName) -> Fault:
    return Fault(
        f"program-{name}",
        "compute",
        functools.partial(_is_another, name),
        lambda launch: _laid_out(launch, _planned(launch.plan, name)),
        f"program {name!r} computed this layer",
        rounds=True,
    )


def _in_format(kind: str, id: str, text: str, **fields) -> Fault:
    """A format other than planned, of weights or input."""

    def differs(plan: Plan) -> bool:
        same = all(getattr(plan.conv, name) == to for name, to in fields.items())
        return not same and _planned(plan, plan.program, **fields) is not None

    return Fault(
        id,
        "compute",
        differs,
        lambda launch: _laid_out(
            launch, _planned(launch.plan, launch.plan.program, **fields)
        ),
        text,
        rounds=True,
        kind=kind,
    )


def _with_activation(launch: Launch, activation: Activation | None) -> Launch:
    conv = dataclasses.replace(launch.plan.conv, activation=activation)
    plan = dataclasses.replace(launch.plan, conv=conv)
    return dataclasses.replace(launch, plan=plan)


def _activated(name: Activation, *no_change: Activation) -> Fault:
    """Another activation than planned; one that is added has a fault of its own."""
    return Fault(
        f"activation-{name}",
        "compute",
        lambda plan: plan.conv.activation not in (None, name, *no_change),
        lambda launch: _with_activation(launch, name),
        f"{name} instead of the activation asked for",
    )


def _other_padding(
    id: str, text: str, change: Callable[[int, int], tuple[int, int]]
) -> Fault:
    """The same padding in all, on other sides."""

    def other(plan: Plan) -> Plan | None:
        top, bottom, left, right = plan.conv.padding
        padding = (*change(top, bottom), *change(left, right))
        if padding == plan.conv.padding:
            return None
        return _planned(plan, plan.program, padding=padding)

    return Fault(
        id,
        "window",
        lambda plan: other(plan) is not None,
        lambda launch: _laid_out(launch, other(launch.plan)),
        text,
    )


def _matrix_unit(plan: Plan) -> bool:
    return plan.compute.arithmetic == "fpu"


def _could_be_of(fidelity: Fidelity, lower: Fidelity | None, plan: Plan) -> bool:
    """Whether the matrix unit was not planned and gives more than at a lower one."""
    if _matrix_unit(plan):
        return False
    return lower is None or arithmetic.phases_matter(plan, fidelity, lower)


def _other_fidelity(
    id: str, fidelity: Fidelity, text: str, applies, kind: str = "fidelity"
) -> Fault:
    return Fault(
        id,
        "compute",
        applies,
        functools.partial(
            arithmetic.compute_with, arithmetic="fpu", math_fidelity=fidelity
        ),
        text,
        rounds=True,
        kind=kind,
    )


def _order_matters(plan: Plan) -> bool:
    """Whether sums show their order: float32 sums rounded to bf16 hardly ever do."""
    shows = _matrix_unit(plan) or plan.conv.output_dtype == "float32"
    return plan.program == "depthwise" and plan.conv.taps > 2 and shows


def _backwards(launch: Launch) -> Launch:
    """Adds products from the last kernel position to the first."""
    maps, pairing = launch.maps, launch.maps.pairing
    turned = np.ascontiguousarray(index_of(pairing)[:, ::-1])
    return with_maps(
        launch,
        taps=np.ascontiguousarray(np.asarray(maps.taps)[::-1]),
        pairing=make_index_map(turned, pairing.size),
    )


_FIDELITIES: tuple[tuple[Fidelity, Fidelity | None], ...] = (
    ("LoFi", None), ("HiFi2", "LoFi"), ("HiFi4", "HiFi2"),
)  # fmt: skip
COMPUTE_FAULTS: tuple[Fault, ...] = (
    _other_padding(
        "padding-all-after",
        "all padding below and to the right of the image",
        lambda before, after: (0, before + after),
    ),
    _other_padding(
        "padding-all-before",
        "all padding above and to the left of the image",
        lambda before, after: (before + after, 0),
    ),
    _other_padding(
        "padding-sides-swapped",
        "padding of opposite sides exchanged",
        lambda before, after: (after, before),
    ),
    Fault(
        "activation-missing",
        "compute",
        lambda plan: plan.conv.activation is not None,
        lambda launch: _with_activation(launch, None),
        "no activation",
    ),
    _activated("relu"),
    _activated("relu6", "relu"),
    _activated("silu"),
    _activated("gelu"),
    _other_fidelity(
        "fidelity-too-high",
        "HiFi4",
        "HiFi4 instead of the fidelity asked for",
        lambda plan: _matrix_unit(plan) and arithmetic.more_phases_matter(plan),
    ),
    _other_fidelity(
        "fidelity-too-low",
        "LoFi",
        "LoFi instead of the fidelity asked for",
        lambda plan: _matrix_unit(plan) and plan.compute.math_fidelity != "LoFi",
    ),
    _other_fidelity(
        "fidelity-hifi2",
        "HiFi2",
        "HiFi2 instead of the fidelity asked for",
        lambda plan: (
            _matrix_unit(plan)
            and plan.compute.math_fidelity != "HiFi2"
            and arithmetic.phases_matter(plan, "HiFi2")
        ),
    ),
    *(
        _other_fidelity(
            f"matrix-unit-{fidelity.lower()}",
            fidelity,
            f"the matrix unit at {fidelity} instead of float32",
            functools.partial(_could_be_of, fidelity, lower),
            kind="matrix unit",
        )
        for fidelity, lower in _FIDELITIES
    ),
    Fault(
        "exact-arithmetic",
        "compute",
        _matrix_unit,
        functools.partial(arithmetic.compute_with, arithmetic="float32"),
        "float32 arithmetic instead of the matrix unit's",
        rounds=True,
    ),
    Fault(
        "dst-16-bit",
        "compute",
        lambda plan: _matrix_unit(plan) and plan.compute.fp32_dest_acc,
        functools.partial(arithmetic.compute_with, fp32_dest_acc=False),
        "a 16-bit Dst instead of a 32-bit one",
        rounds=True,
    ),
    Fault(
        "dst-32-bit",
        "compute",
        lambda plan: _matrix_unit(plan) and not plan.compute.fp32_dest_acc,
        functools.partial(arithmetic.compute_with, fp32_dest_acc=True),
        "a 32-bit Dst instead of a 16-bit one",
        rounds=True,
    ),
    Fault(
        "added-backwards",
        "compute",
        _order_matters,
        _backwards,
        "products added from the last kernel position to the first",
        rounds=True,
    ),
    _in_format(
        "weights",
        "weights-in-bf16",
        "weights in bfloat16 instead of the format asked for",
        weights_dtype="bfloat16",
    ),
    _in_format(
        "weights",
        "weights-in-bfp8",
        "weights in bfloat8_b instead of the format asked for",
        weights_dtype="bfloat8_b",
    ),
    _in_format(
        "weights",
        "weights-in-bfp4",
        "weights in bfloat4_b instead of the format asked for",
        weights_dtype="bfloat4_b",
    ),
    _in_format(
        "weights",
        "weights-in-float32",
        "weights in float32 instead of the format asked for",
        weights_dtype="float32",
    ),
    _in_format(
        "input",
        "input-in-bf16",
        "the input in bfloat16 instead of the format asked for",
        dtype="bfloat16",
    ),
    _in_format(
        "input",
        "input-in-float32",
        "the input in float32 instead of the format asked for",
        dtype="float32",
    ),
    _in_format(
        "input",
        "input-in-bfp8",
        "the input in bfloat8_b instead of the format asked for",
        dtype="bfloat8_b",
    ),
    *(_by_program(name) for name in ("depthwise", "regular", "conv1d")),
)
