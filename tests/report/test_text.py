import numpy as np

from jaxdw.report.text import face_view, facts_table


def test_face_view_is_the_one_of_the_plans():
    tile = np.zeros((32, 32), np.float32)
    for row in range(16):
        tile[row, :16] = 1 + row // 2
    tile[:2, 16:] = 9
    tile[31, 3] = 2.5
    lines = list(face_view(tile))
    assert lines[0] == "Row 0: F0[1, 1, ...] F1[9, 9, ...]"
    assert lines[2] == "Row 2: F0[2, 2, ...] F1[0, 0, ...]"
    assert lines[16] == "Rows 16-30: zeros"
    assert lines[17] == "Row 31: F2[0, 0, 0, 2.5, ...] F3[0, 0, ...]"
    assert len(lines) == 18


def test_memory_nobody_wrote_is_named():
    tile = np.full((32, 32), np.nan, np.float32)
    tile[0, :16] = 1
    lines = list(face_view(tile))
    assert lines[0] == "Row 0: F0[1, 1, ...] F1[never written]"
    assert lines[20] == "Row 20: F2[never written] F3[never written]"


def test_a_lone_row_of_zeros_is_named_and_a_row_written_in_part_is_shown():
    tile = np.ones((32, 32), np.float32)
    tile[5] = 0
    tile[7, 1] = np.nan
    lines = list(face_view(tile))
    assert lines[5] == "Row 5: zeros"
    assert lines[7] == "Row 7: F0[1, nan, 1, 1, ...] F1[1, 1, ...]"


def test_lists_of_more_than_16_values_are_cut():
    table = facts_table("", {"short": list(range(16)), "long": list(range(17))})
    short, long = table.columns[1].cells
    assert short == str(list(range(16)))
    assert long == "[0, 1, 2, 3, 4, 5, 6, 7, ..., 15, 16]"
