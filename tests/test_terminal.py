"""What comes from a file is text on a terminal; who stops reading is no failure."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx_files import external, one, written
from rich.cells import cell_len
from rich.color import ColorSystem
from rich.table import Table
from rich.text import Text

from jaxdw import cli
from jaxdw.cli.screen import make_console, show
from jaxdw.escapes import escaped_output, visible, visible_lines
from jaxdw.files import refuse_to_replace
from jaxdw.report.terminal import Terminal
from jaxdw.report.text import facts_table, rows_table
from jaxdw.sweep.results import ResultStore
from jaxdw.sweep.rows import NAMES, SCHEMA

PACKAGE = Path(cli.__file__).parents[1]
# colour, a title, a line overwritten, direction turned, a C1 code, an unseen space
EVIL = "a\x1b[31mb\x1b]0;t\x07c\rd\u202ee\u2066f\x9bg\u200bh[bold]:smile:[/x]"
SHOWN = ascii(EVIL)[1:-1]
LAYER = ["--channels", "32", "--size", "4"]


class Looked(io.StringIO):
    def isatty(self) -> bool:
        return True


def row(**changes) -> dict:
    values = dict.fromkeys(NAMES) | {"schema": SCHEMA, "key": "1", "model": EVIL}
    values |= {"layer": EVIL, "scheme": "height", "status": "error", "error": EVIL}
    return values | changes


def is_harmless(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)


def test_a_character_that_is_not_seen_is_written_out():
    assert visible(EVIL) == SHOWN
    assert visible("naïve 層 0.5 µ") == "naïve 層 0.5 µ"
    assert visible("a\nb\tc") == r"a\nb\tc"
    assert visible_lines("a\n\tb") == "a\n\\tb"


@pytest.mark.parametrize("stream", [io.StringIO, Looked])
def test_tables_and_lines_show_names_as_they_are(stream, monkeypatch):
    out = stream()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    with escaped_output():
        console = Terminal()
        console.print(rows_table(EVIL, [{EVIL: EVIL}]))
        console.print(facts_table(EVIL, {EVIL: EVIL}))
        console.print(EVIL)
        print(EVIL)
    text = out.getvalue()
    for style in ("\x1b[1m", "\x1b[0m", "\x1b[3m", "\x1b[1;3m"):  # rich's own
        text = text.replace(style, "")
    assert is_harmless(text)
    flat = "".join(text.split())
    assert flat.count("".join(SHOWN.split())) >= 4
    assert sys.stdout is out


@pytest.mark.parametrize("length", [3, 90, 400])
def test_a_piped_table_is_cut_nowhere(length, capsys):
    table = Table("first", "second", title="wide")
    table.add_row("x" * length, "\u754c" * length)
    table.add_row("y", "z" * (length + 1))
    console = make_console()
    width = console.width
    show(console, table)
    lines = capsys.readouterr().out.splitlines()
    cells = [line for line in lines if line.startswith("│")]
    for line, whole in zip(cells, ("x" * length, "z" * (length + 1)), strict=True):
        assert whole in line
    assert len({cell_len(line) for line in lines[1:]}) == 1
    assert console.width == width


def test_a_styled_table_keeps_its_styles_on_a_terminal(monkeypatch):
    out = Looked()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with escaped_output():
        Terminal().print(facts_table("t", {"a": 1}))
    assert "\x1b[1m" in out.getvalue()


@pytest.mark.parametrize("command", [
    ["query", "{0}", "SELECT layer, error FROM rows"],
    ["query", "{0}", "SELECT * FROM rows"],
    ["query", "{0}", "SELECT layer AS \"" + EVIL + "\" FROM rows"],
    ["query", "{0}", "SELECT " + EVIL],
    ["query", "{0}", "SELECT layer FROM rows", "--json"],
    ["compare", "{0}", "{1}"],
    ["query", EVIL, "SELECT 1"],
    ["plan", *LAYER, "--arch", EVIL],
    ["sweep", "--models", EVIL, "--out", "{0}"],
    ["sweep", "--filter", EVIL, "--out", "{0}"],
    ["certify", *LAYER, "--lock", EVIL + "/x"],
    ["plan", *LAYER, EVIL],
    ["plan", *LAYER, "--" + EVIL],
    [EVIL],
])  # fmt: skip
def test_no_command_passes_an_order_to_the_terminal(tmp_path, command, capsys):
    folders = tmp_path / "a", tmp_path / "b"
    for folder, error in zip(folders, (EVIL, "none"), strict=True):
        with ResultStore(folder) as store:
            store.append([row(error=error)])
    words = [word.format(*folders) if "{" in word else word for word in command]
    with contextlib.suppress(SystemExit):
        cli.main(words)
    shown = capsys.readouterr()
    assert is_harmless(shown.out)
    assert is_harmless(shown.err)
    assert shown.out + shown.err


def test_only_one_file_makes_consoles():
    for path in PACKAGE.rglob("*.py"):
        if path.name != "terminal.py":
            assert "Console(" not in path.read_text(), path


@pytest.mark.parametrize("command", [
    ["run", *LAYER],
    ["plan", *LAYER],
    ["plan", *LAYER, "--json"],
    ["explain", *LAYER],
    ["--help"],
    ["run", "--help"],
])  # fmt: skip
def test_a_reader_that_has_enough_is_no_failure(command):
    program = "import sys; from jaxdw.cli import command; sys.exit(command())"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate()
    assert err == b""
    # argparse itself says nothing of a reader of its help that is gone
    assert process.returncode == (0 if "--help" in command else cli.BROKEN_PIPE)


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", ">&- 2>&-"])
def test_an_output_that_is_closed_is_no_failure(tmp_path, closed):
    """And no file that is written takes its place."""
    words = f"--models xception --plan-only --sample 1 --json --out {tmp_path}/out"
    line = f"exec {sys.executable} -m jaxdw sweep {words} {closed}"
    env = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    assert subprocess.run(["sh", "-c", line], env=env).returncode == 0
    rows = (tmp_path / "out" / "rows.jsonl").read_text().splitlines()
    assert [json.loads(row)["model"] for row in rows] == ["xception"]


def test_a_name_that_the_terminal_cannot_write_is_escaped():
    program = "import sys; from jaxdw.cli import command; sys.exit(command())"
    done = subprocess.run(
        [sys.executable, "-c", program, "query", b"\xff\xe5\xb1\xa4.csv", "SELECT 1"],
        capture_output=True,
        env={
            "PYTHONIOENCODING": "ascii",
            "PATH": "",
            "PYTHONPATH": str(PACKAGE.parent),
        },
    )
    assert done.returncode == 2
    assert rb"\udcff\u5c64.csv" in done.stderr
    assert b"Traceback" not in done.stderr


PASTE = (
    "ttnn.conv2d(in_channels=32, out_channels=32, groups=32, kernel_size=(3, 3), "
    "stride=(1, 1), padding=(1, 1), batch_size=1, input_height=8, input_width=8)"
)
OF_MODEL = ["--models", "{tmp}/m.onnx"]
NETWORK = ["accuracy", "{tmp}/m.onnx", "--input", "x={tmp}/w.npy", "--out", "{out}"]
CHIP = [*LAYER, "--arch", "{tmp}/c.toml"]
REPLACED = {
    "rows": ["sweep", "--models", "xception", "--report", "{out}/rows.jsonl"],
    "table": ["sweep", "--models", "xception", "--report", "{out}/rows.csv"],
    "parquet": ["sweep", "--models", "xception", "--report", "{out}/rows.parquet"],
    "a link": ["sweep", "--models", "xception", "--report", "{tmp}/link"],
    "a second name": ["sweep", "--models", "xception", "--report", "{tmp}/hard"],
    "the space": ["sweep", "--space", "{tmp}/s.toml", "--report", "{tmp}/s.toml"],
    "the model": ["sweep", "--models", "{tmp}/m.onnx", "--report", "{tmp}/m.onnx"],
    "the chip": [
        "sweep", "--models", "xception", "--arches", "{tmp}/c.toml",
        "--report", "{tmp}/c.toml",
    ],
    "a chip's page": ["explain", *CHIP, "--html", "{tmp}/c.toml"],
    "a chip's lock": ["certify", *CHIP, "--lock", "{tmp}/c.toml"],
    "its lock": ["certify", *LAYER, "--check", "{tmp}/lock", "--lock", "{tmp}/lock"],
    "a space's model": [
        "sweep", "--space", "{tmp}/f.toml", "--annotate", "{tmp}/m.onnx",
    ],
    "rows by notes": [
        "sweep", "--models", "{tmp}/m.onnx", "--annotate", "{out}/rows.jsonl",
    ],
    "a page twice": [
        "sweep", "--models", "{tmp}/m.onnx", "--annotate", "{tmp}/p", "--html={tmp}/p",
    ],
    "its weights": ["explain", "--models", "{tmp}/x.onnx", "--html", "{tmp}/w.bin"],
    "a link to them": ["sweep", "--models", "{tmp}/l.onnx", "--html", "{tmp}/w.bin"],
    "a space's weights": ["sweep", "--space", "{tmp}/x.toml", "--html", "{tmp}/w.bin"],
    "a layer's model": ["explain", *OF_MODEL, "--html", "{tmp}/m.onnx"],
    "a trace's model": ["plan", *OF_MODEL, "--npe", "{tmp}/../{tmp.name}/m.onnx"],
    "a trace's chip": ["plan", *CHIP, "--npe={tmp}/c.toml"],
    "a paste": ["plan", "--from", "{tmp}/t.halo.json", "--npe", "{tmp}/t.json"],
    "a paste by a report": [
        "plan", "--from={tmp}/config.json", "--visualizer", "{tmp}",
    ],
    "a tensor": ["run", *LAYER, "--w", "{tmp}/w.npy", "--save", "{tmp}/w.npy"],
    "a network": [*NETWORK, "--html", "{tmp}/m.onnx"],
    "its input": [*NETWORK, "--html", "{tmp}/w.npy"],
    "its sample": [*NETWORK, "--samples", "{tmp}", "--html", "{tmp}/s.npy"],
    "its rows": [*NETWORK, "--html", "{out}/accuracy.jsonl"],
}  # fmt: skip


@pytest.mark.parametrize("command", REPLACED.values(), ids=REPLACED)
def test_no_command_writes_over_what_it_reads_or_keeps(tmp_path, command, capsys):
    out = tmp_path / "out"
    with ResultStore(out) as store:
        store.append([row()])
        store.export()
    (tmp_path / "link").symlink_to(out / "rows.jsonl")
    (tmp_path / "hard").hardlink_to(out / "rows.jsonl")
    (tmp_path / "s.toml").write_text('models = ["xception"]\n')
    (tmp_path / "c.toml").write_text('base = "blackhole"\nname = "c"\n')
    (tmp_path / "f.toml").write_text(f'models = ["{tmp_path}/m.onnx"]\n')
    written(one(), tmp_path).rename(tmp_path / "m.onnx")
    written(external(tmp_path), tmp_path).rename(tmp_path / "x.onnx")
    linked = external(tmp_path, location="weights")
    written(linked, tmp_path).rename(tmp_path / "l.onnx")
    (tmp_path / "weights").symlink_to(tmp_path / "w.bin")
    (tmp_path / "x.toml").write_text(f'models = ["{tmp_path}/x.onnx"]\n')
    for name in ("w.npy", "s.npy"):
        np.save(tmp_path / name, np.zeros((32, 1, 3, 3)))
    (tmp_path / "lock").write_text("{}")
    for name in ("t.halo.json", "config.json"):
        (tmp_path / name).write_text(PASTE)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    words = [word.format(out=out, tmp=tmp_path) for word in command]
    if words[0] == "sweep":
        words += ["--out", str(out), "--plan-only"]
    assert cli.main(words) == 2
    assert "which it would replace" in capsys.readouterr().err
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_another_file_may_be_written(tmp_path):
    (tmp_path / "kept").touch()
    refuse_to_replace("--report", tmp_path / "page", {"it": tmp_path / "kept"})
    refuse_to_replace("--report", "blackhole.html", {"the chip": "blackhole"})


def bare(text: str) -> str:
    """Returns text without its colours."""
    return re.sub(r"\x1b\[[\d;]*m", "", text)


@pytest.mark.parametrize("joins", [True, False])
def test_a_table_laid_out_in_sections_looks_as_one_of_rows(monkeypatch, joins):
    def shown(*, by_rows: bool) -> str:
        table = Table(title="sizes", caption="bytes\nof both", show_footer=True)
        table.add_column("layer", footer="all")
        table.add_column("size", justify="right", footer="9")
        table.add_column("said", justify="center", style="bold")
        table.add_row(Text("net", style="bold"), "", "")
        for number in range(3):
            table.add_row(f"layer {number}", "1" * (number + 1), "two\nlines")
            table.add_row("\x1b[31m", Text("12\n3", style="red"), "[bold]幅[/]")
        table.add_section()
        table.add_row("last", "", "one", style=None if joins else "red")
        stream = io.StringIO()
        console = Terminal(file=stream, width=20)
        console._color_system = ColorSystem.TRUECOLOR
        with monkeypatch.context() as patch:
            if by_rows:
                patch.setattr(Terminal, "_joined", lambda self, table: table)
            joined = console._joined(table)
            console.print_whole(table)
        assert len(joined.rows) == (len(table.rows) if by_rows or not joins else 2)
        return stream.getvalue()

    found = shown(by_rows=False)
    assert bare(found) == bare(shown(by_rows=True))
    assert "\x1b[1mnet" in found
    assert "\\x1b" in found
    assert "[bold]" in found
    assert "layer 2" in found
