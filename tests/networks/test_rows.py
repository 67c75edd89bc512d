"""Rows that cannot be written are refused, and those before stay."""

import pytest

import jaxdw as jd
from jaxdw.networks.rows import RowStore


def test_a_file_that_cannot_be_written_is_refused_and_holds_what_it_held(tmp_path):
    store = RowStore(tmp_path)
    store.append("one", [{"kind": "output"}])
    path = tmp_path / "accuracy.jsonl"
    path.rename(tmp_path / "kept")
    path.mkdir()
    with pytest.raises(jd.ConfigError, match=r"cannot be written: .*rows before are"):
        store.append("two", [{"kind": "output"}])
    assert store.held("two") is None
    path.rmdir()
    (tmp_path / "kept").rename(path)
    assert RowStore(tmp_path).held("one") == store.held("one")
