"""`jaxdw doctor`, `schema`, `completion`: what is installed, and how to build on it."""

import argparse
import importlib.metadata
import json
import os
import platform
import re
from pathlib import Path
from typing import Any

from jaxdw.cli.parser import take, verbs
from jaxdw.cli.schemas import SCHEMAS, json_schema
from jaxdw.errors import installing, needing, refuse
from jaxdw.launch.cache import cache_directory
from jaxdw.plan.choices import CHOICES
from jaxdw.plan.problems import choice_problem

OK, LACKING = 0, 1
# what an extra of another package adds
_PLUGINS = {"jax[cuda12]": "jax-cuda12-plugin"}
SHELLS = ("bash", "zsh", "fish")


def add(commands) -> None:
    """Adds the commands to a parser's commands."""
    doctor = commands.add_parser(
        "doctor",
        help="what is installed: versions, extras, devices, the cache of programs",
        description="Says what this installation has and how to add what it lacks: "
        "exit status 0, or 1 if jaxdw itself cannot work.",
    )
    take(doctor, "--json")
    doctor.set_defaults(command=_doctor)
    schema = commands.add_parser(
        "schema",
        help="the JSON schema of what --json prints",
        description="Prints a JSON Schema of one command's --json, or of all.",
    )
    schema.add_argument("of", metavar="COMMAND", nargs="?", help="such as plan")
    schema.set_defaults(command=_schema)
    completion = commands.add_parser(
        "completion",
        help="a script that completes commands and options in a shell",
        description="Prints the script; the help's examples say where to put it. Needs "
        "the extra completion.",
    )
    completion.add_argument("shell", metavar="SHELL", help=", ".join(SHELLS))
    completion.set_defaults(command=_completion)


def _doctor(args: argparse.Namespace) -> int:
    facts: dict[str, Any] = {
        "jaxdw": importlib.metadata.version("jaxdw"),
        "python": platform.python_version(),
        "installed": installing("EXTRA"),
        "packages": _packages(),
        "extras": _extras(),
        **_devices(),
        "cache": _cache(),
    }
    if args.json:
        print(json.dumps(facts))
        return LACKING if "problem" in facts else OK
    from jaxdw.cli.screen import show_rows

    cache = facts["cache"]
    found = {"jaxdw": facts["jaxdw"], "Python": facts["python"], **facts["packages"]}
    for name, lacking in facts["extras"].items():
        found[f"extra {name}"] = f"lacks {', '.join(lacking)}" if lacking else "is here"
    found["devices"] = facts.get("problem") or ", ".join(facts["devices"])
    found["compiled programs"] = (
        f"{cache['programs']}, {cache['megabytes']} MB, in {cache['folder']}"
        + ("" if cache["writable"] else ", which cannot be written")
    )
    show_rows("This installation", [{"what": n, "is": v} for n, v in found.items()])
    lacking = [name for name, modules in facts["extras"].items() if modules]
    if lacking:
        print(f"add extras by: {installing(','.join(lacking))}")
    return LACKING if "problem" in facts else OK


def _packages() -> dict[str, str]:
    return {
        name: importlib.metadata.version(name)
        for name in ("jax", "jaxlib", "numpy", "scipy", "rich")
    }


def _extras() -> dict[str, list[str]]:
    """Returns the packages that each extra lacks; none if it is installed."""
    found: dict[str, list[str]] = {}
    for line in importlib.metadata.requires("jaxdw") or []:
        needed = re.match(r"([\w.-]+)(.*)", line)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if needed is None or extra is None:
            continue
        lacking = found.setdefault(extra[1], [])
        name = _PLUGINS.get(line.partition("]")[0] + "]", needed[1])
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            lacking.append(name)
    return found


def _devices() -> dict[str, object]:
    try:
        import jax

        found = [str(device) for device in jax.devices()]
    except (ImportError, RuntimeError) as error:
        return {"devices": [], "problem": str(error).splitlines()[0]}
    return {"devices": found}


def _cache() -> dict[str, object]:
    folder = cache_directory()
    files = [path for path in folder.glob("*-cache")] if folder.is_dir() else []
    near = next(path for path in (folder, *folder.parents) if path.exists())
    return {
        "folder": str(folder),
        "programs": len(files),
        "megabytes": round(sum(Path(p).stat().st_size for p in files) / 1e6, 1),
        "writable": os.access(near, os.W_OK),
    }


def _schema(args: argparse.Namespace) -> int:
    if args.of is None:
        print(json.dumps({verb: json_schema(verb) for verb in SCHEMAS}, indent=2))
        return OK
    refuse(choice_problem("command", args.of, tuple(SCHEMAS)))
    print(json.dumps(json_schema(args.of), indent=2))
    return OK


def _completion(args: argparse.Namespace) -> int:
    refuse(choice_problem("shell", args.shell, SHELLS))
    with needing("completion", "shtab"):
        import shtab
    from jaxdw.cli import make_parser

    parser = make_parser()
    for own in verbs(parser).values():
        for action in own._actions:
            if action.metavar in ("FILE", "FOLDER"):
                action.complete = shtab.FILE  # pyright: ignore[reportAttributeAccessIssue]
            elif action.dest in CHOICES:
                action.choices = [str(c) for c in CHOICES[action.dest] if c]
    print(shtab.complete(parser, args.shell))
    return OK
