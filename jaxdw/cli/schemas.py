"""What `--json` prints, as one table: `jaxdw schema` shows it, tests hold it equal."""

import dataclasses
from typing import Any, Literal

Kind = Literal["object", "array", "string", "number", "boolean", "any"]


@dataclasses.dataclass(frozen=True)
class Schema:
    """What one command prints.

    Attributes:
      each: what a line holds; empty if all is one object.
      fields: by name: kind, meaning; a name that ends in ? may be missing.
      others: whether there may be more, as the columns of a query.
    """

    each: str
    fields: dict[str, tuple[Kind, str]]
    others: bool = False


_PLAN: tuple[Kind, str] = ("object", "program, grid, shards, tiles; sizes in elements")
_TRAFFIC: tuple[Kind, str] = ("object", "what one launch moves, in bytes and tiles")
_FINDINGS: tuple[Kind, str] = (
    "array", "known defects met: code, severity, basis, text, source",
)  # fmt: skip

SCHEMAS: dict[str, Schema] = {
    "run": Schema(
        "",
        {
            "plan": _PLAN,
            "addresses": ("array", "weight tiles in DRAM: tile, bank, slot, addresses"),
            "traffic": _TRAFFIC,
            "findings": _FINDINGS,
            "result": ("object", "against float64: pcc, ulp, exact, passed"),
            "notes?": ("array", "what was taken for granted of the files"),
            "against?": ("object", "where and how the file of --against differs"),
            "dump?": ("object", "lines of each --dump"),
        },
    ),
    "diagnose": Schema(
        "",
        {
            "notes": ("array", "what was taken for granted of the files"),
            "verdict": ("string", "the report in one line"),
            "right": ("boolean", "whether the output is the emulation's, bit for bit"),
            "comparison": ("object", "where and how it differs: class, ULP, places"),
            "causes": ("array", "mistakes that were made and give the output"),
            "possible": ("array", "mistakes that cannot be excluded"),
            "nearest": ("any", "the nearest of those that do not give it, or null"),
            "tried": ("number", "faults of the catalogue that were made"),
        },
    ),
    "diff": Schema(
        "",
        {
            "verdict": ("string", "what the weights are, or are taken for"),
            "matches": ("boolean", "whether nothing is amiss"),
            "note?": ("string", "what the file was taken as"),
            "hypotheses?": ("array", "mistakes that explain data that do not match"),
            "indistinguishable?": ("array", "mistakes that could not show"),
            "differing?": ("any", "elements that are not the plan's, or null"),
            "first?": ("any", "the first of them, or null"),
            "places?": ("array", "with --read-scheme, the first mistakes"),
        },
    ),
    "accuracy": Schema("row, and the recommendation last", {}, others=True),
    "plan": Schema(
        "",
        {
            "plan?": _PLAN,
            "l1?": ("object", "bytes of one core, and its buffers"),
            "cycles?": ("object", "lower bounds of each resource, total, microseconds"),
            "traffic?": _TRAFFIC,
            "findings?": _FINDINGS,
            "alternatives?": ("array", "other plans that fit, the best first"),
            "programs?": ("object", "with --program all: a column for each program"),
            "note?": ("string", "what bounds leave out, with --program all"),
        },
    ),
    "sweep": Schema(
        "",
        {
            "out": ("string", "folder of the rows"),
            "points": ("number", "rows of this sweep"),
            "statuses": ("object", "rows by status"),
            "compilations": ("number", "computations compiled"),
            "seconds": ("number", "spent making or loading them"),
            "best": ("array", "for each layer, chip and program the best row"),
            "not_read": ("object", "by .onnx file: nodes that are in no row, and why"),
            "page?": ("string", "the page written"),
        },
    ),
    "query": Schema("row", {}, others=True),
    "compare": Schema(
        "change",
        {
            "kind": ("string", "added, removed or changed"),
            "key": ("string", "of the configuration"),
            "name": ("string", "of the configuration, in words"),
            "columns": ("object", "name: [before, after]"),
        },
    ),
    "explain": Schema(
        "",
        {
            "plan": _PLAN,
            "overview?": ("object", "without a question: tiles and cores"),
            "weight?": ("object", "its tile, page, holders and product"),
            "tile?": ("object", "what it holds, and who holds it"),
            "page?": ("object", "the same of --bank"),
            "core?": ("object", "what it does and holds"),
            "address?": ("object", "what would be read there"),
        },
    ),
    "certify": Schema(
        "layout",
        {
            "key": ("string", "the configuration"),
            "holds": ("boolean", "whether the index maps follow the rules"),
            "program": ("string", "device program"),
            "tree": ("string", "revision that it is of"),
            "upstream_program": ("string", "what the tree itself takes"),
            "known": ("object", "evidence by quantity"),
            "facts": ("object", "sizes of the layout"),
            "counts": ("object", "elements followed"),
            "digest": ("string", "of the maps"),
            "problems": ("array", "failures, in words"),
        },
    ),
    "faults": Schema(
        "fault",
        {
            "fault": ("string", "name in the catalogue"),
            "code": ("any", "of its finding; null if it is none"),
            "stage": ("string", "of the data path"),
            "pcc": ("number", "of the faulty output"),
            "max_ulp": ("any", "largest distance; null if unknown"),
            "wrong": ("number", "share of outputs that differ"),
            "channels": ("string", "that differ"),
            "rows": ("string", "that differ"),
            "cores": ("string", "that differ"),
            "pcc_0_99": ("boolean", "whether that check notices"),
            "pcc_0_985": ("boolean", "whether that check notices"),
            "allclose": ("boolean", "whether that check notices"),
            "ulp": ("boolean", "whether that check notices"),
            "pattern": ("boolean", "whether that check notices"),
            "witness": ("boolean", "whether that check notices"),
        },
    ),
    "rule": Schema("", {"rules": ("array", "code, severity, basis, title, why, do")}),
    "models": Schema(
        "",
        {
            "models?": ("array", "networks"),
            "layers?": ("array", "depthwise layers of the one named"),
        },
    ),
    "chips": Schema("", {"chips": ("array", "every figure of each chip")}),
    "programs": Schema("", {"programs": ("array", "tree and evidence of each")}),
    "doctor": Schema(
        "",
        {
            "jaxdw": ("string", "version"),
            "python": ("string", "version"),
            "installed": ("string", "how to add an extra here"),
            "packages": ("object", "versions"),
            "extras": ("object", "what each lacks"),
            "devices": ("array", "of JAX"),
            "problem?": ("string", "why JAX does not start"),
            "cache": ("object", "folder and size of the compiled programs"),
        },
    ),
}


def json_schema(verb: str) -> dict[str, Any]:
    """Returns the JSON Schema of what a command prints, of one line if it prints many.

    A command without an entry has a schema that takes every object.
    """
    schema = SCHEMAS.get(verb, Schema("", {}, others=True))
    title = f"jaxdw {verb} --json" + (
        f", one line to a {schema.each}" if schema.each else ""
    )
    properties = {
        name.removesuffix("?"): ({} if kind == "any" else {"type": kind})
        | {"description": text}
        for name, (kind, text) in schema.fields.items()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "type": "object",
        "properties": properties,
        "required": [name for name in schema.fields if not name.endswith("?")],
        "additionalProperties": schema.others,
    }
