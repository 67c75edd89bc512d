"""What tests of other people's code take: assertions, strategies, a pytest plugin.

`README.md` beside this file shows them on a weight preparation and a kernel of one's
own. The strategies need hypothesis, the plugin pytest; the assertions need neither.
Names arrive on first use, so that pytest loads the plugin without the rest.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxdw.testing.asserts import assert_output, assert_prepared, assert_tiles
    from jaxdw.testing.strategies import layers, plans, windows

__all__ = [
    "assert_output", "assert_prepared", "assert_tiles", "layers", "plans", "windows",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'jaxdw.testing' has no attribute {name!r}")
    room = "asserts" if name.startswith("assert_") else "strategies"
    return getattr(importlib.import_module(f"jaxdw.testing.{room}"), name)
