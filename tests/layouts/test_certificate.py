import dataclasses
import hashlib
import json
import struct
from pathlib import Path

import jax
import numpy as np
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

import jaxdw as jd
from jaxdw.layouts.certificate import (
    certify,
    digests,
    layout_key,
    layout_plans,
)
from jaxdw.layouts.lock import check_lock, write_lock
from jaxdw.maps.indexmap import IndexMap


def plan_of(
    scheme: str = "block", layout: str = "final", grid=(3, 3), **conv
) -> jd.Plan:
    """3 x 3 cores, 2 weight tiles each, uneven channels, rows, padding."""
    example = {
        "batch": 2,
        "channels": 200,
        "height": 10,
        "width": 9,
        "kernel": (3, 5),
        "padding": (2, 1, 0, 3),
        "bias": True,
    }
    shard = jd.ShardConfig(scheme=scheme, grid=grid, weight_layout=layout)
    return jd.make_plan(jd.ConvConfig(**(example | conv)), shard)


@given(strategies.convs(), strategies.any_shards(), st.booleans())
def test_the_layout_of_any_plan_holds(conv, shard, bias):
    conv = dataclasses.replace(conv, bias=bias)
    plan = jd.make_plan(conv, shard, must_fit=False)
    certificate = certify(plan)
    assert certificate.holds, certificate.failures
    assert certificate.counts["weights"] == conv.channels * conv.taps
    assert certificate.counts["outputs"] == np.prod(plan.output_shape[:3])


def test_counts_are_those_of_the_protocol():
    certificate = certify(plan_of("height", channels=320, kernel=3))
    cores, counts = certificate.facts["cores"], certificate.counts
    assert counts["weight_lanes"] == 3 * 1024 * cores
    assert counts["weight_tiles_read"] == 6 * 10  # by one sender
    assert counts["weight_tiles_unused"] == 6 * 10 - 3
    wide = certify(plan_of("width", channels=64, kernel=3)).counts
    assert (wide["weight_tiles_read"], wide["weight_tiles_unused"]) == (2, 0)
    part = certify(plan_of("height", grid=(8, 8), batch=1, height=39, width=8))
    assert part.facts["cores"] == 9
    assert part.counts["stray_cores"] == 7


def test_padding_elements_are_those_of_a_padded_image():
    plan = plan_of()
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
    maps = jd.make_maps(plan_of())
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
    plan = plan_of("width", grid=(2, 1))
    assert layout_key(plan) == (
        "channels=200 height=10 width=9 batch=2 kernel=3x5 stride=1x1 padding=2x1x0x3 "
        "bias=True | scheme=width grid=2x1 | wormhole_b0"
    )
    others = [
        plan_of("width"),
        plan_of(grid=(2, 1)),
        plan_of("width", grid=(2, 1), stride=2),
    ]
    assert len({layout_key(p) for p in [plan, *others]}) == 4


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


def test_a_lockfile_shows_which_maps_changed(tmp_path):
    path = tmp_path / "layouts.json"
    plan = plan_of()
    maps = jd.make_maps(plan)
    entries = {layout_key(plan): digests(maps), "gone": {"halo": "1"}}
    write_lock(path, entries)
    assert [file.name for file in tmp_path.iterdir()] == ["layouts.json"]
    assert json.loads(path.read_text())["schema"] == 1
    assert check_lock(path, entries) == []
    reverse = IndexMap(maps.collect.index[::-1], maps.collect.size)
    changed = dataclasses.replace(maps, collect=reverse)
    now = {layout_key(plan): digests(changed), "new": {"halo": "1"}}
    changes = check_lock(path, now)
    assert [(c.kind, c.key, c.map) for c in changes] == [
        ("changed", layout_key(plan), "collect"),
        ("removed", "gone", None),
        ("added", "new", None),
    ]
    assert str(changes[0]) == f"changed: {layout_key(plan)}: collect"
    write_lock(path, {"a": {"halo": "1", "taps": "2"}})
    changes = check_lock(path, {"a": {"halo": "1", "bias.read": "2"}})
    assert [change.map for change in changes] == ["bias.read", "taps"]


def test_a_lockfile_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "layouts.json"
    write_lock(path, {"a": {"halo": "1"}})
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(jd.ConfigError, match=r"layouts.json.*No space left"):
        write_lock(path, {"b": {"halo": "1"}})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["layouts.json"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (None, "must be a lockfile"),
        ("{", "must be a lockfile"),
        ("[]", "must be a lockfile"),
        ('{"schema": 9, "layouts": {}}', r"schema .*\(=9\) must be 1"),
    ],
)
def test_what_is_no_lockfile_is_refused(tmp_path, text, match):
    path = tmp_path / "lock.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(jd.ConfigError, match=match):
        check_lock(path, {})
