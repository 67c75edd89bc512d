"""Parsers that know the table of options: refusals in two lines, help in order."""

import argparse
import difflib
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from jaxdw.cli.examples import EXAMPLES, START, TASKS
from jaxdw.cli.vocabulary import LAYER, OPTIONS, Option

REFUSED = 2


class Parser(argparse.ArgumentParser):
    """The parser of one command, or of all."""

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs["formatter_class"] = _Help
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        words = sys.argv[1:] if args is None else list(args)
        if self._subparsers is None:
            self._refuse_unknown(words)
        return super().parse_known_args(words, namespace)

    def _refuse_unknown(self, words: Sequence[str]) -> None:
        for word in words:
            if word == "--":
                return
            name = word.partition("=")[0]
            if name.startswith("--") and name not in self._option_string_actions:
                verb = self.prog.partition(" ")[2]
                of = f"is no option of `{self.prog}`" if verb else "is no option"
                known = [o for o in self._option_string_actions if o.startswith("--")]
                near = difflib.get_close_matches(name, known, n=1)
                way_out = f"try {near[0]}" if near else "leave it out"
                self.error(f"`{name}` {of}; {way_out}")

    def error(self, message: str) -> NoReturn:
        """Exits with the refusal of an argument, in two lines."""
        self.exit(
            REFUSED, f"{self.prog}: {_reworded(message)}\nsee `{self.prog} --help`\n"
        )

    def format_help(self) -> str:
        """Returns the help: own options, those of the layer, examples."""
        if self._subparsers is not None:
            return overview(self)
        groups = self._action_groups
        self._action_groups = sorted(groups, key=lambda group: group.title in LAYER)
        text = super().format_help()
        self._action_groups = groups
        return f"{text}{self._examples()}"

    def _examples(self) -> str:
        examples = EXAMPLES.get(self.prog.rpartition(" ")[2])
        return "" if examples is None else f"\nexamples:{examples}"


def verbs(parser: Parser) -> dict[str, Parser]:
    """Returns each command's own parser."""
    (commands,) = (action for action in parser._actions if action.choices)
    return dict(commands.choices or {})  # pyright: ignore[reportArgumentType]


def overview(parser: Parser) -> str:
    """Returns the commands by what they are for."""
    (commands,) = (action for action in parser._actions if action.choices)
    texts = {
        choice.dest: choice.help or ""
        for choice in commands._choices_actions  # pyright: ignore[reportAttributeAccessIssue]
    }
    width = max(map(len, texts))
    told = {verb for group in TASKS.values() for verb in group}
    tasks = TASKS | {"more": tuple(verb for verb in texts if verb not in told)}
    lines = [f"jaxdw: {parser.description}", ""]
    for task, group in tasks.items():
        found = [verb for verb in group if verb in texts]
        lines += [f"{task}:"] if found else []
        lines += [f"  jaxdw {verb:<{width}}  {texts[verb]}" for verb in found]
        lines += [""] if found else []
    return "\n".join([*lines, START, ""])


def _reworded(message: str) -> str:
    """Returns what argparse says of an argument as jaxdw's refusals read."""
    lacking = re.fullmatch(r"the following arguments are required: (.*)", message)
    if lacking:
        names = [name.partition("/")[0] for name in lacking[1].split(", ")]
        said = " ".join(
            f"{name} {OPTIONS[name].sample or OPTIONS[name].form}".strip()
            if name in OPTIONS
            else name
            for name in names
        )
        return f"{', '.join(f'`{n}`' for n in names)} must be given; try {said}"
    beyond = re.fullmatch(r"unrecognized arguments: (.*)", message, re.DOTALL)
    if beyond:
        return f"`{beyond[1]}` stands behind all that is taken; leave it out"
    about = re.fullmatch(r"argument ([^:]+): (.*)", message, re.DOTALL)
    if not about:
        return message
    name, sentence = about[1].partition("/")[0], about[2]
    if sentence == "expected one argument":
        sentence = f"nothing stands behind it; of a word with a dash try {name}=-WORD"
    value = re.fullmatch(r"('.*?'|\".*?\") must (.*)", sentence, re.DOTALL)
    if value:
        return f"`{name}` (={value[1][1:-1]}) must {value[2]}"
    return f"`{name}`: {sentence}"


class _Help(argparse.HelpFormatter):
    """Help with a usage of one line, and no default that says nothing."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=30)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, argparse.SUPPRESS) or action.default == []:
            return action.help
        return f"{action.help} (default: {action.default})"

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        old = getattr(action, "old", ())
        names = [name for name in action.option_strings if name not in old]
        form = f" {action.metavar or action.dest.upper()}" if action.nargs != 0 else ""
        return ", ".join(names) + form

    def _format_usage(self, usage, actions, groups, prefix):
        if usage is None:
            needed = [a for a in actions if a.required and a.option_strings]
            words = [f"{a.option_strings[0]} {a.metavar}" for a in needed]
            words += [str(a.metavar) for a in actions if not a.option_strings]
            usage = f"{self._prog} {' '.join(words)} [options]".replace("  ", " ")
        return super()._format_usage(usage, actions, groups, prefix)


class Take(argparse.Action):
    """Stores what an option says, and in `given` that it was said."""

    def __init__(
        self, *args: Any, old: tuple[str, ...] = (), repeat: bool = False, **kwargs: Any
    ):
        super().__init__(*args, **kwargs)
        self.old, self.repeat = old, repeat

    def __call__(self, parser, namespace, values, option_string=None):
        given = getattr(namespace, "given", ())
        namespace.given = (*given, self.option_strings[0])
        if option_string in self.old:
            print(
                f"note: {option_string} is called {self.option_strings[0]} now; the "
                "old name goes with the next release",
                file=sys.stderr,
            )
        value = True if self.nargs == 0 else values
        if self.repeat:
            value = [*getattr(namespace, self.dest), value]
        setattr(namespace, self.dest, value)


def take(
    parser: Any,
    *names: str | Option,
    required: bool = False,
    was: str = "",
    text: str = "",
) -> None:
    """Adds options of the table to a parser or to one of its groups.

    Args:
      was: the old name of the option, still taken, with a note.
      text: help where the table's says too little.
    """
    for name in names:
        option = OPTIONS[name] if isinstance(name, str) else name
        spelt = {
            "dest": option.dest,
            "help": (text or option.text).replace("%", "%%"),
            "old": (was,) if was else (),
            "repeat": option.repeat,
            "action": Take,
        }
        if option.form:
            spelt |= {"metavar": option.form, "type": option.parse}
            spelt |= {"required": required}
            spelt["default"] = [] if option.repeat else option.default
        else:
            spelt |= {"nargs": 0, "default": False}
        parser.add_argument(option.name, *option.also, *spelt["old"], **spelt)


def take_layer(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Adds what describes one layer, its sharding, its chip and its arithmetic."""
    for title, options in LAYER.items():
        group = parser.add_argument_group(title)
        for option in options:
            if option.name in parser._option_string_actions:
                continue  # the command says more of it
            take(
                group,
                option,
                required=required and option.name in ("--channels", "--size"),
            )
