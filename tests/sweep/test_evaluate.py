"""A point is run unless another of the same layer is known to compute the same."""

import dataclasses

import numpy as np
import pytest

import jaxdw as jd
from jaxdw.launch import bucketed
from jaxdw.sweep import evaluate
from jaxdw.sweep.rows import Point

CONV = jd.ConvConfig(channels=64, height=7, width=6, padding=1)
TIMES = ("seconds_compile", "seconds_run", "compilations")


def point(scheme: str = "height", **changes) -> Point:
    made = jd.Space(models=("mobilenet_v2",), schemes=(scheme,)).points()[0]
    return dataclasses.replace(made, conv=dataclasses.replace(CONV, **changes))


@pytest.fixture
def runs(monkeypatch) -> list[str]:
    """Returns the schemes that were run, one after the other."""
    found, run = [], bucketed.run_bucketed

    def spy(plan, *arguments):
        found.append(plan.scheme)
        return run(plan, *arguments)

    monkeypatch.setattr(bucketed, "run_bucketed", spy)
    monkeypatch.setattr(evaluate._Last, "operands", None)
    return found


def test_schemes_of_a_layer_are_run_once_and_their_rows_are_those_of_runs(runs):
    schemes = ("height", "block", "width")
    rows = [evaluate.evaluate(point(scheme)) for scheme in schemes]
    assert runs == ["height"]
    for scheme, row in zip(schemes, rows, strict=True):
        evaluate._Last.operands = None
        alone = evaluate.evaluate(point(scheme))
        assert row["planned_scheme"] == scheme
        assert {k: v for k, v in row.items() if k not in TIMES} == {
            k: v for k, v in alone.items() if k not in TIMES
        }
    assert runs[1:] == list(schemes)


@pytest.mark.parametrize(
    "changes",
    [
        {"weights_dtype": "bfloat8_b"},
        {"activation": "relu"},
        {"stride": 2},
        {"bias": True},
        {"output_dtype": "bfloat8_b"},
    ],
)
def test_another_layer_or_format_is_run(runs, changes):
    first, second = evaluate.evaluate(point()), evaluate.evaluate(point(**changes))
    assert len(runs) == 2
    evaluate._Last.operands = None
    assert evaluate.evaluate(point(**changes))["pcc"] == second["pcc"]
    assert (first["exact"], first["pcc"]) != (second["exact"], second["pcc"])


def test_another_seed_is_run(runs):
    rows = [evaluate.evaluate(point(), seed=seed) for seed in (0, 1, 0)]
    assert len(runs) == 3
    assert rows[0]["pcc"] == rows[2]["pcc"] != rows[1]["pcc"]


def test_drawn_tensors_are_those_of_the_point():
    from jaxdw.judge.draws import draw

    for changes in (
        {},
        {"bias": True, "activation": "gelu", "output_dtype": "float32"},
    ):
        own = point(**changes)
        found = evaluate.operands_of(own, 3)
        for got, want in zip(found, draw(own.conv, "random", 3), strict=True):
            np.testing.assert_array_equal(got, want)
