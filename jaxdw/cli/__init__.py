"""The command `jaxdw`. JAX is imported after the arguments are parsed."""

import argparse
import os
import sys
from collections.abc import Sequence

from jaxdw.cli import (
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
from jaxdw.machine.cache import cache_directory, cache_settings

REFUSED = 2


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of every command; `args.command` does the work."""
    parser = argparse.ArgumentParser(
        prog="jaxdw",
        description="Emulates Tenstorrent's sharded depthwise conv2d, byte by byte.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for room in (run, plan, sweep, results, explain, certify, diff, faults):
        room.add(commands)
    return parser


def command() -> int:
    """Runs the process `jaxdw`: the programs it compiles are kept for the next one."""
    for name, value in cache_settings(cache_directory()).items():
        os.environ.setdefault(name.upper(), str(value))
    return main()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    args = make_parser().parse_args(argv)
    try:
        return args.command(args)
    except (ConfigError, UnsupportedError) as error:
        print(f"jaxdw: {error}", file=sys.stderr)
        return REFUSED
