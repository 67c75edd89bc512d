"""The filter of a sweep: one expression over a point, of bounded work."""

import ast
from collections.abc import Callable
from typing import Any

import simpleeval

from jaxdw.errors import ConfigError
from jaxdw.sweep.rows import FACTS, Point

MAX_LENGTH, MAX_PARTS = 10_000, 400  # characters; names, numbers and operators
# No calls, loops, powers or repetitions: work grows with the expression alone.
_PARTS = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub,
    ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn,
    ast.Is, ast.IsNot, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv,
    ast.Mod, ast.IfExp, ast.Name, ast.Load, ast.Constant, ast.Tuple, ast.List, ast.Set,
    ast.Subscript,
)  # fmt: skip


def point_filter(expression: str) -> Callable[[Point], bool]:
    """Returns whether a point is kept, by an expression over `Point.facts`.

    Raises:
      ConfigError: no expression, more than one, one with other names or parts or too
        many of them; from what is returned, a comparison that cannot be, no truth
        value.
    """
    tree = _parsed(expression)
    evaluator = simpleeval.EvalWithCompoundTypes(operators=_OPERATORS, functions={})

    def keeps(point: Point) -> bool:
        evaluator.names = point.facts()
        try:
            kept = evaluator.eval(expression, previously_parsed=tree.body)
        except (
            simpleeval.InvalidExpression,
            TypeError,
            ValueError,
            ArithmeticError,
            LookupError,
            RecursionError,
        ) as error:
            raise _refusal(expression, error) from error
        if not isinstance(kept, bool):
            raise _refusal(
                expression, f"it gives {kept!r}, no truth value: compare it with one"
            )
        return kept

    return keeps


def _parsed(expression: str) -> ast.Expression:
    if len(expression) > MAX_LENGTH:
        raise _refusal(expression[:60], f"longer than {MAX_LENGTH} characters")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _refusal(expression, f"{error}; equal is written ==") from error
    parts = list(ast.walk(tree))
    for part in parts:
        if not isinstance(part, _PARTS):
            raise _refusal(expression, f"no part of it is a {type(part).__name__}")
        if isinstance(part, ast.Name) and part.id not in FACTS:
            raise _refusal(expression, f"{part.id!r} is none of them")
    if len(parts) > MAX_PARTS:
        raise _refusal(expression, f"{len(parts)} parts are more than {MAX_PARTS}")
    return tree


def _refusal(expression: str, problem: object) -> ConfigError:
    return ConfigError(
        f"`filter` (={expression!r}) must be one expression over {', '.join(FACTS)}; "
        f"{problem}"
    )


def _one(value: Any) -> Any:
    """Returns what sizes that are all the same are."""
    if isinstance(value, tuple | list) and value and len({*map(repr, value)}) == 1:
        return value[0]
    return tuple(value) if isinstance(value, list) else value


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, str) != isinstance(other, str) and None not in (one, other):
        raise TypeError(f"{one!r} and {other!r} are never equal")
    return _one(one) == _one(other)


def _is_in(one: Any, many: Any) -> bool:
    if many is None or isinstance(many, str):
        return many is not None and one is not None and one in many
    return any(_equal(one, other) for other in many)


def _remainder(one: Any, other: Any) -> Any:
    if isinstance(one, str):
        raise TypeError(f"{one!r} is no number")
    return one % other


def _product(one: Any, other: Any) -> Any:
    if not all(isinstance(value, int | float) for value in (one, other)):
        raise TypeError(f"{one!r} times {other!r} is no number")
    return one * other


_OPERATORS = simpleeval.DEFAULT_OPERATORS | {
    ast.Eq: _equal,
    ast.NotEq: lambda one, other: not _equal(one, other),
    ast.In: _is_in,
    ast.NotIn: lambda one, many: not _is_in(one, many),
    ast.Mod: _remainder,
    ast.Mult: _product,
}
