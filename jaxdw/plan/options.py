"""Options that a plan takes no notice of: each is said, none is ignored in silence.

A program lists the options that it does not always heed. One that it does not know at
all it refuses.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from jaxdw.plan.findings import Basis, Defect


class Option(NamedTuple):
    """An option that has no effect on some plans.

    Attributes:
      name: of a field of `ShardConfig` or `ComputeConfig`.
      heeded: whether a plan is as the option asks, where it is not at its default.
      rule: when it has an effect, or what the plan does instead.
    """

    name: str
    heeded: Callable[[Any], bool]
    rule: str | Callable[[Any], str]


def never(at: Any) -> bool:
    """Says of an option that it has no effect on any plan."""
    return False


def unheeded(options: Iterable[Option], *, basis: Basis, source: str) -> Defect:
    """Returns the finding that names every option asked for without effect."""

    def meets(at: Any) -> str | None:
        """Options asked for have no effect.

        The program has no use for them on this layer; the finding names each, and
        what it would need.

        Do: leave them out.
        """
        asked = ((option, _asked(at, option.name)) for option in options)
        found = [
            f"`{name}` (={value!r}) has no effect: "
            f"{rule if isinstance(rule, str) else rule(at)}"
            for (name, heeded, rule), value in asked
            if value is not None and not heeded(at)
        ]
        return "; ".join(found) or None

    return Defect(
        code="JDW017",
        severity="performance",
        basis=basis,
        source=source,
        meets=meets,
        elsewhere=None,
    )


def _asked(at: Any, name: str) -> object:
    """Returns the value of an option; None if it is the default."""
    for config in (at.shard, at.compute):
        defaults = _defaults(type(config))
        if name in defaults:
            value = getattr(config, name)
            return None if value == defaults[name] else value
    raise KeyError(name)


@functools.cache
def _defaults(config: type) -> dict[str, Any]:
    return {field.name: field.default for field in dataclasses.fields(config)}


# Alike in all programs.
EVERYWHERE = (
    Option(
        "orientation",
        lambda at: at.scheme == "block",
        "only BLOCK deals its shards by it",
    ),
    Option(
        "reshard_if_not_optimal",
        lambda at: at.shard.input_shard is not None,
        "only an `input_shard` can be resharded",
    ),
)
