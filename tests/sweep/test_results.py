import errno
import functools
import json
import os

import pytest

import jaxdw as jd
from jaxdw.sweep.results import ResultStore, compare_rows, query, read_rows
from jaxdw.sweep.rows import NAMES, SCHEMA


def row(key: str, **changes) -> dict:
    values = dict.fromkeys(NAMES) | {"schema": SCHEMA, "key": key}
    values |= {"model": "m", "layer": key, "scheme": "height", "status": "pass"}
    return values | {"pcc": 0.5, "fits": True, "cores": 3} | changes


def test_rows_are_kept_and_nothing_is_doubled(tmp_path):
    with ResultStore(tmp_path / "a" / "b") as store:
        store.append([row("1"), row("2")])
        store.append([row("2", cores=9), row("3")])
    with ResultStore(tmp_path / "a" / "b") as store:
        assert list(store.rows) == ["1", "2", "3"]
        assert store.rows["2"]["cores"] == 3
    lines = (tmp_path / "a" / "b" / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line)["key"] for line in lines] == ["1", "2", "3"]


@pytest.mark.parametrize("cut", [1, 7, 200])
def test_a_line_cut_short_is_dropped(tmp_path, cut):
    with ResultStore(tmp_path) as store:
        store.append([row("1"), row("2")])
    path = tmp_path / "rows.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    with ResultStore(tmp_path) as store:
        assert list(store.rows) == ["1"]
        store.append([row("2")])
    assert [r["key"] for r in read_rows(tmp_path)] == ["1", "2"]


def test_two_sweeps_in_one_folder_are_refused(tmp_path):
    with ResultStore(tmp_path) as store:
        store.append([row("1")])
        with pytest.raises(jd.ConfigError, match="in use by another sweep"):
            ResultStore(tmp_path).__enter__()
        store.append([row("2")])
    with ResultStore(tmp_path) as store:
        assert list(store.rows) == ["1", "2"]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(jd.ConfigError, match="must be a folder that can be written"):
        ResultStore(tmp_path / "file" / "below").__enter__()


def test_a_full_disk_loses_no_row_and_leaves_no_half(tmp_path, monkeypatch):
    real = os.fsync

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with ResultStore(tmp_path) as store:
        store.append([row("1")])
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(jd.ConfigError, match=r"No space left.*1 rows.*safe"):
            store.append([row("2"), row("3")])
        monkeypatch.setattr(os, "fsync", real)
        assert [r["key"] for r in read_rows(tmp_path)] == ["1"]
        store.append([row("2")])
    with ResultStore(tmp_path) as store:
        assert list(store.rows) == ["1", "2"]


@pytest.mark.parametrize("line", ["{", '{"schema": 99}', "[]"])
def test_a_foreign_file_is_refused_and_released(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_text(line + "\n")
    for _ in range(2):
        with pytest.raises(jd.ConfigError, match="line 1"):
            ResultStore(tmp_path).__enter__()
    assert path.read_text() == line + "\n"


def test_every_format_reads_back_alike(tmp_path):
    rows = [
        row("1", mean_ulp=0.25, error=None, bias=False),
        row("2", error='RuntimeError: "x", y', fits=False, pcc=None),
    ]
    with ResultStore(tmp_path) as store:
        store.append(rows)
        paths = store.export()
    assert [path.suffix for path in paths] == [".jsonl", ".csv", ".parquet"]
    for path in paths:
        assert read_rows(path) == rows
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "rows.csv", "rows.jsonl", "rows.parquet",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.parquet", ""])
def test_rows_answer_sql(tmp_path, name):
    with ResultStore(tmp_path) as store:
        store.append([row("1", cores=4), row("2", cores=6)])
        store.export()
    columns, found = query(
        tmp_path / name, "SELECT key, cores FROM rows ORDER BY 2 DESC"
    )
    assert columns == ["key", "cores"]
    assert [tuple(map(int, values)) for values in found] == [(2, 6), (1, 4)]


def test_wrong_sql_and_wrong_files_are_refused(tmp_path):
    with ResultStore(tmp_path) as store:
        store.append([row("1")])
    with pytest.raises(jd.ConfigError, match="nonsense"):
        query(tmp_path, "SELECT nonsense FROM rows")
    for sql in ("", ";", "-- nothing"):
        with pytest.raises(jd.ConfigError, match="must ask for rows"):
            query(tmp_path, sql)
    (tmp_path / "rows.txt").touch()
    (tmp_path / "bytes.csv").write_bytes(b"\xff")
    (tmp_path / "empty").mkdir()
    for reading in (read_rows, functools.partial(query, sql="SELECT 1")):
        with pytest.raises(jd.ConfigError, match="must end in"):
            reading(tmp_path / "rows.txt")
        for absent in ("absent.csv", "absent", "empty"):
            with pytest.raises(jd.ConfigError, match=rf"{absent}.* must exist"):
                reading(tmp_path / absent)
    with pytest.raises(jd.ConfigError, match="cannot be read"):
        read_rows(tmp_path / "bytes.csv")


def test_rows_that_are_dropped_can_be_appended_anew(tmp_path):
    with ResultStore(tmp_path) as store:
        store.append([row("1"), row("2"), row("3")])
        store.drop([])
        store.drop(["2"])
        with pytest.raises(jd.ConfigError, match="in use by another sweep"):
            ResultStore(tmp_path).__enter__()
        store.append([row("2", cores=9)])
    assert [found["cores"] for found in read_rows(tmp_path)] == [3, 3, 9]
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_comparison_names_what_changed_and_not_how_long_it_took():
    before = [row("1"), row("2"), row("3", seconds_run=1.0, jax="1")]
    after = [row("2", pcc=0.25), row("3", seconds_run=2.0, jax="2"), row("4")]
    changes = {change.key: change for change in compare_rows(before, after)}
    assert {key: change.kind for key, change in changes.items()} == {
        "1": "removed", "2": "changed", "4": "added",
    }  # fmt: skip
    assert changes["2"].columns == {"pcc": (0.5, 0.25)}
    assert changes["2"].name == "m 2 height"
    assert list(compare_rows(before, before)) == []
