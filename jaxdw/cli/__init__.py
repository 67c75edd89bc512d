"""The command `jaxdw`. JAX is imported after the arguments are parsed."""

import argparse
import os
import sys
from collections.abc import Sequence

from jaxdw.cli import (
    accuracy,
    certify,
    diff,
    explain,
    faults,
    plan,
    results,
    run,
    sweep,
)
from jaxdw.errors import ConfigError, UnsupportedError
from jaxdw.launch.cache import cache_directory, cache_settings
from jaxdw.launch.memory import keep_memory

REFUSED = 2
BROKEN_PIPE = 141  # as a shell says of a process that SIGPIPE ended


class _Version(argparse.Action):
    """Prints the package's version; looking it up takes as long as all of the start."""

    def __call__(self, parser, *_):
        import importlib.metadata

        print(f"jaxdw {importlib.metadata.version('jaxdw')}")
        parser.exit()


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of every command; `args.command` does the work."""
    parser = argparse.ArgumentParser(
        prog="jaxdw",
        description="Emulates Tenstorrent's sharded depthwise conv2d, byte by byte.",
    )
    parser.add_argument("--version", action=_Version, nargs=0)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for room in (run, plan, sweep, accuracy, results, explain, certify, diff, faults):
        room.add(commands)
    return parser


def command() -> int:
    """Runs the process `jaxdw`: the programs it compiles are kept for the next one."""
    keep_memory()
    for name, value in cache_settings(cache_directory()).items():
        os.environ.setdefault(name.upper(), str(value))
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # who reads, `head` for one, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = BROKEN_PIPE
    return status


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    args = make_parser().parse_args(argv)
    try:
        return args.command(args)
    except (ConfigError, UnsupportedError) as error:
        print(f"jaxdw: {error}", file=sys.stderr)
        return REFUSED
