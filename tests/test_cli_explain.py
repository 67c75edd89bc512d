import json
import re
import sys

import pytest

import jaxdw as jd
from jaxdw import cli
from jaxdw.errors import installing
from jaxdw.trace.core import explain_core
from jaxdw.trace.weight import explain_weight

LAYER = ["--channels", "64", "--size", "8", "--padding", "1", "--scheme", "block"]
CONV = jd.ConvConfig(channels=64, height=8, width=8, padding=1)


def explain(capsys, line: str = "", layer: list[str] = LAYER) -> tuple[int, str, str]:
    status = cli.main(["explain", *layer, *line.split()])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def facts(out: str) -> dict[str, str]:
    """Returns the rows of all two-column tables."""
    return dict(re.findall(r"^│ (.+?) +│ (.*?) *│$", out, re.MULTILINE))


def test_an_overview_answers_no_question(capsys):
    status, out, err = explain(capsys)
    assert (status, err) == (0, "")
    titles = [line.strip() for line in out.splitlines() if line[0].isalpha()]
    assert titles == ["Plan", "Weight tiles", "Cores"]
    assert facts(out)["weight tile grid"] == "[1, 2]"
    assert "0x2c00001d4da0" in out
    assert "0x400401d4da0" in out


def test_a_weight_is_followed_from_the_tensor_to_its_product(capsys):
    status, out, _ = explain(capsys, "--weight 40,1,2 --pixel 0,5,6")
    assert status == 0
    found = facts(out)
    assert found["weight"] == "channel 40, kernel position (1, 2)"
    assert found["prepared matrix"] == "row 10, column 40 of 32 x 64"
    assert found["tile"] == "1 (tile row 0, tile column 1)"
    assert found["face"] == "0, row 10, column 8"
    assert found["in the tile"] == "bytes 336 to 337"
    assert found["DRAM"] == "bank 1, slot 0, 2048 bytes"
    assert found["NoC address"] == "0x400401d4da0"
    assert found["weight at"] == "0x400401d4ef0"
    assert found["read from DRAM by"] == "core 1 (1, 0)"
    assert found["received by multicast"] == "core 3 (1, 1)"
    assert found["in weight cb"] == "L1 tile 0, offset 336, address 0x1beb0"
    assert found["multiplied with"] == "channel 40, window element (1, 2)"
    assert found["products"] == "64 outputs: 56 on pixels, 8 on padding"
    assert found["output"] == "(0, 5, 6), channel 40"
    assert found["which is"] == "pixel (0, 5, 7)"


def test_a_product_says_where_halo_brought_its_pixel_from(capsys):
    _, out, _ = explain(capsys, "--weight 0,0,0 --pixel 0,4,1")
    came = facts(out)["which is"]
    assert came == "pixel (0, 3, 0), by halo from core 0 (0, 0), input shard row 24"


@pytest.mark.parametrize(
    ("dtype", "place"),
    [
        ("bfp8", "byte 232; shared exponent in byte 10"),
        ("bfp4", "byte 148, low nibble; shared exponent in byte 10"),
        ("fp32", "bytes 672 to 675"),
    ],
)
def test_a_block_format_names_its_exponent(capsys, dtype, place):
    _, out, _ = explain(capsys, f"--weight 40,1,2 --weights-dtype {dtype}")
    assert facts(out)["in the tile"] == place


def test_an_older_layout_is_seen_to_pair_weights_wrong(capsys):
    line = "--channels 480 --size 8 --padding 1 --scheme width --grid 4x2"
    layer = line.split()
    line = "--weight-layout tile_chunks --weight 300,1,1"
    found = facts(explain(capsys, line, layer)[1])
    assert found["multiplied with"] == "channel 268, window element (0, 1): NOT ITS OWN"
    _, out, _ = explain(capsys, "--weight-layout concatenated --weight 479,2,2", layer)
    assert facts(out)["multiplied with"] == "nothing"


def test_a_tile_and_its_page_are_the_same(capsys):
    _, by_tile, _ = explain(capsys, "--tile 1")
    _, by_page, _ = explain(capsys, "--bank 1,0")
    assert facts(by_tile) == facts(by_page)
    assert facts(by_tile)["channels"] == "32 to 63"
    assert facts(by_tile)["kernel positions"] == "(0, 0) to (2, 2)"


def test_a_core_names_its_sticks(capsys):
    _, out, _ = explain(capsys, "--core 1,1")
    found = facts(out)
    assert found["role"] == "receiver"
    assert found["NoC"] == "19,19"
    assert found["weights from"] == "core 1 (1, 0)"
    assert found["of other cores"] == "8 of core 1"
    assert found["window starts"] == "0 to 7, 10 to 17, 20 to 27, 30 to 37"
    assert re.search(r"│ +11 to 18 +│ core 3 +│ +0 to 7 +│ +32 to 39 +│", out)


def test_a_sender_and_the_idle_cores_it_overwrites(capsys):
    layer = "--channels 32 --size 20 --padding 1".split()
    _, out, _ = explain(capsys, "--core 0,0", layer)
    found = facts(out)
    assert found["multicasts to"].startswith("(0, 0) to (7, 1), 12 acknowledgements")
    assert found["overwrites"] == "3 idle cores"
    _, out, _ = explain(capsys, "--core 7,1", layer)
    assert facts(out)["overwritten by the multicast of"] == "core 0 (0, 0)"
    _, out, _ = explain(capsys, "--weight 0,0,0", layer)
    assert facts(out)["overwritten too"] == "idle cores (5, 1), (6, 1), (7, 1)"


@pytest.mark.parametrize("address", ["base+2048", "0x1d55a0", "1922464"])
def test_base_plus_2048_reads_memory_behind(capsys, address):
    line = f"--scheme width --core 1,0 --address {address}"
    status, out, _ = explain(capsys, line)
    assert status == 0
    assert facts(out)["address"] == "0x1d55a0, the base +2048 bytes"
    assert facts(out)["as the weights' address"] == "0 of 1 reads right"
    behind = r"0 │ +1 │ +0 │ +0 │ +1 │ 0 to 2047 │ 0x2c00001d55a0 │ memory behind the"
    assert re.search(behind, out)
    assert re.search(r"0 │ +1 │ +2048 │ +8 │ +170 │", out)


def test_a_misread_says_whose_bytes_come_instead(capsys):
    layer = "--channels 480 --size 8 --padding 1 --scheme width".split()
    _, out, _ = explain(capsys, "--core 1,0 --address base+1024", layer)
    assert "tile 0: channels 0 to 31" in out
    assert "tile 12: channels 384 to 415" in out
    _, out, _ = explain(capsys, "--core 1,0 --address base-32", layer)
    assert "memory before the weights" in out
    assert facts(out)["as the tile id"] == "no NoC address reaches there"


def test_json_is_one_object_of_all_answers(capsys):
    line = "--weight 40,1,2 --tile 0 --bank 1,0 --core 1,1 --json"
    status, out, _ = explain(capsys, line)
    report = json.loads(out)
    assert status == 0
    assert list(report) == ["plan", "weight", "tile", "page", "core"]
    assert report["weight"]["page"]["noc_address"] == "0x400401d4da0"
    assert report["weight"]["readers"] == [1]
    assert report["weight"]["receivers"] == [3]
    assert report["page"]["page"]["tile"] == 1
    assert report["tile"]["kernel_positions"] == [
        [h, w] for h in range(3) for w in range(3)
    ]
    plan = jd.make_plan(CONV, jd.ShardConfig(scheme="block"))
    trace = explain_core(plan, 1, 1)
    assert report["core"]["rows_from"] == {
        str(k): v for k, v in trace.rows_from.items()
    }
    assert report["core"]["weight_cb_address"] == hex(trace.weight_cb_address)
    _, out, _ = explain(capsys, "--address base+2048 --core 1,0 --json")
    assert json.loads(out)["address"]["as_base"][0]["local_address"] == "0x1d55a0"
    _, out, _ = explain(capsys, "--json")
    assert len(json.loads(out)["overview"]["cores"]) == 4


def test_every_option_of_the_layer_reaches_the_plan(capsys):
    line = "--arch blackhole --base-address 0x40 --orientation col_major --cores 2x2"
    _, out, _ = explain(capsys, f"{line} --weight 40,1,2 --json")
    report = json.loads(out)
    plan = jd.make_plan(
        CONV,
        jd.ShardConfig(scheme="block", orientation="col_major", cores=(2, 2)),
        arch="blackhole",
    )
    assert report["plan"]["arch"] == "blackhole"
    trace = explain_weight(plan, 40, 1, 2, 0x40)
    assert report["weight"]["page"]["noc_address"] == hex(trace.page.noc_address)
    assert [tuple(h["xy"]) for h in report["weight"]["holders"]] == [(0, 1), (1, 1)]


def test_a_layer_that_does_not_fit_is_explained_all_the_same(capsys):
    layer = "--channels 256 --size 64 --padding 1 --grid 1x1".split()
    status, out, _ = explain(capsys, "--weight 255,2,2", layer)
    assert (status, facts(out)["received by multicast"]) == (0, "none")


def test_a_long_table_says_what_it_leaves_out(capsys):
    layer = "--channels 640 --size 8 --padding 1 --scheme width".split()
    _, out, _ = explain(capsys, "", layer)
    assert "Weight tiles, 16 of 20" in out
    assert "Cores, 16 of 20" in out


@pytest.mark.parametrize(
    ("line", "sentences"),
    [
        ("--weight 64,0,3", ["`channel` (=64) must be one of 64", "`kw` (=3)"]),
        ("--weight 0,0,0 --pixel 1,0,0", ["`output image` (=1) must be one of 1"]),
        ("--tile 2 --bank 12,0", ["`--tile` (=2) must be", "`--bank` (=12) must be"]),
        ("--core 8,0", ["`x` (=8) must be one of 8; use 0 to 7"]),
        ("--core 5,5 --address base", ["`--core` (=5,5) must be one of the"]),
        ("--core 0,0 --address 0x1000000000", ["`--address` (=0x1000000000) must lie"]),
        ("--address 5", ["`--address` must come with the core it is about; add --"]),
        ("--pixel 0,0,0", ["`--pixel` must come with the weight"]),
        ("--base-address 7 --tile 0", ["(=0x7) must be a multiple"]),
    ],
)
def test_refusals_exit_with_2_and_all_problems(capsys, line, sentences):
    status, out, err = explain(capsys, line)
    assert (status, out) == (2, "")
    for sentence in sentences:
        assert sentence in err


@pytest.mark.parametrize(
    ("option", "text", "sentence"),
    [
        ("--weight", "1,2", "`--weight` (=1,2) must be integers C,KH,KW; try 0,0,0"),
        ("--html", "/nowhere/x.html", "must be in a folder that exists"),
        (
            "--core",
            "a,b",
            "`--core` (=a,b) must be X,Y or the number of a core; try 0,0",
        ),
        ("--tile", "1,2", "`--tile` (=1,2) must be integers ID; try 0"),
        ("--address", "base+x", "must be bytes, 0x1d55a0 or base+2048"),
        ("--address", "vase", "must be bytes, 0x1d55a0 or base+2048"),
    ],
)
def test_words_of_another_form_are_refused_by_name(capsys, option, text, sentence):
    with pytest.raises(SystemExit, match="2"):
        explain(capsys, f"{option} {text}")
    assert sentence in capsys.readouterr().err


def test_a_page_draws_what_was_asked(capsys, tmp_path):
    target = tmp_path / "page.html"
    line = f"--weight 40,1,2 --tile 0 --pixel 0,5,7 --html {target}"
    status, out, _ = explain(capsys, line)
    assert status == 0
    assert "Product" in out
    page = target.read_text()
    assert "64 channels, 8x8, kernel 3x3, BLOCK sharded" in page
    assert 'id="answer-weight"' in page
    assert 'id="answer-tile"' in page
    assert "Haloed shard of core 3" in page  # the product's
    assert "the windows of output (0, 5, 7)" in page
    assert "Tile 1 is outlined." in page  # the weight's
    assert "core 1*" in page
    explain(capsys, f"--core 0,1 --html {target}")
    assert "Haloed shard of core 2" in target.read_text()
    explain(capsys, f"--html {target}")
    assert "answer-" not in target.read_text()


def test_without_matplotlib_a_page_is_refused_and_text_is_not(
    capsys, tmp_path, monkeypatch
):
    for name in [name for name in sys.modules if name.startswith("jaxdw.report")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, _, err = explain(capsys, f"--html {tmp_path / 'page.html'}")
    assert status == 2
    assert installing("html") in err
    assert explain(capsys, "--tile 0")[0] == 0
