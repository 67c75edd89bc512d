"""Processes of this machine that end with the one that started them."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from jaxdw.errors import ConfigError
from jaxdw.launch.memory import collect_rarely, keep_memory

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

_GONE_S = 1.0  # that a killed process may take to be gone


class Terminated(KeyboardInterrupt):
    """The process was told to end, as an interrupt does: by SIGTERM."""


@contextlib.contextmanager
def ends_by_sigterm() -> Iterator[None]:
    """Raises `Terminated` inside when SIGTERM arrives; in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def lost(why: Exception) -> ConfigError:
    """Returns the refusal of an executor that will not do what it still has."""
    return ConfigError(
        f"the workers were lost ({type(why).__name__}) with what they still had; rows "
        "kept before are safe: start them anew, the same command goes on"
    )


@contextlib.contextmanager
def worker_pool(processes: int) -> Iterator["ProcessPoolExecutor"]:
    """Gives a pool whose processes are gone at the end, whatever they are doing."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=_begin
    )
    try:
        yield pool
    finally:
        workers = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.join(_GONE_S)


def _begin() -> None:
    keep_memory()
    collect_rarely()
    _end_with_parent()


def _end_with_parent() -> None:
    """Ends this process when its parent is gone; the parent answers interrupts."""
    from multiprocessing import connection, parent_process

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
