"""What may stand behind an option: each parser reads one word or says what it lacks."""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from jaxdw.errors import ConfigError
from jaxdw.plan.choices import CHOICES
from jaxdw.sweep.axes import parted
from jaxdw.words import meant, nearest


def refused(text: str, rule: str) -> argparse.ArgumentTypeError:
    """Returns the refusal of a word: its rule, and a way out."""
    return argparse.ArgumentTypeError(f"{text!r} must be {rule}")


def whole(least: int) -> Callable[[str], int]:
    """Returns the parser of an integer from `least` up."""

    def integer(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise refused(text, f"an integer >= {least}; try {least}")
        return int(text)

    return integer


seed = whole(0)


def sizes(text: str) -> tuple[int, ...]:
    """Returns integers joined by x."""
    try:
        return parted(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def pair(text: str) -> tuple[int, ...]:
    """Returns integers joined by x, one of them for both axes."""
    found = sizes(text)
    return found * 2 if len(found) == 1 else found


def padding(text: str) -> str | int | tuple[int, ...]:
    """Returns a padding: a number, integers joined by x, or a word."""
    if text.lower() in ("same", "valid"):
        return text.lower()
    try:
        found = parted(text)
    except ConfigError:
        near = "same, valid" if text.isalpha() else "1, 1x1, 0x1x0x1"
        raise refused(
            text, f"P, HxW, TOPxBOTTOMxLEFTxRIGHT, same or valid; try {near}"
        ) from None
    return found[0] if len(found) == 1 else found


def count_or_grid(text: str) -> int | tuple[int, ...]:
    """Returns a number, or integers joined by x."""
    found = sizes(text)
    return found[0] if len(found) == 1 else found


def core(text: str) -> int | tuple[int, ...]:
    """Returns a core: its number, or its logical (x, y)."""
    try:
        found = parted(text)
    except ConfigError:
        found = ()
    if len(found) not in (1, 2):
        raise refused(text, "X,Y or the number of a core; try 0,0")
    return found[0] if len(found) == 1 else found


def integers(form: str) -> Callable[[str], tuple[int, ...]]:
    """Returns the parser of integers joined by commas, as many as `form` has."""

    def read(text: str) -> tuple[int, ...]:
        try:
            values = tuple(int(part, 0) for part in text.split(","))
        except ValueError:
            values = ()
        if len(values) != form.count(",") + 1:
            near = ",".join("0" for _ in form.split(","))
            raise refused(text, f"integers {form}; try {near}")
        return values

    return read


def number(text: str) -> int:
    """Returns an integer, in hexadecimal too."""
    try:
        return int(text, 0)
    except ValueError:
        raise refused(text, "an integer, such as 0x1d4da0") from None


def address(text: str) -> tuple[bool, int]:
    """Returns whether an address counts from the base, and its bytes."""
    relative = text.replace(" ", "").lower().removeprefix("base")
    try:
        return relative != text.replace(" ", "").lower(), int(relative or "0", 0)
    except ValueError:
        raise refused(text, "bytes, 0x1d55a0 or base+2048") from None


def named_sizes(text: str) -> tuple[str, tuple[int, ...]]:
    """Returns a name and its integers joined by x."""
    name, equals, shape = text.rpartition("=")
    if not equals or not name:
        raise refused(text, "NAME=1x3x224x224")
    found = sizes(shape)
    if min(found) < 1:
        raise refused(text, "a name and sizes >= 1; try NAME=1x3x224x224")
    return name, found


def words(text: str) -> tuple[str, ...]:
    """Returns words joined by commas."""
    return tuple(word.strip() for word in text.split(","))


def of_field(field: str, legal: tuple[object, ...] = ()) -> Callable[[str], Any]:
    """Returns the parser of a config's field that takes one of few values.

    A word that stands for none is left to the config, which refuses all that is wrong
    at once. Of words joined by commas each is read.
    """
    legal = legal or CHOICES[field]

    def read(text: str) -> Any:
        found = [meant(field, word.strip(), legal) for word in text.split(",")]
        return found[0] if len(found) == 1 else ",".join(map(str, found))

    return read


def one_of(*choices: str) -> Callable[[str], str]:
    """Returns the parser of one of few words, in any case, dashes for spaces."""

    def read(text: str) -> str:
        word = text.lower().replace(" ", "-").replace("_", "-")
        if word not in choices:
            near = nearest(word, choices)
            raise refused(text, f"one of {', '.join(choices)}; try {near}")
        return word

    return read


def folder(path: str) -> str:
    """Returns a path that is not empty, nor that of a file."""
    if not path:
        raise refused(path, "a folder; try . for this one")
    if Path(path).exists() and not Path(path).is_dir():
        raise refused(path, "a folder, not a file; name another")
    return path


def file_to_write(path: str) -> str:
    """Returns a path whose folder exists: better refused now than after the work."""
    if not Path(path).absolute().parent.is_dir():
        raise refused(path, "in a folder that exists; make it or name another")
    if Path(path).is_dir():
        raise refused(path, "a file, not a folder; name a file in it")
    return path


def file_to_read(path: str) -> str:
    """Returns the path of a file that exists."""
    if Path(path).is_file():
        return path
    raise refused(path, f"a file that exists{_beside(path)}")


def tensor_file(path: str) -> str:
    """Returns the path of a file of tensors that exists, `file.npz:name` too."""
    folder = path.rpartition(":")[0]
    return path if folder and Path(folder).is_file() else file_to_read(path)


def _beside(path: str) -> str:
    """Returns a way out: a file of that kind in the folder, if there is one."""
    folder, suffix = Path(path).absolute().parent, Path(path).suffix
    found: Iterable[str] = (p.name for p in folder.glob(f"*{suffix}") if p.is_file())
    names = sorted(found)[:1000]
    return f"; try {folder.joinpath(nearest(Path(path).name, names))}" if names else ""
