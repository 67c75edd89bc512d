"""No option is ignored: each is honoured, refused by name, or said not to count."""

import argparse
import contextlib
import importlib
import io
import itertools
import json
import math
import shlex
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import jaxdw as jd
from jaxdw import cli
from jaxdw.cli.examples import EXAMPLES
from jaxdw.cli.parser import Take
from jaxdw.cli.vocabulary import AXIS_OPTIONS, LAYER, OPTIONS, UNUSED
from jaxdw.judge.draws import draw
from jaxdw.networks import runner as networks
from jaxdw.sweep import runner

LAYERS = {  # an option needs one of them to show that it counts
    "square": "--channels 64 --size 8 --padding 1",
    "wide": "--channels 64 --size 20 --padding 1 --scheme block",
    "ttnn": "--channels 64 --size 20 --padding 1 --scheme width --program ttnn",
    "row": "--channels 64 --size 1x64 --kernel 1x3 --program ttnn",
    "partial": "--channels 64 --size 20 --padding 1",
    "channels": "--channels 4096 --size 4 --padding 1 --scheme width",
}
# what a command needs besides a layer, files standing in its folder
NEEDS = {
    "diff": (
        "--read-scheme width",
        "--read-scheme block",
        "--prepared w.bin --w w.npy --kind tiles",
    ),
    "diagnose": ("--output output.npy",),
    "explain": ("", "--weight 0,0,0 --pixel 0,0,0 --core 0,0 --tile 0 --bank 0,0"),
    "sweep": ("--models mobilenet_v2 --out base",),
    "query": (
        "rows.jsonl SELECT+layer+FROM+rows",
        "rows.jsonl SELECT+layer+FROM+'other.jsonl'",
    ),
    "accuracy": ("net.onnx --input x=a.npy",),
    "compare": ("rows.jsonl other.jsonl",),
    "completion": ("bash",),
}
PLANNED = ("run", "faults", "diagnose")  # their layer options are seen in the plan
FILES = {
    "--x": "x.npy",
    "--w": "w.npy",
    "--bias-values": "bias.npy",
    "--output": "output.npy",
    "--against": "output.npy",
    "--save": "saved.npy",
    "--prepared": "w.npy",
    "--space": "space.toml",
    "--check": "lock.json",
    "--lock": "new.json",
    "--html": "page.html",
}
LAYER_OPTIONS = {option.name for group in LAYER.values() for option in group}
OF_VERB = {  # options that mean or default otherwise there
    ("accuracy", "--input"): "x=a.npy",
    ("accuracy", "--processes"): "2",
    ("accuracy", "--schemes"): "width",
}
SAMPLES = OPTIONS | {option.name: option for option in AXIS_OPTIONS}


def options_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [
        action
        for action in parser._actions
        if action.option_strings and action.dest not in ("help", "version")
    ]


def takes_layer(parser: argparse.ArgumentParser) -> bool:
    return "--channels" in parser._option_string_actions


VERBS = cli.verbs(cli.make_parser())
EVERY = [
    pytest.param(verb, action, id=f"{verb} {action.option_strings[0]}")
    for verb, parser in VERBS.items()
    for action in options_of(parser)
]


def small_network(path: Path) -> None:
    """Writes an ONNX file of one depthwise layer."""
    w = np.ones((8, 1, 3, 3), np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=8, pads=[1, 1, 1, 1])
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8, 6, 6])
        for name in "xy"
    ]
    graph = helper.make_graph(
        [node], "net", ends[:1], ends[1:], [numpy_helper.from_array(w, "w")]
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Returns a folder with a file for every option that takes one."""
    path = tmp_path_factory.mktemp("options")
    rng = np.random.default_rng(0)
    conv = jd.ConvConfig(channels=64, height=8, width=8, padding=1)
    np.save(path / "x.npy", rng.standard_normal(conv.input_shape))
    np.save(path / "w.npy", rng.standard_normal(conv.weight_shape))
    np.save(path / "bias.npy", rng.standard_normal(64))
    x, w, _ = draw(conv, "random", 0)
    plan = jd.make_plan(conv)
    output = jd.run(plan, jd.make_maps(plan), x, w.swapaxes(2, 3)).output
    np.save(path / "output.npy", np.asarray(output))
    (path / "w.bin").write_bytes(bytes(2048 * math.prod(plan.weight_tile_grid)))
    (path / "lock.json").write_text("{}")
    small_network(path / "net.onnx")
    np.save(path / "a.npy", rng.standard_normal((1, 8, 6, 6), np.float32))
    (path / "samples").mkdir()
    np.save(path / "samples" / "b.npy", rng.standard_normal((1, 8, 6, 6), np.float32))
    (path / "space.toml").write_text("schemes = ['width']")
    with contextlib.chdir(path), contextlib.redirect_stdout(io.StringIO()):
        for name, scheme in (("rows", "width"), ("other", "height")):
            line = f"sweep --models mobilenet_v1 --scheme {scheme} --sample 2"
            assert (
                cli.main(f"{line} --plan-only --processes 1 --out {name}".split()) == 0
            )
            (path / name / "rows.jsonl").rename(path / f"{name}.jsonl")
    return path


def outcome(verb: str, line: str) -> tuple[int, str, str]:
    """Returns status, output and files, and complaints of a line."""
    out, err = io.StringIO(), io.StringIO()
    before = {path.name for path in Path.cwd().iterdir()}
    words = [word.replace("+", " ") for word in line.split()]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = cli.main([verb, *words])
        except SystemExit as end:
            status = int(end.code or 0)
    made = {path for path in Path.cwd().iterdir() if path.name not in before}
    for path in made:
        path.unlink() if path.is_file() else shutil.rmtree(path)
    return status, out.getvalue() + str({path.name for path in made}), err.getvalue()


def spied(monkeypatch, verb: str, option: str) -> None:
    """Lets a command print what it would work on, where the work takes long."""
    if verb == "sweep":

        def run_sweep(points, out, *, executor, progress, **options):
            print(points, out, options)
            return []

        monkeypatch.setattr(runner, "run_sweep", run_sweep)
        monkeypatch.setattr("jaxdw.cli.sweep._summarise", lambda rows: None)
        monkeypatch.setattr(
            "jaxdw.cli.sweep._write_page", lambda path, rows: print(path)
        )
    if verb == "accuracy":

        def ask(question, store, **options):
            options.pop("progress")
            print(question, sorted(map(str, vars(store).values())), options)
            return []

        def show(args, rows, skipped, found):
            print(args.html, args.json, rows, found)

        monkeypatch.setattr(networks, "ask", ask)
        monkeypatch.setattr("jaxdw.cli.accuracy._show", show)
    if verb in PLANNED and option in LAYER_OPTIONS:
        room = importlib.import_module(VERBS[verb].get_default("command").__module__)
        planned = room.planned

        def show(args, **options):
            plan = planned(args, **options)
            print(plan.conv, plan.shard, plan.compute, plan.arch.name, plan.program)
            raise jd.UnsupportedError("seen")

        monkeypatch.setattr(room, "planned", show)


def word_of(verb: str, action: argparse.Action) -> str:
    """Returns the option with a word that is not its default."""
    name = action.option_strings[0]
    if action.nargs == 0:
        return name
    word = OF_VERB.get((verb, name)) or FILES.get(name) or SAMPLES[name].sample
    assert word, f"{name} needs a sample in the table of options"
    return f"{name}={word}" if word.startswith("-") else f"{name} {word}"


@pytest.mark.parametrize(("verb", "action"), EVERY)
def test_an_option_alone_is_honoured_refused_or_said_not_to_count(
    verb, action, folder, monkeypatch
):
    monkeypatch.chdir(folder)
    option = action.option_strings[0]
    spied(monkeypatch, verb, option)
    parser, word = VERBS[verb], word_of(verb, action)
    layers = LAYERS.values() if takes_layer(parser) else ("",)
    if verb == "certify" and option == "--models":
        layers = ("",)
    seen = []
    for layer, needs in itertools.product(layers, NEEDS.get(verb, ("",))):
        base = f"{layer} {needs}"
        before, after = outcome(verb, base), outcome(verb, f"{base} {word}")
        seen.append((before, after))
        honoured = before[:2] != after[:2] and after[0] != cli.REFUSED
        honoured |= before[1] != after[1] and verb in PLANNED
        refused = after[0] == cli.REFUSED and option in after[2]
        noted = f"note: {option} " in after[2]
        if after[0] != cli.REFUSED:
            assert noted or option not in UNUSED.get(verb, ())
        if honoured or refused or noted:
            return
    raise AssertionError(f"{verb} ignores {option}: {seen}")


def test_what_is_said_not_to_count_is_an_option_of_the_layer():
    for verb, names in UNUSED.items():
        assert {*names} <= {*VERBS[verb]._option_string_actions} & LAYER_OPTIONS


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_comes_from_the_table(verb):
    for action in options_of(VERBS[verb]):
        assert isinstance(action, Take), action.option_strings
        option = SAMPLES[action.option_strings[0]]
        assert action.help
        assert (action.nargs == 0) == (option.form == "")


@pytest.mark.parametrize("verb", VERBS)
def test_every_help_has_three_examples_that_the_parser_takes(
    verb, folder, monkeypatch, capsys
):
    monkeypatch.chdir(folder)
    for name in ("out.npy", "l1.bin", "device.npy", "net.onnx"):
        Path(name).touch()
    with pytest.raises(SystemExit, match="0"):
        cli.main([verb, "--help"])
    out = capsys.readouterr().out
    lines = [line.strip() for line in EXAMPLES[verb].splitlines()]
    typed = [line for line in lines if "jaxdw " in line and "`" not in line]
    assert len(typed) == 3
    assert any(f"jaxdw {verb}" in line for line in typed)
    for line in typed:
        assert line in out
        words = shlex.split(line.partition(" >")[0])
        cli.make_parser().parse_args(words[words.index("jaxdw") + 1 :])


@pytest.mark.parametrize("verb", VERBS)
def test_own_options_come_before_those_of_the_layer(verb, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main([verb, "--help"])
    out = capsys.readouterr().out
    assert "(default: None)" not in out
    assert "(default: False)" not in out
    if takes_layer(VERBS[verb]):
        own = [
            o
            for o in options_of(VERBS[verb])
            if o.option_strings[0] not in LAYER_OPTIONS
        ]
        places = [out.index(f"  {action.option_strings[0]} ") for action in own]
        assert max(places, default=0) < out.index("\nconvolution:")


OLD = [
    ("run", "--weights pattern", "--draw"),
    ("explain", "--weight 0,0,0 --output 0,0,0", "--pixel"),
]


@pytest.mark.parametrize(("verb", "words", "name"), OLD)
def test_an_old_name_is_taken_with_a_note(verb, words, name):
    line = f"{LAYERS['square']} --json"
    status, old, err = outcome(verb, f"{line} {words}")
    new = words.rpartition("--")
    value = new[2].split()[1]
    status_now, now, err_now = outcome(verb, f"{line} {new[0]} {name} {value}")
    assert (status, old) == (status_now, now)
    assert f"is called {name} now; the old name goes" in err
    assert err_now == ""
    assert json.loads(now.partition("{'")[0].removesuffix("set()"))
