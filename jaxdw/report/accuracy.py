"""What `jaxdw accuracy` found, as rows that a terminal and a page show alike."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from jaxdw.judge.compare import SCALED, scale_in_words
from jaxdw.networks.rows import Row
from jaxdw.networks.settings import CHOSEN
from jaxdw.report import html

if TYPE_CHECKING:
    from jaxdw.networks.recommend import Recommendation

Line = dict[str, object]
_COLUMNS = [axis.column for axis in CHOSEN]


def varied(rows: Iterable[Row]) -> list[str]:
    """Returns the axes that have several values on the chip."""
    rows = [row for row in rows if row["way"] == "chip"]
    return [name for name in _COLUMNS if len({str(row[name]) for row in rows}) > 1]


def words_of(row: Row, names: Sequence[str]) -> str:
    """Returns a setting in words: the values of the axes that vary."""
    if row["way"] != "chip":
        return {"float32": "float32, cut", "bf16": "bf16 rounding alone"}[row["way"]]
    said = []
    for name in names or ["fidelity", "weights_dtype"]:
        value = row[name]
        if value is None:
            said.append(f"{name} by layer")
        elif isinstance(value, bool):
            said += [name] if value else []
        elif isinstance(value, int):
            said.append(f"{name} {value}")
        else:
            said.append(str(value))
    return " ".join(said) or "plain"


def all_alike(rows: Sequence[Row]) -> str:
    """Returns the axes that have one value, and it."""
    names, first = varied(rows), next((r for r in rows if r["way"] == "chip"), None)
    if first is None:
        return ""
    return ", ".join(
        f"{n} {first[n]}" for n in _COLUMNS if n not in names and first[n] is not None
    )


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _least(rows: Sequence[Row], name: str) -> float | None:
    return min((row[name] for row in rows if row[name] is not None), default=None)


def _mean(rows: Sequence[Row], name: str) -> float | None:
    found = [row[name] for row in rows if row[name] is not None]
    return sum(found) / len(found) if found else None


def _groups(rows: Iterable[Row], names: Sequence[str]) -> dict[tuple, list[Row]]:
    found: dict[tuple, list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(str(row[name]) for name in names), []).append(row)
    return found


def output_lines(rows: Sequence[Row]) -> list[Line]:
    """Returns a line for each setting and output: the worst sample, the mean argmax."""
    names = varied(rows)
    picked = [row for row in rows if row["kind"] in ("control", "output", "remedy")]
    lines = []
    for group in _groups(picked, ["way", "layer", *names, "output"]).values():
        one = group[0]
        if one["way"] == "float32":
            continue
        line: Line = {"setting": words_of(one, names)}
        if one["kind"] == "remedy":
            line["setting"] = f"{line['setting']}, {one['layer']}"
        line |= {
            "output": one["output"] or "",
            "cycles": _number(one["cycles"], ","),
            "pcc": _number(_least(group, "pcc"), ".6f"),
            "snr_db": _number(_least(group, "snr_db"), ".1f"),
            "gain": _number(_mean(group, "gain"), ".4f"),
            "argmax": _number(_mean(group, "argmax"), ".4f"),
        }
        if any(row["metric"] is not None for row in rows):
            line["metric"] = _number(_mean(group, "metric"), ".4f")
        line["samples"] = len(group)
        line["said"] = one["error"] or ""
        lines.append(line)
    return lines


def layer_lines(rows: Sequence[Row]) -> list[Line]:
    """Returns a line for each setting and layer, random normals beside real ones."""
    names = varied(rows)
    picked = [row for row in rows if row["kind"] == "layer"]
    lines = []
    for group in _groups(picked, ["layer", *names]).values():
        one = min(group, key=lambda row: (row["pcc"] is not None, row["pcc"] or 0))
        lines.append(
            {
                "layer": one["layer"],
                "setting": words_of(one, names),
                "pcc": _number(_least(group, "pcc"), ".6f"),
                "random_pcc": _number(one["random_pcc"], ".6f"),
                "gain": _number(_mean(group, "gain"), ".4f"),
                "random_gain": _number(one["random_gain"], ".4f"),
                "snr_db": _number(_least(group, "snr_db"), ".1f"),
                "random_snr_db": _number(one["random_snr_db"], ".1f"),
                "exact": _share(group),
                "max_ulp": _number(max((r["max_ulp"] or 0) for r in group), ""),
                "worst_channel": _worst(one),
                "zeroed": one["channels_zeroed"] or "",
                "cycles": _number(one["cycles"], ","),
                "said": _said(one),
            }
        )
    return lines


def _share(rows: Sequence[Row]) -> str:
    outputs = sum(row["outputs"] or 0 for row in rows)
    return f"{sum(r['exact'] or 0 for r in rows) / outputs:.1%}" if outputs else ""


def _worst(row: Row) -> str:
    if row["worst_channel"] is None or row["worst_snr_db"] is None:
        return ""
    return f"{row['worst_channel']}: {row['worst_snr_db']:.1f} dB"


def _said(row: Row) -> str:
    said = [row["error"]] if row["error"] else []
    if row["random_passed"] and row["passed"] is False:
        said.append("passes on random normals, fails on real activations")
    elif row["passed"] is False:
        said.append("fails tt-metal's threshold")
    if row["gain"] is not None and abs(row["gain"] - 1) >= SCALED:
        said.append(scale_in_words(row["gain"]))
    if row["left_out"]:
        said.append(row["left_out"])
    return "; ".join(said)


def misled(rows: Sequence[Row]) -> str:
    """Returns how many verdicts on random normals real activations do not bear out."""
    layers = [r for r in rows if r["kind"] == "layer" and r["passed"] is not None]
    wrong = sum(bool(r["random_passed"]) and not r["passed"] for r in layers)
    return (
        f"{wrong} of {len(layers)} verdicts: passes on random normals, fails on real "
        "activations"
    )


def blame_lines(rows: Sequence[Row]) -> list[Line]:
    """Returns layers by the harm that each does alone, the worst first."""
    names = varied(rows)
    picked = [row for row in rows if row["kind"] in ("only", "without")]
    lines = []
    for group in _groups(picked, ["layer", *names, "output"]).values():
        by_kind = {row["kind"]: row for row in group}
        only, without = by_kind["only"], by_kind["without"]
        lines.append(
            (
                _ranked(only["snr_db"]),
                {
                    "layer": only["layer"],
                    "setting": words_of(only, names),
                    "output": only["output"],
                    "only_snr_db": _number(only["snr_db"], ".1f"),
                    "only_pcc": _number(only["pcc"], ".6f"),
                    "only_argmax": _number(only["argmax"], ".4f"),
                    "without_snr_db": _number(without["snr_db"], ".1f"),
                    "without_pcc": _number(without["pcc"], ".6f"),
                    "without_argmax": _number(without["argmax"], ".4f"),
                },
            )
        )
    lines.sort(key=lambda line: line[0])
    return [line for _, line in lines]


def _ranked(snr: float | None) -> float:
    return float("inf") if snr is None else snr


def remedy_lines(rows: Sequence[Row]) -> list[Line]:
    """Returns a line for each layer that a remedy changed, and each file written."""
    names = varied(rows)
    lines: list[Line] = []
    for row in rows:
        if row["kind"] == "remedy":
            line: Line = {"what": row["layer"], "setting": words_of(row, names)}
            lines.append(line | {"layer": "", "done": row["left_out"]})
        elif row["kind"] == "folded" and row["left_out"]:
            line = {"what": "folded", "setting": "", "layer": row["layer"]}
            lines.append(line | {"done": row["left_out"]})
        elif row["kind"] == "gain":
            line = {"what": "gain", "setting": words_of(row, names)}
            done = _number(row["conv_gain"], ".4f")
            lines.append(line | {"layer": row["layer"], "done": done})
    return [*{tuple(line.items()): line for line in lines}.values()]


def recommended_facts(found: "Recommendation") -> dict[str, Any]:
    """Returns a recommendation as plain values."""
    target = f"{found.target.figure} at least {found.target.least:g}"
    uniform = "none keeps the target"
    if found.uniform is not None:
        saved = 1 - found.cycles / found.uniform
        uniform = f"{found.uniform:,} cycles; the mix takes {saved:.1%} less"
    return {
        "target": target,
        "end to end": f"{found.value:.6g}, {'kept' if found.kept else 'NOT KEPT'}",
        "cycles, lower bound": f"{found.cycles:,}",
        "cheapest setting for all layers": uniform,
        "runs of the network": found.checks,
    }


def recommended_lines(found: "Recommendation") -> list[Line]:
    """Returns a line for each layer of a recommendation."""
    return [
        {
            "layer": point.layer,
            "weights_dtype": point.conv.weights_dtype,
            "fidelity": point.compute.math_fidelity,
            "fp32_dest_acc": point.compute.fp32_dest_acc,
            "program": point.program,
            "scheme": point.shard.scheme,
        }
        for point in found.setting.points
    ]


def accuracy_page(
    rows: Sequence[Row],
    skipped: Sequence[str] = (),
    found: "Recommendation | None" = None,
) -> str:
    """Returns the page of a network: outputs, blame, layers, what to do."""
    model = rows[0]["model"]
    samples = len({row["sample"] for row in rows})
    notes = [f"All of them: {all_alike(rows)}." if all_alike(rows) else ""]
    notes.append(f"{misled(rows)}.")
    if skipped:
        notes.append("Left in float32, by onnxruntime: " + "; ".join(skipped) + ".")
    body = html.table("Against float32, the worst sample", output_lines(rows))
    body += "".join(html.note(text) for text in notes if text)
    sections = [html.Section("outputs", "The network's outputs", body)]
    if found is not None:
        body = html.facts("What keeps the target", recommended_facts(found))
        body += html.table("Layer by layer", recommended_lines(found))
        sections.append(html.Section("recommended", "Recommendation", body))
    remedies = remedy_lines(rows)
    if remedies:
        body = html.table("Files written, and what was done in each layer", remedies)
        sections.append(html.Section("remedies", "Remedies", body))
    blame = blame_lines(rows)
    if blame:
        body = html.table("One layer alone, and all but it", blame)
        sections.append(html.Section("blame", "Which layer hurts", body))
    layers = layer_lines(rows)
    if layers:
        body = html.table("Real activations beside random normals", layers)
        sections.append(html.Section("layers", "Layers by themselves", body))
    lead = f"Its depthwise layers emulated on {samples} samples, the rest in float32."
    return html.page(f"What the chip's numerics do to {model}", lead, sections)
