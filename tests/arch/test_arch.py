import re
from importlib import resources

import pytest

import jaxdw as jd

WORMHOLE = resources.files("jaxdw.arch").joinpath("wormhole_b0.toml").read_text()


def test_wormhole_has_12_banks_on_the_endpoints_of_its_soc_descriptor():
    arch = jd.load_arch("wormhole_b0")
    assert (arch.grid, arch.num_banks, arch.dram_align_bytes) == ((8, 8), 12, 32)
    assert arch.bank_noc_xy[:2] == ((0, 11), (0, 1))
    assert arch.bank_offset_bytes[:2] == (0, 1 << 30)


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
    with pytest.raises(jd.ConfigError, match=r"'grayskull'.*wormhole_b0, blackhole"):
        jd.load_arch("grayskull")
    with pytest.raises(jd.ConfigError, match=r"absent.toml.*cannot be read"):
        jd.load_arch("absent.toml")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("x = 8", "x = 0", r"`grid.x` \(=0\).*int >= 1"),
        ("x = 8", "x = 8.0", r"`grid.x` \(=8.0\).*int >= 1"),
        ("[0, 0x40000000, 0,", "[0, 0,", r"\(=12 banks\).*\(=11\).*the same banks"),
        ("[0, 11], ", "", r"\(=11 banks\).*\(=12\).*the same banks"),
        ('name = "wormhole_b0"', "", "must have a `name`"),
        ('name = "wormhole_b0"', "name = 7", "must have a `name`"),
        ('name = "wormhole_b0"', 'name = "a"\nnoise = 1', "unknown entry `noise`"),
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
    path.write_text(re.sub(r"(bank_\w+) = .*", r"\1 = []", WORMHOLE))
    with pytest.raises(jd.ConfigError, match=r"\(=0 banks\).*at least one"):
        jd.load_arch(path)
