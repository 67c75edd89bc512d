"""Commands in processes of their own, told to end, and whoever they started."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
# a process started in the background may have been told to ignore interrupts
JAXDW = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from jaxdw.__main__ import main; sys.exit(main())"
)
GONE_S = 3.0
STATUS = {"SIGTERM": 143, "SIGINT": 130, "SIGKILL": -9}


def started(
    mark: Path, *words: str, program: str = JAXDW, **env: str
) -> subprocess.Popen:
    """Starts a command; `mark` is how `processes_of` knows what it starts."""
    marked = {"PYTHONPATH": str(ROOT), "JAXDW_MARK": str(mark)}
    return subprocess.Popen(
        [sys.executable, "-c", program, *words],
        env=os.environ | marked | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes_of(mark: Path) -> list[int]:
    """Returns the processes that run and were started under a mark."""
    named, found = f"JAXDW_MARK={mark}".encode(), []
    for entry in Path("/proc").iterdir():
        try:
            if named in (entry / "environ").read_bytes().split(b"\0"):
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                found += [int(entry.name)] if state != "Z" else []
        except (OSError, ValueError):
            continue
    return found


def one_of(mark: Path, word: bytes) -> int | None:
    """Returns a process under a mark with a word in its command."""
    for pid in processes_of(mark):
        try:
            if word in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        except OSError:
            continue
    return None


def until(condition, seconds: float = 120.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def ended(process: subprocess.Popen, mark: Path, sig: str) -> str:
    """Sends a signal, and returns what the process says before all of it is gone."""
    process.send_signal(getattr(signal, sig))
    told = time.monotonic()
    _, err = process.communicate(timeout=30)
    assert until(lambda: not processes_of(mark), GONE_S), processes_of(mark)
    assert time.monotonic() - told < GONE_S + 2  # of a busy machine
    return err


@contextlib.contextmanager
def cluster(**env: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """Gives the address of a Dask scheduler with one worker, and the scheduler."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    dask = (sys.executable, "-m", "dask")
    started = {"env": os.environ | {"PYTHONPATH": str(ROOT)} | env}
    started |= dict.fromkeys(("stdout", "stderr"), subprocess.DEVNULL)
    words = ("--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    scheduler = subprocess.Popen([*dask, "scheduler", *words], **started)
    address = f"tcp://127.0.0.1:{port}"
    words = (address, "--nthreads", "1", "--no-nanny", "--no-dashboard")
    worker = subprocess.Popen([*dask, "worker", *words], **started)
    try:
        yield address, scheduler
    finally:
        for one in (worker, scheduler):
            one.kill()
            one.wait()
