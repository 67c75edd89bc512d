"""Layers of tt-metal's own tests: node ids, `parametrize` rows, vectors of sweeps.

Source: tt-metal test_conv2d.py and conv2d_short_sweep.py (2024 to 2026), their names;
how pytest writes a node id.
"""

import ast
import itertools
import re
import textwrap
from collections.abc import Iterator
from typing import Any

from jaxdw.errors import ConfigError
from jaxdw.inputs.layer import Pasted, layer_of
from jaxdw.inputs.source import Call, assignments, parse, read_value

_NODE_ID = re.compile(r"\b(?P<test>test_\w{1,200})\[(?P<ids>.*)\]")
_SPLIT = re.compile(r"-(?=[A-Za-z_]\w*(?:=|-|$))")
_VECTOR = re.compile(r"\s*[\[(]\s*\w+(?:\s*,\s*\w+){9,}\s*,?\s*[\])]\s*,?\s*")
# ids without a value
_FLAGS = {
    "no_bias": ("has_bias", False),
    "with_bias": ("has_bias", True),
    "has_bias": ("has_bias", True),
    "bias": ("has_bias", True),
    "pack_l1": ("packer_l1_acc", True),
    "no_pack_l1": ("packer_l1_acc", False),
    "auto_shard": ("auto_shard", True),
    "no_auto_shard": ("auto_shard", False),
}
MAX_ROWS = 10_000


def recognises_node_id(text: str) -> bool:
    """Whether a text has a pytest node id with parameters in it."""
    match = _NODE_ID.search(text)
    return match is not None and "parametrize" not in text


def layers_of_node_id(text: str) -> Iterator[Pasted]:
    """Yields the layer of each node id, a line each."""
    for line in text.splitlines():
        match = _NODE_ID.search(line)
        if match is not None:
            yield layer_of(_ids(match["ids"]), f"the node id of {match['test']}")


def _ids(ids: str) -> dict[str, Any]:
    """Returns the parameters of a node id, `name=value-name=value`."""
    found: dict[str, Any] = {}
    plain = []
    for part in _SPLIT.split(ids):
        name, equals, value = part.partition("=")
        if equals:
            found[name] = _id_value(value)
        elif part in _FLAGS:
            key, flag = _FLAGS[part]
            found[key] = flag
        else:
            plain.append(part)
    if plain:
        raise ConfigError(
            f"`{plain[0]}` of the node id has no name: ids must read name=value; paste "
            "the parametrize row or the call instead"
        )
    return found


def _id_value(text: str) -> Any:
    try:
        return read_value(ast.parse(text, mode="eval").body, {})
    except (SyntaxError, ValueError, ConfigError):
        raise ConfigError(
            f"`{text[:60]}` of the node id must be a value; paste it to its end"
        ) from None


def recognises_rows(text: str) -> bool:
    """Whether a text has a `parametrize` in it."""
    return re.search(r"\bparametrize\s*\(", text) is not None


def layers_of_rows(text: str) -> Iterator[Pasted]:
    """Yields the layers of `parametrize` decorators, every combination of their rows.

    Names that none of them gives may be assigned in the text.
    """
    tree = parse(_without_dangling(text))
    names = assignments(tree)
    tables = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            "parametrize"
        ):
            rows = list(_rows(node, names))
            if rows:
                tables.append(rows)
    count = 0
    for rows in itertools.product(*tables):
        count += 1
        if count > MAX_ROWS:
            raise ConfigError(
                f"`--from` must hold at most {MAX_ROWS} combinations of rows; paste "
                "the row that you mean"
            )
        found: dict[str, Any] = {}
        for row in rows:
            found |= row
        yield layer_of(found, "the parametrize row")


def _without_dangling(text: str) -> str:
    """Returns decorators with a whole function below, so that they are Python."""
    text = textwrap.dedent(text).rstrip()
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        decorators = re.sub(r"^def\s.*\Z", "", text, flags=re.DOTALL | re.MULTILINE)
        return f"{decorators}\ndef test(): pass"
    return text


def _rows(node: ast.Call, names: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if len(node.args) < 2:
        raise ConfigError("`parametrize` must have names and rows; paste both")
    keys = read_value(node.args[0], names)
    if isinstance(keys, str):
        keys = tuple(key.strip() for key in keys.split(",") if key.strip())
    rows = read_value(node.args[1], names)
    if not isinstance(keys, tuple) or not isinstance(rows, tuple):
        raise ConfigError(
            f"`parametrize` (={keys}) must list its rows; paste them written out"
        )
    for row in rows:
        if isinstance(row, Call) and row.bare == "param":
            row = row.args if len(keys) > 1 else row.args[0]
        values = row if len(keys) > 1 else (row,)
        if not isinstance(values, tuple) or len(values) != len(keys):
            size = len(values) if isinstance(values, tuple) else 1
            raise ConfigError(
                f"`parametrize` names {len(keys)} parameters, a row has {size}: "
                f"{str(row)[:60]}; paste both whole"
            )
        yield dict(zip(keys, values, strict=True))


def recognises_vector(text: str) -> bool:
    """Whether a text is one row of numbers, as sweeps list them."""
    return _VECTOR.fullmatch(text) is not None


def layers_of_vector(text: str) -> Iterator[Pasted]:
    """Yields the layer of a sweep's vector."""
    (statement,) = parse(text.strip().rstrip(",")).body
    assert isinstance(statement, ast.Expr)
    spec = read_value(statement.value, {})
    yield layer_of({"input_spec": spec}, "the sweep's vector")
