import dataclasses
import json
from pathlib import Path

import pytest
from examples import uneven_plan

import jaxdw as jd
from jaxdw.layouts.certificate import digests, layout_key
from jaxdw.layouts.lock import check_lock, write_lock
from jaxdw.maps.indexmap import IndexMap


def test_a_lockfile_shows_which_maps_changed(tmp_path):
    path = tmp_path / "layouts.json"
    plan = uneven_plan()
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
