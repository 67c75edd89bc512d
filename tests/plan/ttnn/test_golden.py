"""Every plan of ttnn 0.81.1 that was stored, column by column."""

import pytest
import ttnn_rows

ROWS = ttnn_rows.rows()
INPUTS = (
    "set", "arch", "layer", "N", "C", "H", "W", "kh", "kw", "sh", "sw", "pad", "bias",
    "act", "in", "w", "out", "cc", "abh", "rm", "ctd", "opts", "inl", "layout", "path",
)  # fmt: skip
NOT_PLANNED = {"halo_cb"}  # the halo's own buffers
RESULTS = [name for name in ROWS[0] if name not in {*INPUTS, *NOT_PLANNED}]


def test_the_table_is_whole_and_no_option_is_left_out():
    assert len(ROWS) == 1065
    assert len(RESULTS) == 26
    options = {option for row in ROWS for option in row["opts"].split()}
    assert options == set(ttnn_rows.OPTIONS)


@pytest.mark.parametrize("name", sorted({row["set"] for row in ROWS}))
def test_every_row_is_planned_as_the_library_did(name):
    wrong = []
    for number, row in enumerate(ROWS):
        if row["set"] == name:
            columns = ttnn_rows.columns_of(ttnn_rows.plan_of(row))
            wrong += [
                f"row {number}, {column}: {columns.get(column, '')!r} is not "
                f"{row[column]!r}"
                for column in RESULTS
                if columns.get(column, "") != row[column]
            ]
    assert not wrong, "\n".join(wrong)
