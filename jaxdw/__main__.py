"""The process `jaxdw`, also as `python -m jaxdw`."""

import atexit
import os
import signal
import sys
from typing import NoReturn

LAST_WORDS = {
    signal.SIGINT: b"jaxdw: interrupted\n",
    signal.SIGTERM: b"jaxdw: terminated\n",
}


def main() -> NoReturn:
    """Runs the command and ends the process.

    SIGINT and SIGTERM are one line from the first moment on. They end the process
    at once: an exception in the midst of an import, or of a call from C++, would come
    out as an abort or as pages of traceback. A command with something to save takes the
    exception (`jaxdw.cli.options.interruptible`).

    What was registered with `atexit` is done; Python's own end, which takes apart all
    that was ever imported, is left out: 0.2 s.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as by `>&-`: nobody will read it
            setattr(sys, name, open(os.devnull, "w"))
    for number in LAST_WORDS:
        signal.signal(number, _end)
    from jaxdw.launch.memory import collect_rarely

    collect_rarely()
    from jaxdw.cli import command

    status = command()
    try:
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(status)


def _end(number: int, _: object) -> None:
    os.write(sys.stderr.fileno(), LAST_WORDS[signal.Signals(number)])
    files = sys.modules.get("jaxdw.files")
    if files is not None:
        files.drop_drafts()
    os._exit(128 + number)  # as a shell says of a process that a signal ended


if __name__ == "__main__":
    main()
