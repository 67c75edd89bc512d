"""A command told to end is gone at once: one line, no process, nothing half-written."""

import itertools
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from onnx_files import RELU, W, make, node, written
from processes import (
    JAXDW,
    STATUS,
    cluster,
    ended,
    one_of,
    processes_of,
    started,
    until,
)

from jaxdw.networks.rows import RowStore

LAYER = "--channels 64 --size 9 --padding 1"
RUNS = "{tmp}/net.onnx --input x={tmp}/x.npy --fidelities lofi,hifi2,hifi3,hifi4"
LAST = {"SIGTERM": "jaxdw: terminated\n", "SIGINT": "jaxdw: interrupted\n"}
# says that XLA compiles, or loads what it compiled
WORKING = """
import jax, pathlib
def said(*_, **__): pathlib.Path({mark!r}).touch()
jax.monitoring.register_event_listener(said)
jax.monitoring.register_event_duration_secs_listener(said)
"""
# says that a file is written, and waits before it takes its place; rows do not wait
WRITTEN = """
import pathlib, time
real = pathlib.Path.replace
def replace(draft, target):
    if target.name.startswith("rows."):
        return real(draft, target)
    assert draft.exists()
    pathlib.Path({mark!r}).touch()
    time.sleep(60)
pathlib.Path.replace = replace
"""


@pytest.fixture
def folder(tmp_path):
    nodes = [
        node("Conv", "x w", "y", "first", group=4, pads=[1] * 4),
        node("Conv", "y w", "z", "second", group=4, pads=[1] * 4),
        RELU,
    ]
    nodes[2].input[:], nodes[2].output[:] = ["z"], ["o"]
    model = make(nodes, {"x": (1, 4, 9, 8)}, "o", {"w": W})
    written(model, tmp_path).rename(tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((1, 4, 9, 8), "f"))
    np.save(tmp_path / "o.npy", np.zeros((1, 9, 9, 64), np.float32))
    return tmp_path


def begun(folder: Path, line: str, before: str = "", **env: str) -> subprocess.Popen:
    """Starts a command; `before` runs in its process and may touch `folder/begun`."""
    before = before.format(mark=str(folder / "begun"))
    cache = {"JAXDW_CACHE": str(folder / "cache")} | env
    words = line.format(tmp=folder).split()
    return started(folder, *words, program=before + JAXDW, **cache)


def works(folder: Path, process: subprocess.Popen) -> None:
    mark = folder / "begun"
    assert until(lambda: mark.exists() or process.poll() is not None)
    assert process.poll() is None, process.communicate()


def names(folder: Path) -> set[str]:
    own = ("begun", "cache")
    return {p.name for p in folder.rglob("*") if not {*p.parts} & {*own}}


AT_WORK = [f"faults {LAYER}", f"diagnose {LAYER} --output {{tmp}}/o.npy"]


@pytest.mark.parametrize(("sig", "line"), [*zip(LAST, AT_WORK, strict=True)])
def test_work_ends_in_one_line(folder, sig, line):
    before = names(folder)
    process = begun(folder, line, WORKING)
    works(folder, process)
    err = ended(process, folder, sig)
    assert process.returncode == STATUS[sig]
    assert err == LAST[sig]
    assert names(folder) == before


@pytest.mark.parametrize("sig", LAST)
def test_certify_says_whole_lines_to_its_end(folder, sig):
    line = "certify --models all --json --lock {tmp}/lock"
    process = begun(folder, line, PYTHONUNBUFFERED="1")
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first.startswith('{"key"')
    assert first.endswith("}\n")
    err = ended(process, folder, sig)
    assert (process.returncode, err) == (STATUS[sig], LAST[sig])
    assert not (folder / "lock").exists()


SWEPT = "sweep --models xception --plan-only --sample 2 --out {tmp}/out"
DRAFTS = {
    f"{SWEPT} --html {{tmp}}/page.html": {"out", "rows.jsonl", "rows.csv"},
    f"{SWEPT} --visualizer {{tmp}}/report": {"out", "rows.jsonl", "rows.csv"},
    f"plan {LAYER} --npe {{tmp}}/npe.json": set(),
    f"certify {LAYER} --lock {{tmp}}/lock": set(),
    f"explain {LAYER} --csv {{tmp}}/tables": {"tables"},
    f"run {LAYER} --save {{tmp}}/saved.npy": set(),
}


@pytest.mark.parametrize(
    ("sig", "line"), [*zip(itertools.cycle(LAST), DRAFTS, strict=False)]
)
def test_a_draft_goes_with_its_command(folder, sig, line):
    before = names(folder)
    process = begun(folder, line, WRITTEN)
    works(folder, process)
    err = ended(process, folder, sig)
    assert process.returncode == STATUS[sig]
    assert err.endswith(LAST[sig])
    assert "Traceback" not in err
    made = names(folder) - before - {"rows.parquet"}
    assert {name for name in made if name != "report"} == DRAFTS[line]


@pytest.mark.parametrize("sig", LAST)
def test_accuracy_keeps_its_rows(folder, sig):
    process = begun(folder, f"accuracy {RUNS} --out {{tmp}}/out")
    assert until(lambda: kept(folder) >= 3 or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    err = ended(process, folder, sig)
    assert process.returncode == STATUS[sig]
    assert "interrupted: rows are safe in" in err.replace("\n", " ")
    assert "Traceback" not in err
    assert {p.name for p in (folder / "out").iterdir()} == {"accuracy.jsonl"}
    assert len(RowStore(folder / "out")._held) >= 3


def kept(folder: Path) -> int:
    path = folder / "out" / "accuracy.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def goes_on(folder: Path) -> None:
    """Runs the same command to its end; what was kept stays."""
    path = folder / "out" / "accuracy.jsonl"
    before = path.read_text()
    out, err = begun(folder, f"accuracy {RUNS} --out {{tmp}}/out --json").communicate()
    assert out.count('"kind": "output"') == 4, err
    assert path.read_text().startswith(before)


def test_a_killed_worker_of_accuracy_loses_no_row(folder):
    process = begun(folder, f"accuracy {RUNS} --out {{tmp}}/out --processes 2")
    assert until(lambda: kept(folder) >= 2 or process.poll() is not None)
    worker = one_of(folder, b"spawn_main")
    assert worker is not None, process.communicate()
    os.kill(worker, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "rows kept before are safe: start them anew" in err
    assert "Traceback" not in err
    assert processes_of(folder) == []
    goes_on(folder)


def test_a_lost_scheduler_of_accuracy_loses_no_row(folder):
    pytest.importorskip("distributed")
    with cluster(JAXDW_CACHE=str(folder / "cache")) as (address, scheduler):
        line = f"accuracy {RUNS} --out {{tmp}}/out --dask {address}"
        process = begun(folder, line)
        assert until(lambda: kept(folder) >= 2 or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        scheduler.kill()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    (sentence,) = [line for line in err.splitlines() if line.startswith("jaxdw:")]
    assert "rows kept before are safe: start them anew" in sentence
    assert "Traceback" not in err
    assert processes_of(folder) == []


@pytest.mark.parametrize("sig", STATUS)
def test_who_reads_a_file_goes_with_its_command(folder, sig):
    process = begun(folder, "plan --models {tmp}/net.onnx --layer first")

    def reads() -> int | None:
        """Returns the reader, of which the first thing is to go with its parent."""
        pid = one_of(folder, b"_serve")
        maps = Path(f"/proc/{pid}/maps")
        return pid if pid and "numpy" in maps.read_text() else None

    assert until(reads)
    reader = reads()
    assert reader is not None
    os.kill(reader, signal.SIGSTOP)  # as one that takes its time
    ended(process, folder, sig)
    assert process.returncode == STATUS[sig]
