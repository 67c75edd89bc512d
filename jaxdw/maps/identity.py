"""Maps are run with the plan that they are of."""

from jaxdw.errors import ConfigError
from jaxdw.maps.maps import Maps
from jaxdw.plan.plan import Plan

_SHOWN = 3  # differences


def check_plan(plan: Plan, maps: Maps) -> None:
    """Returns if maps are those of the plan, spoiled or not.

    Those of another plan with the same places are, whatever it computes with.

    Raises:
      ConfigError: maps of a plan that puts something elsewhere.
    """
    own, theirs = plan.map_facts, maps.facts
    if own is theirs or own == theirs:
        return
    found = [] if theirs is None else list(own.differences(theirs))
    shown = ", ".join(found[:_SHOWN]) + f" and {len(found) - _SHOWN} more" * (
        len(found) > _SHOWN
    )
    raise ConfigError(
        f"`maps` (=of another plan: {shown}) must be those of `plan`; use "
        "make_maps(plan)"
    )
