"""Messages about L1 are read as the library writes them, and set beside plans."""

import pytest

import jaxdw as jd
from jaxdw.inputs.l1_message import find_messages, held_against

CLASH = (
    "Statically allocated circular buffers in program 15 clash with L1 buffers on core "
    "range [(x=0,y=0) - (x=7,y=6)]. L1 buffer allocated at 351360 and static circular "
    "buffer region ends at 465952"
)
GROW = (
    "Statically allocated circular buffers on core range [0-0 - 7-7] grow to 1656032 B "
    "which is beyond max L1 size of 1499136 B"
)


def test_both_messages_are_read_wherever_lines_break():
    text = f"E   info:\n{CLASH.replace(' ', chr(10) + '  ')}\n{GROW}\n{CLASH}"
    clash, grow = find_messages(text)
    assert (clash.end, clash.limit, clash.clash, clash.cores) == (
        465952, 351360, True, (8, 7),
    )  # fmt: skip
    assert (grow.end, grow.limit, grow.clash, grow.cores) == (
        1656032, 1499136, False, (8, 8),
    )  # fmt: skip
    assert "114592 bytes too many on 8x7 cores" in clash.text
    assert "the end of L1 is 1499136: 156896 bytes too many" in grow.text
    assert find_messages("L1 buffer allocated at 12") == ()
    (other,) = find_messages(CLASH.replace("x=0,y=0", "x=1,y=0"))
    assert other.cores is None
    assert find_messages(clash.raw) == (clash,)


@pytest.fixture(scope="module")
def refused() -> jd.Plan:
    """A layer whose circular buffers ttnn 0.81.1 refuses: tt-metal issue #18286."""
    conv = jd.ConvConfig(
        channels=640, height=40, width=40, stride=2, padding=1, bias=False,
        weights_dtype="bfloat8_b",
    )  # fmt: skip
    shard = jd.ShardConfig(scheme="height")
    return jd.make_plan(conv, shard, program="regular", must_fit=False)


def test_a_message_stands_beside_the_plans_own(refused):
    assert "grow to 1657248 B" in refused.l1.message
    (yours,) = find_messages(GROW)
    first, line = held_against(yours, [refused])
    assert first == f"Yours says: {yours.text}."
    assert line.startswith("ttnn 0.81.1, program regular, height on 8x2 cores, would")
    assert f"would say: {refused.l1.message}. " in line
    assert line.endswith("region end +1216 bytes, L1 size the same, other cores.")


def test_a_plan_that_fits_says_nothing_and_how_much_is_free():
    conv = jd.ConvConfig(channels=64, height=8, width=8, padding=1)
    plan = jd.make_plan(conv, jd.ShardConfig(scheme="height"))
    (yours,) = find_messages(CLASH)
    line = held_against(yours, [plan])[1]
    l1 = plan.l1
    assert f"nothing: circular buffers end at {l1.region_end}, the lowest" in line
    assert f"{l1.lowest_buffer - l1.region_end} bytes free" in line
    assert f"region end {l1.region_end - 465952:+d} bytes" in line
    assert f"lowest buffer {l1.lowest_buffer - 351360:+d} bytes" in line
