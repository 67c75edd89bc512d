"""The report of a diagnosis, word by word."""

import json

import numpy as np
import pytest

import jaxdw as jd
from jaxdw.faults.causes import Cause, Diagnosis, Match
from jaxdw.judge.comparison import compare_outputs

PLAN = jd.make_plan(jd.ConvConfig(channels=32, height=4, width=4, padding=1))


def cause(match: Match, *names: str, unknown: int = 0) -> Cause:
    return Cause(
        faults=names,
        texts=tuple(f"text of {name}" for name in names),
        details=("channels 1 & 2", *[""] * (len(names) - 1)),
        match=match,
        outputs=1512,
        unknown=unknown,
        differing=7,
        residue=0.01234,
    )


def diagnosis(**fields) -> Diagnosis:
    right = np.ones(PLAN.output_shape, np.float32)
    comparison = compare_outputs(PLAN, right, 2 * right, np.ones_like(right))
    empty = {"causes": (), "possible": (), "nearest": None, "tried": 5}
    return Diagnosis(comparison=comparison, **(empty | fields))


@pytest.mark.parametrize(
    ("match", "how"),
    [
        ("exact", "reproduces 1,502 outputs bit for bit; 10 depend on memory"),
        ("1 ULP", "reproduces 1,502 outputs to 1 ULP; 10 depend on memory"),
        ("near", "to a residue of 0.012 on every channel; 10 depend on memory"),
        ("none", "leaves 7 of 1,502 outputs unexplained; 10 depend on memory"),
        ("possible", "equal on the 1,502 outputs that it determines; the other 10 dep"),
        ("weights", "every channel that can be fitted is this convolution with other"),
    ],
)
def test_a_cause_says_how_well_it_was_tested(match, how):
    text = cause(match, "a", "b", unknown=10).text
    assert text.startswith("a (text of a: channels 1 & 2) or b (text of b); " + how)


def test_a_cause_that_determines_all_says_nothing_of_memory():
    whole = cause("exact", "a", "b")
    assert whole.text.endswith("; reproduces 1,512 outputs bit for bit")
    assert whole.name == "a or b"


def test_a_report_has_causes_then_what_is_possible_then_the_nearest():
    first, second = cause("exact", "a", "b"), cause("exact", "c")
    found = diagnosis(causes=(first, second))
    assert found.named == ("a", "b")
    assert found.verdict == f"cause: {first.text}"
    said = found.lines()[len(found.comparison.lines()) :]
    assert said == ["", f"cause 1: {first.text}", f"cause 2: {second.text}"]

    found = diagnosis(possible=(second,))
    assert found.named == ("c",)
    assert found.verdict == f"possible, not proved: {second.text}"
    said = found.lines()[len(found.comparison.lines()) + 1 :]
    assert said == ["no known cause reproduces it; 5 were tried", found.verdict]

    found = diagnosis(nearest=cause("none", "d"))
    assert (found.named, found.verdict) == ((), "no known cause reproduces it")
    assert found.lines()[-1] == f"nearest: {cause('none', 'd').text}"
    assert json.loads(json.dumps(found.to_json()))["nearest"]["faults"] == ["d"]
    assert diagnosis().to_json()["nearest"] is None


def test_html_escapes_what_details_say():
    found = diagnosis(causes=(cause("exact", "a"),))
    assert found._repr_html_().count("channels 1 &amp; 2") == 2
    assert "1 & 2" not in found._repr_html_()
