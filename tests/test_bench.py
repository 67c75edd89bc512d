"""The benchmarks check before they time, and count what they say they count."""

import dataclasses
import functools
import importlib.util
import json
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest

import jaxdw as jd
from bench import (
    arithmetic,
    contenders,
    conv,
    harness,
    layers,
    plans,
    scale,
    stages,
    sweep,
)
from bench.__main__ import main, make_parser
from bench.contenders import Contender, Prepared, contend
from bench.layers import layer_name, layer_of
from jaxdw.judge.draws import draw

TINY = layer_of("32x6x6")
FLOAT32 = layers.WAYS[0]
HERE = {"device", "platform", "processor", "cpu_cores", "load", "python", "jax"}
TIMED = {
    "first", "median", "tenth", "spread", "fastest", "cpu", "runs", "disturbed",
    "prepare",
}  # fmt: skip


@pytest.fixture(autouse=True)
def few_repeats(monkeypatch):
    monkeypatch.setattr(harness, "LEAST_SECONDS", 0.0)


def entrant(name: str) -> Contender:
    (found,) = [c for c in conv.contenders(("height",)) if c.name == name]
    return found


def needs(*libraries: str):
    missing = [name for name in libraries if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{missing} not installed")


@pytest.mark.parametrize(
    "name",
    [
        "float32 height",
        "fpu LoFi height",
        conv.LAX,
        "numpy stick loop",
        pytest.param(conv.TORCH, marks=needs("torch")),
        pytest.param("torch", marks=needs("torch")),
        pytest.param("onnxruntime", marks=needs("onnxruntime", "onnx")),
    ],
)
def test_contenders_compute_the_same_layers(name):
    uneven = dataclasses.replace(
        layer_of("32x7x6s2n2"), padding=(0, 1, 1, 0), dilation=(1, 2), kernel=(2, 3)
    )
    convs = [TINY] if name.startswith("fpu") else [TINY, uneven]
    records = contend([(entrant(name), conv) for conv in convs], 7)
    assert [jd.ConvConfig(**record["layer"]) for record in records] == convs
    for record in records:
        assert HERE | TIMED | {"threads", "peak_bytes"} <= record.keys()
        assert record["runs"] >= 7
        assert 0 < record["fastest"] <= record["tenth"] <= record["median"]
        assert record["cpu"] > 0
        assert record["threads"] >= 1
        assert record["pcc"] > 0.999
        json.dumps(record)


def spoiled(conv, x, w, *, by) -> Prepared:
    """Prepares what leaves out a tap of one channel, or shifts the image."""
    output = jd.reference(conv, x, w)
    if by == "tap":
        output[..., 3] -= jd.reference(conv, x, w * (np.arange(9) == 4).reshape(3, 3))[
            ..., 3
        ]
    else:
        output = np.roll(output, 1, axis=2)
    return Prepared(lambda: output, np.asarray, {"threads": 1})


@pytest.mark.parametrize("by", ["tap", "shift"])
@pytest.mark.parametrize("compute", [None, FLOAT32])
def test_a_wrong_contender_is_not_timed(by, compute, monkeypatch):
    monkeypatch.setattr(contenders, "measure_calls", None)
    prepare = functools.partial(spoiled, by=by)
    cheat = Contender(name="cheat", process="cheat", prepare=prepare, compute=compute)
    with pytest.raises(AssertionError, match="cheat is wrong on 32x6x6k3s1"):
        contend([(cheat, TINY)], 7)


@pytest.mark.parametrize("in_turns", [True, False])
def test_contenders_are_timed_in_turns_or_one_by_one(in_turns):
    made = []

    def prepare(conv, x, w, *, name) -> Prepared:
        output = jd.reference(conv, x, w)
        return Prepared(lambda: made.append(name) or output, np.asarray, {"threads": 1})

    prepares = {name: functools.partial(prepare, name=name) for name in "ab"}
    entries = [
        (Contender(name=name, process="p", prepare=own), TINY)
        for name, own in prepares.items()
    ]
    records = contend(entries, 7, in_turns=in_turns)
    assert [record["contender"] for record in records] == ["a", "b"]
    warm_ups = harness.WARM_UPS
    if in_turns:
        calls = "ab" + "a" * warm_ups + "b" * warm_ups + "ab" * 7
    else:
        calls = "a" * (1 + warm_ups + 7) + "b" * (1 + warm_ups + 7)
    assert "".join(made) == calls


def test_the_command_writes_a_line_for_each_figure(tmp_path):
    lines = tmp_path / "lines.jsonl"
    picture = tmp_path / "plot.png"
    command = [
        *(sys.executable, "-m", "bench", "conv", "--layer", "32x6x6", "--runs", "7"),
        *("--schemes", "height,width", "--only", "float32 width,stick"),
        *("--json", str(lines), "--plot", str(picture)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    timed = {r["contender"]: r for r in records if "layer" in r}
    totals = {r["contender"]: r["sum_median"] for r in records if "sum_median" in r}
    names = ["float32 width", "float32 width, loaded", "numpy stick loop"]
    assert list(timed) == names
    assert totals == {name: record["median"] for name, record in timed.items()}
    assert all(HERE <= r.keys() and r["bench"] == "conv" for r in records)
    assert "numpy stick loop" in done.stdout
    assert "{" not in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_sums_count_a_layer_as_often_as_the_model_has_it():
    other = layer_of("64x6x6")
    seconds = {("a", TINY): 1.0, ("a", other): 10.0}
    seconds |= {("b", TINY): 2.0, ("b", other): 3.0}
    assert conv.sums(Counter({TINY: 3, other: 1}), seconds) == {"a": 13.0, "b": 9.0}


def test_goals_say_who_was_disturbed_instead_of_judging():
    medians = {conv.TORCH: 2.0, "float32 height": 3.0, "fpu LoFi height": 20.0}
    totals = {"median": medians, "tenth": {name: 1.0 for name in medians}}
    ratios = conv.goals("mobilenet_v2", totals, {conv.TORCH})
    assert [ratio["reached"] for ratio in ratios] == [1.5, 1.0, 10.0, 1.0]
    assert all(ratio["disturbed"] == [conv.TORCH] for ratio in ratios)
    goal = conv.GOALS[0]
    assert goal.met(2.0)
    assert not goal.met(2.1)
    assert conv._verdict(goal, ratios[0]) == f"not judged, disturbed: {conv.TORCH}"
    assert conv._verdict(goal, {"reached": 2.1, "disturbed": []}) == "missed"
    slow = {"reached": 1.9, "disturbed": ["float32 height"]}  # met all the same
    assert conv._verdict(goal, slow) == "met"


def test_a_tenth_of_the_runs_is_faster_than_the_tenth():
    (timing,) = harness._in_turns([lambda: time.sleep(0.002)], [0.0], 21, 0.0)
    assert timing.fastest <= timing.tenth <= timing.median
    assert timing.cpu < timing.median / 2  # who sleeps takes no processor


def test_other_programs_take_part_under_their_own_names():
    found = conv.contenders(("height", "block"), ("depthwise", "regular"))
    names = [contender.name for contender in found]
    assert {"fpu LoFi height", "fpu LoFi block regular", "float32 height"} <= {*names}
    assert not [name for name in names if "float32" in name and "regular" in name]
    assert conv._beside_height("fpu LoFi block regular", names)
    assert not conv._beside_height("fpu LoFi height regular", names)


def test_a_median_far_from_the_fastest_run_is_disturbed():
    timing = harness.Timing(
        first=0, median=3.1, tenth=1, spread=1, fastest=1, cpu=1, runs=7
    )
    assert timing.disturbed
    assert not dataclasses.replace(timing, median=2.9).disturbed


def test_layers_are_read_as_they_are_named():
    for text in ("144x56x56k3s1", "32x7x5k4s2n8"):
        assert layer_name(layer_of(text)) == text
    shape = layers.output_shape(layer_of("32x7x5k4s1n8"))
    assert shape == (8, 7, 5, 32)
    assert layers.multiplications(layer_of("32x8x8s2")) == 32 * 4 * 4 * 9
    assert layers.tensor_bytes(layer_of("32x8x8s2")) == 4 * 32 * (64 + 16)
    assert sum(layers.bare_layers("mobilenet_v2").values()) == 17


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["conv", "--runs", "6"], r"\(=6\) must be at least 7"),
        (["conv", "--layer", "32x8"], "'32x8' must be CxHxW"),
        (["stages", "--way", "lofi2"], "'lofi2' must be one of float32, LoFi"),
    ],
)
def test_options_out_of_range_are_refused(options, message, capsys):
    with pytest.raises(SystemExit):
        make_parser().parse_args(options)
    assert re.search(message, capsys.readouterr().err)


def test_an_exponent_is_the_power_of_growth():
    sizes = np.array([1, 2, 4, 8, 16])
    assert scale.exponent(sizes, 0.3 * sizes**1.5) == pytest.approx(1.5)


def test_exponents_of_batch_are_fitted_beyond_the_cache():
    points = scale.batch_points()
    seconds = [1.0 if p.num_bytes <= 64 * 2**20 else p.size / 10 for p in points]
    found = scale.fit("batch", points, seconds, 32 * 2**20)
    assert found["fitted"] == [32, 64, 128, 256]
    assert found["exponent"] == pytest.approx(1)
    assert scale.fit("batch", points, seconds, 2**40)["exponent"] is None
    assert scale.fit("cores", points, seconds, 2**40)["fitted"] == list(scale.BATCHES)


@pytest.mark.parametrize(
    ("cache", "one_by_one", "in_turns"),
    [(0, [], [1, 2, 130]), (6_000, [1, 130], [2]), (2**30, [1, 2, 130], [])],
)
def test_an_axis_is_timed_at_each_of_its_points(
    cache, one_by_one, in_turns, monkeypatch
):
    groups = {}

    def spy(entries, runs, *, in_turns):
        groups[in_turns] = len(entries)
        return contend(entries, runs, in_turns=in_turns)

    monkeypatch.setattr(scale, "contend", spy)
    points = [scale.one(n, dataclasses.replace(TINY, batch=n)) for n in (1, 2)]
    cores = scale.one(130, TINY, shard=jd.ShardConfig(cores=130), arch="blackhole")
    records = scale.measure_axis("batch", [*points, cores], FLOAT32, 7, cache)
    assert [record["size"] for record in records] == one_by_one + in_turns
    found = {False: len(one_by_one), True: len(in_turns)}
    assert groups == {way: count for way, count in found.items() if count}
    cores_at = {record["size"]: record["cores"] for record in records}
    assert cores_at == {1: 2, 2: 3, 130: 130}
    medians = {record["size"]: record["median"] for record in records}
    seconds = scale.seconds_of([*points, cores], records)
    assert seconds == [medians[1], medians[2], medians[130]]


FAULTS = """
import resource, statistics
import jax, jax.numpy as jnp
x = jnp.zeros(2**24)  # 64 MiB
call = jax.jit(lambda x: x + 1)
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    jax.block_until_ready(call(x))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for _ in range(30):  # until most of what is ever needed has been mapped
    faults()
print(statistics.median_low(faults() for _ in range(21)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
@pytest.mark.parametrize("kept", [True, False])
def test_kept_memory_is_not_mapped_anew(kept):
    settings = os.environ | (scale.KEPT_MEMORY if kept else {})
    command = [sys.executable, "-c", FAULTS]
    done = subprocess.run(
        command, env=settings, capture_output=True, text=True, check=True
    )
    pages = 2**26 // resource.getpagesize()
    assert (int(done.stdout) < pages / 10) == kept


def test_the_largest_layers_are_those_of_efficientnet_b7_with_a_batch():
    first, *others = scale.large_layers()
    assert (first.batch, first.channels, first.height) == (8, 192, 300)
    assert layers.tensor_bytes(first) == 4 * 8 * 192 * (300**2 + 150**2)
    assert all(layers.tensor_bytes(o) <= layers.tensor_bytes(first) for o in others)


def test_a_footprint_counts_what_one_layer_adds():
    large = layer_of("64x128x128n4")  # 34 MB in and out
    record = harness.in_fresh_process(scale.footprint, large, FLOAT32)
    added = record["peak_bytes"] - record["start_bytes"]
    assert record["tensor_bytes"] == 2 * 4 * 4 * 64 * 128 * 128
    assert added >= record["tensor_bytes"]
    assert record["ratio"] == added / record["tensor_bytes"]


def test_stages_count_the_bytes_of_their_arrays_and_end_in_the_output():
    plan = jd.make_plan(TINY, jd.ShardConfig(), FLOAT32)
    maps = jd.make_maps(plan)
    x, w, _ = draw(TINY, "random", 0)
    found = {stage.name: stage for stage in stages.stages_of(plan, maps, x, w)}
    rows, columns = plan.weight_layout.rows, plan.weight_layout.columns
    size = rows * columns
    # bf16 weights of 9 taps; int32 places; float32 in, bf16 out
    assert found["prepare"].num_bytes == 32 * 9 * 4 + size * 4 + size * 2
    assert found["tilize"].num_bytes == size * 2 + size // 16 * 4 + size * 2
    assert found["round"].num_bytes == 36 * 32 * 4 + 36 * 32 * 2
    last = found["gather"]
    np.testing.assert_array_equal(last.result, jd.run(plan, maps, x, w).output)
    assert last.result.nbytes == 36 * 32 * 4
    assert list(found)[-3:] == ["halo", "core", "gather"]


def test_stages_share_the_whole():
    arguments = (TINY, jd.ShardConfig(), FLOAT32, 7)
    records = harness.in_fresh_process(stages.measure_stages, *arguments)
    shares = [record["share"] for record in records if "stage" in record]
    assert sum(shares) == pytest.approx(1)
    assert [r["whole"] for r in records if "whole" in r] == ["run, keep", "run"]
    assert all(HERE <= record.keys() for record in records)
    assert set(stages.ceilings(2**16, 7)) == {"in place", "new memory"}


def test_a_warm_sweep_compiles_nothing():
    points = jd.Space(
        models=("mobilenet_v2",), schemes=("height",), filter="channels == 32"
    ).points()
    found = sweep.measure_sweeps(points, 1, 1)
    (cold,), (warm,), (planned,) = (found[way] for way in ("cold", "warm", "plan only"))
    assert cold.compilations > 0
    assert (warm.compilations, planned.compilations) == (0, 0)
    assert cold.statuses == warm.statuses == {"pass": 1}
    assert planned.statuses == {"planned": 1}


def test_a_models_table_tells_of_its_own_layers():
    other = layer_of("64x6x6")
    records = [
        {"contender": "a", "layer": dataclasses.asdict(TINY), "first": 1.0},
        {"contender": "a", "layer": dataclasses.asdict(other), "first": 10.0},
        {"contender": "a", "sum_median": 3.0},
    ]
    (own,) = conv.of_layers(records, Counter([TINY]))
    assert own["first"] == 1.0


def test_schemes_hide_behind_height_only_where_it_is_shown():
    ways = ["fpu LoFi height", "fpu LoFi block", "float32 height", "float32 block"]
    names = [*ways, "fpu HiFi4 width", "torch"]
    hidden = [name for name in names if conv._beside_height(name, names)]
    assert hidden == ["fpu LoFi block", "float32 block"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["scale", "--axes", "kernel", "--most", "2"], r"kernel; take at least 3"),
        (["conv", "--only", "nothing"], r"\(=nothing\) must be part of .*onnxruntime"),
        (["plans", "--json", "nowhere/x"], "must be in a folder that exists"),
        (["conv", "--plot", "nowhere/x.png"], "must be in a folder that exists"),
    ],
)
def test_what_cannot_be_measured_or_written_is_refused(
    line, message, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", ["bench", *line])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert re.search(message, capsys.readouterr().err)


def test_arithmetic_and_plans_measure_layers_that_fit_no_core():
    large = layer_of("960x7x7")
    assert not jd.make_plan(large, jd.ShardConfig(), must_fit=False).l1.fits
    assert arithmetic.layer(large, FLOAT32, 7).runs == 7
    cases = [(large, jd.ShardConfig(scheme="width"))]
    for work in (plans.plan_only, plans.plan_and_maps, plans.ranking):
        assert plans.per_second(work, cases, 7) > 0
    assert plans.plan_only(*cases[0], "ttnn").program == "regular"


def test_a_refusal_is_an_answer_that_is_timed_too():
    too_large = jd.ConvConfig(channels=2048, height=200, width=200, batch=8)
    plans.ranking(too_large, jd.ShardConfig(scheme="height"))
    layer = {"channels": 64, "height": 1, "width": 32, "kernel": (1, 4)}
    conv = jd.ConvConfig(**layer, padding=(0, 0, 3, 0))
    shard = jd.ShardConfig(scheme="width")
    assert plans.plan_only(conv, shard, "ttnn").program == "conv1d"
    plans.plan_and_maps(conv, shard, "ttnn")


def test_plans_are_measured_of_the_program_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(plans.zoo, "MODELS", ["mobilenet_v2"])
    monkeypatch.setattr(plans.zoo, "distinct", lambda model: [TINY])
    line = ["plans", "--program", "regular", "--runs", "7"]
    args = make_parser().parse_args([*line, "--json", str(tmp_path / "lines")])
    seen = []
    monkeypatch.setattr(
        plans, "per_second", lambda work, cases, runs: seen.append(work(*cases[0])) or 1
    )
    plans.main(args)
    assert seen[0].program == "regular"
