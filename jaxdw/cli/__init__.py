"""The command `jaxdw`. JAX is imported after the arguments are parsed."""

import argparse
import errno
import os
import sys
from collections.abc import Sequence

from jaxdw.cli import (
    accuracy,
    certify,
    diff,
    doctor,
    explain,
    faults,
    listings,
    of_model,
    paste,
    plan,
    results,
    run,
    sweep,
)
from jaxdw.cli.options import notes
from jaxdw.cli.overwriting import refuse_named_twice
from jaxdw.cli.parser import REFUSED, Parser, verbs
from jaxdw.cli.spelling import spelt
from jaxdw.errors import ConfigError, UnsupportedError
from jaxdw.escapes import escaped_output, visible
from jaxdw.launch.cache import (
    cache_directory,
    cache_settings,
    keep_programs,
    own_folder,
)
from jaxdw.launch.memory import keep_memory
from jaxdw.words import nearest

BROKEN_PIPE = 141  # as a shell says of a process that SIGPIPE ended
ROOMS = (
    plan, run, explain, certify, diff, faults, sweep, accuracy, results, listings,
    doctor,
)  # fmt: skip


class _Version(argparse.Action):
    """Prints the package's version; looking it up takes as long as all of the start."""

    def __call__(self, parser, *_):
        import jaxdw

        print(f"jaxdw {jaxdw.__version__}")
        parser.exit()


def make_parser() -> Parser:
    """Returns the parser of every command; `args.command` does the work."""
    parser = Parser(
        prog="jaxdw",
        description="Emulates Tenstorrent's sharded depthwise conv2d, byte by byte.",
        usage="jaxdw COMMAND [options]",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show it, and exit")
    commands = parser.add_subparsers(
        required=True, metavar="COMMAND", dest="verb", prog="jaxdw"
    )
    for room in ROOMS:
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
        keep_memory()
        if os.environ["JAX_COMPILATION_CACHE_DIR"] == str(directory):
            keep_programs(own_folder(directory))
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
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"jaxdw: the output cannot be written: {error}", file=sys.stderr)
        status = REFUSED
    if status in (sweep.INTERRUPTED, sweep.TERMINATED):
        sys.stderr.flush()
        os._exit(status)  # threads of XLA may be in the middle of something
    return status


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    with escaped_output():
        return _main(sys.argv[1:] if argv is None else list(argv))


def _main(words: Sequence[str]) -> int:
    parser = make_parser()
    if not words or words == ["help"]:
        parser.print_help()
        return 0
    if words[0] == "help":
        words = [*words[1:], "--help"]
    _refuse_verb(parser, words)
    options: dict[str, str] = {}
    given: Sequence[str] = ()
    try:
        args = parser.parse_args(paste.expanded(of_model.expanded(words)))
        own = verbs(parser)[args.verb]
        options, given = _options(own), getattr(args, "given", ())
        refuse_named_twice(own, args, words[words.index(args.verb) + 1 :])
        for note in notes(args, _typed(own, words)):
            print(f"note: {note}", file=sys.stderr)
        return args.command(args)
    except (ConfigError, UnsupportedError) as error:
        print(f"jaxdw: {spelt(str(error), options, given)}", file=sys.stderr)
        return REFUSED


def _refuse_verb(parser: Parser, words: Sequence[str]) -> None:
    known = verbs(parser)
    verb = next((word for word in words if not word.startswith("-")), None)
    if verb is None and words[0] not in ("-h", "--help", "--version"):
        parser.error(f"`{words[0]}` is no option of jaxdw alone; try --help")
    if verb is not None and verb not in known:
        parser.error(f"`{verb}` is no command; try {nearest(verb, known)}")


def _typed(parser: Parser, words: Sequence[str]) -> list[str]:
    """Returns the options among words by their first names: not what a paste says."""
    actions = parser._option_string_actions
    typed = (word.partition("=")[0] for word in words)
    return [actions[name].option_strings[0] for name in typed if name in actions]


def _options(parser: Parser) -> dict[str, str]:
    """Returns a command's options by the names of the fields that they fill."""
    found = {}
    for action in parser._actions:
        for name in action.option_strings:
            if name.startswith("--"):
                found[name.removeprefix("--").replace("-", "_")] = (
                    action.option_strings[0]
                )
        if not action.option_strings:
            found[action.dest] = str(action.metavar)
    return found
