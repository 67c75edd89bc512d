"""The process `jaxdw`, also as `python -m jaxdw`."""

import os
import signal
import sys

INTERRUPTED = 130  # as a shell says of a process that SIGINT ended


def main() -> int:
    """Runs the command; an interrupt is one line from the first moment on.

    It ends the process at once: an exception in the midst of an import, or of a call
    from C++, would come out as an abort or as pages of traceback. A command with
    something to save takes the exception (`jaxdw.cli.options.interruptible`).
    """
    signal.signal(signal.SIGINT, _end)
    from jaxdw.cli import command

    return command()


def _end(*_: object) -> None:
    os.write(sys.stderr.fileno(), b"jaxdw: interrupted\n")
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
