import re
from importlib import resources

import pytest

import jaxdw as jd
from jaxdw.arch.arch import NAMES

WORMHOLE = resources.files("jaxdw.arch").joinpath("wormhole_b0.toml").read_text()


def test_wormhole_has_12_banks_on_the_endpoints_of_its_soc_descriptor():
    arch = jd.load_arch("wormhole_b0")
    assert (arch.grid, arch.num_banks, arch.dram_align_bytes) == ((8, 8), 12, 32)
    assert arch.bank_noc_xy[:2] == ((0, 11), (0, 1))
    assert arch.bank_offset_bytes[:2] == (0, 1 << 30)


def test_physical_coordinates_skip_dram_and_what_is_harvested():
    arch = jd.load_arch("wormhole_b0")
    assert arch.physical_noc_xy((4, 5)) == (6, 7)


def test_blackhole_has_8_banks_without_offsets():
    arch = jd.load_arch("blackhole")
    assert (arch.grid, arch.num_banks) == ((13, 10), 8)
    assert set(arch.bank_offset_bytes) == {0}


def test_noc_address_puts_x_below_y_above_36_bits():
    arch = jd.load_arch("wormhole_b0")
    assert arch.noc_address((5, 11), 0x1234) == (11 << 42) | (5 << 36) | 0x1234


def test_a_users_own_toml_is_loaded_and_checked(tmp_path):
    text = resources.files("jaxdw.arch").joinpath("wormhole_b0.toml").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(text.replace('"wormhole_b0"', '"mine"').replace("x = 8", "x = 4"))
    assert jd.load_arch(path).grid == (4, 8)
    plan = jd.make_plan(jd.ConvConfig(channels=32, height=64, width=64), arch=path)
    assert plan.arch.name == "mine"
    broken = tmp_path / "broken.toml"
    broken.write_text(text.replace("align_bytes = 32", "aline_bytes = 32"))
    with pytest.raises(jd.ConfigError, match=r"(?s)`align_bytes`.*`aline_bytes`"):
        jd.load_arch(broken)
    broken.write_text("grid = [")
    with pytest.raises(jd.ConfigError, match="is not TOML"):
        jd.load_arch(broken)


def test_an_unknown_name_or_file_is_refused():
    with pytest.raises(jd.ConfigError, match=r"'grayskull'.*wormhole_b0, n150"):
        jd.load_arch("grayskull")
    with pytest.raises(jd.ConfigError, match=r"absent.toml.*cannot be read"):
        jd.load_arch("absent.toml")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "worker_x = [18, ",
            "worker_x = [",
            r"`worker_x` \(=7 coordinates\).*cover the grid \(=8",
        ),
        (
            "physical_x = [1, ",
            "physical_x = [",
            r"`physical_x` \(=7 coordinates\).*cover the grid \(=8",
        ),
        ("size_bytes = 1_499_136", "size_bytes = 9", r"\(=9\).*reserved \(=138592\)"),
        ("size_bytes = 1_499_136", "size_bytes = 138_592", r"must exceed.*\(=138592\)"),
        ("small_bytes = 32_768", "small_bytes = -1", r"`l1.small_bytes` \(=-1\)"),
        ("[0, 11], ", "[0, 11, 2], ", "must be a list of"),
        ("[grid]\nx = 8\ny = 8", "grid = 8\n[noise]", r"`grid` \(=8\).*a table"),
        ('name = "wormhole_b0"', 'name = "a"\nbase = "b"', r"`base` \(='b'\).*one of"),
        ("x = 8", "x = 0", r"`grid.x` \(=0\).*integer >= 1"),
        ("ordered_writes = true", "ordered_writes = 1", r"\(=1\).*true or false"),
        ("x = 8", "x = 8.0", r"`grid.x` \(=8.0\).*integer >= 1"),
        ("[0, 0x40000000, 0,", "[0, 0,", r"\(=12 banks\).*\(=11\).*the same banks"),
        ("[0, 11], ", "", r"\(=11 banks\).*\(=12\).*the same banks"),
        ('name = "wormhole_b0"', "", "must have a `name`"),
        ('name = "wormhole_b0"', "name = 7", "must have a `name`"),
        ('name = "wormhole_b0"', 'name = "a"\nnoise = 1', "unknown entry `noise`"),
        ("local_read_rate = [1024,", "local_read_rate = [16,", "bytes above 16"),
        ("local_read_rate = [1024, 868", "local_read_rate = [1024, 0", "bytes above"),
        ("local_read_rate = [1024, ", "local_read_rate = [", "three integers"),
        ('"bfloat16", 61, 68]', '"bfloat16", 61]', "a list of .format, format"),
        (
            '["bfloat16", "float32", 92, 117]',
            '["float32", "float32", 92, 117]',
            "one row for bfloat16 to float32",
        ),
        ('source = "tt-isa', '# "tt-isa', r"must name a `source` in \[noc\]"),
    ],
)
def test_a_broken_entry_of_a_toml_is_named(tmp_path, old, new, sentence):
    assert old in WORMHOLE
    path = tmp_path / "broken.toml"
    path.write_text(WORMHOLE.replace(old, new, 1))
    with pytest.raises(jd.ConfigError, match=sentence):
        jd.load_arch(path)


def test_a_chip_without_banks_is_refused(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text(
        re.sub(r"(bank_noc_xy|bank_offset_bytes) = .*", r"\1 = []", WORMHOLE)
    )
    with pytest.raises(jd.ConfigError, match=r"\(=0 banks\).*at least one"):
        jd.load_arch(path)


@pytest.mark.parametrize(
    ("name", "grid", "base", "capacity"),
    [
        ("n150", (8, 8), 105_824, 1_360_544),
        ("n300", (8, 7), 105_824, 1_360_544),
        ("p150", (13, 10), 111_744, 1_428_352),
        ("blackhole_11x10", (11, 10), 111_744, 1_428_352),
    ],
)
def test_cards_have_the_grid_and_l1_of_ttnn(name, grid, base, capacity):
    arch = jd.load_arch(name)
    assert (arch.name, arch.grid) == (name, grid)
    assert arch.l1_unreserved_base_bytes == base
    assert arch.l1_capacity_bytes == capacity


def test_every_toml_of_the_room_is_a_name():
    room = resources.files("jaxdw.arch")
    files = {f.name.removesuffix(".toml") for f in room.iterdir() if ".toml" in f.name}
    assert files == set(NAMES)


def test_logical_cores_have_translated_noc_coordinates():
    assert jd.load_arch("n150").worker_noc_xy((7, 7)) == (25, 25)
    assert jd.load_arch("p150").worker_noc_xy((7, 0)) == (10, 2)
    with pytest.raises(jd.ConfigError, match=r"\(=\(8, 0\)\).*8x7 cores of n300"):
        jd.load_arch("n300").worker_noc_xy((8, 0))
    with pytest.raises(jd.ConfigError, match=r"\(=\(0, 7\)\).*y below 7"):
        jd.load_arch("n300").worker_noc_xy((0, 7))


def test_a_users_toml_may_stand_on_a_known_chip(tmp_path):
    path = tmp_path / "narrow.toml"
    path.write_text(
        'name = "narrow"\nbase = "n300"\n[clock]\nhz = 5\nsource = "mine"\n'
    )
    arch = jd.load_arch(path)
    assert (arch.name, arch.grid, arch.clock_hz, arch.num_banks) == (
        "narrow", (8, 7), 5, 12,
    )  # fmt: skip


def test_l1_may_begin_at_0(tmp_path):
    path = tmp_path / "bare.toml"
    path.write_text(WORMHOLE.replace("base_bytes = 105_824", "base_bytes = 0"))
    assert jd.load_arch(path).l1_capacity_bytes == 1_466_368


@pytest.mark.parametrize(
    ("name", "banks", "odd_offset"),
    [
        (
            "n150",
            "0,11 0,1 0,5 0,7 5,1 5,11 5,2 5,9 5,8 5,3 5,5 5,7",
            0x4000_0000,
        ),
        ("p150", "0,11 0,3 0,8 0,6 9,11 9,3 9,8 9,6", 0),
    ],
)
def test_every_bank_lies_at_its_endpoint(name, banks, odd_offset):
    arch = jd.load_arch(name)
    assert " ".join(f"{x},{y}" for x, y in arch.bank_noc_xy) == banks
    pairs = arch.num_banks // 2
    assert arch.bank_offset_bytes == (0, odd_offset) * pairs


def test_a_format_is_tilised_by_one_row_only(tmp_path):
    row = '["float32", "float32", 107, 128],'
    path = tmp_path / "broken.toml"
    path.write_text(WORMHOLE.replace(row, row + row))
    with pytest.raises(jd.ConfigError, match="one row for float32 to float32"):
        jd.load_arch(path)


@pytest.mark.parametrize(
    ("name", "align", "burst", "bf16", "mixed"),
    [("n150", 32, 8192, (61, 68), (74, 70)), ("p150", 64, 16_384, (72, 72), (132, 77))],
)
def test_figures_of_ttnn_are_those_of_the_chip(name, align, burst, bf16, mixed):
    arch = jd.load_arch(name)
    assert (arch.circular_buffer_align_bytes, arch.noc_burst_bytes) == (align, burst)
    cycles = {row[:2]: row[2:] for row in arch.tilize_cycles}
    assert cycles["bfloat16", "bfloat16"] == bf16
    assert cycles["float32", "bfloat8_b"] == mixed


@pytest.mark.parametrize("name", ["n150", "p150"])
def test_a_core_aligns_l1_to_16_bytes_and_reduces_one_face_in_a_cycle(name):
    arch = jd.load_arch(name)
    assert (arch.l1_align_bytes, arch.gapool_rows_per_cycle) == (16, 16)
    assert arch.elwmul_elements_per_cycle == 8 * 16


@pytest.mark.parametrize(
    ("line", "wrong", "sentence"),
    [
        ("align_bytes = 16", "align_bytes = 24", r"`l1.align_bytes` \(=24\).*two"),
        ("align_bytes = 32\nbank", "align_bytes = 0\nbank", r"`dram.align_b.*power"),
        ("circular_buffer_align_bytes = 32", "circular_buffer_align_bytes = 48",
         r"`ttnn.circular_buffer_align_bytes` \(=48\).*power of two"),
        ("[0, 0x40000000,", "[0, -64,", r"`dram.bank_offset_bytes`.*>= 0"),
        ("[0, 0x40000000,", "[0, 0x1000000000,", r"=68719476736.*inside its 36 bits"),
        ("[[0, 11]", "[[0, 64]", r"`dram.bank_noc_xy` \(=64\).*its 6 bits.*most 63"),
        ("worker_x = [18", "worker_x = [99", r"`noc.worker_x` \(=99\).*its 6 bits"),
        ("worker_y = [18", "worker_y = [-1", r"`noc.worker_y`.*>= 0"),
        ("physical_y = [1", "physical_y = [64", r"`noc.physical_y` \(=64\).*6 bits"),
        ("id_bits = 6", "id_bits = 15", r"`noc.local_address_bits`.*\(=66\); use 34"),
        ("id_bits = 6", "id_bits = 20", r"`noc.local_address_bits`.*\(=76\); use 24"),
        ("id_bits = 6", "id_bits = 10000000000", r"`noc.id_bits`.*1 to 60"),
        ("small_bytes = 32_768", "small_bytes = -1", r"`l1.small_bytes`.*>= 0"),
        ("hz = 1_000_000_000", f"hz = {2**63}", r"`clock.hz`.*integer >= 1"),
        ("unit_exponent_step = 4", "unit_exponent_step = 999", r"-255 to 255"),
        ('"bfloat8_b", 40, 43]', '"bfloat8_b", -1, 43]', r"`ttnn.tilize_cycles`"),
    ],
)  # fmt: skip
def test_a_number_that_no_chip_has_is_refused_with_its_line(
    tmp_path, line, wrong, sentence
):
    assert WORMHOLE.count(line) == 1
    before = WORMHOLE[: WORMHOLE.index(line) + len(line.partition("\n")[0])].split("\n")
    number = max(n for n, text in enumerate(before, 1) if re.match(r"\w+ =", text))
    number += "local_address" in sentence  # which stands in the line after it
    path = tmp_path / "chip.toml"
    path.write_text(WORMHOLE.replace(line, wrong))
    with pytest.raises(jd.ConfigError, match=sentence) as refusal:
        jd.load_arch(path)
    assert f"chip.toml', line {number} " in str(refusal.value)
