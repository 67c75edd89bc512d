"""Whether a result is right, and how far off it is.

The room has the name of its first function, and is called as that: `jd.judge(...)`.
"""

import sys
import types
from typing import Any


class _Room(types.ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from jaxdw.judge.compare import judge

        return judge(*args, **kwargs)


sys.modules[__name__].__class__ = _Room
