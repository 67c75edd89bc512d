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
from jaxdw.escapes import escaped_output, visible
from jaxdw.launch.cache import cache_directory, cache_settings, own_folder

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
    for room in (run, plan, sweep, results, explain, certify, diff, faults):
        room.add(commands)
    return parser


def command() -> int:
    """Runs the process `jaxdw`: the programs it compiles are kept for the next one."""
    # it moves what it reads and prints, whatever other programs are to move
    os.environ["JAX_TRANSFER_GUARD"] = "allow"
    directory = cache_directory()
    for name, value in cache_settings(directory).items():
        os.environ.setdefault(name.upper(), str(value))
    try:
        if os.environ["JAX_COMPILATION_CACHE_DIR"] == str(directory):
            own_folder(directory)
    except ConfigError as error:
        print(f"jaxdw: {visible(str(error))}", file=sys.stderr)
        return REFUSED
    try:
        try:
            status = main()
        except SystemExit as asked:  # of --help, or of words that are no command
            status = asked.code if isinstance(asked.code, int) else REFUSED
        except KeyboardInterrupt as why:
            status = sweep.status_of(why)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads, `head` for one, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = BROKEN_PIPE
    if status in (sweep.INTERRUPTED, sweep.TERMINATED):
        sys.stderr.flush()
        os._exit(status)  # threads of XLA may be in the middle of something
    return status


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    with escaped_output():
        args = make_parser().parse_args(argv)
        try:
            return args.command(args)
        except (ConfigError, UnsupportedError) as error:
            print(f"jaxdw: {error}", file=sys.stderr)
            return REFUSED
