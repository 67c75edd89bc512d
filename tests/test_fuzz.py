"""Whatever a file holds is read or refused by type, and in time."""

import random
import signal
from pathlib import Path

import pytest
from fuzz import PARSERS, Parser, mutated, seeds, untyped

AT_ONCE_S = 20
CI, ALL = 3_000, 20_000
OF_CI = random.Random(7).randrange(2**32)


def mutations(parser: Parser, number: int, seed: int):
    """Yields mutations of a parser's good files, the same for the same seed."""
    draw = random.Random(f"{parser.name} {seed}")
    good = seeds(parser.name)
    for _ in range(max(1, round(number * parser.share))):
        yield mutated(draw.choice(good), draw)


def check(parser: Parser, number: int, seed: int, folder: Path) -> int:
    def late(*_):
        raise TimeoutError(f"not read in {AT_ONCE_S} s")

    before = signal.signal(signal.SIGALRM, late)
    done = 0
    try:
        for data in mutations(parser, number, seed):
            signal.alarm(AT_ONCE_S)
            why = untyped(parser, data, folder)
            signal.alarm(0)
            assert why is None, (parser.name, why, data[:2000])
            done += 1
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return done


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_what_broke_a_reader_once_is_read_or_refused(parser, tmp_path):
    assert seeds(parser.name)
    for data in seeds(parser.name):
        assert untyped(parser, data, tmp_path) is None


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_a_few_thousand_mutations_are_read_or_refused(parser, tmp_path):
    assert check(parser, CI, OF_CI, tmp_path) >= 15


@pytest.mark.slow
def test_20000_mutations_are_read_or_refused(tmp_path):
    assert sum(check(parser, ALL, 1, tmp_path) for parser in PARSERS) >= ALL


def test_mutations_differ_and_most_break_what_they_change():
    parser = PARSERS[0]
    found = list(mutations(parser, 400, 0))
    assert len({*found}) > 90
    assert not {*found} & {*seeds(parser.name)}
