"""Mistakes on the way of an output into a file: places, signs, formats, gaps."""

import dataclasses
from collections.abc import Callable
from functools import partial

import ml_dtypes
import numpy as np

from jaxdw.faults import arithmetic
from jaxdw.faults.fault import Fault
from jaxdw.faults.file_layouts import LAYOUTS, has_layout
from jaxdw.faults.moves import reorder
from jaxdw.faults.units import REVERSING, ROLLING, UNITS, units_of
from jaxdw.faults.used_chip import Launch, Output
from jaxdw.numerics import formats
from jaxdw.plan.plan import Plan
from jaxdw.plan.units import round_up

Change = Callable[[Plan, Output], Output]


def on_file(change: Change) -> Callable[[Launch], Launch]:
    """Changes the output, after whatever else is done to it."""

    def inject(launch: Launch) -> Launch:
        before = launch.save

        def save(plan: Plan, output: Output) -> Output:
            return np.ascontiguousarray(change(plan, before(plan, output)), np.float32)

        return dataclasses.replace(launch, save=save)

    return inject


def _reordered(name: str, order: Callable[[int], np.ndarray]) -> Change:
    def change(plan: Plan, output: Output) -> Output:
        units = units_of(plan, name)
        return reorder(output, units, order(len(units.index)))

    return change


def _exchanged(count: int) -> np.ndarray:
    order = np.arange(count)
    order[[0, 1]] = order[[1, 0]]
    return order


def _late(count: int) -> np.ndarray:
    return np.maximum(np.arange(count) - 1, 0)


def _count(plan: Plan, name: str) -> int:
    return len(units_of(plan, name).index)


def _whole(name: str, plan: Plan) -> bool:
    """Whether an output has several units of this kind, the first two of one size."""
    index = units_of(plan, name).index
    return len(index) > 1 and np.array_equal(index[0] < 0, index[1] < 0)


_ORDERS: tuple[tuple[str, tuple[str, ...], Callable[[int], np.ndarray], str], ...] = (
    (
        "swapped",
        tuple(UNITS),
        _exchanged,
        "two {} of the output exchanged",
    ),
    (
        "rolled",
        ROLLING,
        lambda count: np.roll(np.arange(count), 1),
        "all {} of the output moved on, the last ones to the front",
    ),
    (
        "late",
        ROLLING,
        _late,
        "{} of the output late: those at one end hold something else",
    ),
    (
        "reversed",
        REVERSING,
        lambda count: np.arange(count)[::-1],
        "{} of the output in reverse",
    ),
)
_LEAST = {"swapped": 2, "rolled": 3, "late": 5, "reversed": 3}


def _applies(pattern: str, name: str, plan: Plan) -> bool:
    if _count(plan, name) < _LEAST[pattern]:
        return False
    return pattern != "swapped" or _whole(name, plan)


def _of_units() -> list[Fault]:
    return [
        Fault(
            f"{UNITS[name][0]}-{pattern}",
            "file",
            partial(_applies, pattern, name),
            on_file(_reordered(name, order)),
            text.format(UNITS[name][0].replace("-", " ")),
            solved=True,
        )
        for pattern, names, order, text in _ORDERS
        for name in names
    ]


_LAYOUT_TEXTS = {
    "file-is-nchw": "the file's bytes are NCHW, taken as NHWC",
    "read-as-nchw": "the file's bytes are NHWC, taken as NCHW",
    "rows-as-columns": "rows and columns of the output exchanged",
    "left-tilized": "tiles in the order of memory, taken as rows",
    "tilized-twice": "rows taken as tiles in the order of memory",
    "tiles-transposed": "every tile transposed",
    "faces-transposed": "every face transposed",
    "faces-column-major": "second and third face of every tile exchanged",
    "shard-after-shard": "channel shards one after another, not side by side",
    "bytes-swapped": "bytes of every value in the other order",
}


def _of_layouts() -> list[Fault]:
    return [
        Fault(
            name,
            "file",
            partial(has_layout, name),
            on_file(layout),
            _LAYOUT_TEXTS[name],
            solved=True,
        )
        for name, layout in LAYOUTS.items()
    ]


def _some_rows(value: float) -> Change:
    """Puts a value into every fifth image row."""

    def change(plan: Plan, output: Output) -> Output:
        changed = output.copy()
        changed[:, ::5] = value
        return changed

    return change


def to_bf16(output: Output) -> Output:
    """Rounds to bf16, the values kept in float32."""
    return output.astype(ml_dtypes.bfloat16).astype(np.float32)


def as_block_floats(plan: Plan, output: Output) -> Output:
    """Rounds to bfloat8_b, 16 channels to an exponent."""
    channels = output.shape[-1]
    past = round_up(channels, formats.BLOCK) - channels
    padded = np.pad(output, [(0, 0)] * 3 + [(0, past)])
    bits = formats.MAGNITUDE_BITS["bfloat8_b"]
    held = arithmetic.block_values(padded.reshape(-1, formats.BLOCK), bits)
    return held.reshape(padded.shape)[..., :channels]


def _is_float32(plan: Plan) -> bool:
    return plan.conv.output_dtype == "float32"


FILE_FAULTS: tuple[Fault, ...] = (
    *_of_units(),
    Fault(
        "channels-paired",
        "file",
        lambda plan: plan.conv.channels % 2 == 0 and plan.conv.channels > 3,
        on_file(_reordered("channel", lambda count: np.arange(count) ^ 1)),
        "neighbouring channels of the output exchanged, as halves of a word are",
        solved=True,
    ),
    Fault(
        "reordered",
        "file",
        lambda plan: plan.conv.channels > 4,
        on_file(
            _reordered("channel", lambda n: np.random.default_rng(0).permutation(n))
        ),
        "units of the output in another order",
        solved=True,
    ),
    Fault(
        "repeated",
        "file",
        lambda plan: plan.output_shape[1] > 3,
        on_file(
            _reordered(
                "row", lambda n: np.where(np.arange(n) % 3 == 2, 0, np.arange(n))
            )
        ),
        "units of the output hold what others should",
        solved=True,
    ),
    *_of_layouts(),
    Fault(
        "output-negated",
        "file",
        lambda plan: plan.conv.activation not in ("relu", "relu6"),
        on_file(lambda plan, output: -output),
        "the output with the other sign",
    ),
    Fault(
        "output-doubled",
        "file",
        lambda plan: True,
        on_file(lambda plan, output: 2 * output),
        "the output twice as large",
    ),
    Fault(
        "output-halved",
        "file",
        lambda plan: True,
        on_file(lambda plan, output: output / 2),
        "the output half as large",
    ),
    Fault(
        "output-scaled",
        "file",
        lambda plan: True,
        on_file(lambda plan, output: to_bf16(output * np.float32(1.7))),
        "the output scaled by one factor",
        solved=True,
    ),
    Fault(
        "relu-too-many",
        "file",
        lambda plan: plan.conv.activation not in ("relu", "relu6"),
        on_file(lambda plan, output: np.maximum(output, 0)),
        "a ReLU that was not asked for",
    ),
    Fault(
        "clip-too-many",
        "file",
        lambda plan: plan.conv.activation != "relu6",
        on_file(lambda plan, output: np.clip(output, 0, 6)),
        "a ReLU6 that was not asked for",
    ),
    Fault(
        "output-in-bf16",
        "file",
        _is_float32,
        on_file(lambda plan, output: to_bf16(output)),
        "the output rounded to bf16",
        rounds=True,
    ),
    Fault(
        "output-cut-to-bf16",
        "file",
        _is_float32,
        on_file(lambda plan, output: formats.truncated(output)),
        "the output cut to bf16",
        rounds=True,
    ),
    Fault(
        "output-in-bfp8",
        "file",
        lambda plan: plan.conv.output_dtype != "bfloat8_b",
        on_file(as_block_floats),
        "the output rounded to bfloat8_b",
        rounds=True,
    ),
    Fault(
        "zeros",
        "file",
        lambda plan: plan.output_shape[1] > 1,
        on_file(_some_rows(0)),
        "zeros where outputs should be",
        solved=True,
    ),
    Fault(
        "not-a-number",
        "file",
        lambda plan: plan.output_shape[1] > 1,
        on_file(_some_rows(np.nan)),
        "NaN where outputs should be",
        solved=True,
    ),
    Fault(
        "one-value",
        "file",
        lambda plan: plan.output_shape[1] > 1,
        on_file(_some_rows(-1.5)),
        "one and the same value where outputs should be",
        solved=True,
    ),
)
