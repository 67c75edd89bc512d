"""The real ttnn-visualizer, in an environment of its own, served on loopback."""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

WHEEL = "ttnn-visualizer==0.108.0"
_SECONDS = 60


class Server:
    """One server, of one report."""

    def __init__(self, url: str, instance: str):
        self.url, self.instance = url, instance

    def ask(self, path: str) -> Any:
        """Returns the JSON of its API."""
        return json.loads(self._get(f"/api/{path}?instanceId={self.instance}"))

    def page(self, path: str) -> str:
        """Returns the address of one of its pages."""
        return f"{self.url}/{path}?instanceId={self.instance}"

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=_SECONDS) as answer:
            return answer.read()


def _python() -> Path:
    """Returns the interpreter of an environment with the viewer, made once.

    `JAXDW_VISUALIZER_VENV` names one that is there already. Skips where the wheel
    cannot be installed.
    """
    named = os.environ.get("JAXDW_VISUALIZER_VENV")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    venv = Path(named) if named else home / "jaxdw-tests" / WHEEL
    python = venv / "bin" / "python"
    venv.parent.mkdir(parents=True, exist_ok=True)
    with venv.with_suffix(".lock").open("w") as lock:  # several workers, one install
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install(venv, python, named is not None)
    return python


def _install(venv: Path, python: Path, named: bool) -> None:
    if not (venv / "bin" / "ttnn-visualizer").exists():
        if named:
            pytest.skip(f"no ttnn-visualizer in {venv}")
        shutil.rmtree(venv, ignore_errors=True)
        made = [sys.executable, "-m", "venv", str(venv)]
        installed = [str(python), "-m", "pip", "install", "-q", WHEEL]
        for command in (made, installed):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                shutil.rmtree(venv, ignore_errors=True)
                pytest.skip(f"{WHEEL} cannot be installed: {done.stderr[-300:]}")


def serve(report: Path, folder: Path) -> Iterator[Server]:
    """Yields a server of a report; its own files go into `folder`."""
    python = _python()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {
        "LAUNCH_BROWSER_ON_START": "false",
        "USAGE_RECORDING_DISABLED": "true",
        "APP_DATA_DIRECTORY": str(folder / "app"),
        "REPORT_DATA_DIRECTORY": str(folder / "reports"),
    }
    for name in ("app", "reports"):
        (folder / name).mkdir(parents=True)
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [
                python.with_name("ttnn-visualizer"),
                *f"--host 127.0.0.1 --port {port}".split(),
            ],
            env=os.environ | quiet,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            yield Server(url, _instance(url, report, process, folder / "log.txt"))
        finally:
            os.killpg(process.pid, 15)
            process.wait(timeout=30)


def _instance(url: str, report: Path, process: subprocess.Popen, log: Path) -> str:
    body = json.dumps({"profiler_path": str(report)}).encode()
    request = urllib.request.Request(
        f"{url}/api/instance/local-paths",
        data=body,
        headers={"Content-Type": "application/json"},
    )
    until = time.monotonic() + _SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                return json.loads(answer.read())["instance_id"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
