"""Remedies asked for, written as files and judged on the chip's numerics."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxdw.networks.measure import Question, Sample, baseline, network, output_rows
from jaxdw.networks.remedies import compensate, fold, verified
from jaxdw.networks.rows import Row, whole
from jaxdw.networks.settings import Setting


def remedies(
    question: Question,
    out: Path,
    *,
    folds: bool,
    compensates: bool,
    calibration: Sequence[Sample],
) -> list[Row]:
    """Writes what is asked for, and returns the rows of each file on each setting.

    With both, the weights of the folded network are compensated. Outputs are held
    against those of the file as it was given, in float32. A setting by which a layer
    cannot be computed is left out, as it has a row that says why.
    """
    rows: list[Row] = []
    runnable = [s for s in question.settings if not s.problems()]
    source = question
    if folds:
        path = out / f"{Path(question.path).stem}.folded.onnx"
        told = fold(question.path, question.inputs, path, question.samples)
        source = dataclasses.replace(question, path=str(path))
        words = "folded, nothing found to fold"
        if any(told.values()):
            words = f"folded {sum(map(bool, told.values()))} layers"
        for setting in runnable:
            rows += _judged(question, setting, path, words)
        rows += [
            _row(question, kind="folded", layer=name, way="float32", left_out=what)
            for name, what in told.items()
        ]
    if compensates:
        for setting in runnable:
            words = "-".join(_names(setting))
            path = out / f"{Path(source.path).stem}.gain-{words}.onnx"
            moved = moved_to(source, setting)
            gains = compensate(source, moved, path, calibration)
            rows += _judged(question, setting, path, "weights times 1/gain")
            rows += [
                _row(
                    question, kind="gain", layer=name, conv_gain=gain, **setting.values
                )
                for name, gain in gains.items()
            ]
    return rows


def moved_to(source: Question, setting: Setting) -> Setting:
    """Returns a setting for the same layers in another file, which may have a bias."""
    layers = network(source.path, source.inputs).layers
    points = zip(setting.points, layers, strict=True)
    return Setting(
        tuple(
            dataclasses.replace(
                point,
                model=source.path,
                conv=dataclasses.replace(
                    point.conv,
                    bias=layer.conv.bias,
                    activation=layer.conv.activation,
                ),
            )
            for point, layer in points
        )
    )


def _names(setting: Setting) -> list[str]:
    """Returns what tells a setting's file from others."""
    named = ("weights_dtype", "fidelity", "program", "arch", "scheme", "arithmetic")
    said = [str(setting.values[name]) for name in named]
    said += [name for name, value in setting.values.items() if value is True]
    return [word.replace("/", "_") for word in said]


def _row(question: Question, **fields: Any) -> Row:
    return whole({"way": "chip", "model": question.path, **fields})


def _judged(question: Question, setting: Setting, path: Path, words: str) -> list[Row]:
    rows = []
    source = dataclasses.replace(question, path=str(path))
    moved = moved_to(source, setting)
    outputs = verified(source, moved, question.samples)
    for sample, got in zip(question.samples, outputs, strict=True):
        want = baseline(question.path, question.inputs, sample).outputs
        common = {
            "kind": "remedy",
            "sample": sample.name,
            "layer": words,
            "left_out": str(path),
            "cycles": moved.cycles(),
            **setting.values,
        }
        found = output_rows(want, got, question.metric, common)
        rows += [_row(question, **row) for row in found]
    return rows
