"""A program of a few lines, in four tables, is planned, run, proved and swept."""

import dataclasses

import numpy as np
import pytest

import jaxdw as jd
from jaxdw.layouts import certificate
from jaxdw.layouts.depthwise import DepthwiseWeights
from jaxdw.machine import cores
from jaxdw.maps import depthwise, maps
from jaxdw.plan import planner
from jaxdw.plan.depthwise.program import DepthwisePlan
from jaxdw.plan.program import WeightPages
from jaxdw.sweep.evaluate import evaluate
from jaxdw.sweep.rows import Point

NAME = "twice"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwicePlan(DepthwisePlan):
    """The depthwise program, but its readers take every tile row of weights twice."""

    program = NAME

    def _decide_weights(self) -> WeightPages:
        pages = super()._decide_weights()
        return dataclasses.replace(pages, read_rows=(*pages.read_rows,) * 2)


class TwiceWeights(DepthwiseWeights):
    def weight_tile_ids(self) -> np.ndarray:
        return np.tile(super().weight_tile_ids(), 2)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    by_stage = maps.ProgramMaps(depthwise.prepare_map_of, depthwise.pairing_map)
    monkeypatch.setitem(planner.PROGRAMS, NAME, TwicePlan)
    monkeypatch.setitem(maps.PROGRAMS, NAME, by_stage)
    monkeypatch.setitem(cores.PROGRAMS, NAME, cores.PROGRAMS["depthwise"])
    monkeypatch.setitem(certificate.STATEMENTS, NAME, TwiceWeights)


CONV = jd.ConvConfig(channels=80, height=5, width=5, padding=1, bias=True)


@pytest.mark.parametrize("scheme", ["height", "block"])
def test_a_program_registered_in_four_tables_works(scheme):
    shard = jd.ShardConfig(scheme=scheme, grid=(2, 2))
    plan, known = (jd.make_plan(CONV, shard, program=p) for p in (NAME, "depthwise"))
    assert plan.weight_tile_ids(0) == known.weight_tile_ids(0) * 2
    assert plan.l1.used_bytes > known.l1.used_bytes
    rng = np.random.default_rng(0)
    x, w, bias = (
        rng.standard_normal(shape)
        for shape in (CONV.input_shape, CONV.weight_shape, (CONV.channels,))
    )
    found = jd.run(plan, jd.make_maps(plan), x, w, bias, keep=("l1_weights",))
    first, again = np.split(np.asarray(found.memories["l1_weights"]), 2, axis=1)
    np.testing.assert_array_equal(first, again)
    want = jd.run(known, jd.make_maps(known), x, w, bias).output
    np.testing.assert_array_equal(found.output, want)
    assert certificate.certify(plan).holds
    right = jd.make_maps(known)
    assert not certificate.certify(plan, right).holds


def test_it_is_swept_under_its_own_name():
    point = Point(
        model="one", layer="first", times=1, conv=CONV, shard=jd.ShardConfig(),
        compute=jd.ComputeConfig(), arch="n150", program=NAME,
    )  # fmt: skip
    row = evaluate(point)
    assert (row["program"], row["status"], row.get("error")) == (NAME, "pass", None)
