"""Python text read as data: literals, names, calls, arithmetic on integers.

Nothing is evaluated. A name that the text itself assigns stands for its value; any
other stays a `Word`, which the reader of a field understands or refuses.
"""

import ast
import dataclasses
import operator
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from jaxdw.errors import ConfigError

_ARITHMETIC: dict[type[ast.AST], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}
_LARGEST = 2**40  # of an integer in the text


class Word(str):
    """A dotted name that the text does not assign, `ttnn.bfloat16` for one."""


@dataclasses.dataclass(eq=False)
class Call:
    """A call as it is written; `name` is dotted."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def bare(self) -> str:
        """The last word of the name."""
        return self.name.rpartition(".")[2]


def parse(text: str) -> ast.Module:
    """Returns the syntax tree of Python, of a single expression or indented too.

    Raises:
      ConfigError: text that is no Python.
    """
    try:
        return ast.parse(textwrap.dedent(text).strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        where = f", line {line}" if line else ""
        said = getattr(error, "msg", str(error))
        raise ConfigError(
            f"`--from` must be whole Python where it looks like it: {said}{where}; "
            "paste from the first bracket to the last"
        ) from error


def read_value(node: ast.AST, names: dict[str, Any]) -> Any:
    """Returns what an expression says, `names` put in.

    Raises:
      ConfigError: an expression of another kind.
    """
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return tuple(read_value(item, names) for item in node.elts)
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {
            read_value(key, names): read_value(value, names)
            for key, value in zip(node.keys, node.values, strict=True)
            if key is not None
        }
    if isinstance(node, ast.Name | ast.Attribute):
        dotted = _dotted(node)
        return names.get(dotted, Word(dotted))
    if isinstance(node, ast.Call):
        return _call(node, names)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = read_value(node.operand, names)
        if isinstance(value, int | float):
            return -value
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        sides = read_value(node.left, names), read_value(node.right, names)
        return _computed(node, type(node.op), *sides)
    if isinstance(node, ast.Subscript):
        return Word(ast.unparse(node))
    raise ConfigError(
        f"`{_short(node)}` must be a literal, a name or a call; write its value"
    )


def _computed(node: ast.AST, kind: type[ast.AST], left: Any, right: Any) -> Any:
    """Returns the result of arithmetic on integers; of names, the text."""
    if type(left) is int and type(right) is int:
        if kind is ast.FloorDiv and not right:
            raise ConfigError(f"`{_short(node)}` must not divide by 0; write its value")
        if abs(left) <= _LARGEST and abs(right) <= _LARGEST:
            return _ARITHMETIC[kind](left, right)
    return Word(ast.unparse(node))


def _dotted(node: ast.AST) -> str:
    return ast.unparse(node)


def _short(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _call(node: ast.Call, names: dict[str, Any]) -> Call:
    if any(isinstance(arg, ast.Starred) for arg in node.args) or any(
        keyword.arg is None for keyword in node.keywords
    ):
        raise ConfigError(
            f"`{_short(node)}` must write out its arguments, not unpack them; paste "
            "the values"
        )
    return Call(
        name=_dotted(node.func),
        args=tuple(_lenient(arg, names) for arg in node.args),
        kwargs={
            keyword.arg: _lenient(keyword.value, names)
            for keyword in node.keywords
            if keyword.arg is not None
        },
    )


def _lenient(node: ast.AST, names: dict[str, Any]) -> Any:
    """Returns an argument; one of another kind as its text, which fields may refuse."""
    try:
        return read_value(node, names)
    except ConfigError:
        return Word(_short(node))


def assignments(tree: ast.AST) -> dict[str, Any]:
    """Returns the names that a text assigns, in order, the last value of each.

    `config.option = value` after `config = Conv2dConfig(...)` joins the call.
    """
    names: dict[str, Any] = {}
    for node in _statements(tree):
        for target in node.targets:
            value = _lenient(node.value, names)
            _assign(target, value, names)
    return names


def _statements(tree: ast.AST) -> Iterator[ast.Assign]:
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Assign)]
    yield from sorted(found, key=lambda node: node.lineno)


def _assign(target: ast.AST, value: Any, names: dict[str, Any]) -> None:
    if isinstance(target, ast.Name):
        names[target.id] = value
    elif isinstance(target, ast.Tuple) and isinstance(value, tuple):
        if len(target.elts) == len(value):
            for part, item in zip(target.elts, value, strict=True):
                _assign(part, item, names)
    elif isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
        holder = names.get(target.value.id)
        if isinstance(holder, Call):
            holder.kwargs[target.attr] = value


def calls(tree: ast.AST, wanted: Callable[[str], bool]) -> Iterator[Call]:
    """Yields the calls of the functions wanted, in order, names put in."""
    names = assignments(tree)
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and wanted(_dotted(node.func))
    ]
    for node in sorted(found, key=lambda node: (node.lineno, node.col_offset)):
        yield _call(node, names)
