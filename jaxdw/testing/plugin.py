"""The pytest plugin: the fixture `jaxdw_plan`.

Loaded by its entry point wherever jaxdw and pytest are installed; it imports the rest
of jaxdw when a test first asks for the fixture.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from jaxdw.plan.plan import Plan


@pytest.fixture(name="jaxdw_plan")
def make_jaxdw_plan(request: pytest.FixtureRequest) -> "Callable[..., Plan]":
    """Returns a function that plans a layer of keywords.

    They are the fields of `ConvConfig`, `ShardConfig` and `ComputeConfig`, and the
    keywords of `jd.make_plan`: `jaxdw_plan(channels=64, height=8, width=8, padding=1,
    scheme="block")`. The report of a test that fails shows the layer as ttnn takes it.
    """

    def plan(**given: Any) -> "Plan":
        from jaxdw.errors import ConfigError
        from jaxdw.exports.ttnn import ttnn_call
        from jaxdw.plan import config
        from jaxdw.plan.planner import make_plan

        kinds = (config.ConvConfig, config.ShardConfig, config.ComputeConfig)
        names = [{field.name for field in dataclasses.fields(kind)} for kind in kinds]
        own = {"arch", "program", "must_fit"}
        unknown = given.keys() - own.union(*names)
        if unknown:
            raise ConfigError(
                f"`jaxdw_plan` takes no {', '.join(sorted(unknown))}; use fields of "
                "ConvConfig, ShardConfig, ComputeConfig, or arch, program, must_fit"
            )
        conv, shard, compute = (
            {name: given[name] for name in fields & given.keys()} for fields in names
        )
        found = make_plan(
            config.ConvConfig(**conv),
            config.ShardConfig(**shard),
            config.ComputeConfig(**compute),
            **{name: given[name] for name in own & given.keys()},
        )
        request.node.add_report_section("call", "jaxdw plan", ttnn_call(found))
        return found

    return plan
