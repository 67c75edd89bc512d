"""The command `python -m bench`."""

import argparse

from bench import arithmetic, plans

BENCHES = {"arithmetic": arithmetic.main, "plans": plans.main}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("bench", choices=BENCHES)
    parser.add_argument("--runs", type=int, default=9, help="timed runs, at least 7")
    args = parser.parse_args()
    if args.runs < 7:
        parser.error(f"--runs (={args.runs}) must be at least 7")
    BENCHES[args.bench](args.runs)


if __name__ == "__main__":
    main()
