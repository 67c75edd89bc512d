"""What follows a convolution in a JAX function: a bias, an activation.

A scale and a shift of each channel, as a batch norm at inference has, are taken as
folded into weights and bias. An activation is recognised by its values, not by how it
is spelt: the elementwise operations after the bias are tried on numbers from -9 to 9.
"""

from collections.abc import Callable

import numpy as np

from jaxdw.inputs.jaxpr import Operation, Value, copied, number, only_user, through
from jaxdw.plan.config import Activation

_MOST_STEPS = 16  # of the longest spelling of an activation
_SAMPLES = np.linspace(-9, 9, 289)


def _special(name: str) -> Callable:
    def call(values: np.ndarray) -> np.ndarray:
        from scipy import special

        return getattr(special, name)(values)

    return call


_ELEMENTWISE: dict[str, Callable] = {
    "max": np.maximum,
    "min": np.minimum,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "neg": np.negative,
    "exp": np.exp,
    "tanh": np.tanh,
    "square": np.square,
    "gt": np.greater,
    "ge": np.greater_equal,
    "lt": np.less,
    "select_n": lambda which, *cases: np.choose(np.asarray(which, int), cases),
    "clamp": lambda low, value, high: np.clip(value, low, high),
    "logistic": _special("expit"),
    "erf": _special("erf"),
    "erfc": _special("erfc"),
    "convert_element_type": lambda value: value,
    "copy": lambda value: value,
    "stop_gradient": lambda value: value,
    "integer_pow": lambda value, y: value**y,
}


def _gelu(values: np.ndarray) -> np.ndarray:
    return values * _special("ndtr")(values)


def _gelu_tanh(values: np.ndarray) -> np.ndarray:
    inner = np.sqrt(2 / np.pi) * (values + 0.044715 * values**3)
    return 0.5 * values * (1 + np.tanh(inner))


# JAX's default gelu goes by tanh: another formula for the same function.
_KNOWN: tuple[tuple[Activation, Callable], ...] = (
    ("relu", lambda x: np.maximum(x, 0)),
    ("relu6", lambda x: np.clip(x, 0, 6)),
    ("silu", lambda x: x * _special("expit")(x)),
    ("gelu", _gelu),
    ("gelu", _gelu_tanh),
)


def epilogue(result: Value, axis: int, channels: int) -> tuple[bool, Activation | None]:
    """Returns whether a bias follows a convolution, and the activation after it.

    Args:
      axis: of the result that counts channels.
    """
    value, bias = copied(result), False
    while (user := only_user(value)) is not None:
        if not _is_affine(user, value, axis, channels):
            break
        bias |= user.kind in ("add", "sub")
        value = copied(user.outputs[0])
    return bias, _activation(value)


def _is_affine(user: Operation, value: Value, axis: int, channels: int) -> bool:
    """Whether an operation scales or shifts every channel by a number of its own."""
    if user.kind not in ("add", "sub", "mul", "div"):
        return False
    first, second = user.inputs
    if first is second or (user.kind in ("sub", "div") and first is not value):
        return False
    other = second if first is value else first
    return not other.convolved and _is_per_channel(other, axis, channels)


def _is_per_channel(value: Value, axis: int, channels: int) -> bool:
    value = through(value)
    source = value.source
    if source is not None and source.kind == "broadcast_in_dim":
        operand = source.inputs[0]
        kept = [
            (to, size)
            for to, size in zip(
                source.params["broadcast_dimensions"], operand.shape, strict=True
            )
            if size != 1
        ]
        return kept == [(axis, channels)] or (channels == 1 and not kept)
    wanted = tuple(channels if i == axis else 1 for i in range(len(value.shape)))
    return bool(value.shape) and value.shape == wanted


def _activation(start: Value) -> Activation | None:
    """Returns the activation that alone reads a value; None for another or none.

    Of `max(x, 0)` and the `min` that follows it, the longest that is known counts.
    """
    at, steps, found = {start: _SAMPLES}, [], None
    while len(steps) < _MOST_STEPS and (step := _next_step(at, steps)) is not None:
        read = [_numbers(value, at) for value in step.inputs]
        (result,) = step.outputs
        keywords = {"y": step.params["y"]} if step.kind == "integer_pow" else {}
        with np.errstate(all="ignore"):
            at[result] = _ELEMENTWISE[step.kind](*read, **keywords)
        steps.append(step)
        inner = (user for value in at if value is not result for user in value.users)
        if all(user in steps for user in inner):
            found = _name_of(at[result]) or found
    return found


def _next_step(at: dict[Value, np.ndarray], steps: list[Operation]) -> Operation | None:
    """Returns an operation on nothing but known values and numbers."""
    for value in at:
        for user in value.users:
            if user in steps or user.kind not in _ELEMENTWISE:
                continue
            if all(_numbers(read, at) is not None for read in user.inputs):
                return user
    return None


def _numbers(value: Value, at: dict[Value, np.ndarray]) -> np.ndarray | float | None:
    return at[value] if value in at else number(value)


def _name_of(values: np.ndarray) -> Activation | None:
    for name, function in _KNOWN:
        if np.allclose(values, function(_SAMPLES), rtol=1e-5, atol=1e-5):
            return name
    return None
