"""A query reads the rows of one sweep, whatever its folder is called, and no more."""

import json
import math
import os
import signal
import threading
import time

import numpy as np
import pytest

import jaxdw as jd
from jaxdw.cli import main
from jaxdw.sweep import sql
from jaxdw.sweep.results import ResultStore, compare_rows, query, read_rows
from jaxdw.sweep.rows import NAMES, SCHEMA

# each of these stands for other names, too, or for a column
STRANGE = ["results[1]", "results*", "result?1", "a{b,c}", "scheme=width", "it's", "**"]


def row(key: str, **changes) -> dict:
    values = dict.fromkeys(NAMES) | {"schema": SCHEMA, "key": key}
    values |= {"model": "m", "layer": key, "scheme": "height", "status": "pass"}
    return values | {"pcc": 0.5, "fits": True, "cores": 3} | changes


def sweep(folder, *rows: dict):
    with ResultStore(folder) as store:
        store.append(rows)
        store.export()
    return folder


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("file", ["", "rows.jsonl", "rows.csv", "rows.parquet"])
def test_a_folder_is_no_pattern(tmp_path, name, file):
    for other in ("results1", "results[1", "resultx1", "ab", "ac", "deep"):
        sweep(tmp_path / other, row("another"))
    folder = sweep(tmp_path / name, row("own", layer="x"))
    sql = "SELECT key, layer, scheme FROM rows"
    assert query(folder / file, sql)[1] == [("own", "x", "height")]
    assert [found["key"] for found in read_rows(folder / file)] == ["own"]


@pytest.mark.parametrize("file", ["rows.jsonl", "rows.csv", "rows.parquet"])
def test_columns_have_their_types_whatever_stands_in_them(tmp_path, file):
    """No text is taken for a number or a date, no older row for one without program."""
    folder = sweep(tmp_path, row("1e5", layer="2026-01-01"), row("007", layer="1"))
    columns, found = query(folder / file, "SELECT key, layer, pcc FROM rows ORDER BY 1")
    assert columns == ["key", "layer", "pcc"]
    assert found == [("007", "1", 0.5), ("1e5", "2026-01-01", 0.5)]
    sql = "SELECT typeof(COLUMNS(*)) FROM (SELECT key, cores, fits, pcc FROM rows) "
    assert query(folder / file, sql)[1][0] == ("VARCHAR", "BIGINT", "BOOLEAN", "DOUBLE")


def test_rows_of_an_older_schema_answer_as_they_are_read(tmp_path):
    older = {"schema": 2, "key": "k", "model": "m", "layer": "l", "scheme": "height"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(older) + "\n")
    sql = "SELECT count(*) FROM rows WHERE program = 'depthwise'"
    assert query(tmp_path, sql)[1] == [(1,)]


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("SELECT a.cores, b.cores FROM rows a, rows b", ["cores", "cores_2"]),
        ("SELECT 1 a, 2 a, 3 a", ["a", "a_2", "a_3"]),
        ("SELECT 1 a, 2 a, 3 a_2", ["a", "a_3", "a_2"]),
        ("SELECT 1 a_2, 2 a, 3 a", ["a_2", "a", "a_3"]),
        ("SELECT 1 a, 2 b", ["a", "b"]),
    ],
)
def test_every_column_is_shown(tmp_path, capsys, sql, columns):
    folder = sweep(tmp_path, row("1"))
    assert query(folder, sql)[0] == columns
    assert main(["query", str(folder), sql, "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == columns


def test_what_is_no_json_becomes_null_and_numbers_stay_numbers(tmp_path, capsys):
    folder = sweep(tmp_path, row("1", pcc=math.nan, mean_ulp=math.inf))
    sql = (
        "SELECT 'nan'::DOUBLE a, ['inf'::DOUBLE, 1] b, {'x': 'nan'::FLOAT} c, 1.5 d, "
        "170141183460469231731687303715884105727 e, DATE '2026-01-02' f, 3.0 g, pcc h"
    )
    assert main(["query", str(folder), f"{sql} FROM rows", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()

    def refuse(word):
        raise AssertionError(word)

    assert json.loads(line, parse_constant=refuse) == {
        "a": None, "b": [None, 1.0], "c": {"x": None}, "d": 1.5, "e": 2**127 - 1,
        "f": "2026-01-02", "g": 3, "h": None,
    }  # fmt: skip
    text = (folder / "rows.jsonl").read_text()
    assert json.loads(text, parse_constant=refuse)["pcc"] is None


def test_nan_is_no_change(tmp_path):
    nan = [row("1", pcc=math.nan)]
    assert list(compare_rows(nan, [row("1", pcc=float("nan"))])) == []
    (change,) = compare_rows(nan, [row("1")])
    assert change.columns["pcc"][1] == 0.5


ELSEWHERE = [
    "SELECT * FROM read_text('{file}')",
    "SELECT * FROM read_csv('{file}')",
    "SELECT * FROM '{file}'",
    "SELECT * FROM glob('{folder}/*')",
    "FROM read_blob('{file}')",
    "SELECT * FROM rows UNION ALL SELECT * FROM read_json('{file}')",
    "SELECT * FROM rows; COPY rows TO '{folder}/new.csv'",
    "COPY rows TO '{folder}/new.csv'",
    "ATTACH '{folder}/new.db'",
    "EXPORT DATABASE '{folder}/new'",
    "INSTALL httpfs",
    "LOAD '{folder}/new.duckdb_extension'",
    "SET enable_external_access = true",
    "RESET enable_external_access",
    "DROP TABLE rows",
    "INSERT INTO rows SELECT * FROM rows",
    "CREATE TABLE mine AS SELECT 1",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "SELECT * FROM secret",
    "",
]


@pytest.mark.parametrize("sql", ELSEWHERE)
def test_a_query_reads_and_writes_nothing_else(tmp_path, sql):
    secret = tmp_path / "secret.csv"
    secret.write_text("word\nxyzzy\n")
    folder = sweep(tmp_path / "results", row("1"))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(jd.ConfigError, match="`sql`") as refusal:
        query(folder, sql.format(file=secret, folder=tmp_path))
    assert "xyzzy" not in str(refusal.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_files_are_read_and_written_where_that_is_allowed(tmp_path, capsys):
    other = tmp_path / "other.csv"
    other.write_text("key,weight\n1,5\n")
    folder = sweep(tmp_path / "results", row("1"))
    joined = f"SELECT cores * weight AS w FROM rows JOIN '{other}' o USING (key)"
    with pytest.raises(jd.ConfigError, match=r"allow-files|does not exist"):
        query(folder, joined)
    # the key of a row is text, that of the file a number
    joined = joined.replace("USING (key)", "ON o.key::VARCHAR = rows.key")
    assert query(folder, joined, allow_files=True)[1] == [(15,)]
    command = ["query", str(folder), joined, "--json"]
    assert main(command) == 2
    assert main([*command, "--allow-files"]) == 0
    assert json.loads(capsys.readouterr().out) == {"w": 15}
    copied = tmp_path / "copy.csv"
    query(folder, f"COPY rows TO '{copied}'", allow_files=True)
    assert copied.read_text().startswith("schema,key,model")


def test_each_wall_round_a_query_stands_by_itself(tmp_path, monkeypatch):
    rows = [row("1")]
    (tmp_path / "secret").write_text("xyzzy")
    with pytest.raises(jd.ConfigError, match="disabled by configuration"):
        sql.answer(rows, f"SELECT * FROM read_text('{tmp_path}/secret')")
    with pytest.raises(jd.ConfigError, match="must ask for rows"):
        sql.answer(rows, f"COPY rows TO '{tmp_path}/new.csv'")
    # what Python holds is no table, and extensions come from nowhere
    monkeypatch.setattr(sql, "secret", np.arange(3), raising=False)
    with pytest.raises(jd.ConfigError, match="secret does not exist"):
        sql.answer(rows, "SELECT * FROM secret", allow_files=True)
    asked = "current_setting('auto{}_known_extensions')"
    asked = f"SELECT {asked.format('load')}, {asked.format('install')}"
    assert sql.answer(rows, asked, allow_files=True)[1] == [(False, False)]
    monkeypatch.setattr(sql, "_check", lambda *_: None)
    for setting in ("threads = 1", "enable_external_access = true"):
        with pytest.raises(jd.ConfigError, match=r"locked|database is running"):
            sql.answer(rows, f"SET {setting}")
    with pytest.raises(jd.ConfigError, match="locked"):
        sql.answer(rows, "SET threads = 1", allow_files=True)


def test_a_query_may_pivot_describe_and_explain(tmp_path):
    folder = sweep(tmp_path, row("1"), row("2", scheme="block"))
    found = query(folder, "PIVOT rows ON scheme USING count(*) GROUP BY model")
    assert found == (["model", "block", "height"], [("m", 1, 1)])
    assert len(query(folder, "DESCRIBE rows")[1]) == len(NAMES)
    assert query(folder, "EXPLAIN SELECT 1")[1]
    assert query(folder, "FROM rows SELECT count(*)")[1] == [(2,)]


def test_a_formula_in_a_name_is_text_in_csv_and_comes_back(tmp_path):
    names = ["=1+1", "+a", "-b", "@c", "\tx", "\rx", "'=q", "'", "''", "d'e", "f"]
    rows = [row(str(number), layer=name) for number, name in enumerate(names)]
    rows[0]["l1_free_bytes"] = -5
    sweep(tmp_path, *rows)
    assert read_rows(tmp_path / "rows.csv") == rows
    lines = (tmp_path / "rows.csv").read_text()
    assert ",-5," in lines
    for cell in [line.split(",")[3].strip('"') for line in lines.split("\n")[1:-1]]:
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")), cell


class Stopped(KeyboardInterrupt):
    """Who asked for it decides the exit status, so its type must arrive."""


def test_an_interrupt_arrives_as_itself_while_parquet_is_written(tmp_path):
    def stop(*_):
        raise Stopped

    rows = [row(str(n), layer=f"layer {n}") for n in range(5000)]
    started = time.perf_counter()
    sql.write_parquet(rows, tmp_path / "rows.parquet")
    seconds = time.perf_counter() - started

    def write_and_wait(timer):
        timer.start()
        sql.write_parquet(rows, tmp_path / "rows.parquet")
        timer.join()

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        for share in (0.1, 0.5, 0.7, 0.8, 0.9):
            told = (os.getpid(), signal.SIGUSR1)
            with pytest.raises(Stopped):
                write_and_wait(threading.Timer(share * seconds, os.kill, told))
    finally:
        signal.signal(signal.SIGUSR1, before)
