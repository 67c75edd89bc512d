"""Mistakes in the tensors that are handed to the chip, the same for every program."""

import dataclasses
from collections.abc import Callable

import numpy as np

from jaxdw.faults import arithmetic
from jaxdw.faults.fault import Fault
from jaxdw.faults.used_chip import Launch
from jaxdw.judge.draws import Operands
from jaxdw.plan.plan import Plan

Change = Callable[[Plan, Operands], Operands]


def on_host(change: Change) -> Callable[[Launch], Launch]:
    """Changes host tensors, after whatever else is done to them."""

    def inject(launch: Launch) -> Launch:
        before = launch.host

        def host(plan: Plan, operands: Operands) -> Operands:
            return change(plan, before(plan, operands))

        return dataclasses.replace(launch, host=host)

    return inject


def of_weights(change: Callable[[Plan, np.ndarray], np.ndarray]) -> Change:
    """Changes the weights `[C, 1, kh, kw]`."""
    return lambda plan, o: o._replace(w=_like(o.w, change(plan, o.w)))


def of_input(change: Callable[[Plan, np.ndarray], np.ndarray]) -> Change:
    """Changes the input `[N, H, W, C]`."""
    return lambda plan, o: o._replace(x=_like(o.x, change(plan, o.x)))


def of_bias(change: Callable[[Plan, np.ndarray], np.ndarray]) -> Change:
    """Changes the bias `[C]`."""

    def changed(plan: Plan, operands: Operands) -> Operands:
        assert operands.bias is not None
        return operands._replace(bias=_like(operands.bias, change(plan, operands.bias)))

    return changed


def _like(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(new, np.float32).reshape(old.shape)


def _by_tap(order: Callable[[Plan, np.ndarray], np.ndarray]) -> Change:
    """Takes each kernel position from the one that `order` gives."""
    return of_weights(
        lambda plan, w: w.reshape(plan.conv.channels, -1)[
            :, order(plan, np.arange(plan.conv.taps))
        ]
    )


def _column_by_column(plan: Plan, tap: np.ndarray) -> np.ndarray:
    kernel_h, kernel_w = plan.conv.kernel
    return tap % kernel_h * kernel_w + tap // kernel_h


def exchange(first: int, second: int) -> Callable[[np.ndarray], np.ndarray]:
    """Exchanges two places of the first axis."""

    def exchanged(values: np.ndarray) -> np.ndarray:
        order = np.arange(len(values))
        order[[first, second]] = second, first
        return values[order]

    return exchanged


def by_channel(change: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """Changes an input as if its channels were the first axis."""
    return np.moveaxis(change(np.moveaxis(x, 3, 0)), 0, 3)


def _scaled(factor: float) -> Callable[[Launch], Launch]:
    return on_host(of_weights(lambda plan, w: w * np.float32(factor)))


def _has_bias(plan: Plan) -> bool:
    return plan.conv.bias


def _taps(plan: Plan) -> bool:
    return plan.conv.taps > 1


def _channels(plan: Plan) -> bool:
    return plan.conv.channels > 1


def _image(plan: Plan) -> bool:
    return plan.conv.height * plan.conv.width > 1


def _shifted(axis: int, step: int) -> Change:
    """Shifts the image by one row or column; zeros come in."""

    def shift(plan: Plan, x: np.ndarray) -> np.ndarray:
        moved = np.roll(x, step, axis=axis)
        index = [slice(None)] * 4
        index[axis] = slice(None, 1) if step > 0 else slice(-1, None)
        moved[tuple(index)] = 0
        return moved

    return of_input(shift)


HOST_FAULTS: tuple[Fault, ...] = (
    Fault(
        "host-truncates",
        "host",
        lambda plan: "bfloat16" in (plan.conv.dtype, plan.conv.weights_dtype),
        on_host(arithmetic.cut_operands),
        "the host cuts float32 to bf16 instead of rounding it",
        rounds=True,
    ),
    Fault(
        "input-left-nchw",
        "host",
        lambda plan: _channels(plan) and _image(plan),
        on_host(of_input(lambda plan, x: x.transpose(0, 3, 1, 2))),
        "the input's bytes are NCHW, read as NHWC",
    ),
    Fault(
        "input-read-as-nchw",
        "host",
        lambda plan: _channels(plan) and _image(plan),
        on_host(
            of_input(
                lambda plan, x: x.reshape(
                    x.shape[0], x.shape[3], *x.shape[1:3]
                ).transpose(0, 2, 3, 1)
            )
        ),
        "the input's bytes are NHWC, read as NCHW",
    ),
    Fault(
        "input-rows-as-columns",
        "host",
        lambda plan: plan.conv.height == plan.conv.width > 1,
        on_host(of_input(lambda plan, x: x.swapaxes(1, 2))),
        "rows and columns of the input exchanged",
    ),
    Fault(
        "input-row-late",
        "host",
        lambda plan: plan.conv.height > 1,
        on_host(_shifted(1, 1)),
        "the image lies one row further down, zeros above",
    ),
    Fault(
        "input-row-early",
        "host",
        lambda plan: plan.conv.height > 1,
        on_host(_shifted(1, -1)),
        "the image lies one row further up, zeros below",
    ),
    Fault(
        "input-column-late",
        "host",
        lambda plan: plan.conv.width > 1,
        on_host(_shifted(2, 1)),
        "the image lies one column further right, zeros to the left",
    ),
    Fault(
        "input-column-early",
        "host",
        lambda plan: plan.conv.width > 1,
        on_host(_shifted(2, -1)),
        "the image lies one column further left, zeros to the right",
    ),
    Fault(
        "input-channels-rolled",
        "host",
        _channels,
        on_host(of_input(lambda plan, x: np.roll(x, 1, axis=3))),
        "every channel gets the input of the one before",
    ),
    Fault(
        "input-channels-swapped",
        "host",
        _channels,
        on_host(of_input(lambda plan, x: by_channel(_two, x))),
        "two channels get each other's input",
        solved=True,
    ),
    Fault(
        "transposed-kernel",
        "prepare",
        lambda plan: min(plan.kernel) > 1,
        on_host(_by_tap(_column_by_column)),
        "kernel positions counted column by column",
    ),
    Fault(
        "flipped-kernel",
        "prepare",
        _taps,
        on_host(_by_tap(lambda plan, tap: tap[::-1])),
        "kernel turned by 180 degrees: a convolution instead of a correlation",
    ),
    Fault(
        "kernel-turned",
        "prepare",
        lambda plan: plan.kernel[0] == plan.kernel[1] > 1,
        on_host(of_weights(lambda plan, w: np.rot90(w, axes=(2, 3)))),
        "kernel turned by 90 degrees",
    ),
    Fault(
        "weights-left-hwio",
        "prepare",
        lambda plan: _taps(plan) and _channels(plan),
        on_host(of_weights(lambda plan, w: w.transpose(2, 3, 1, 0))),
        "the weights' bytes are HWIO, read as OIHW",
    ),
    Fault(
        "weights-read-as-hwio",
        "prepare",
        lambda plan: _taps(plan) and _channels(plan),
        on_host(
            of_weights(lambda plan, w: w.reshape(plan.conv.taps, plan.conv.channels).T)
        ),
        "the weights' bytes are OIHW, read as HWIO",
    ),
    Fault(
        "weights-of-one-channel",
        "prepare",
        _channels,
        on_host(of_weights(lambda plan, w: np.broadcast_to(w[:1], w.shape))),
        "every channel gets the weights of the first",
    ),
    Fault(
        "weights-swapped",
        "prepare",
        _channels,
        on_host(of_weights(lambda plan, w: _two(w))),
        "channels get each other's weights",
        solved=True,
    ),
    Fault(
        "products-negated",
        "host",
        lambda plan: True,
        _scaled(-1),
        "weights or input with the other sign",
    ),
    Fault(
        "products-doubled",
        "host",
        lambda plan: True,
        _scaled(2),
        "weights or input twice as large",
    ),
    Fault(
        "products-halved",
        "host",
        lambda plan: True,
        _scaled(0.5),
        "weights or input half as large",
    ),
    Fault(
        "weights-scaled",
        "host",
        lambda plan: True,
        _scaled(3),
        "weights scaled by one factor",
        solved=True,
    ),
    Fault(
        "bias-missing",
        "bias",
        _has_bias,
        on_host(of_bias(lambda plan, b: np.zeros_like(b))),
        "no bias is added",
    ),
    Fault(
        "bias-twice",
        "bias",
        _has_bias,
        on_host(of_bias(lambda plan, b: 2 * b)),
        "the bias is added twice",
    ),
    Fault(
        "bias-negated",
        "bias",
        _has_bias,
        on_host(of_bias(lambda plan, b: -b)),
        "the bias is subtracted",
    ),
    Fault(
        "bias-rolled",
        "bias",
        lambda plan: _has_bias(plan) and _channels(plan),
        on_host(of_bias(lambda plan, b: np.roll(b, 1))),
        "every channel gets the bias of the one before",
    ),
    Fault(
        "bias-of-one-channel",
        "bias",
        lambda plan: _has_bias(plan) and _channels(plan),
        on_host(of_bias(lambda plan, b: np.broadcast_to(b[:1], b.shape))),
        "every channel gets the bias of the first",
    ),
    Fault(
        "other-bias",
        "bias",
        _has_bias,
        on_host(of_bias(lambda plan, b: b + np.float32(0.75) * np.abs(b).max())),
        "this convolution with another bias",
        solved=True,
    ),
)


def _two(values: np.ndarray) -> np.ndarray:
    """Exchanges the last two places of the first axis."""
    return exchange(len(values) - 2, len(values) - 1)(values)
