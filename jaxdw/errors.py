"""Typed refusals: what no device could run, and what jaxdw does not model."""

import contextlib
from collections.abc import Iterator


class ConfigError(ValueError):
    """No real device could run this; the message names value, rule and way out."""


class UnsupportedError(NotImplementedError):
    """A device could run this, but jaxdw does not model it."""


def refuse(problems: list[str]) -> None:
    """Raises one `ConfigError` that holds every problem, or returns if there are none.

    Raises:
      ConfigError: one line for each problem, in the order given.
    """
    if problems:
        raise ConfigError("\n".join(problems))


def range_problem(name: str, value: int, limit: int) -> list[str]:
    """Returns one sentence if `value` is not one of 0 to `limit - 1`."""
    if 0 <= value < limit:
        return []
    legal = f"0 to {limit - 1}" if limit > 1 else "0"
    return [f"`{name}` (={value}) must be one of {limit}; use {legal}"]


@contextlib.contextmanager
def needing(extra: str, *modules: str) -> Iterator[None]:
    """Says which extra to install, of imports inside that lack its modules.

    Raises:
      ConfigError: one of `modules` is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in modules:
            raise
        raise ConfigError(f"this needs {module}; use `{installing(extra)}`") from error


def installing(extra: str) -> str:
    """Returns the command that adds an extra to this very installation."""
    import importlib.metadata
    import json
    from urllib.parse import unquote, urlparse

    found = importlib.metadata.distribution("jaxdw").read_text("direct_url.json")
    origin = json.loads(found) if found else {}
    url = urlparse(origin.get("url", ""))
    if url.scheme != "file":
        return f"pip install 'jaxdw[{extra}]'"
    editable = "-e " if origin.get("dir_info", {}).get("editable") else ""
    return f"pip install {editable}'{unquote(url.path)}[{extra}]'"
