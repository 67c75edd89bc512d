import dataclasses
import hashlib
import struct

import jax
import numpy as np
import pytest
import strategies
from examples import uneven_plan
from hypothesis import given
from hypothesis import strategies as st
from ttnn_examples import ttnn_plan

import jaxdw as jd
from jaxdw.layouts.certificate import (
    STATEMENTS,
    certify,
    digests,
    layout_key,
    layout_plans,
)
from jaxdw.layouts.depthwise import DepthwiseWeights
from jaxdw.layouts.misread import misread
from jaxdw.maps.indexmap import IndexMap


@given(strategies.convs(), strategies.any_shards(), st.booleans())
def test_the_layout_of_any_plan_holds(conv, shard, bias):
    conv = dataclasses.replace(conv, bias=bias)
    plan = jd.make_plan(conv, shard, must_fit=False)
    certificate = certify(plan)
    assert certificate.holds, certificate.failures
    assert certificate.counts["weights"] == conv.channels * conv.taps
    assert certificate.counts["outputs"] == np.prod(plan.output_shape[:3])


def test_counts_are_those_of_the_protocol():
    certificate = certify(uneven_plan("height", channels=320, kernel=3))
    cores, counts = certificate.facts["cores"], certificate.counts
    assert counts["weight_lanes"] == 3 * 1024 * cores
    assert counts["weight_tiles_read"] == 6 * 10  # by one sender
    assert counts["weight_tiles_unused"] == 6 * 10 - 3
    wide = certify(uneven_plan("width", channels=64, kernel=3)).counts
    assert (wide["weight_tiles_read"], wide["weight_tiles_unused"]) == (2, 0)
    part = certify(uneven_plan("height", grid=(8, 8), batch=1, height=39, width=8))
    assert part.facts["cores"] == 9
    assert part.counts["stray_cores"] == 7


def test_padding_elements_are_those_of_a_padded_image():
    plan = uneven_plan()
    image = np.pad(np.ones((2, 10, 9)), [(0, 0), (2, 1), (0, 3)])
    zeros = sum(
        np.count_nonzero(image[:, y : y + 11, x : x + 8] == 0)
        for y in range(3)
        for x in range(5)
    )
    counts = certify(plan).counts
    assert counts["padding_elements"] == zeros
    assert counts["window_elements"] == 2 * 11 * 8 * 15


def test_digests_are_those_of_little_endian_int32():
    maps = jd.make_maps(uneven_plan())
    hashes = digests(maps)
    index = maps.halo.index
    text = f"{index.shape} of {maps.halo.size}:".encode()
    raw = b"".join(struct.pack("<i", value) for value in index.ravel().tolist())
    assert hashes["halo"] == hashlib.sha256(text + raw).hexdigest()
    assert {"weights.prepare", "bias.read", "multicast.rect", "taps"} <= {*hashes}
    traced = jax.tree.map(jax.numpy.asarray, maps)
    assert digests(traced) == hashes
    flat = dataclasses.replace(maps, halo=IndexMap(index.ravel(), maps.halo.size))
    assert digests(flat)["halo"] != hashes["halo"]


def test_a_key_tells_layouts_apart_and_reads_well():
    plan = uneven_plan("width", grid=(2, 1))
    assert layout_key(plan) == (
        "channels=200 height=10 width=9 batch=2 kernel=3x5 stride=1x1 padding=2x1x0x3 "
        "bias=True | scheme=width grid=2x1 | wormhole_b0"
    )
    others = [
        uneven_plan("width"),
        uneven_plan(grid=(2, 1)),
        uneven_plan("width", grid=(2, 1), stride=2),
    ]
    assert len({layout_key(p) for p in [plan, *others]}) == 4


def test_a_key_names_a_program_other_than_depthwise():
    """Old lockfiles hold keys without one, and digests of no lanes."""
    conv = {"height": 1, "width": 70, "kernel": (1, 3), "bias": False}
    regular, conv1d = ttnn_plan(scheme="height", **conv), ttnn_plan("conv1d", **conv)
    wide = ttnn_plan(scheme="height", fp32_dest_acc=True, **conv)
    depthwise = jd.make_plan(regular.conv, regular.shard, must_fit=False)
    key = layout_key(depthwise)
    assert "program" not in key
    assert layout_key(regular) == f"{key} | program=regular"
    assert layout_key(wide) == f"{key} | program=regular fp32_dest_acc=True"
    assert layout_key(conv1d).endswith("program=conv1d")
    maps = jd.make_maps(regular)
    assert "channels_per_core" in digests(maps)
    more = dataclasses.replace(maps, lanes=maps.lanes + 32)
    assert digests(more) == digests(maps)
    assert [f.rule for f in certify(regular, more).failures] == ["channels"]


def test_layers_are_planned_once_with_bias_on_every_scheme_and_chip():
    conv = jd.ConvConfig(channels=32, height=8, width=8, padding=1)
    convs = [conv, dataclasses.replace(conv, activation="relu"), conv]
    plans = layout_plans(convs)
    assert [plan.scheme for plan in plans.values()] == [
        scheme for scheme in ("height", "width", "block") for _ in range(2)
    ]
    assert {plan.arch.name for plan in plans.values()} == {"wormhole_b0", "blackhole"}
    assert all(plan.conv.bias for plan in plans.values())
    assert [*plans] == [layout_key(plan) for plan in plans.values()]
    wrong = dataclasses.replace(conv, kernel=(11, 1))
    with pytest.raises(jd.ConfigError, match=r"`kernel` \(=11"):
        layout_plans([wrong])


def test_a_layer_too_large_for_l1_is_certified_whole():
    conv = jd.ConvConfig(channels=320, height=120, width=120, kernel=3, padding=1)
    with pytest.raises(jd.ConfigError):
        jd.make_plan(conv, jd.ShardConfig(scheme="width"))
    [plan] = layout_plans([conv], ["width"], ["wormhole_b0"]).values()
    assert certify(plan).holds


def test_the_table_says_by_name_where_weights_have_to_be(monkeypatch):
    class Backwards(DepthwiseWeights):
        def weight_lanes(self):
            return super().weight_lanes()[:, ::-1]

    plan = uneven_plan()
    assert certify(plan).holds
    assert misread(plan, plan).reads_right
    monkeypatch.setitem(STATEMENTS, "depthwise", Backwards)
    assert [f.rule for f in certify(plan).failures] == ["prepare", "weights"]
    assert not misread(plan, plan).reads_right
