"""Small plans that between them give every fault something to spoil."""

import numpy as np

import jaxdw as jd
from jaxdw.faults.catalogue import CATALOGUE
from jaxdw.faults.used_chip import Operands, lay_out, run_launch

FAULTS = {fault.id: fault for fault in CATALOGUE}
FLOAT32 = jd.ComputeConfig(arithmetic="float32")
SMALL = {"channels": 80, "height": 8, "width": 8, "padding": 1}
FULL = SMALL | {"bias": True, "activation": "relu"}
UNIT = {"channels": 48, "kernel": 1, "padding": 0}
HIFI2 = jd.ComputeConfig(math_fidelity="HiFi2", fp32_dest_acc=True)


def plan_of(scheme="height", compute=FLOAT32, grid=None, **fields) -> jd.Plan:
    shard = jd.ShardConfig(scheme=scheme, grid=grid)
    return jd.make_plan(jd.ConvConfig(**(SMALL | fields)), shard, compute)


EXAMPLES = {
    "height": ("height", FLOAT32, FULL),
    "width": ("width", FLOAT32, FULL),
    "block": ("block", FLOAT32, FULL),
    "blocks of 16": (
        "block",
        FLOAT32,
        FULL
        | {"weights_dtype": "bfloat8_b", "stride": 2, "dilation": 2}
        | {"height": 14, "width": 18},
    ),
    "25 taps": ("height", FLOAT32, {"channels": 160, "kernel": 5, "padding": 2}),
    "36 taps": ("width", FLOAT32, {"channels": 64, "kernel": 6, "padding": 3}),
    "wide": ("width", FLOAT32, {"channels": 576, "height": 4, "grid": (2, 1)}),
    "HiFi2": ("height", HIFI2, UNIT),
}


def example(name: str) -> jd.Plan:
    scheme, compute, fields = EXAMPLES[name]
    return plan_of(scheme, compute, **fields)


def whole_numbers(conv: jd.ConvConfig, seed: int) -> Operands:
    """Draws numbers so small that every sum is exact, in bf16 too."""
    rng = np.random.default_rng(seed)
    shapes = (conv.input_shape, conv.weight_shape, (conv.channels,))
    x, w, bias = (rng.integers(-2, 3, shape).astype(np.float32) for shape in shapes)
    return Operands(x, w, bias if conv.bias else None)


def spoilt(plan: jd.Plan, fault: str, operands: Operands, earlier=None) -> np.ndarray:
    launch = lay_out(plan)
    assert FAULTS[fault].applies(plan)
    earlier = earlier or whole_numbers(plan.conv, 1)
    return run_launch(FAULTS[fault].inject(launch), operands, earlier)
