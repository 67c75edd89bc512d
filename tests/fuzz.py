"""Files and words as nobody should write them, made of good ones."""

import contextlib
import io
import json
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jaxdw as jd
from jaxdw.cli import main
from jaxdw.layouts.lock import check_lock
from jaxdw.models.onnx.file import read_onnx
from jaxdw.sweep.filters import point_filter
from jaxdw.sweep.results import read_rows
from jaxdw.sweep.rows import NAMES, SCHEMA
from jaxdw.sweep.space import Space, load_space

CORPUS = Path(__file__).parent / "corpus"
TYPED = (jd.ConfigError, jd.UnsupportedError)
# what has broken readers of files before
WORDS = [
    b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"NaN", b"Infinity", b"-Infinity", b"nan",
    b"1e999", b"-1", b"0", b"-0.0", b"9223372036854775808", b"1" * 400, b"1" * 5000,
    b"null", b"true", b"[]", b"{}", b'""', b"[" * 2000, b'{"a":' * 2000, b"(" * 300,
    b'"\\ud800"', b"\\x00",
    b"\r", b"\n", b"\r\n", b"\t", b",", b",,,,", b'"', b"'", b"=",
    b"=cmd|' /C calc'!A0", b"\x1b[31m", b"\xe2\x80\xae", b"[bold]", b"%s", b"{0}",
    b"../../etc/passwd", b"1979-05-27T07:32:00Z", b"0x10", b"1_0", b"inf", b"x",
    b"3x3x3",
]  # fmt: skip


class Parser(NamedTuple):
    """A reader, and the name of the files that it reads.

    Attributes:
      read: is given a file; returns, or raises one of `TYPED`.
      share: of all mutations that it gets.
    """

    name: str
    read: Callable[[Path], object]
    share: float


def read_options(path: Path) -> None:
    """Runs `jaxdw plan` with the words of a file, one to a line."""
    words = path.read_bytes().decode("utf-8", "surrogateescape").split("\n")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        with contextlib.redirect_stderr(io.StringIO()) as err:
            try:
                status = main(["plan", *words])
            except SystemExit as asked:
                status = asked.code
    assert status in (0, 1, 2), status
    shown = out.getvalue() + err.getvalue()
    assert all(c.isprintable() or c == "\n" for c in shown)


def read_filter(path: Path) -> None:
    space = Space(models=("xception",), schemes=("height",))
    text = path.read_bytes().decode("utf-8", "replace")
    keeps = point_filter(text)
    for point in space.points():
        keeps(point)


def read_space(path: Path) -> None:
    space = load_space(path)
    if not any(model.endswith(".onnx") for model in space.models):
        space.points()


def read_layers(path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        read_onnx(path)


PARSERS = (
    Parser("rows.jsonl", read_rows, 0.25),
    Parser("rows.csv", read_rows, 0.2),
    Parser("chip.toml", lambda path: jd.load_arch(str(path)), 0.15),
    Parser("space.toml", read_space, 0.1),
    Parser("layouts.lock", lambda path: check_lock(path, {}), 0.1),
    Parser("options.txt", read_options, 0.1),
    Parser("filter.txt", read_filter, 0.095),
    Parser("layers.onnx", read_layers, 0.005),
)


def mutated(good: bytes, draw: random.Random) -> bytes:
    """Returns bytes of which some are changed, moved, gone or replaced by `WORDS`."""
    data = bytearray(good)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        at = draw.randrange(len(data) + 1)
        to = min(len(data), at + draw.choice((1, 1, 4, 16, 200)))
        match draw.randrange(6):
            case 0:
                data[at:to] = draw.choice(WORDS)
            case 1:
                data[at:at] = draw.choice(WORDS)
            case 2:
                del data[at:to]
            case 3:
                data[at:at] = data[at:to]
            case 4 if at < len(data):
                data[at] ^= 1 << draw.randrange(8)
            case _:  # a whole word: of a number, a text, a line
                start = max(data.rfind(mark, 0, at) for mark in b',:=\n"[ ') + 1
                ends = [data.find(mark, at) for mark in b',:\n"] ']
                end = min((e for e in ends if e >= 0), default=len(data))
                data[start : max(end, start)] = draw.choice(WORDS)
    return bytes(data)


def untyped(parser: Parser, data: bytes, folder: Path) -> str | None:
    """Returns what a reader raises of bytes, if that is no typed refusal."""
    path = folder / parser.name
    path.write_bytes(data)
    try:
        with warnings.catch_warnings(action="ignore"):
            parser.read(path)
    except TYPED as refusal:
        return None if str(refusal).strip() else "a refusal without a word"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def seeds(name: str) -> list[bytes]:
    """Returns the good files of a reader, and those that once broke it."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def write_seeds() -> None:
    """Writes the good files, by what writes them."""
    from onnx_files import one

    from jaxdw.layouts.certificate import certify
    from jaxdw.layouts.lock import write_lock
    from jaxdw.sweep.results import ResultStore
    from jaxdw.sweep.rows import config_row, plan_row

    for parser in PARSERS:
        (CORPUS / parser.name).mkdir(parents=True, exist_ok=True)
    points = Space(models=("mobilenet_v2",), sample=2).points()
    rows = [dict.fromkeys(NAMES) | config_row(p) | plan_row(p.plan()) for p in points]
    rows[0] |= {"status": "pass", "pcc": 0.5, "error": "=1", "schema": SCHEMA}
    older = {"schema": 2, "key": "k", "model": "m", "layer": "l", "scheme": "height"}
    with ResultStore(CORPUS / "rows.jsonl") as store:
        store.append(rows)
        store.export()
    folder = CORPUS / "rows.jsonl"
    (folder / "rows.csv").rename(CORPUS / "rows.csv" / "good")
    (folder / "rows.jsonl").rename(folder / "good")
    (folder / "rows.parquet").unlink(missing_ok=True)
    (folder / "older").write_text(json.dumps(older) + "\n")
    chip = Path(jd.__file__).parent / "arch" / "wormhole_b0.toml"
    (CORPUS / "chip.toml" / "good").write_bytes(chip.read_bytes())
    text = 'base = "blackhole"\nname = "c"\n[clock]\nhz = 5\nsource = "s"\n'
    (CORPUS / "chip.toml" / "based").write_text(text)
    text = (
        'models = ["xception"]\nschemes = ["auto", "height"]\ngrids = [[4, 4]]\n'
        'batches = [1, 2]\ninputs = [["x", [1, 3, 8, 8]]]\nfidelities = ["lofi"]\n'
        'filter = "channels == 728"\nseed = 3\nsample = 5\narches = ["n150"]\n'
    )
    (CORPUS / "space.toml" / "good").write_text(text)
    plan = jd.make_plan(jd.ConvConfig(channels=32, height=4, width=4))
    found = certify(plan)
    write_lock(CORPUS / "layouts.lock" / "good", {found.key: found.digests})
    words = (
        "--channels 144 --size 56x56 --kernel 3x3 --padding 1x1x1x1 --stride 2 --bias "
        "--scheme block --grid 8x8 --batch 1 --weights-dtype bfp8 --arch n150 "
        "--act-block-h-override 32 --base-address 0x1d4da0 --program depthwise"
    )
    (CORPUS / "options.txt" / "good").write_text(words.replace(" ", "\n"))
    text = "channels >= 256 and (kernel == 3 or scheme in ('height',)) and not bias"
    (CORPUS / "filter.txt" / "good").write_text(text)
    (CORPUS / "layers.onnx" / "good").write_bytes(one().SerializeToString())


if __name__ == "__main__":
    write_seeds()
