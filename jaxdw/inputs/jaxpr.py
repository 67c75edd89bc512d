"""A JAX function as one flat graph of operations, calls inlined, loops counted.

Where a call is inlined, its inner values are the outer ones, so that what comes before
and after a convolution is found across the borders of jit, remat and custom rules. The
values that a loop carries from turn to turn have no source here.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_SAME = ("convert_element_type", "copy", "stop_gradient", "reduce_precision")
_MOVED = (*_SAME, "broadcast_in_dim", "reshape")
_CONVOLVES = ("conv_general_dilated", "dot_general")


@dataclasses.dataclass(eq=False, slots=True)
class Value:
    """One array.

    Attributes:
      source: the operation that makes it; None for an input, a constant, a carry.
      constant: its number, of a scalar that is known.
      users: the operations that read it.
      convolved: whether it hangs on the result of a convolution or matmul.
    """

    shape: tuple[int, ...]
    source: "Operation | None" = None
    constant: float | None = None
    users: "list[Operation]" = dataclasses.field(default_factory=list)
    convolved: bool = False


@dataclasses.dataclass(eq=False, slots=True)
class Operation:
    """One operation.

    Attributes:
      name: of the scopes around it, `Net/Block_0/depthwise`.
      times: how often it runs; `uncertain` says why that is not known, empty if it is.
    """

    kind: str
    params: dict[str, Any]
    inputs: list[Value]
    outputs: list[Value]
    name: str
    times: int
    uncertain: str


def flatten(function: Callable, args: Sequence, kwargs: dict) -> list[Operation]:
    """Returns the operations of a function in order; nothing is computed.

    Args:
      args, kwargs: arrays, or `jax.ShapeDtypeStruct`s that stand for them.
    """
    closed = jax.make_jaxpr(function)(*args, **kwargs)
    walk = _Walk()
    inputs = [Value(var.aval.shape) for var in closed.jaxpr.invars]
    walk.leave(walk.enter(closed, inputs, "", 1, ""))
    return walk.operations


def through(value: Value, kinds: Sequence[str] = _SAME) -> Value:
    """Returns the value that this one is a copy of."""
    while value.source is not None and value.source.kind in kinds:
        value = value.source.inputs[0]
    return value


def number(value: Value) -> float | None:
    """Returns the one number that fills a value; None if it is not known."""
    return through(value, _MOVED).constant


def only_user(value: Value) -> Operation | None:
    """Returns the operation that alone reads a value; None if there is no such."""
    return value.users[0] if len(value.users) == 1 else None


def copied(value: Value) -> Value:
    """Returns the last of the copies of a value that each alone read the one before."""
    while (user := only_user(value)) is not None and user.kind in _SAME:
        value = user.outputs[0]
    return value


class _Walk:
    def __init__(self):
        self.operations: list[Operation] = []

    def enter(
        self, jaxpr: Any, inputs: list[Value], name: str, times: int, uncertain: str
    ) -> list[Value]:
        """Adds the operations of a jaxpr on given values; returns its results."""
        inner = getattr(jaxpr, "jaxpr", jaxpr)
        values = dict(zip(inner.invars, inputs, strict=True))
        for var, constant in zip(
            inner.constvars, getattr(jaxpr, "consts", ()), strict=False
        ):
            values[var] = _constant(constant, var.aval.shape)

        def value_of(atom: Any) -> Value:
            if hasattr(atom, "val"):
                return _constant(atom.val, atom.aval.shape)
            if atom not in values:  # a constant that an open jaxpr does not hold
                values[atom] = Value(atom.aval.shape)
            return values[atom]

        for equation in inner.eqns:
            read = [value_of(atom) for atom in equation.invars]
            stack = str(equation.source_info.name_stack)
            scope = "/".join(part for part in (name, stack) if part)
            made = self._call(equation, read, scope, times, uncertain)
            if made is None:
                made = self._operation(equation, read, scope, times, uncertain)
            values |= dict(zip(equation.outvars, made, strict=True))
        return [value_of(atom) for atom in inner.outvars]

    def leave(self, values: list[Value]) -> None:
        """Says that values are read by somebody outside."""
        outside = Operation("outside", {}, values, [], "", 1, "")
        for value in values:
            value.users.append(outside)

    def _operation(
        self, equation: Any, read: list[Value], name: str, times: int, uncertain: str
    ) -> list[Value]:
        kind = equation.primitive.name
        convolved = kind in _CONVOLVES or any(value.convolved for value in read)
        made = [
            Value(getattr(var.aval, "shape", ()), convolved=convolved)
            for var in equation.outvars
        ]
        operation = Operation(kind, equation.params, read, made, name, times, uncertain)
        self.operations.append(operation)
        for value in made:
            value.source = operation
        for value in read:
            value.users.append(operation)
        return made

    def _call(
        self, equation: Any, read: list[Value], name: str, times: int, uncertain: str
    ) -> list[Value] | None:
        """Enters what an equation calls; None if it calls nothing."""
        kind, params = equation.primitive.name, equation.params
        if kind == "scan":
            return self._loop(
                params["jaxpr"], read, params["num_consts"], equation, name,
                times * params["length"], uncertain,
            )  # fmt: skip
        if kind == "while":
            first = params["cond_nconsts"]
            return self._loop(
                params["body_jaxpr"], read[first:], params["body_nconsts"], equation,
                name, times, "in a while loop, counted once",
            )  # fmt: skip
        if kind == "cond":
            why = "in one of several branches, counted once"
            for branch in params["branches"]:
                self.leave(self.enter(branch, read[1:], name, times, why))
            return [Value(var.aval.shape, convolved=True) for var in equation.outvars]
        inner = list(_jaxprs(params))
        if not inner:
            return None
        jaxpr = getattr(inner[0], "jaxpr", inner[0])
        if len(inner) == 1 and len(jaxpr.outvars) == len(equation.outvars):
            if len(jaxpr.invars) == len(read):
                return self.enter(inner[0], read, name, times, uncertain)
        for body in inner:
            invars = getattr(body, "jaxpr", body).invars
            fresh = [Value(getattr(var.aval, "shape", ())) for var in invars]
            self.leave(self.enter(body, fresh, name, times, f"in {kind}, counted once"))
        return None

    def _loop(
        self,
        body: Any,
        read: list[Value],
        num_constants: int,
        equation: Any,
        name: str,
        times: int,
        uncertain: str,
    ) -> list[Value]:
        """Enters a loop's body once, for all its turns."""
        carried = [
            Value(var.aval.shape, convolved=True)
            for var in body.jaxpr.invars[num_constants:]
        ]
        inputs = [*read[:num_constants], *carried]
        self.leave(self.enter(body, inputs, name, times, uncertain))
        return [Value(var.aval.shape, convolved=True) for var in equation.outvars]


def _jaxprs(params: dict[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if hasattr(item, "eqns") or hasattr(getattr(item, "jaxpr", None), "eqns"):
                yield item


def _constant(value: Any, shape: tuple[int, ...]) -> Value:
    dtype = getattr(value, "dtype", None)
    is_key = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.extended)
    known = not is_key and np.size(value) == 1
    return Value(shape, constant=float(np.asarray(value).item()) if known else None)
