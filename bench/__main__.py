"""The command `python -m bench`."""

import argparse

from bench import arithmetic, conv, plans, scale, stages, sweep
from bench.harness import enough_runs, warn_of_load
from jaxdw.cli.values import file_to_write
from jaxdw.errors import ConfigError

BENCHES = {
    "conv": conv,
    "stages": stages,
    "sweep": sweep,
    "scale": scale,
    "arithmetic": arithmetic,
    "plans": plans,
}


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench")
    commands = parser.add_subparsers(dest="bench", required=True)
    for name, module in BENCHES.items():
        about = (module.__doc__ or "").splitlines()[0]
        command = commands.add_parser(name, help=about, description=module.__doc__)
        command.add_argument(
            "--runs", type=enough_runs, default=9, help="timed runs, at least 7"
        )
        command.add_argument(
            "--json", type=file_to_write, metavar="FILE", help="not stdout"
        )
        if hasattr(module, "add_options"):
            module.add_options(command)
    return parser


def main() -> None:
    parser = make_parser()
    args = parser.parse_args()
    warn_of_load()
    try:
        BENCHES[args.bench].main(args)
    except ConfigError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
