import concurrent.futures
import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import time

import ml_dtypes
import numpy as np
import pytest

import jaxdw as jd
from jaxdw.sweep import evaluate as evaluating
from jaxdw.sweep import runner
from jaxdw.sweep.evaluate import evaluate
from jaxdw.sweep.repeat import repeat_line
from jaxdw.sweep.results import read_rows
from jaxdw.sweep.runner import run_sweep, tasks_of
from jaxdw.sweep.space import Space

FEW = Space(
    models=("mobilenet_v2",),
    schemes=("height", "block"),
    filter="height <= 14 and stride == 1",
)
PLANNED = Space(models=("mobilenet_v2", "xception"))


# a process started in the background may have been told to ignore interrupts
JAXDW = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from jaxdw.cli import main; sys.exit(main())"
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXDW_CACHE", str(tmp_path / "cache"))


def keys(rows) -> list[str]:
    return [row["key"] for row in rows]


def test_a_point_that_passes_has_a_whole_row():
    point = FEW.points()[1]
    row = evaluate(point)
    plan = jd.make_plan(point.conv, point.shard, point.compute)
    assert row["status"] == "pass"
    assert row["cores"] == plan.num_cores
    assert row["cycles"] == plan.cycles.total
    assert row["l1_free_bytes"] == plan.l1.free_bytes
    assert row["outputs"] == row["height"] * row["width"] * row["channels"]
    assert row["pcc"] > row["pcc_needed"] == 0.985
    assert 0 <= row["padding_waste"] < 1
    rows, channels = map(int, row["out_shard"].split("x"))
    padded = row["cores"] * rows * channels - row["outputs"]
    assert row["padding_waste"] == round(padded / (padded + row["outputs"]), 6) > 0
    again = evaluate(point)
    assert (again["compilations"], again["pcc"]) == (0, row["pcc"])


def test_schemes_and_verdicts_agree_bit_for_bit():
    rows = [evaluate(point) for point in FEW.points()[:2]]
    assert rows[0]["exact"] == rows[1]["exact"]
    assert rows[0]["pcc"] == rows[1]["pcc"]
    assert rows[0]["cores"] != rows[1]["cores"]


def test_what_does_not_fit_is_refused_with_its_plan():
    space = Space(models=("mobilenet_v2",), schemes=("height",), filter="height == 7")
    row = evaluate(space.points()[0])
    assert (row["status"], row["fits"]) == ("refused", False)
    assert row["error"].startswith("L1OutOfMemory: circular buffers")
    assert row["l1_free_bytes"] < 0 < row["cycles"]


def test_a_point_that_breaks_becomes_a_row(monkeypatch):
    def broken(plan, tensors):
        raise ZeroDivisionError("no\nmore")

    monkeypatch.setattr(evaluating, "_run_row", broken)
    row = evaluate(FEW.points()[1])
    assert (row["status"], row["error"]) == ("error", "ZeroDivisionError: no")
    point = FEW.points()[1]
    shard = dataclasses.replace(point.shard, grid=(99, 1))
    row = evaluate(dataclasses.replace(point, shard=shard))
    assert row["status"] == "refused"
    assert row["error"].startswith("ConfigError: `grid` (=(99, 1)")


def test_tasks_hold_every_point_once_and_one_program_each():
    points = Space(models=("mobilenet_v2", "efficientnet_b0")).points()
    tasks = tasks_of(points, plan_only=False)
    assert sorted(p.key for task in tasks for p in task) == sorted(keys_of(points))
    programs = [{runner._computation_of(point) for point in task} for task in tasks]
    assert all(len(found) == 1 for found in programs)
    assert len(set.union(*programs)) < len(points) / 4
    assert max(map(len, tasks)) <= runner.TASK_POINTS


def test_points_with_the_same_numbers_follow_each_other():
    space = Space(
        models=("mobilenet_v2", "mobilenet_v1"),
        weights_dtypes=("bfloat8_b", "bfloat16"),
        grids=(None, (4, 4)),
        activations=(True, False),
    )
    for task in tasks_of(space.points(), plan_only=False):
        layers = [(point.conv, point.compute) for point in task]
        changes = sum(a != b for a, b in itertools.pairwise(layers))
        assert changes == len(set(layers)) - 1


def keys_of(points) -> list[str]:
    return [point.key for point in points]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_sweep_runs_and_a_second_one_has_nothing_to_do(tmp_path, processes):
    points = FEW.points()
    seen = []
    rows = run_sweep(points, tmp_path, processes=processes, progress=seen.extend)
    assert keys(rows) == keys_of(points)
    assert sorted(keys(seen)) == sorted(keys(rows))
    assert {row["status"] for row in rows} <= {"pass", "refused"}
    again = []
    assert run_sweep(points, tmp_path, progress=again.extend) == rows
    assert again == []
    assert len(read_rows(tmp_path)) == len(points)


def test_ten_thousand_plans_take_less_than_a_minute(tmp_path):
    space = Space(
        weights_dtypes=("bfloat16", "bfloat8_b", "bfloat4_b"),
        fidelities=("LoFi", "HiFi2", "HiFi4"),
        grids=(None, (4, 4)),
        sample=10_000,
    )
    points = space.points()
    assert len(points) == 10_000
    start = time.perf_counter()
    rows = run_sweep(points, tmp_path, plan_only=True)
    assert time.perf_counter() - start < 60
    assert {row["status"] for row in rows} == {"planned", "refused"}


def test_a_killed_sweep_goes_on_without_loss_or_double(tmp_path):
    command = [
        sys.executable, "-c", JAXDW,
        "sweep", "--models", "mobilenet_v2", "--schemes", "height,block",
        "--arithmetics", "float32", "--out", str(tmp_path), "--processes", "1",
    ]  # fmt: skip
    path = tmp_path / "rows.jsonl"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not (path.exists() and path.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = keys(read_rows(tmp_path))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    after = keys(read_rows(tmp_path))
    assert after[: len(before)] == before
    assert len(after) == len(set(after)) == 20
    assert "20 points: 19 pass, 1 refused" in done.stdout


def test_an_interrupt_says_what_is_safe(tmp_path):
    command = [
        sys.executable, "-c", JAXDW,
        "sweep", "--models", "efficientnet_b7,xception", "--out", str(tmp_path),
        "--processes", "1",
        "--arithmetics", "float32",
    ]  # fmt: skip
    path = tmp_path / "rows.jsonl"
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (path.exists() and path.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "rows are safe" in err
    assert len(read_rows(tmp_path)) >= 2


def _die_once(points, plan_only, seed, cache):
    """Kills its worker process the first time it is called."""
    mark = os.environ["JAXDW_TEST_MARK"]
    if not os.path.exists(mark):
        open(mark, "w").close()
        os._exit(1)
    return runner_run_points(points, plan_only, seed, cache)


def _die_of_one(points, plan_only, seed, cache):
    """Kills its worker process whenever a certain point is in the task."""
    if any(point.key == os.environ["JAXDW_TEST_KEY"] for point in points):
        os._exit(1)
    return runner_run_points(points, plan_only, seed, cache)


def _raise_of_one(points, plan_only, seed, cache):
    if any(point.key == os.environ["JAXDW_TEST_KEY"] for point in points):
        raise RuntimeError("lost")
    return runner_run_points(points, plan_only, seed, cache)


runner_run_points = runner.run_points


def test_the_loss_of_a_worker_process_loses_no_row(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXDW_TEST_MARK", str(tmp_path / "mark"))
    monkeypatch.setattr(runner, "run_points", _die_once)
    monkeypatch.setattr(runner, "_PLAN_TASK_POINTS", 20)
    points = PLANNED.points()
    rows = run_sweep(points, tmp_path / "out", processes=2, plan_only=True)
    assert (tmp_path / "mark").exists()
    assert keys(rows) == keys_of(points)
    assert len(read_rows(tmp_path / "out")) == len(points)


def test_a_point_that_kills_its_worker_is_a_row(tmp_path, monkeypatch):
    points = Space(models=("mobilenet_v2",), schemes=("height",)).points()
    monkeypatch.setenv("JAXDW_TEST_KEY", points[4].key)
    monkeypatch.setattr(runner, "run_points", _die_of_one)
    monkeypatch.setattr(runner, "_PLAN_TASK_POINTS", 3)
    rows = run_sweep(points, tmp_path, processes=2, plan_only=True)
    statuses = [row["status"] for row in rows]
    assert statuses.count("error") == 1
    assert (rows[4]["status"], rows[4]["error"]) == ("error", "the worker process died")
    assert rows[4]["channels"] == points[4].conv.channels
    assert rows[4]["repeat"] == repeat_line(points[4], None)
    lost = runner._lost_row(points[4], "it died", False, 7)
    assert lost["repeat"] == repeat_line(points[4], 7)


def _die(points, plan_only):
    os._exit(1)


def test_a_worker_that_dies_while_it_groups_the_points_loses_no_row(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(runner, "tasks_of", _die)
    monkeypatch.setattr(runner, "_PLAN_TASK_POINTS", 20)
    points = PLANNED.points()
    rows = run_sweep(points, tmp_path, processes=2, plan_only=True)
    assert keys(rows) == keys_of(points)
    assert {row["status"] for row in rows} <= {"planned", "refused"}


def test_a_task_that_an_executor_gives_up_is_rows(tmp_path, monkeypatch):
    points = Space(models=("mobilenet_v2",), schemes=("height",)).points()
    monkeypatch.setenv("JAXDW_TEST_KEY", points[4].key)
    monkeypatch.setattr(runner, "run_points", _raise_of_one)
    monkeypatch.setattr(runner, "_PLAN_TASK_POINTS", 3)
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        rows = run_sweep(points, tmp_path, executor=executor, plan_only=True)
    errors = [row["error"] for row in rows]
    assert errors[3:6] == ["RuntimeError: lost"] * 3
    assert errors.count("RuntimeError: lost") == 3


def test_any_executor_will_do(tmp_path):
    points = PLANNED.points()
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        rows = run_sweep(points, tmp_path, executor=executor, plan_only=True)
    assert keys(rows) == keys_of(points)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_dask_workers_share_a_sweep_and_one_may_be_lost(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(runner, "_PLAN_TASK_POINTS", 10)
    points = PLANNED.points()
    lost = []
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        workers = {w.name: w.process.pid for w in cluster.workers.values()}

        def progress(rows):
            if not lost:
                lost.append(next(iter(workers.values())))
                os.kill(lost[0], signal.SIGKILL)

        rows = run_sweep(
            points,
            tmp_path,
            executor=client.get_executor(pure=False),
            plan_only=True,
            progress=progress,
        )
    assert lost
    assert keys(rows) == keys_of(points)
    assert len(read_rows(tmp_path)) == len(points)


def test_an_onnx_file_runs_with_its_own_weights(tmp_path):
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(3)
    w = rng.standard_normal((32, 1, 3, 3)).astype(np.float32)
    nodes = [
        onnx.helper.make_node(
            "Conv", ["x", "w"], ["y"], name="stage/dw", group=32, pads=[1] * 4
        )
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "net",
        [onnx.helper.make_tensor_value_info("x", 1, ["n", 32, 9, 9])],
        [onnx.helper.make_tensor_value_info("y", 1, None)],
        [onnx.numpy_helper.from_array(w, "w")],
    )
    path = tmp_path / "net.onnx"
    onnx.save(onnx.helper.make_model(graph), path)
    space = Space(models=(str(path),), schemes=("height",), arithmetics=("float32",))
    with pytest.raises(jd.ConfigError, match="--input"):
        space.points()
    space = dataclasses.replace(space, inputs=(("x", (1, 32, 9, 9)),))
    (point,) = space.points()
    row = evaluate(point)
    assert (row["status"], row["layer"], row["channels"]) == ("pass", "stage/dw", 32)
    taken = evaluating.operands_of(point, 0).w
    np.testing.assert_array_equal(
        taken, w.astype(ml_dtypes.bfloat16).astype(np.float32)
    )
    block = dataclasses.replace(point.conv, weights_dtype="bfloat8_b")
    taken = evaluating.operands_of(dataclasses.replace(point, conv=block), 0).w
    np.testing.assert_array_equal(taken, w)


def test_rows_of_another_seed_are_refused(tmp_path):
    points = FEW.points()[:1]
    (first,) = run_sweep(points, tmp_path, processes=1, seed=0)
    assert first["seed"] == 0
    with pytest.raises(jd.ConfigError, match=r"`seed` \(=1\).*\(=0\)"):
        run_sweep(points, tmp_path, processes=1, seed=1)
    assert run_sweep(points, tmp_path, processes=1, seed=1, plan_only=True) == [first]
    (other,) = run_sweep(points, tmp_path / "other", processes=1, seed=1)
    assert (other["seed"], other["key"]) == (1, first["key"])
    assert other["pcc"] != first["pcc"]


def test_planned_points_and_broken_ones_are_run_again(tmp_path, monkeypatch):
    points = FEW.points()[:2]
    planned = run_sweep(points, tmp_path, processes=1, plan_only=True)
    assert [(row["status"], row["seed"]) for row in planned] == [("planned", None)] * 2
    with monkeypatch.context() as patch:
        patch.setattr(evaluating, "_run_row", lambda plan, tensors: 1 // 0)
        broken = run_sweep(points, tmp_path, processes=1, seed=7)
    assert [(row["status"], row["seed"]) for row in broken] == [("error", None)] * 2
    rows = run_sweep(points, tmp_path, processes=1)
    assert [row["status"] for row in rows] == ["pass", "pass"]
    assert sorted(keys(read_rows(tmp_path))) == sorted(keys_of(points))


@pytest.mark.parametrize("processes", [0, -3])
def test_no_process_is_refused(tmp_path, processes):
    with pytest.raises(jd.ConfigError, match=rf"`processes` \(={processes}\)"):
        run_sweep(FEW.points(), tmp_path / "new", processes=processes)
    assert not (tmp_path / "new").exists()
