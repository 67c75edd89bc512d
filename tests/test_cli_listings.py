"""Commands to look something up, the overview, refusals, the interrupt."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

import jaxdw as jd
from jaxdw import cli
from jaxdw.arch.arch import NAMES
from jaxdw.cli.schemas import SCHEMAS, json_schema
from jaxdw.errors import installing
from jaxdw.models import zoo
from jaxdw.plan.findings import SEVERITIES
from jaxdw.plan.planner import PROGRAMS
from jaxdw.plan.rules import rules

VERBS = cli.verbs(cli.make_parser())
KINDS = {"object": dict, "array": list, "string": str, "boolean": bool}
LAYER = "--channels 64 --size 8 --padding 1"


def said(capsys, line: str) -> tuple[int, str, str]:
    try:
        status = cli.main(line.split())
    except SystemExit as end:
        status = int(end.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("words", ["", "help", "--help"])
def test_the_command_alone_shows_every_command_by_task(capsys, words):
    status, out, _ = said(capsys, words)
    assert status == 0
    tasks = [line for line in out.splitlines() if line.endswith(":")]
    assert tasks[:2] == ["one layer:", "is it right, and if not, why:"]
    for verb, parser in VERBS.items():
        assert re.search(rf"^  jaxdw {verb} +\w", out, re.MULTILINE), verb
        assert parser.format_help().startswith(f"usage: jaxdw {verb} ")
    assert "jaxdw plan --channels 144" in out


def test_help_of_a_command_comes_either_way(capsys):
    assert said(capsys, "help plan") == said(capsys, "plan --help")


def test_the_module_is_the_command():
    line = [sys.executable, "-m", "jaxdw", "chips", "--json"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0
    assert next(chip["grid"] for chip in json.loads(done.stdout)["chips"]) == [8, 8]


def test_every_rule_says_what_why_and_what_to_do():
    codes = {rule.code for rule in rules()}
    assert len(codes) == 36
    for rule in rules():
        assert re.fullmatch(r"JDW0\d\d", rule.code)
        assert rule.title.endswith(".")
        assert "\n" not in rule.title
        assert len(rule.title) < 80
        assert len(rule.why) > 20, rule.code
        assert rule.do.endswith("."), rule.code
        assert rule.severity in SEVERITIES
        assert rule.source
    for program in PROGRAMS.values():
        assert {defect.code for defect in program.defects} <= codes


def test_a_rule_is_explained(capsys):
    status, out, _ = said(capsys, "rule jdw005")
    assert status == 0
    assert out.splitlines()[0] == "JDW005 wrong values (depthwise)"
    text = " ".join(out.split())
    assert "why The reduction reads 32 rows of every tile" in text
    assert "do cut the channels over more cores by BLOCK or WIDTH, use at" in text
    assert "or --program ttnn." in text
    assert "where tt-metal branch @002a3f41" in text
    assert max(map(len, out.splitlines())) <= 88
    _, out, _ = said(capsys, "rule")
    assert all(rule.code in out and rule.title in out for rule in rules())
    assert said(capsys, "rule JDW999")[2] == (
        "jaxdw: `CODE` (=JDW999) must be one of "
        f"{', '.join(dict.fromkeys(r.code for r in rules()))}; try JDW019\n"
    )


@pytest.mark.parametrize(
    ("code", "met", "mended"),
    [
        ("JDW005", {"channels": 160, "kernel": 5}, {"scheme": "width"}),
        ("JDW007", {"channels": 32, "height": 20, "width": 20}, {"cores": (1, 1)}),
        ("JDW008", {"orientation": "col_major"}, {"orientation": "row_major"}),
        ("JDW001", {"weight_layout": "concatenated"}, {"weight_layout": "final"}),
    ],
)
def test_what_a_rule_says_to_do_mends_it(code, met, mended):
    def codes(given: dict) -> set[str]:
        of_conv = {"channels", "kernel", "height", "width"}
        shard = {"scheme": "block"} if code in ("JDW008", "JDW001") else {}
        shard |= {name: v for name, v in given.items() if name not in of_conv}
        sizes = {"channels": 64, "height": 8, "width": 8, "padding": 1}
        sizes |= {name: v for name, v in given.items() if name in of_conv}
        plan = jd.make_plan(jd.ConvConfig(**sizes), jd.ShardConfig(**shard))
        return {finding.code for finding in plan.findings}

    assert code in codes(met)
    assert code not in codes(met | mended)


def test_networks_chips_and_programs_are_listed(capsys):
    rows = json.loads(said(capsys, "models --json")[1])["models"]
    assert [row["model"] for row in rows] == list(zoo.MODELS)
    assert rows[1]["layers"] == len(zoo.layers("mobilenet_v2")) == 17
    layers = json.loads(said(capsys, "models mobilenet_v2 --json")[1])["layers"]
    assert [row["layer"] for row in layers] == [
        x.name for x in zoo.layers("mobilenet_v2")
    ]
    assert "try mobilenet_v2" in said(capsys, "models mobilnet_v2")[2]
    out = said(capsys, "chips")[1]
    assert all(re.search(rf"│ {name} +│", out) for name in NAMES)
    assert "1,360,544" in out
    out = said(capsys, "programs")[1]
    assert all(re.search(rf"│ {name} +│", out) for name in PROGRAMS)


def test_the_doctor_says_what_is_here_and_how_to_add_the_rest(capsys):
    status, out, _ = said(capsys, "doctor --json")
    found = json.loads(out)
    assert status == 0
    assert found["jaxdw"] == jd.__version__
    assert found["devices"]
    assert found["extras"]["html"] == []
    assert installing("EXTRA") == found["installed"]
    status, out, _ = said(capsys, "doctor")
    assert re.search(r"│ extra html +│ is here", out)


def test_an_extra_that_is_not_here_is_named(monkeypatch):
    monkeypatch.setattr(
        "importlib.metadata.requires",
        lambda name: ["nosuch>=1; extra == 'html'", "numpy", "jinja2; extra == 'html'"],
    )
    from jaxdw.cli.doctor import _extras

    assert _extras() == {"html": ["nosuch"]}


@pytest.mark.parametrize(
    ("origin", "want"),
    [
        (None, "pip install 'jaxdw[html]'"),
        ('{"url": "https://x/y.whl"}', "pip install 'jaxdw[html]'"),
        ('{"url": "file:///a/b%20c"}', "pip install '/a/b c[html]'"),
        (
            '{"url": "file:///a/b", "dir_info": {"editable": true}}',
            "pip install -e '/a/b[html]'",
        ),
    ],
)
def test_an_extra_is_installed_as_this_installation_was(monkeypatch, origin, want):
    class Distribution:
        def read_text(self, name):
            return origin

    monkeypatch.setattr("importlib.metadata.distribution", lambda name: Distribution())
    assert installing("html") == want


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command_and_option(capsys, shell):
    status, out, _ = said(capsys, f"completion {shell}")
    assert status == 0
    for verb in VERBS:
        assert verb in out
    for word in ("math-fidelity", "HiFi4", "bfloat8_b"):
        assert word in out
    assert said(capsys, "completion csh")[0] == 2


def test_completion_in_bash_completes(capsys, tmp_path):
    (tmp_path / "script").write_text(said(capsys, "completion bash")[1])
    code = "source ./script; COMP_WORDS=(jaxdw plan --sch); COMP_CWORD=2; "
    code += '_shtab_jaxdw; echo "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "--scheme"


UNSEEN = {"problem", "notes", "against"}  # of what is broken, of files
JSON = {  # a line for each command that prints JSON
    "plan": [
        f"plan {LAYER}",
        f"plan {LAYER} --program all",
        f"plan {LAYER} --scheme auto",
    ],
    "run": [f"run {LAYER} --dump tiles", f"run {LAYER} --scheme width"],
    "explain": [
        f"explain {LAYER}",
        f"explain {LAYER} --weight 0,0,0 --tile 0 --bank 0,0 --core 0,0",
        f"explain {LAYER} --core 0,0 --address base",
    ],
    "certify": [f"certify {LAYER} --schedule"],
    "faults": ["faults --channels 32 --size 4 --padding 1"],
    "rule": ["rule", "rule JDW001"],
    "models": ["models", "models xception"],
    "chips": ["chips", "chips n150"],
    "programs": ["programs"],
    "doctor": ["doctor"],
    "sweep": [
        (
            "sweep --models mobilenet_v1 --sample 2 --plan-only --processes 1 "
            "--out {0} --html {0}.html"
        )
    ],
}


@pytest.mark.parametrize("verb", JSON)
def test_json_is_what_its_schema_says(capsys, verb, tmp_path):
    schema = json_schema(verb)
    seen = set()
    for line in JSON[verb]:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        out = said(capsys, line.format(tmp_path / "out") + " --json")[1]
        assert out.count("\n") == 1 or SCHEMAS[verb].each
        for text in out.splitlines():
            found = json.loads(text)
            seen |= {*found}
            assert {*schema["required"]} <= {*found} <= {*schema["properties"]}
            for name, value in found.items():
                kind = schema["properties"][name].get("type")
                if kind == "number":
                    assert isinstance(value, int | float)
                elif kind:
                    assert isinstance(value, KINDS[kind]), name
    assert seen == {*schema["properties"]} - UNSEEN


def test_schemas_are_printed(capsys):
    assert json.loads(said(capsys, "schema plan")[1]) == json_schema("plan")
    every = json.loads(said(capsys, "schema")[1])
    with_json = {v for v, p in VERBS.items() if "--json" in p._option_string_actions}
    assert with_json <= {*every}
    assert json_schema("query")["additionalProperties"] is True


REFUSED = [
    ("pln", "jaxdw: `pln` is no command; try plan\nsee `jaxdw --help`\n"),
    ("--plan", "jaxdw: `--plan` is no option of jaxdw alone; try --help\n"),
    (
        f"plan {LAYER} --schem width",
        (
            "jaxdw plan: `--schem` is no option of `jaxdw plan`; try --scheme\n"
            "see `jaxdw plan --help`\n"
        ),
    ),
    (
        "run --size 8",
        (
            "jaxdw run: `--channels` must be given; try --channels 96\n"
            "see `jaxdw run --help`\n"
        ),
    ),
    (
        "plan --channels 64 --size 8 --padding full",
        (
            "jaxdw plan: `--padding` (=full) must be P, HxW, "
            "TOPxBOTTOMxLEFTxRIGHT, same "
            "or valid; try same, valid\nsee `jaxdw plan --help`\n"
        ),
    ),
    (
        f"plan {LAYER} --scheme hieght",
        (
            "jaxdw: `--scheme` (=hieght) must be one of height, width, block, "
            "auto; try "
            "height\n"
        ),
    ),
    (
        f"plan {LAYER} --act-block-h-override 40",
        "jaxdw: `--act-block-h-override` (=40) must be a multiple of 32; try 32\n",
    ),
    (
        f"plan {LAYER} --output-dtype fp32",
        (
            "jaxdw: `--output-dtype` (=float32) must have a 32-bit Dst "
            "(fp32_dest_acc is "
            "False: 16 bits); use --fp32-dest-acc or --output-dtype bfloat16\n"
        ),
    ),
    (
        f"plan {LAYER} --grid 9x9",
        (
            "jaxdw: `--grid` (=9x9, x and y) must lie inside the 8x8 cores of "
            "wormhole_b0; "
            "try 8x8\n"
        ),
    ),
    (
        f"plan {LAYER} --input-shard 32x64",
        (
            "jaxdw: `--input-shard` (=32x64) must come with the `--cores` it "
            "lies on; add "
            "--cores XxY\n"
        ),
    ),
    (
        f"plan {LAYER} --full-inner-dim",
        (
            "jaxdw: `--full-inner-dim` (=True) must be False for the depthwise "
            "program, "
            "which has no such option; use --program ttnn or leave it out\n"
        ),
    ),
    (
        f"plan {LAYER} --arch blakhole",
        (
            f"jaxdw: `--arch` (=blakhole) must be one of {', '.join(NAMES)} or a "
            f"path to a "
            ".toml; try blackhole\n"
        ),
    ),
    (
        "certify --models mobilenet_v2 --channels 5 --bias",
        (
            "jaxdw: `--channels`, `--bias` must be left out with --models, whose "
            "layers are "
            "certified as they are; name one layer by --channels and --size\n"
        ),
    ),
    (
        f"diff {LAYER} --prepared {__file__} --read-scheme width",
        (
            "jaxdw: `--read-scheme` (=width) must be left out with --prepared, "
            "which is "
            "compared with this plan; ask one question at a time\n"
        ),
    ),
    (
        f"plan {LAYER} --base-address 64",
        "jaxdw: `--base-address` must come with --args or --visualizer; add it\n",
    ),
]


@pytest.mark.parametrize(("line", "sentence"), REFUSED)
def test_a_refusal_reads_as_the_caller_writes(capsys, line, sentence):
    status, out, err = said(capsys, line)
    assert (status, out) == (2, "")
    assert err.startswith(sentence)
    assert len(err.splitlines()) <= 2


@pytest.mark.parametrize(
    "line",
    [
        "--channels 256 --size 64 --padding 1 --grid 1x1",
        "--channels 256 --size 64 --padding 1 --scheme block --cores 1x1",
        (
            "--channels 192 --size 1x6441 --kernel 1x12 --dtype fp32 "
            "--weights-dtype fp32 "
            "--program ttnn --arch blackhole"
        ),
    ],
)
def test_the_way_out_of_a_layer_that_does_not_fit_is_a_line_that_fits(capsys, line):
    status, _, err = said(capsys, f"plan {line}")
    assert status == 2
    way_out = re.match(r"use (--[^,]*)(, without ([^,]*))?", err.splitlines()[-1])
    words = line.split()
    for option in (way_out[3] or "").split(" and "):
        if option:
            del words[words.index(option) : words.index(option) + 2]
    assert said(capsys, f"plan {' '.join(words)} {way_out[1]}")[0] == 0


@pytest.mark.parametrize("seconds", [0.15, 0.6, 2.0])
def test_an_interrupt_is_one_line_and_status_130(tmp_path, seconds):
    line = "faults --channels 144 --size 56 --padding 1 --bias".split()
    work = subprocess.Popen(
        [sys.executable, "-m", "jaxdw", *line],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"JAXDW_CACHE": str(tmp_path)},
    )
    time.sleep(seconds)
    work.send_signal(signal.SIGINT)
    out, err = work.communicate(timeout=60)
    assert (work.returncode, out) == (130, "")
    assert err == "jaxdw: interrupted\n"


def test_a_full_disk_is_one_line():
    line = [sys.executable, "-m", "jaxdw", "plan", *LAYER.split()]
    with open("/dev/full", "w") as full:
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        "jaxdw: the output cannot be written: [Errno 28] No space left on device\n"
    )


@pytest.mark.parametrize(
    ("what", "seconds", "code"),
    [
        ("import", 0.05, "import jaxdw"),
        ("help", 0.15, "from jaxdw.cli import main; main(['--help'])"),
        ("plan", 0.35, f"from jaxdw.cli import main; main('plan {LAYER}'.split())"),
    ],
)
def test_the_start_is_fast(what, seconds, code):
    def spent(code: str) -> float:
        begin = os.times()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        end = os.times()
        return end.children_user - begin.children_user

    # a machine with much else to do is slower: NumPy's own import tells how much
    load = max(1.0, min(spent("import numpy") for _ in range(3)) / 0.1)
    own = min(spent("pass") for _ in range(3))
    assert min(spent(code) for _ in range(5)) - own < seconds * load


def test_tables_are_whole_where_nobody_looks():
    done = subprocess.run(
        [sys.executable, "-m", "jaxdw", "rule"],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "60"},
    )
    assert all(rule.title in done.stdout for rule in rules())
