"""A failing configuration made as small as it goes and still fails."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from jaxdw.errors import ConfigError, UnsupportedError
from jaxdw.plan.config import ConvConfig
from jaxdw.plan.plan import Plan
from jaxdw.plan.planner import make_plan

_MOST_TRIES = 300


def shrunk(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    """Returns the smallest plan found that fails as the one given does.

    One fact of the convolution is made smaller at a time, as long as the plan is legal
    and `fails` says yes; sharding, chip and program stay.
    """
    tries = 0
    found = plan
    smaller = True
    while smaller:
        smaller = False
        for conv in _smaller(found.conv):
            tries += 1
            if tries > _MOST_TRIES:
                return found
            other = _replanned(plan, conv)
            if other is not None and fails(other):
                found, smaller = other, True
                break
    return found


def _replanned(plan: Plan, conv: ConvConfig) -> Plan | None:
    try:
        return make_plan(
            conv, plan.shard, plan.compute, plan.arch, program=plan.program,
            must_fit=False,
        )  # fmt: skip
    except (ConfigError, UnsupportedError):
        return None


def _smaller(conv: ConvConfig) -> Iterator[ConvConfig]:
    """Yields convolutions with one fact smaller, the largest steps first."""
    plain = ConvConfig(channels=1, height=1, width=1)
    for name in (
        "activation",
        "bias",
        "batch",
        "dtype",
        "weights_dtype",
        "output_dtype",
    ):
        yield from _changed(conv, name, [getattr(plain, name)])
    for name in ("batch", "channels", "height", "width"):
        size = getattr(conv, name)
        steps = [size >> shift for shift in range(1, size.bit_length())]
        yield from _changed(conv, name, [1, *(size - step for step in steps)])
    for name, least in (("padding", 0), ("dilation", 1), ("stride", 1), ("kernel", 1)):
        values = getattr(conv, name)
        yield from _changed(conv, name, [(least,) * len(values)])
        for index, value in enumerate(values):
            for less in (least, value // 2, value - 1):
                changed = (*values[:index], max(least, less), *values[index + 1 :])
                yield from _changed(conv, name, [changed])


def _changed(conv: ConvConfig, name: str, values: list[Any]) -> Iterator[ConvConfig]:
    for value in values:
        if value != getattr(conv, name):
            yield dataclasses.replace(conv, **{name: value})
