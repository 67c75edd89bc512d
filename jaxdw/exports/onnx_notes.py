"""A copy of an ONNX file whose depthwise nodes carry what a sweep says of them.

It stands in each node's `metadata_props`, which Netron and onnx itself show.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxdw.errors import ConfigError, needing
from jaxdw.files import whole_file

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_FACTS = (  # of the best plan, a key each
    "planned_scheme", "planned_program", "arch", "grid", "cores", "out_shard",
    "l1_free_bytes", "cycles", "cycles_binding", "weights_dtype", "fidelity", "pcc",
    "max_ulp", "findings",
)  # fmt: skip


def annotate(
    source: str | Path, target: str | Path, rows: Iterable[Mapping[str, Any]]
) -> tuple[int, list[str]]:
    """Writes a copy of a file with the plans of its layers; returns how many got one.

    A node has the facts of its best plan, the one that fits with the lowest bound of
    cycles, and a line for every row.

    Args:
      source, target: two files; the copy lies beside weights that the file keeps in
        others.
      rows: of a sweep of that file.

    Returns:
      The layers that got their plan, and the names of those whose node is not in the
      main graph.

    Raises:
      ConfigError: no extra `onnx`, no rows, the same file, a file that cannot be read.
    """
    with needing("onnx", "onnx"):
        import onnx
        from google.protobuf.message import DecodeError

    source, target = Path(source), Path(target)
    if source.resolve() == target.resolve():
        raise ConfigError(f"`{target}` must be another file than the one read")
    by_layer: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["model"] == str(source):
            by_layer.setdefault(row["layer"], []).append(row)
    if not by_layer:
        raise ConfigError(f"no row is of `{source}`; sweep it by --models {source}")
    try:
        model = onnx.load(str(source), load_external_data=False)
    except (OSError, DecodeError) as error:
        raise ConfigError(f"`{source}` cannot be read: {error}") from error
    if (
        _keeps_weights_apart(model)
        and source.resolve().parent != target.resolve().parent
    ):
        raise ConfigError(
            f"`{target}` must lie beside `{source}`, whose weights are in other files; "
            f"write {source.parent / target.name}"
        )
    nodes = _named_nodes(model)
    for layer in by_layer.keys() & nodes.keys():
        _note(nodes[layer], by_layer[layer])
    with whole_file(target) as draft:
        draft.write_bytes(model.SerializeToString())
    return len(by_layer.keys() & nodes.keys()), sorted(by_layer.keys() - nodes.keys())


def _keeps_weights_apart(model: "ModelProto") -> bool:
    return any(tensor.data_location == 1 for tensor in model.graph.initializer)


def _named_nodes(model: "ModelProto") -> "dict[str, NodeProto]":
    """Returns grouped convolutions by the names that their layers have."""
    from jaxdw.models.onnx.graph import unique_names

    grouped = [
        node
        for node in model.graph.node
        if node.op_type == "Conv"
        and any(
            attribute.name == "group" and attribute.i > 1
            for attribute in node.attribute
        )
    ]
    return dict(zip(unique_names(grouped), grouped, strict=True))


def _note(node: "NodeProto", rows: list[Mapping[str, Any]]) -> None:
    fitting = [row for row in rows if row["fits"]]
    kept = [entry for entry in node.metadata_props if not entry.key.startswith("jaxdw")]
    del node.metadata_props[:]
    node.metadata_props.extend(kept)
    facts = {f"jaxdw row {number}": _line(row) for number, row in enumerate(rows, 1)}
    if fitting:
        best = min(fitting, key=lambda row: (row["cycles"], row["cores"]))
        told = {name: best[name] for name in _FACTS if best[name] not in (None, "")}
        facts = {f"jaxdw {name}": _shown(value) for name, value in told.items()} | facts
    else:
        facts = {"jaxdw": "no plan of these fits L1"} | facts
    for key, value in facts.items():
        node.metadata_props.add(key=key, value=value)


def _line(row: Mapping[str, Any]) -> str:
    asked = (
        row["scheme"], row["program"], row["arch"], row["weights_dtype"],
        row["fidelity"],
    )  # fmt: skip
    if row["error"]:
        what = row["error"]
    else:
        room = "fits" if row["fits"] else "does not fit"
        what = f"{room}, at least {row['cycles']} cycles, {row['status']}"
    return f"{' '.join(map(str, asked))}: {what}"


def _shown(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.9g}"
    return str(value)
