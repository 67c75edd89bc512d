import dataclasses
import re

import pytest
import strategies
from hypothesis import given

import jaxdw as jd
from jaxdw.plan.findings import SEVERITIES

EXAMPLE = {"channels": 64, "height": 8, "width": 8, "padding": 1}


def codes(**changes) -> dict[str, jd.Finding]:
    """Returns the findings of the example changed, fields of either config by name."""
    shard_fields = {field.name for field in dataclasses.fields(jd.ShardConfig)}
    shard = {name: changes.pop(name) for name in shard_fields & changes.keys()}
    compute_fields = {field.name for field in dataclasses.fields(jd.ComputeConfig)}
    compute = {name: changes.pop(name) for name in compute_fields & changes.keys()}
    compute = jd.ComputeConfig(**compute)
    conv = jd.ConvConfig(**(EXAMPLE | changes))
    plan = jd.make_plan(conv, jd.ShardConfig(**shard), compute, must_fit=False)
    return {finding.code: finding for finding in plan.findings}


def test_the_example_has_no_known_defect_but_lofi():
    for scheme in ("height", "width", "block"):
        assert set(codes(scheme=scheme)) == {"JDW023"}
        assert codes(scheme=scheme, math_fidelity="HiFi2") == {}


@pytest.mark.parametrize(
    ("code", "severity", "changes", "near"),
    [
        (
            "JDW001",
            "wrong values",
            {"scheme": "width", "weight_layout": "concatenated"},
            {"scheme": "width"},
        ),
        (
            "JDW002",
            "hang",
            {"kernel": (3, 11), "padding": 5},
            {"kernel": (4, 8), "padding": 5},
        ),
        (
            "JDW003",
            "wrong values",
            {"kernel": (3, 11), "padding": 5},
            {"kernel": (4, 8), "padding": 5},
        ),
        ("JDW004", "wrong values", {"channels": 257}, {"channels": 256}),
        (
            "JDW004",
            "wrong values",
            {"channels": 129, "kernel": 7},
            {"channels": 128, "kernel": 7},
        ),
        (
            "JDW005",
            "wrong values",
            {"channels": 129, "kernel": 5},
            {"channels": 128, "kernel": 5},
        ),
        (
            "JDW005",
            "wrong values",
            {"channels": 65, "kernel": (1, 17), "width": 20},
            {"channels": 65, "kernel": (1, 16), "width": 20},
        ),
        ("JDW006", "wrong values", {"dilation": (1, 2)}, {}),
        (
            "JDW007",
            "memory corruption",
            {"height": 20, "width": 20},
            {"height": 16, "width": 32},
        ),
        (
            "JDW008",
            "wrong values",
            {"scheme": "block", "orientation": "col_major"},
            {"scheme": "height", "orientation": "col_major"},
        ),
        (
            "JDW008",
            "wrong values",
            {"scheme": "block", "orientation": "col_major", "cores": (1, 2)},
            {"scheme": "block", "orientation": "col_major", "cores": (1, 1)},
        ),
        ("JDW009", "wrong values", {"program_cache": True}, {}),
        ("JDW010", "wrong values", {"height": 9, "width": 9}, {}),
        (
            "JDW010",
            "wrong values",
            {"scheme": "block", "height": 9},
            {"scheme": "block"},
        ),
        (
            "JDW011",
            "wrong values",
            {"channels": 1, "height": 253, "width": 256, "grid": (1, 1)},
            {"channels": 1, "height": 252, "width": 256, "grid": (1, 1)},
        ),
        ("JDW012", "hang", {"grid": (1, 1)}, {"scheme": "width", "grid": (1, 1)}),
        ("JDW013", "wrong values", {"channels": 352}, {"channels": 320}),
        (
            "JDW014",
            "wrong values",
            {"channels": 257, "dtype": "float32"},
            {"channels": 256, "dtype": "float32"},
        ),
        (
            "JDW014",
            "wrong values",
            {"channels": 257, "dtype": "float32"},
            {"channels": 257},
        ),
        ("JDW015", "performance", {"channels": 128}, {"channels": 96}),
        ("JDW016", "performance", {"activation": "relu"}, {}),
        ("JDW017", "performance", {"enable_act_double_buffer": True}, {}),
        ("JDW017", "performance", {"enable_weights_double_buffer": True}, {}),
        (
            "JDW018",
            "performance",
            {"channels": 48, "cores": 2, "input_shard": (32, 48)},
            {"channels": 48, "cores": 2, "input_shard": (32, 64)},
        ),
        (
            "JDW018",
            "performance",
            {"cores": 1, "input_shard": (64, 64), "reshard_if_not_optimal": True},
            {"cores": 1, "input_shard": (64, 64)},
        ),
        (
            "JDW019",
            "wrong values",
            {"scheme": "width", "cores": 3},
            {"scheme": "width", "cores": 2},
        ),
        (
            "JDW006",
            "wrong values",
            {"dilation": (2, 3), "kernel": (1, 3)},
            {"dilation": (2, 1), "kernel": (1, 3)},
        ),
        (
            "JDW020",
            "hang",
            {"scheme": "block", "orientation": "col_major", "cores": (3, 2)},
            {"scheme": "block", "orientation": "col_major", "cores": (2, 2)},
        ),
        (
            "JDW020",
            "hang",
            {"scheme": "block", "orientation": "col_major", "cores": (3, 2)},
            {"scheme": "block", "orientation": "col_major", "cores": (1, 2)},
        ),
        (
            "JDW020",
            "hang",
            {"scheme": "block", "orientation": "col_major", "cores": (3, 2)},
            {"scheme": "block", "cores": (3, 2)},
        ),
        ("JDW021", "wrong values", {"kernel": 1}, {"kernel": (1, 3)}),
        ("JDW022", "wrong values", {"channels": 1}, {"channels": 2}),
        ("JDW023", "accuracy", {}, {"math_fidelity": "HiFi2"}),
        ("JDW023", "accuracy", {}, {"arithmetic": "float32"}),
    ],
)
def test_each_defect_is_met_at_its_edge_and_not_before(code, severity, changes, near):
    met = codes(**changes)
    assert met[code].severity == severity
    assert code not in codes(**near)
    assert str(met[code]).startswith(f"{code} {severity} (")
    assert met[code].source in str(met[code])


def test_every_row_of_five_by_five_with_160_channels_is_stale_and_no_other():
    stale = {
        (taps, tiles)
        for taps in range(1, 36)
        for tiles in range(1, 12)
        if "JDW005" in codes(kernel=(1, taps), width=40, channels=32 * tiles)
    }
    assert stale == {
        (taps, tiles)
        for taps in range(17, 33)
        for tiles in range(1, 12)
        if tiles * (32 - taps) >= 32
    }


def test_another_program_has_none_of_this_ones_defects():
    assert set(codes(kernel=1, channels=400, dilation=2)) == {"JDW021"}


def test_assumed_findings_stop_no_gate():
    unequal = codes(height=9, width=9)["JDW010"]
    assert unequal.basis == "assumed"
    assert not unequal.fails("performance")


def test_a_gate_stops_at_its_severity_and_above():
    stray = codes(height=20, width=20)["JDW007"]
    assert [stray.fails(severity) for severity in SEVERITIES] == [
        True, True, True, True, False,
    ]  # fmt: skip
    lofi = codes()["JDW023"]
    assert [severity for severity in SEVERITIES if lofi.fails(severity)] == ["accuracy"]


@given(strategies.convs(), strategies.shards())
def test_findings_are_sorted_sentences_with_sources(conv, shard):
    conv = dataclasses.replace(conv, activation="silu")
    findings = jd.make_plan(conv, shard, must_fit=False).findings
    found = [finding.code for finding in findings]
    assert found == sorted(set(found))
    for finding in findings:
        assert re.fullmatch(r"JDW0\d\d", finding.code)
        assert finding.severity in SEVERITIES
        assert "@" in finding.source or "passes" in finding.source
        assert not finding.text.endswith(".")


def test_a_large_kernel_is_read_in_blocks_of_half_the_channels():
    text = {
        kernel: codes(channels=288, kernel=kernel)["JDW004"].text for kernel in (3, 7)
    }
    assert "blocks of 256 channels" in text[3]
    assert "blocks of 128 channels" in text[7]


def test_the_basis_of_what_decides_a_gate_is_told():
    met = codes(channels=288, kernel=5) | codes(kernel=7, program_cache=True)
    met |= codes(scheme="width", weight_layout="concatenated", dilation=2, padding=2)
    met |= codes(grid=(1, 1), channels=352) | codes(height=20, width=20)
    basis = {code: finding.basis for code, finding in met.items()}
    assert {c for c in basis if basis[c] == "observed"} == {
        "JDW001", "JDW004", "JDW005", "JDW009", "JDW023",
    }  # fmt: skip
    assert {c for c in basis if basis[c] == "read"} >= {
        "JDW002", "JDW003", "JDW006", "JDW007",
    }  # fmt: skip
    assert basis["JDW012"] == basis["JDW013"] == "assumed"
