"""Findings of ttnn 0.81.1's programs, at their edge and just before it."""

import dataclasses
import re

import pytest
import strategies
from hypothesis import given

import jaxdw as jd
from jaxdw.plan.findings import SEVERITIES
from jaxdw.plan.ttnn.planner import default_compute, plan_ttnn

ROW = {"channels": 64, "height": 1, "width": 67, "kernel": (1, 4)}
IMAGE = {"channels": 64, "height": 16, "width": 16, "padding": 1}
BIG = {"channels": 64, "height": 512, "width": 512, "padding": 1}
FP32_DST = jd.ComputeConfig(math_fidelity="HiFi4", fp32_dest_acc=True)
L1_ACC = dataclasses.replace(FP32_DST, packer_l1_acc=True)


def plan_of(fields, arch="n150"):
    """Plans a layer; fields of either config by name, `compute` beside them."""
    fields = dict(fields)
    names = {field.name for field in dataclasses.fields(jd.ShardConfig)}
    shard = {name: fields.pop(name) for name in names & fields.keys()}
    compute = fields.pop("compute", None)
    conv = jd.ConvConfig(**fields)
    return plan_ttnn(
        conv,
        jd.ShardConfig(**shard),
        compute or default_compute(conv),
        jd.load_arch(arch),
    )


def codes(fields):
    return {finding.code: finding for finding in plan_of(fields).findings}


def test_the_examples_have_no_known_defect():
    assert codes(ROW) == {}
    assert codes(IMAGE) == {}
    assert codes(IMAGE | {"scheme": "width"}) == {}


@pytest.mark.parametrize(
    ("code", "severity", "basis", "fields", "near"),
    [
        ("JDW030", "performance", "observed", ROW | {"bias": True}, ROW),
        (
            "JDW030",
            "performance",
            "observed",
            ROW | {"bias": True},
            ROW | {"bias": True, "height": 2},
        ),
        (
            "JDW030",
            "performance",
            "observed",
            ROW | {"bias": True},
            ROW | {"bias": True, "kernel": (2, 4), "padding": (1, 0, 0, 0)},
        ),
        (
            "JDW031",
            "performance",
            "observed",
            IMAGE | {"compute": FP32_DST},
            IMAGE | {"compute": L1_ACC},
        ),
        (
            "JDW031",
            "performance",
            "observed",
            IMAGE | {"compute": FP32_DST},
            IMAGE | {"compute": FP32_DST, "kernel": (1, 3)},
        ),
        (
            "JDW031",
            "performance",
            "observed",
            IMAGE | {"compute": FP32_DST, "output_dtype": "bfloat8_b"},
            IMAGE | {"compute": FP32_DST, "output_dtype": "float32"},
        ),
        (
            "JDW031",
            "performance",
            "observed",
            IMAGE | {"compute": FP32_DST},
            IMAGE | {"compute": jd.ComputeConfig()},
        ),
        (
            "JDW032",
            "performance",
            "observed",
            IMAGE | {"scheme": "block"},
            IMAGE | {"scheme": "width"},
        ),
        (
            "JDW032",
            "performance",
            "observed",
            IMAGE | {"channels": 40},
            IMAGE | {"channels": 64},
        ),
        (
            "JDW033",
            "performance",
            "observed",
            BIG | {"memory": "dram", "scheme": "auto"},
            IMAGE | {"memory": "dram", "scheme": "auto"},
        ),
        ("JDW034", "wrong values", "observed", BIG | {"scheme": "auto"}, IMAGE),
        (
            "JDW034",
            "wrong values",
            "observed",
            ROW | {"channels": 10_240, "memory": "dram"},
            ROW | {"channels": 2560, "memory": "dram"},
        ),
        (
            "JDW034",
            "wrong values",
            "observed",
            IMAGE | {"scheme": "block", "enable_activation_reuse": True},
            IMAGE | {"scheme": "width", "enable_activation_reuse": True},
        ),
        (
            "JDW034",
            "wrong values",
            "observed",
            IMAGE | {"scheme": "auto", "enable_activation_reuse": True},
            IMAGE | {"scheme": "auto"},
        ),
        (
            "JDW035",
            "wrong values",
            "observed",
            ROW | {"kernel": (1, 1)},
            ROW | {"kernel": (1, 1), "bias": True},
        ),
        (
            "JDW035",
            "wrong values",
            "observed",
            ROW | {"kernel": (1, 1)},
            ROW | {"kernel": (1, 1), "height": 2},
        ),
        (
            "JDW036",
            "performance",
            "observed",
            ROW | {"kernel": (1, 1), "bias": True},
            ROW | {"kernel": (1, 1), "bias": True, "scheme": "width"},
        ),
        (
            "JDW040",
            "wrong values",
            "observed",
            ROW | {"activation": "silu"},
            ROW | {"activation": "silu", "height": 2},
        ),
        ("JDW040", "wrong values", "observed", ROW | {"activation": "relu"}, ROW),
        ("JDW041", "hang", "observed", ROW | {"config_tensors_in_dram": True}, ROW),
        (
            "JDW041",
            "hang",
            "observed",
            ROW | {"config_tensors_in_dram": True},
            IMAGE | {"config_tensors_in_dram": True},
        ),
        ("JDW042", "wrong values", "read", ROW | {"dilation": (1, 2)}, ROW),
        (
            "JDW042",
            "wrong values",
            "read",
            ROW | {"dilation": (1, 2)},
            ROW | {"dilation": (2, 1)},
        ),
        (
            "JDW042",
            "wrong values",
            "read",
            ROW | {"dilation": (1, 2)},
            ROW | {"dilation": (1, 2), "kernel": (1, 1)},
        ),
        ("JDW043", "wrong values", "read", ROW | {"scheme": "block"}, ROW),
        (
            "JDW044",
            "wrong values",
            "observed",
            ROW | {"scheme": "width"},
            ROW | {"scheme": "auto"},
        ),
        (
            "JDW044",
            "wrong values",
            "observed",
            ROW | {"scheme": "width"},
            ROW | {"scheme": "width", "bias": True},
        ),
        (
            "JDW045",
            "performance",
            "observed",
            ROW | {"grid": (1, 1)},
            ROW | {"grid": (2, 1)},
        ),
    ],
)
def test_each_is_met_at_its_edge_and_not_before(code, severity, basis, fields, near):
    met = codes(fields)
    assert (met[code].severity, met[code].basis) == (severity, basis)
    assert code not in codes(near)
    assert met[code].fails("wrong values") == (severity != "performance")


def test_a_bias_costs_as_many_times_the_weights_as_is_said():
    text = codes(ROW | {"channels": 2560, "bias": True, "scheme": "width"})["JDW030"]
    dense, sparse = 10_240 * 2560 * 2, 4 * 32 * 2560 * 2
    assert f"{dense} bytes of weights against {sparse}, 80.0 times" in text.text
    tall = codes(ROW | {"bias": True, "grid": (1, 1)})["JDW030"]
    assert f"{4 * 64 * 64 * 2} bytes of weights against {4 * 64 * 64 * 2}, 1.0" in (
        tall.text
    )


def test_partials_are_rounded_once_for_every_block():
    for scheme, blocks in (("height", 3), ("block", 24), ("width", 2)):
        fields = IMAGE | {"scheme": scheme, "compute": FP32_DST}
        assert f"after each of {blocks} blocks" in codes(fields)["JDW031"].text
    whole = IMAGE | {"scheme": "block", "compute": FP32_DST, "full_inner_dim": True}
    assert "after each of 8 blocks" in codes(whole)["JDW031"].text


def test_prepared_weights_are_told_apart_by_their_rows():
    text = codes(IMAGE | {"scheme": "block"})["JDW032"].text
    assert "row_major input only: [768, 64] here, [576, 64] for tile" in text
    text = codes(IMAGE | {"scheme": "block", "input_layout": "tile"})["JDW032"].text
    assert "tile input only: [576, 64] here, [768, 64] for row_major" in text
    text = codes(ROW | {"grid": (1, 1)})["JDW045"].text
    assert "blocks of 2 tiles" in text


def test_a_refusal_says_what_the_library_says_and_what_would_run():
    plan = plan_of(BIG | {"scheme": "auto"})
    finding = plan.findings[-1]
    assert finding.code == "JDW034"
    assert plan.message in finding.text
    assert finding.text.endswith("; memory='dram' runs it in 4 launches")
    half = BIG | {"channels": 32, "scheme": "auto", "memory": "dram"}
    assert "runs in 2 launches" in codes(half)["JDW033"].text
    sliced = codes(BIG | {"scheme": "auto", "memory": "dram"})["JDW033"]
    assert "runs in 4 launches" in sliced.text
    nowhere = codes(ROW | {"channels": 10_240, "width": 12})["JDW034"].text
    assert "grow to" in nowhere
    assert "memory=" not in nowhere
    slicing = codes(ROW | {"channels": 10_240, "memory": "dram"})["JDW034"].text
    assert slicing.endswith("with maximum slicing")


def test_width_is_refused_unless_the_matrices_happen_to_agree():
    longer = plan_of(ROW | {"scheme": "width", "width": 131})
    refusal = "The width of tensor a needs to match the height of tensor b"
    assert longer.message == refusal
    (finding,) = [f for f in longer.findings if f.severity == "wrong values"]
    assert "256 wide" in finding.text
    assert "512 high: ttnn refuses" in finding.text
    lone = {"channels": 96, "grid": (1, 1), "scheme": "width", "width": 35}
    short = plan_of(ROW | lone)
    assert short.message == refusal
    assert [finding.code for finding in short.findings] == ["JDW044"]
    agree = plan_of(ROW | {"scheme": "width"})  # 64 rows of a block, 64 channels
    assert agree.message is None
    assert "256 high: ttnn multiplies" in agree.findings[0].text


def test_block_multiplies_taps_by_columns():
    assert (
        "24 taps for 3, 8 columns"
        in codes(ROW | {"scheme": "block", "width": 1024, "kernel": (1, 3)})[
            "JDW043"
        ].text
    )


@given(strategies.ttnn_layers())
def test_findings_are_sorted_sentences_with_sources(layer):
    conv, shard = layer
    conv = dataclasses.replace(conv, activation="relu")
    plan = plan_ttnn(conv, shard, FP32_DST, jd.load_arch("n150"))
    found = [finding.code for finding in plan.findings]
    assert found == sorted(set(found))
    for finding in plan.findings:
        assert re.fullmatch(r"JDW0[34]\d", finding.code)
        assert finding.severity in SEVERITIES
        assert "0.81.1" in finding.source
        assert not finding.text.endswith(".")
    assert ("JDW040" in found) == (plan.route == "conv1d")
