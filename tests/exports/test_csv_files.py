"""CSV tables are the plan's own, and read back."""

import csv

import pytest
from examples import uneven_plan

import jaxdw as jd
from jaxdw.cli import main
from jaxdw.exports.csv_files import csv_text, plan_tables, write_csv
from jaxdw.maps.banks import bank_table


def test_addresses_of_every_tile_are_those_of_the_banks(tmp_path, capsys):
    layer = ["--channels", "200", "--size", "10x9", "--kernel", "7"]
    words = ["explain", *layer, "--scheme", "block", "--csv", str(tmp_path / "out")]
    assert main([*words, "--base-address", "0x1000", "--weight", "5,1,2"]) == 0
    capsys.readouterr()
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"tiles.csv", "cores.csv", "l1.csv", "weight-weight.csv"} <= files
    with (tmp_path / "out" / "tiles.csv").open() as file:
        tiles = list(csv.DictReader(file))
    banks = bank_table(len(tiles), 2048, 0x1000, "wormhole_b0")
    assert len(tiles) > 12
    for row, bank, address in zip(tiles, banks.bank, banks.noc_address, strict=True):
        assert int(row["bank"]) == bank
        assert row["NoC_address"] == hex(address)


def test_tables_hold_every_core_and_buffer():
    plan = uneven_plan()
    tables = plan_tables(plan, 0)
    assert len(tables["cores"]) == plan.num_output_cores
    assert [row["address"] for row in tables["l1"]] == [
        b.address for b in plan.l1.buffers
    ]
    rows, columns = plan.weight_tile_grid
    assert len(tables["tiles"]) == rows * columns


def test_cells_with_commas_lists_and_missing_columns_read_back():
    text = csv_text([{"a": "x, y", "b": ["1", 2]}, {"a": 'q"', "c": 3}])
    assert text.count("\n") == 3
    assert "\r" not in text
    assert list(csv.reader(text.splitlines())) == [
        ["a", "b", "c"],
        ["x, y", '["1", 2]', ""],
        ['q"', "", "3"],
    ]


def test_a_folder_is_used_again_and_its_other_files_stay(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    for value in (1, 2):
        write_csv({"Two words": [{"a": value}]}, tmp_path)
    assert (tmp_path / "two-words.csv").read_text() == "a\n2\n"
    assert (tmp_path / "mine.txt").read_text() == "kept"


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        jd.ConfigError, match=r"file.*must be a folder that can be made"
    ):
        write_csv({"t": [{"a": 1}]}, tmp_path / "file")
