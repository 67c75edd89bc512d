"""A sweep told to end is gone at once, with its processes, and no row is lost."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import ROOT, STATUS, cluster, ended, one_of, processes_of, started, until

from jaxdw.sweep.results import ResultStore, read_rows

KILLS = [(sig, jobs) for sig in ("SIGTERM", "SIGINT", "SIGKILL") for jobs in (1, 2)]


def start(folder: Path, *words: str, **env: str) -> subprocess.Popen:
    return started(folder, "sweep", "--out", str(folder), *words, **env)


def lines(folder: Path) -> int:
    path = folder / "rows.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


SLOW = ("--models", "efficientnet_b7,xception", "--arithmetics", "float32")


@pytest.mark.parametrize(("sig", "jobs"), KILLS)
def test_a_sweep_told_to_end_leaves_its_rows_and_no_process(tmp_path, sig, jobs):
    cache = {"JAXDW_CACHE": str(tmp_path / "cache")}
    folder = tmp_path / "out"
    process = start(folder, *SLOW, "--processes", str(jobs), **cache)
    assert until(lambda: lines(folder) >= 2 or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    assert len(processes_of(folder)) >= jobs
    err = ended(process, folder, sig)
    assert process.returncode == STATUS[sig], err
    if sig != "SIGKILL":
        assert "rows are safe" in err
        assert "Traceback" not in err
    rows = read_rows(folder) if lines(folder) else []
    assert len(rows) >= 2
    with ResultStore(folder) as store:  # released, and whole but for a last line
        assert len(store.rows) >= 2


def disturbed(tmp_path: Path, times: int, seed: int) -> None:
    """Ends a sweep at random moments, starts it again, and looks at the rows."""
    draw = random.Random(seed)
    folder = tmp_path / "out"
    words = (
        "--models", "all", "--plan-only", "--arches", "wormhole_b0,blackhole",
        "--weights-dtypes", "bf16,bfp8,fp32", "--fidelities", "lofi,hifi4",
    )  # fmt: skip
    kept: list[str] = []
    for number in range(times):
        sig, jobs = draw.choice(KILLS)
        process = start(folder, *words, "--processes", str(jobs))
        time.sleep(draw.uniform(0.2, 2.5))
        running = process.poll() is None
        err = ended(process, folder, sig) if running else process.communicate()[1]
        assert process.returncode in (STATUS[sig], -getattr(signal, sig), 0), err
        assert "Traceback" not in err or process.returncode < 0, (number, err)
        if not (folder / "rows.jsonl").exists():
            continue
        with ResultStore(folder) as store:
            found = list(store.rows)
        assert found[: len(kept)] == kept, number
        kept = found
        drafts = [path.name for path in folder.iterdir() if path.name.startswith(".")]
        assert drafts == []
        if process.returncode == 0:
            shutil.rmtree(folder)
            kept = []


def test_ends_at_random_moments_lose_nothing_and_leave_nothing(tmp_path):
    disturbed(tmp_path, 8, seed=0)


@pytest.mark.slow
def test_200_ends_at_random_moments_lose_nothing_and_leave_nothing(tmp_path):
    disturbed(tmp_path, 200, seed=1)


def test_a_killed_worker_loses_no_row(tmp_path):
    folder = tmp_path / "out"
    process = start(
        folder, *SLOW, "--schemes", "height,block", "--processes", "2",
        JAXDW_CACHE=str(tmp_path / "cache"),
    )  # fmt: skip
    assert until(lambda: lines(folder) >= 1 or process.poll() is not None)
    worker = one_of(folder, b"spawn_main")
    assert worker is not None
    os.kill(worker, signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "46 points: 34 pass, 12 refused" in out
    assert len({row["key"] for row in read_rows(folder)}) == 46


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_a_scheduler_that_never_answers_is_one_sentence(tmp_path):
    pytest.importorskip("distributed")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        process = start(
            tmp_path / "out", "--models", "mobilenet_v2", "--plan-only",
            "--dask", f"tcp://127.0.0.1:{port}",
        )  # fmt: skip
        asked = time.monotonic()
        _, err = process.communicate(timeout=90)
    assert process.returncode == 2, err
    assert time.monotonic() - asked < 60
    (sentence,) = [line for line in err.splitlines() if line.startswith("jaxdw:")]
    assert f"`--dask` (=tcp://127.0.0.1:{port}) does not answer" in sentence
    assert "Traceback" not in err


def test_a_scheduler_lost_while_rows_arrive_is_one_sentence(tmp_path):
    pytest.importorskip("distributed")
    folder = tmp_path / "out"
    space = ("--models", "mobilenet_v2", "--schemes", "height,block", *SLOW[2:])
    with cluster(JAXDW_CACHE=str(tmp_path / "cache")) as (address, scheduler):
        process = start(folder, *space, "--dask", address)
        assert until(lambda: lines(folder) >= 2 or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        scheduler.kill()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 2, (out, err)
    (sentence,) = [line for line in err.splitlines() if line.startswith("jaxdw:")]
    assert "rows kept before are safe: start them anew" in sentence
    assert "Traceback" not in err
    assert processes_of(folder) == []
    kept = read_rows(folder)
    assert len(kept) >= 2
    assert {row["status"] for row in kept} <= {"pass", "refused"}
    out, err = start(folder, *space, "--processes", "1").communicate(timeout=300)
    assert "20 points: 19 pass, 1 refused" in out, err
    assert read_rows(folder)[: len(kept)] == kept


DISK = """
import pathlib, sys
import jaxdw as jd
from jaxdw.sweep.results import ResultStore, read_rows
from jaxdw.sweep.rows import NAMES, SCHEMA
from jaxdw.files import whole_file

folder = pathlib.Path(sys.argv[1]) / "out"
def row(n):
    values = dict.fromkeys(NAMES) | {"schema": SCHEMA, "key": str(n), "layer": "l"}
    return values | {"model": "m" * 500, "status": "pass"}

def refused(call):
    try:
        call()
    except jd.ConfigError as error:
        return str(error)
    raise AssertionError("the disk was not full")

with ResultStore(folder) as store:
    kept = 0
    try:
        while True:
            store.append([row(kept)])
            kept += 1
    except jd.ConfigError as error:
        assert "No space left" in str(error) and f"{kept} rows" in str(error), error
    keys = [str(n) for n in range(kept)]
    assert kept > 3 and [r["key"] for r in read_rows(folder)] == keys
    assert "make room" in refused(store.export)
    def page():
        with whole_file(folder / "page.html") as draft:
            draft.write_text("x" * 10**6)
    assert "make room" in refused(page)
    assert "make room" in refused(lambda: store.drop(["0"]))
assert [r["key"] for r in read_rows(folder)] == keys
names = sorted(p.name for p in folder.iterdir())
assert names == ["rows.jsonl"], names
print("safe", kept)
"""


def test_a_disk_that_is_really_full_loses_no_row(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    program = tmp_path / "fill.py"
    program.write_text(DISK)
    mounted = 'mount -t tmpfs -o size=64k none "$1" && exec "$2" "$3" "$1"'
    command = ["unshare", "-rm", "sh", "-c", mounted, "sh", disk, sys.executable]
    tried = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", disk]
    if shutil.which("unshare") is None or subprocess.run(tried).returncode:
        pytest.skip("no mount of one's own here")
    done = subprocess.run(
        [*command, program],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("safe")
