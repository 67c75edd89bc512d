"""No file to write may be one that the same command line reads, keeps or writes."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from jaxdw.cli.vocabulary import OPTIONS
from jaxdw.files import refuse_to_replace
from jaxdw.sweep.results import FILES

_OF_ACCURACY = ("accuracy.jsonl", "recommended.toml", "recommended_ttnn.py")
_OF_NPE = (".halo.json", ".dram.json", ".multicast.json")
_OF_VISUALIZER = ("db.sqlite", "config.json")
# what else is written with one option, and read or kept with another
_WRITTEN: dict[str, Callable[[Path], list[Path]]] = {
    "--html": lambda path: [path],
    "--save": lambda path: [path],
    "--lock": lambda path: [path],
    "--annotate": lambda path: [path],
    "--npe": lambda path: [path, *map(path.with_suffix, _OF_NPE)],
    "--visualizer": lambda path: [path / name for name in _OF_VISUALIZER],
}
_HELD: dict[str, Callable[[Path], list[Path]]] = {
    "--out": lambda path: [path / name for name in (*FILES, *_OF_ACCURACY)],
    "--samples": lambda path: [*path.glob("*.np[yz]")],
    "--calibration": lambda path: [*path.glob("*.np[yz]")],
}


def refuse_named_twice(
    parser: argparse.ArgumentParser, args: argparse.Namespace, words: Sequence[str]
) -> None:
    """Refuses, before the work, a file to write that `words` name in another way.

    Args:
      parser: of the command; words: as they were given.

    Raises:
      ConfigError: such a file, by whatever name.
    """
    for option, files in _WRITTEN.items():
        given = getattr(args, OPTIONS[option].dest, None)
        if not given:
            continue
        for other, path in _named(parser, words):
            if other != option:
                what = f"the file of `{other}`" if other else "a file that is read"
                for file in files(Path(given)):
                    refuse_to_replace(option, file, {what: path})
                    if path.suffix == ".onnx":
                        refuse_weights(option, file, path)


def refuse_weights(option: str, file: Path, model: Path) -> None:
    """Refuses a file to write that a network beside it names, as it does its weights.

    The network is searched for the name: it is not to be read here.

    Raises:
      ConfigError: such a file.
    """
    if not (file.is_file() and model.is_file()):
        return
    folder, weights = model.resolve().parent, file.resolve()
    names = {path for path in folder.iterdir() if path.is_symlink()} | {weights}
    beside = [
        name.relative_to(folder).as_posix().encode()
        for name in names
        if name.is_relative_to(folder) and name.resolve() == weights
    ]
    held = model.read_bytes() if beside else b""
    if any(name in held for name in beside):
        refuse_to_replace(option, file, {f"a file that {model} names": weights})


def _named(
    parser: argparse.ArgumentParser, words: Sequence[str]
) -> Iterator[tuple[str, Path]]:
    """Yields every path that words may name, and the option that it stands behind."""
    options, before = parser._option_string_actions, ""
    for word in words:
        name, equals, value = word.partition("=")
        if name in options and not equals:
            before = "" if options[name].nargs == 0 else options[name].option_strings[0]
            continue
        if name in options:
            before = options[name].option_strings[0]
        else:
            value = word
        for path in _paths(value):
            yield before, path
            for file in _HELD.get(before, lambda _: [])(path):
                yield before, file
        before = ""


def _paths(value: str) -> Iterator[Path]:
    """Yields what of a value may be a path: itself, a list's parts, NAME=FILE, a:b."""
    for part in {value, *value.split(",")}:
        for text in {part, part.rpartition("=")[2], part.rpartition(":")[0]} - {""}:
            if "\0" not in text:
                yield Path(text)
